//! A service manager in memory, as systemd does it: units are read at a reload, conditions at a start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portreeve::desired::Generation;
use portreeve::host::{HostError, Result, Services};
use portreeve::model::{Activity, EnvName, Layout, Service, Slot, SlotId};

use crate::machine::{Machine, State};
use crate::step::Behaviour;
use crate::storage::Storage;

/// What it knows and runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manager {
    /// Units, as of the last reload.
    loaded: BTreeMap<SlotId, Arc<Vec<u8>>>,
    running: BTreeMap<SlotId, Process>,
    failed: Vec<SlotId>,
    pids: u32,
}

/// A running application, with what it read when it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub unit: Arc<Vec<u8>>,
    /// The generation behind its slot, by its real path.
    pub generation: PathBuf,
    pub env: Arc<Vec<u8>>,
    /// What its code says of itself.
    pub code: Code,
    pub socket: PathBuf,
    restarts: u32,
}

/// What an application does; its tree says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    pub release: String,
    pub behaviour: Behaviour,
}

impl Code {
    /// The text of the file that holds it.
    pub fn text(&self) -> String {
        format!("{} {}\n", self.release, self.behaviour.word())
    }

    /// From that text.
    pub fn read(text: &str) -> Option<Self> {
        let (release, word) = text.trim().split_once(' ')?;
        let behaviour = Behaviour::ALL.into_iter().find(|behaviour| behaviour.word() == word)?;
        Some(Self { release: release.to_owned(), behaviour })
    }
}

/// The lines `key=…` of a unit.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

fn conditions_hold(storage: &Storage, unit: &str) -> bool {
    let (mut any, mut triggers) = (false, 0);
    for condition in values(unit, "ConditionPathExists") {
        if let Some(path) = condition.strip_prefix('|') {
            triggers += 1;
            any |= storage.exists(Path::new(path));
        } else if let Some(path) = condition.strip_prefix('!') {
            if storage.exists(Path::new(path)) {
                return false;
            }
        } else if !storage.exists(Path::new(condition)) {
            return false;
        }
    }
    any || triggers == 0
}

impl Manager {
    pub fn process(&self, slot: &SlotId) -> Option<&Process> {
        self.running.get(slot)
    }

    pub fn behind(&self, socket: &Path) -> Option<&Process> {
        self.running.values().find(|process| process.socket == socket)
    }

    pub fn running(&self) -> impl Iterator<Item = &SlotId> {
        self.running.keys()
    }

    /// The unit as it was read last.
    pub fn unit(&self, slot: &SlotId) -> Option<&Arc<Vec<u8>>> {
        self.loaded.get(slot)
    }

    /// Its state without numbers that only count.
    pub fn key(&self) -> impl std::hash::Hash + use<> {
        let running: Vec<_> = self
            .running
            .iter()
            .map(|(slot, process)| {
                let id = format!("{}@{}", slot.env, slot.slot);
                (id, process.unit.clone(), process.generation.clone(), process.env.clone(), process.restarts)
            })
            .collect();
        let loaded: Vec<_> =
            self.loaded.iter().map(|(slot, unit)| (format!("{}@{}", slot.env, slot.slot), unit.clone())).collect();
        let failed: Vec<_> = self.failed.iter().map(|slot| format!("{}@{}", slot.env, slot.slot)).collect();
        (running, loaded, failed)
    }

    /// `systemctl stop`, by somebody.
    pub fn halt(&mut self, slot: &SlotId) {
        self.running.remove(slot);
    }

    /// What a dead machine runs.
    pub fn power_cut(&mut self) {
        *self = Self { pids: self.pids, ..Self::default() };
    }

    /// `daemon-reload`
    pub fn reload(&mut self, storage: &Storage, layout: &Layout) {
        self.loaded.clear();
        for name in storage.names(&layout.systemd_units()) {
            let name = name.to_string_lossy().into_owned();
            let unit = storage.read(&layout.systemd_units().join(&name));
            if let (Some(slot), Some(unit)) = (slot_of(&name), unit) {
                self.loaded.insert(slot, unit);
            }
        }
    }

    /// Starts a slot if its conditions hold. Not known: `None`.
    fn start(&mut self, storage: &Storage, layout: &Layout, slot: &SlotId) -> Option<()> {
        let unit = self.loaded.get(slot)?.clone();
        self.failed.retain(|failed| failed != slot);
        if let Some(process) = self.running.get_mut(slot) {
            process.restarts = 0;
            return Some(());
        }
        let text = String::from_utf8_lossy(&unit).into_owned();
        if conditions_hold(storage, &text) {
            match self.spawn(storage, layout, slot, &unit, &text) {
                Some(process) => drop(self.running.insert(slot.clone(), process)),
                None => self.failed.push(slot.clone()),
            }
        }
        Some(())
    }

