//! systemd, through D-Bus.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath};
use zbus_systemd::systemd1::{ManagerProxy, ServiceProxy, UnitProxy};

use super::bus::{self, Bus, Job, JobEnd, NO_SUCH_UNIT, PROMPT};
use super::journal::Moment;
use super::{Activity, Clock, Excerpt, Manager, Result, Service, Services, SlotId, journal, slot_name};
use crate::model::Layout;

/// For a stop; systemd kills a unit after its own `TimeoutStopSec`.
const STOP: Duration = Duration::from_mins(5);
/// All units of ours, and `portreeve.service` not.
const OURS: &str = "portreeve-*@*.service";

/// systemd of this machine.
#[derive(Debug)]
pub struct Systemd {
    bus: Bus,
    layout: Layout,
    /// When a slot was last started by us: systemd restarts what dies, and gives each run another invocation.
    started: Mutex<BTreeMap<SlotId, Moment>>,
}

impl Systemd {
    /// systemd behind the system's bus. Nothing is opened before it is needed.
    pub fn new(layout: Layout) -> Result<Self> {
        Ok(Self { bus: Bus::system()?, layout, started: Mutex::default() })
    }

    /// The same, behind the bus at `socket`.
    pub fn at(layout: Layout, socket: PathBuf) -> Result<Self> {
        Ok(Self { bus: Bus::at(socket)?, layout, started: Mutex::default() })
    }

    fn unit(&self, slot: &SlotId) -> String {
        self.layout.unit_name(&slot.env, slot.slot)
    }
}

impl Services for Systemd {
    fn manager(&self) -> Manager {
        Manager::Systemd
    }

    /// `daemon-reload`, always: `NeedDaemonReload` says no when a unit's file was replaced by an older one.
    fn refresh(&self, _slots: &[SlotId]) -> Result<()> {
        self.bus.with(PROMPT, "daemon-reload", async |connection| ManagerProxy::new(connection).await?.reload().await)
    }

    /// Not started after `wait` is no error: the answer says what it is then. Nor is a job that failed; but one that was never tried
    /// says nothing of the slot.
    fn start(&self, slot: &SlotId, wait: Duration) -> Result<Service> {
        let unit = self.unit(slot);
        self.started.lock().unwrap_or_else(PoisonError::into_inner).insert(slot.clone(), Moment::now());
        let (end, service) = self.bus.with(wait + PROMPT, &format!("start {unit}"), async |connection| {
            let manager = ManagerProxy::new(connection).await?;
            bus::unless(NO_SUCH_UNIT, manager.reset_failed_unit(unit.clone()).await)?;
            // A start stays queued while its unit waits for the next try (`service_start` in systemd's service.c); a restart does not.
            let waits = look(connection, &unit).await?.is_some_and(|service| service.activity == Activity::Waiting);
            let job = if waits { Job::Restart } else { Job::Start };
            let end = bus::run(connection, job, &unit, wait).await?;
            Ok((end, look(connection, &unit).await?))
        })?;
        if let JobEnd::Prevented(word) = end {
            return Err(bus::refused(format!("start {unit}: {}", JobEnd::words(&word))));
        }
        service.ok_or_else(|| bus::refused(format!("no unit {unit}")))
    }

    /// It is inactive then, not failed: a candidate that crashed must not leave the whole host `degraded`.
    fn stop(&self, slot: &SlotId) -> Result<()> {
        let unit = self.unit(slot);
        let end = self.bus.with(STOP + PROMPT, &format!("stop {unit}"), async |connection| {
            let end = bus::unless(NO_SUCH_UNIT, bus::run(connection, Job::Stop, &unit, STOP).await)?;
            let manager = ManagerProxy::new(connection).await?;
            bus::unless(NO_SUCH_UNIT, manager.reset_failed_unit(unit.clone()).await)?;
            Ok(end)
        })?;
        match end {
            Some(JobEnd::Underway) => Err(bus::refused(format!("{unit} has not stopped within {}s", STOP.as_secs()))),
            Some(JobEnd::Prevented(word)) => Err(bus::refused(format!("stop {unit}: {}", JobEnd::words(&word)))),
            Some(JobEnd::Failed | JobEnd::Invalid) => Err(bus::refused(format!("stop {unit}: it failed"))),
            Some(JobEnd::Done) | None => Ok(()),
        }
    }

    fn stop_within(&self, slot: &SlotId, grace: Duration) -> Result<()> {
        let unit = self.unit(slot);
        self.bus.with(grace + PROMPT, &format!("kill {unit}"), async |connection| {
            let end = bus::unless(NO_SUCH_UNIT, bus::run(connection, Job::Stop, &unit, grace).await)?;
            if end != Some(JobEnd::Underway) {
                return Ok(None);
            }
            let (all, kill) = ("all".to_owned(), Signal::KILL.as_raw());
            let manager = ManagerProxy::new(connection).await?;
            bus::unless(NO_SUCH_UNIT, manager.kill_unit(unit.clone(), all, kill).await)
        })?;
        self.stop(slot)
    }

