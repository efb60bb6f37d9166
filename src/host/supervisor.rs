//! Supervisor (<http://supervisord.org>), where systemd is not.
//!
//! Groups are added and removed one by one: `update` would restart the slot that serves. A group that is added starts by itself
//! (`autostart`); that is harmless, because its launcher ends at once with 0 unless the slot may run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Pid;

use super::logfile::{self, Mark};
use super::rpc::{Client, Fault, refused};
use super::xmlrpc::Value;
use super::{Activity, Clock, Excerpt, HostError, Manager, Result, Service, Services, SlotId, process, slot_name};
use crate::model::Layout;

/// For what Supervisor answers at once.
const PROMPT: Duration = Duration::from_secs(10);
/// For a stop; Supervisor kills a program after its own `stopwaitsecs`.
const STOP: Duration = Duration::from_mins(5);
/// Between two looks at a program that is about to change.
const LOOK: Duration = Duration::from_millis(20);
/// How long a launcher may take to find out that it may not run. Longer only when it may.
const SETTLE: Duration = Duration::from_secs(1);

/// Supervisor, through its socket.
///
/// It counts no restarts. We remember what ran when we started a slot, and call it restarted once when another process runs; a
/// slot that another process of ours started counts none.
#[derive(Debug)]
pub struct Supervisor {
    client: Client,
    layout: Layout,
    attempts: Mutex<BTreeMap<SlotId, Attempt>>,
}

/// What we remember of a start.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    /// Process and its start, in seconds since 1970.
    ran: (u32, i64),
    /// Where its log ended before.
    log: Option<Mark>,
}

impl Supervisor {
    /// The server behind `socket`. Nothing is opened before it is needed.
    pub fn new(layout: Layout, socket: PathBuf) -> Result<Self> {
        Ok(Self { client: Client::new(socket)?, layout, attempts: Mutex::default() })
    }

    fn program(&self, slot: &SlotId) -> String {
        self.layout.program_name(&slot.env, slot.slot)
    }

    fn ask(&self, method: &str, program: &str, deadline: Duration) -> Result<std::result::Result<Value, Fault>> {
        self.client.call(method, &[Value::Text(program.to_owned())], deadline)
    }

    fn ask_and_wait(&self, method: &str, program: &str, wait: Duration) -> Result<std::result::Result<Value, Fault>> {
        self.client.call(method, &[Value::Text(program.to_owned()), Value::Bool(true)], wait)
    }

    fn info(&self, program: &str) -> Result<Option<Info>> {
        match self.ask("getProcessInfo", program, PROMPT)? {
            Ok(value) => Info::read(&value).map(Some),
            Err(Fault::BadName) => Ok(None),
            Err(fault) => Err(unexpected("getProcessInfo", program, fault)),
        }
    }

    fn attempt(&self, slot: &SlotId) -> Option<Attempt> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).get(slot).copied()
    }

    fn remember(&self, slot: &SlotId, attempt: Attempt) {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).insert(slot.clone(), attempt);
    }

    fn service_of(&self, slot: &SlotId, info: &Info) -> Service {
        let before = self.attempt(slot).map(|attempt| attempt.ran);
        let restarted = before.is_some_and(|before| info.pid != 0 && before != (info.pid, info.start));
        Service { activity: info.activity, pid: info.pid, restarts: u32::from(restarted), masked: false }
    }

    fn add(&self, program: &str) -> Result<()> {
        match self.ask("addProcessGroup", program, PROMPT)? {
            Ok(_) | Err(Fault::AlreadyAdded) => self.settle(program),
            Err(fault) => Err(unexpected("addProcessGroup", program, fault)),
        }
    }

    /// Waits until the launcher of a group that was just added has ended: a start that met it still running would be taken for done.
    fn settle(&self, program: &str) -> Result<()> {
        let looks = SETTLE.as_millis() / LOOK.as_millis();
        for _ in 0..looks {
            match self.info(program)? {
                Some(info) if info.start == 0 || info.pid != 0 => self.client.pause(LOOK),
                _ => break,
            }
        }
        Ok(())
    }

    fn remove(&self, program: &str) -> Result<()> {
        match self.ask("removeProcessGroup", program, PROMPT)? {
            Ok(_) | Err(Fault::BadName) => Ok(()),
            Err(fault) => Err(unexpected("removeProcessGroup", program, fault)),
        }
    }

    fn reread(&self) -> Result<Reread> {
        match self.client.call("reloadConfig", &[], PROMPT)? {
            Ok(value) => Ok(Reread::read(&value)),
            Err(fault) => Err(refused(&format!("reloadConfig: {fault:?}"))),
        }
    }

    /// Waits for a stop that was asked for already. The process that is still there after `wait`.
    fn outlives(&self, program: &str, wait: Duration) -> Result<Option<Pid>> {
        let looks = wait.as_millis() / LOOK.as_millis();
        let mut pid = self.pid(program)?;
        for _ in 0..looks {
            if pid.is_none() {
                break;
            }
            self.client.pause(LOOK);
            pid = self.pid(program)?;
        }
        Ok(pid)
    }

    fn pid(&self, program: &str) -> Result<Option<Pid>> {
        let pid = self.info(program)?.map_or(0, |info| info.pid);
        Ok(i32::try_from(pid).ok().and_then(Pid::from_raw))
    }
}

