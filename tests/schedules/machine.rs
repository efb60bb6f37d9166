//! A machine with real files and real locks, on which everything else is played: each call is a point at which another program
//! may go on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use portreeve::desired::Generation;
use portreeve::host::{
    Activity, Answer, Clock, Exit, Files, Found, FreeSpace, Front, Host, HostError, Kernel, Lock, Manager, Node, Parts,
    Probe, Processes, Request, Result, Run, Service, Services, SlotId, Target, Twice, Users,
};
use portreeve::model::{Boot, Capabilities, Identity, Layout};

use crate::turns::Turns;

/// Between two tries of a waiter.
const STEP: Duration = Duration::from_millis(50);

/// The machine.
pub struct Machine {
    parts: Parts,
    layout: Layout,
    /// Milliseconds since it was made.
    clock: AtomicU64,
    running: Mutex<BTreeMap<SlotId, String>>,
    /// The titles of what each `active` link was made to lead to, in order: a generation's record may be pruned later.
    pub switches: Mutex<Vec<String>>,
    pub turns: Turns,
}

impl Machine {
    pub fn new(layout: &Layout) -> Self {
        let parts = Parts::open(layout, std::sync::Arc::default()).expect("the directory is there");
        let (clock, running, switches) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
        Self { parts, layout: layout.clone(), clock, running, switches, turns: Turns::new() }
    }

    /// What the slot runs: the text of its link when it was started.
    pub fn runs(&self, slot: &SlotId) -> Option<String> {
        self.running.lock().expect("nobody panicked").get(slot).cloned()
    }

    fn files(&self) -> &dyn Files {
        self.turns.step();
        &self.parts.files
    }
}

impl Host for Machine {
    fn capabilities(&self) -> &Capabilities {
        &self.parts.capabilities
    }
    fn files(&self) -> &dyn Files {
        self
    }
    fn services(&self) -> &dyn Services {
        self
    }
    fn front(&self) -> &dyn Front {
        self
    }
    fn probe(&self) -> &dyn Probe {
        self
    }
    fn processes(&self) -> &dyn Processes {
        self
    }
    fn users(&self) -> &dyn Users {
        &self.parts.users
    }
    fn kernel(&self) -> &dyn Kernel {
        &self.parts.kernel
    }
    fn clock(&self) -> &dyn Clock {
        self
    }
}

/// Here nothing is ever lost.
struct AtOnce;

impl portreeve::host::Together for AtOnce {
    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Files for Machine {
    fn look(&self, path: &Path) -> Result<Found> {
        self.files().look(path)
    }
    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        self.files().read(path, limit)
    }
    fn list(&self, directory: &Path) -> Result<Vec<String>> {
        self.files().list(directory)
    }
    fn make_directory(&self, path: &Path, mode: u32, owner: Identity) -> Result<()> {
        self.files().make_directory(path, mode, owner)
    }
    fn put(&self, path: &Path, node: &Node) -> Result<()> {
        let put = self.files().put(path, node);
        if let (true, Node::Link(target)) = (path.starts_with(self.layout.active()), node) {
            let record = path.parent().unwrap_or(path).join(target).join(Generation::FILE);
            let generation = std::fs::read(record).ok().and_then(|bytes| Generation::parse(&bytes).ok());
            let title = generation.map(|generation| generation.wanted.title());
            self.switches.lock().expect("nobody panicked").extend(title);
        }
        put
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.files().rename(from, to)
    }
    fn remove(&self, path: &Path) -> Result<()> {
        self.files().remove(path)
    }
    fn make_tree(
        &self,
        path: &Path,
        mode: u32,
        owner: Identity,
        nodes: &mut dyn Iterator<Item = Result<(PathBuf, Node)>>,
    ) -> Result<()> {
        self.files().make_tree(path, mode, owner, nodes)
    }
    fn sweep(&self, directory: &Path, makers: portreeve::host::Makers) -> Result<()> {
        self.files().sweep(directory, makers)
    }
    fn remove_tree(&self, path: &Path) -> Result<()> {
        self.files().remove_tree(path)
    }
    fn raise_flag(&self, path: &Path) -> Result<()> {
        self.files().raise_flag(path)
    }
    fn together(&self) -> Box<dyn portreeve::host::Together + '_> {
        Box::new(AtOnce)
    }

    fn sync_all(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn free_space(&self, _: &Path) -> Result<FreeSpace> {
        Ok(FreeSpace { bytes: 1 << 40, inodes: None })
    }
    fn lock_one_of(&self, paths: &[&Path], wait: Duration) -> Result<Box<dyn Lock>> {
        let until = self.monotonic() + wait;
        loop {
            match self.files().lock_one_of(paths, Duration::ZERO) {
                Err(HostError::Locked { .. }) if self.monotonic() < until => self.sleep(STEP),
                taken => return taken,
            }
        }
    }
    fn holder(&self, path: &Path) -> Result<Option<String>> {
        self.files().holder(path)
    }
}