    fn service(&self, slot: &SlotId) -> Result<Option<Service>> {
        let unit = self.unit(slot);
        self.bus.with(PROMPT, &format!("show {unit}"), async |connection| look(connection, &unit).await)
    }

    /// Without pids and restarts (both 0): they cost a question for each unit.
    fn services(&self) -> Result<BTreeMap<SlotId, Service>> {
        let units = self.bus.with(PROMPT, "list units", async |connection| {
            ManagerProxy::new(connection).await?.list_units_by_patterns(vec![], vec![OURS.to_owned()]).await
        })?;
        let listed = units.into_iter().filter_map(|(unit, _, load, active, sub, ..)| {
            let service = Service { activity: activity(&active, &sub), pid: 0, restarts: 0, masked: load == "masked" };
            (load != "not-found").then_some((slot_name::of_unit(&unit)?, service))
        });
        Ok(listed.collect())
    }

    fn forget(&self, slot: &SlotId) -> Result<()> {
        let unit = self.unit(slot);
        self.bus.with(PROMPT, &format!("daemon-reload without {unit}"), async |connection| {
            let manager = ManagerProxy::new(connection).await?;
            manager.reload().await?;
            bus::unless(NO_SUCH_UNIT, manager.reset_failed_unit(unit).await).map(drop)
        })
    }

    fn output(&self, slot: &SlotId, lines: usize) -> Result<Vec<String>> {
        let unit = self.unit(slot);
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner).get(slot).copied();
        if let Some(started) = started {
            return journal::lines_since(&unit, started, lines);
        }
        let invocation = self.bus.with(PROMPT, &format!("show {unit}"), async |connection| {
            let path = ManagerProxy::new(connection).await?.load_unit(unit).await?;
            unit_at(connection, &path).await?.invocation_id().await
        })?;
        if invocation.is_empty() { Ok(Vec::new()) } else { journal::lines(&hex(&invocation), lines) }
    }

    fn log(
        &self,
        slots: &[SlotId],
        excerpt: &Excerpt,
        clock: &dyn Clock,
        line: &mut dyn FnMut(&str),
    ) -> Result<std::result::Result<(), String>> {
        let units: Vec<String> = slots.iter().map(|slot| self.unit(slot)).collect();
        journal::excerpt(&units, excerpt, clock, line)
    }
}

/// A unit's state. It is loaded for that: systemd drops from memory what does not run and nobody wants.
async fn look(connection: &Connection, unit: &str) -> zbus::Result<Option<Service>> {
    let path = ManagerProxy::new(connection).await?.load_unit(unit.to_owned()).await?;
    let unit = unit_at(connection, &path).await?;
    let load = unit.load_state().await?;
    if load == "not-found" {
        return Ok(None);
    }
    let service = ServiceProxy::builder(connection).path(&path).cache_properties(CacheProperties::No).build().await?;
    Ok(Some(Service {
        activity: activity(&unit.active_state().await?, &unit.sub_state().await?),
        pid: service.main_pid().await?,
        restarts: service.n_restarts().await?,
        masked: load == "masked",
    }))
}

async fn unit_at(connection: &Connection, path: &OwnedObjectPath) -> zbus::Result<UnitProxy<'static>> {
    UnitProxy::builder(connection).path(path.clone()).cache_properties(CacheProperties::No).build().await
}

/// An invocation as journald writes it.
fn hex(invocation: &[u8]) -> String {
    let pairs: Vec<String> = invocation.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.concat()
}

/// `ActiveState` and `SubState` (`org.freedesktop.systemd1(5)`).
fn activity(active: &str, sub: &str) -> Activity {
    match (active, sub) {
        ("active" | "reloading" | "refreshing", _) => Activity::Active,
        ("failed", _) => Activity::Failed,
        ("inactive", _) => Activity::Inactive,
        ("activating", "auto-restart" | "auto-restart-queued") => Activity::Waiting,
        _ => Activity::Changing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Root;

    #[test]
    fn a_unit_about_to_be_restarted_is_not_active() {
        assert_eq!(activity("activating", "auto-restart"), Activity::Waiting);
        assert_eq!(activity("activating", "start"), Activity::Changing);
        assert_eq!(activity("reloading", "reload-notify"), Activity::Active);
        assert_eq!(activity("failed", "failed"), Activity::Failed);
        assert_eq!(hex(&[0x0a, 0xff]), "0aff");
    }

    #[test]
    fn where_there_is_no_bus_it_says_so() {
        let systemd = Systemd::at(Layout::new(Root::system()), "/nonexistent/bus".into()).unwrap();
        let error = systemd.services().unwrap_err().to_string();
        assert!(error.starts_with("systemd: can't reach its bus"), "{error}");
    }
}