impl Services for Supervisor {
    fn manager(&self) -> Manager {
        Manager::Supervisor
    }

    /// A changed program that runs is left alone: it takes its new text when it is refreshed while stopped.
    fn refresh(&self, slots: &[SlotId]) -> Result<()> {
        let reread = self.reread()?;
        for slot in slots {
            let program = self.program(slot);
            if reread.added.contains(&program) {
                self.add(&program)?;
            } else if reread.changed.contains(&program) && self.info(&program)?.is_some_and(|info| info.pid == 0) {
                // One that can't be spawned is tried again for a while, and is not removed meanwhile.
                self.stop(slot)?;
                self.remove(&program)?;
                self.add(&program)?;
            }
        }
        Ok(())
    }

    fn start(&self, slot: &SlotId, wait: Duration) -> Result<Service> {
        let program = self.program(slot);
        let unknown = || refused(&format!("no program {program}; is {} included?", conf_d(&self.layout)));
        let before = self.info(&program)?.ok_or_else(unknown)?;
        let mark = before.log.as_deref().and_then(logfile::mark);
        let known = match self.ask_and_wait("startProcess", &program, wait)? {
            Ok(_) | Err(Fault::SpawnError | Fault::AbnormalTermination) => None,
            // Its output began before we looked.
            Err(Fault::AlreadyStarted) => Some(self.attempt(slot).and_then(|attempt| attempt.log)),
            Err(fault) => return Err(unexpected("startProcess", &program, fault)),
        };
        let info = self.info(&program)?.ok_or_else(unknown)?;
        self.remember(slot, Attempt { ran: (info.pid, info.start), log: known.unwrap_or(mark) });
        Ok(self.service_of(slot, &info))
    }

    fn stop(&self, slot: &SlotId) -> Result<()> {
        let program = self.program(slot);
        match self.ask_and_wait("stopProcess", &program, STOP)? {
            Ok(_) | Err(Fault::BadName) => Ok(()),
            Err(Fault::NotRunning) => match self.outlives(&program, STOP)? {
                None => Ok(()),
                Some(_) => Err(refused(&format!("{program} has not stopped within {}s", STOP.as_secs()))),
            },
            Err(fault) => Err(unexpected("stopProcess", &program, fault)),
        }
    }

    /// Supervisor's own `signalProcess` reaches the first process only: a worker that hangs would outlive it.
    fn stop_within(&self, slot: &SlotId, grace: Duration) -> Result<()> {
        let program = self.program(slot);
        let asked = [Value::Text(program.clone()), Value::Bool(false)];
        match self.client.call("stopProcess", &asked, PROMPT)? {
            Ok(_) | Err(Fault::BadName | Fault::NotRunning) => {}
            Err(fault) => return Err(unexpected("stopProcess", &program, fault)),
        }
        if let Some(pid) = self.outlives(&program, grace)? {
            process::kill(pid);
        }
        self.stop(slot)
    }

    fn service(&self, slot: &SlotId) -> Result<Option<Service>> {
        Ok(self.info(&self.program(slot))?.map(|info| self.service_of(slot, &info)))
    }