    fn spawn(
        &mut self,
        storage: &Storage,
        layout: &Layout,
        slot: &SlotId,
        unit: &Arc<Vec<u8>>,
        text: &str,
    ) -> Option<Process> {
        let first = |key: &str| values(text, key).first().map(|value| value.trim_matches('"').to_owned());
        let program = first("ExecStart")?.split(' ').next()?.trim_matches('"').to_owned();
        storage.read(Path::new(&program)).filter(|bytes| !bytes.is_empty())?;
        let directory = PathBuf::from(first("WorkingDirectory")?);
        let code = storage.read(&directory.join("code"))?;
        let code = Code::read(&String::from_utf8_lossy(&code)).filter(|code| code.behaviour != Behaviour::Dies)?;
        let env = PathBuf::from(first("EnvironmentFile")?);
        let generation = storage.real(env.parent()?)?;
        let env = storage.read(&env)?;
        let socket = layout.slot_socket(&slot.env, slot.slot);
        storage.find(socket.parent()?, true)?;
        self.pids += 1;
        Some(Process { pid: self.pids, unit: Arc::clone(unit), generation, env, code, socket, restarts: 0 })
    }

    /// What is wanted at boot starts, if its conditions hold.
    pub fn boot(&mut self, storage: &Storage, layout: &Layout) {
        self.reload(storage, layout);
        let wants = layout.systemd_units().join("multi-user.target.wants");
        for name in storage.names(&wants) {
            if !storage.exists(&wants.join(&name)) {
                continue;
            }
            if let Some(slot) = slot_of(&name.to_string_lossy()) {
                self.start(storage, layout, &slot);
            }
        }
    }

    fn service(&self, slot: &SlotId) -> Option<Service> {
        let idle = |activity| Service { activity, pid: 0, restarts: 0, masked: false };
        match self.running.get(slot) {
            Some(process) => Some(Service {
                activity: Activity::Active,
                pid: process.pid,
                restarts: process.restarts,
                masked: false,
            }),
            None if self.failed.contains(slot) => Some(idle(Activity::Failed)),
            None => self.loaded.get(slot).map(|_| idle(Activity::Inactive)),
        }
    }
}

fn slot_of(name: &str) -> Option<SlotId> {
    let (flat, slot) = name.strip_prefix("portreeve-")?.strip_suffix(".service")?.split_once('@')?;
    Some(SlotId { env: EnvName::parse_flat(flat).ok()?, slot: slot.parse::<Slot>().ok()? })
}

/// [`Services`] of a machine.
#[derive(Debug)]
pub struct MemoryServices {
    pub machine: Arc<Machine>,
    pub layout: Layout,
}

impl MemoryServices {
    /// Which release is told to start, unless it runs already.
    fn note(&self, slot: &SlotId) {
        let release = self.machine.look(|state| {
            let directory = state.storage.real(&self.layout.slot_link(&slot.env, slot.slot))?;
            let runs = state.services.process(slot).is_some_and(|process| process.generation == directory);
            let record = state.storage.read(&directory.join(Generation::FILE)).filter(|_| !runs)?;
            Some(Generation::parse(&record).ok()?.wanted.title())
        });
        self.machine.started.borrow_mut().extend(release);
    }

    fn effect<T>(&self, what: &str, slot: &SlotId, change: impl FnOnce(&mut State) -> T) -> T {
        self.machine.effect(&|| format!("{what} {}@{}", slot.env, slot.slot), change)
    }
}

impl Services for MemoryServices {
    fn manager(&self) -> portreeve::model::Manager {
        portreeve::model::Manager::Systemd
    }

    fn refresh(&self, _: &[SlotId]) -> Result<()> {
        self.machine
            .effect(&|| "daemon-reload".to_owned(), |state| state.services.reload(&state.storage, &self.layout));
        Ok(())
    }

    fn start(&self, slot: &SlotId, _: Duration) -> Result<Service> {
        self.note(slot);
        let unknown = || HostError::Service { manager: "systemd", why: format!("no unit of {}", slot.env) };
        self.effect("start", slot, |state| {
            let State { storage, services, .. } = state;
            services.start(storage, &self.layout, slot)?;
            services.service(slot)
        })
        .ok_or_else(unknown)
    }

    fn stop(&self, slot: &SlotId) -> Result<()> {
        self.effect("stop", slot, |state| {
            state.services.running.remove(slot);
            state.services.failed.retain(|failed| failed != slot);
        });
        Ok(())
    }

    fn stop_within(&self, slot: &SlotId, _: Duration) -> Result<()> {
        self.stop(slot)
    }

    fn service(&self, slot: &SlotId) -> Result<Option<Service>> {
        Ok(self.machine.look(|state| state.services.service(slot)))
    }

    fn services(&self) -> Result<BTreeMap<SlotId, Service>> {
        let all = self.machine.look(|state| {
            let manager = &state.services;
            let known = manager.loaded.keys().chain(manager.running.keys()).chain(&manager.failed);
            known.filter_map(|slot| Some((slot.clone(), manager.service(slot)?))).collect()
        });
        Ok(all)
    }

    fn forget(&self, slot: &SlotId) -> Result<()> {
        self.effect("forget", slot, |state| {
            state.services.reload(&state.storage, &self.layout);
            state.services.failed.retain(|failed| failed != slot);
        });
        Ok(())
    }

    fn output(&self, _: &SlotId, _: usize) -> Result<Vec<String>> {
        Ok(vec!["said nothing".to_owned()])
    }
}