impl Clock for Machine {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH.checked_add(self.monotonic()).expect("a time")
    }
    /// Looking at it takes a millisecond, so that what comes later is later.
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.clock.fetch_add(1, Ordering::SeqCst))
    }
    fn boot(&self) -> Boot {
        Boot::new("one", jiff::Timestamp::UNIX_EPOCH)
    }
    fn sleep(&self, time: Duration) {
        self.clock.fetch_add(u64::try_from(time.as_millis()).expect("not for ever"), Ordering::SeqCst);
        self.turns.step();
    }
    fn cancelled(&self) -> bool {
        false
    }
}

fn service(runs: bool) -> Service {
    let (activity, pid) = if runs { (Activity::Active, 4711) } else { (Activity::Inactive, 0) };
    Service { activity, pid, restarts: 0, masked: false }
}

impl Services for Machine {
    fn manager(&self) -> Manager {
        Manager::Supervisor
    }
    fn refresh(&self, _: &[SlotId]) -> Result<()> {
        Ok(())
    }
    fn start(&self, slot: &SlotId, _: Duration) -> Result<Service> {
        let Found::Link(target) = self.files().look(&self.layout.slot_link(&slot.env, slot.slot))? else {
            panic!("a slot is started that leads nowhere");
        };
        let mut running = self.running.lock().expect("nobody panicked");
        running.entry(slot.clone()).or_insert_with(|| target.display().to_string());
        Ok(service(true))
    }
    fn stop(&self, slot: &SlotId) -> Result<()> {
        self.turns.step();
        self.running.lock().expect("nobody panicked").remove(slot);
        Ok(())
    }
    fn stop_within(&self, slot: &SlotId, _: Duration) -> Result<()> {
        self.stop(slot)
    }
    fn service(&self, slot: &SlotId) -> Result<Option<Service>> {
        self.turns.step();
        Ok(Some(service(self.runs(slot).is_some())))
    }
    fn services(&self) -> Result<BTreeMap<SlotId, Service>> {
        self.turns.step();
        let running = self.running.lock().expect("nobody panicked");
        Ok(running.keys().map(|slot| (slot.clone(), service(true))).collect())
    }
    fn forget(&self, _: &SlotId) -> Result<()> {
        Ok(())
    }
    fn output(&self, _: &SlotId, _: usize) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

impl Front for Machine {
    fn test(&self, _: &Path, _: &Path) -> Result<std::result::Result<Twice, String>> {
        Ok(Ok(Twice::new()))
    }
    fn test_live(&self) -> Result<std::result::Result<Twice, String>> {
        Ok(Ok(Twice::new()))
    }
    fn reload(&self) -> Result<()> {
        self.turns.step();
        Ok(())
    }
    fn process(&self) -> Result<Option<u32>> {
        Ok(Some(1))
    }
}

impl Probe for Machine {
    /// A socket answers when its slot runs; the proxy always does.
    fn get(&self, request: &Request) -> Result<std::result::Result<Answer, String>> {
        self.turns.step();
        let answer =
            |status| Answer { status, headers: Vec::new(), body: Vec::new(), listener: None, took: Duration::ZERO };
        let Target::Socket(socket) = &request.target else { return Ok(Ok(answer(204))) };
        let running = self.running.lock().expect("nobody panicked");
        let up = running.keys().any(|slot| self.layout.slot_socket(&slot.env, slot.slot) == *socket);
        Ok(if up { Ok(answer(204)) } else { Err("no socket".to_owned()) })
    }
}

impl Processes for Machine {
    fn run(&self, _: &Run) -> Result<Exit> {
        self.turns.step();
        Ok(Exit { code: Some(0), killed: false, timed_out: false, stdout: Vec::new(), tail: Vec::new() })
    }
    fn find(&self, names: &[&str]) -> Option<PathBuf> {
        names.first().map(|name| Path::new("/usr/bin").join(name))
    }
}