    fn services(&self) -> Result<BTreeMap<SlotId, Service>> {
        let all = match self.client.call("getAllProcessInfo", &[], PROMPT)? {
            Ok(all) => all,
            Err(fault) => return Err(refused(&format!("getAllProcessInfo: {fault:?}"))),
        };
        let mut services = BTreeMap::new();
        for value in all.items() {
            let Some(slot) = value.get("name").and_then(Value::text).and_then(slot_name::of_program) else { continue };
            let service = self.service_of(&slot, &Info::read(value)?);
            services.insert(slot, service);
        }
        Ok(services)
    }

    fn forget(&self, slot: &SlotId) -> Result<()> {
        self.reread()?;
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).remove(slot);
        self.remove(&self.program(slot))
    }

    /// Read from the log file itself: Supervisor's own call fails on a byte that is no UTF-8, and on half a letter.
    fn output(&self, slot: &SlotId, lines: usize) -> Result<Vec<String>> {
        let Some(log) = self.info(&self.program(slot))?.and_then(|info| info.log) else { return Ok(Vec::new()) };
        let mark = self.attempt(slot).and_then(|attempt| attempt.log);
        logfile::lines_since(&log, mark, lines).map_err(HostError::at("read", &log))
    }

    fn log(
        &self,
        slots: &[SlotId],
        excerpt: &Excerpt,
        clock: &dyn Clock,
        line: &mut dyn FnMut(&str),
    ) -> Result<std::result::Result<(), String>> {
        if excerpt.since.is_some() {
            return Ok(Err(
                "Supervisor's logs say no times: there is no --since here; -n N shows the last lines".into()
            ));
        }
        let mut logs: BTreeMap<&SlotId, logfile::Tail> = BTreeMap::new();
        let mut lines = excerpt.lines.unwrap_or(usize::MAX);
        loop {
            // After a first release Supervisor knows one slot; the next release runs in the other.
            let unknown: Vec<&SlotId> = slots.iter().filter(|slot| !logs.contains_key(slot)).collect();
            for slot in unknown {
                let log = self.info(&self.program(slot))?.and_then(|info| info.log);
                logs.extend(log.map(|path| (slot, logfile::Tail::new(path, lines))));
            }
            lines = usize::MAX;
            for log in logs.values_mut() {
                log.read(line)?;
            }
            if !excerpt.follow || clock.cancelled() {
                return Ok(Ok(()));
            }
            clock.sleep(LOOK);
        }
    }
}

fn conf_d(layout: &Layout) -> String {
    layout.supervisor_conf_d().display().to_string()
}

fn unexpected(method: &str, program: &str, fault: Fault) -> HostError {
    refused(&format!("{method} {program}: {fault:?}"))
}

/// Which groups differ from what runs.
struct Reread {
    added: Vec<String>,
    changed: Vec<String>,
}

impl Reread {
    /// Reads `[[added, changed, removed]]`.
    fn read(value: &Value) -> Self {
        let lists = value.items().first().map_or(&[][..], Value::items);
        let names = |at: usize| -> Vec<String> {
            let list = lists.get(at).map_or(&[][..], Value::items);
            list.iter().filter_map(Value::text).map(str::to_owned).collect()
        };
        Self { added: names(0), changed: names(1) }
    }
}

/// What Supervisor says of a program.
struct Info {
    activity: Activity,
    /// 0 when there is no process.
    pid: u32,
    /// Its last start, in seconds since 1970; 0: never.
    start: i64,
    log: Option<PathBuf>,
}

impl Info {
    fn read(value: &Value) -> Result<Self> {
        let int = |name: &str| value.get(name).and_then(Value::int);
        let (Some(state), Some(pid), Some(start)) = (int("state"), int("pid"), int("start")) else {
            return Err(refused("its process info lacks state, pid or start"));
        };
        let log = value.get("stdout_logfile").and_then(Value::text).map(Path::new);
        Ok(Self {
            activity: activity(state, int("exitstatus").unwrap_or(0)),
            pid: u32::try_from(pid).unwrap_or(0),
            start,
            log: log.filter(|path| path.is_absolute()).map(Path::to_owned),
        })
    }
}

/// States of <http://supervisord.org/subprocess.html#process-states>; an exit with anything but 0 is a failure.
fn activity(state: i64, exit: i64) -> Activity {
    match (state, exit) {
        (20, _) => Activity::Active,
        (10 | 40, _) => Activity::Changing,
        (30, _) => Activity::Waiting,
        (0, _) | (100, 0) => Activity::Inactive,
        _ => Activity::Failed,
    }
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
