//! A real machine below a directory, on which nothing has to be installed or started.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portreeve::agent::{App, Surroundings, pass};
use portreeve::host::{
    Activity, Answer, Clock, Exit, Files, Front, Host, Kernel, Manager, Parts, Probe, Processes, Request, Result, Run,
    Service, Services, SlotId, Users,
};
use portreeve::model::{Capabilities, Layout, Root};
use portreeve::transaction::Quiet;

use super::repositories::Bench;

/// Releases everything, and lists the managed paths.
pub fn release(bench: &Bench) -> Vec<String> {
    let layout = Layout::new(Root::at(&bench.root));
    let cancel = Arc::default();
    let surroundings = Surroundings {
        wait: None,
        path: "/usr/bin:/bin".to_owned(),
        installer: BTreeMap::new(),
        program: PathBuf::from(env!("CARGO_BIN_EXE_portreeve")),
        cancel: Arc::clone(&cancel),
    };
    let mut app = App::open(layout.clone(), &surroundings).unwrap();
    let parts = Parts::open(&layout, cancel).unwrap();
    app.host = Box::new(Stand { parts, running: Mutex::default() });
    let done = pass(&app, &Quiet, &BTreeSet::new()).unwrap();
    for (name, outcome) in &done.outcomes {
        assert_eq!(outcome.exit_code(), 0, "{name}: {outcome:?}");
    }
    assert_eq!(done.outcomes.len(), bench.projects.len(), "{:?}", done.survey.trouble);
    let mut paths = Vec::new();
    for name in done.outcomes.keys() {
        paths.extend(managed(&app, name));
    }
    paths.sort_unstable();
    paths
}

fn managed(app: &App, name: &portreeve::model::EnvName) -> Vec<String> {
    let cx = app.context(&Quiet);
    let generation = portreeve::transaction::read_generation(&cx, name, 1).unwrap().unwrap();
    let expected = portreeve::transaction::expected(&cx, &generation).unwrap();
    expected.into_iter().map(|expected| expected.path.to_string_lossy().into_owned()).collect()
}

struct Stand {
    parts: Parts,
    running: Mutex<BTreeSet<SlotId>>,
}

impl Host for Stand {
    fn capabilities(&self) -> &Capabilities {
        &self.parts.capabilities
    }
    fn files(&self) -> &dyn Files {
        &self.parts.files
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
        &self.parts.clock
    }
}

const RUNS: Service = Service { activity: Activity::Active, pid: 4711, restarts: 0, masked: false };

impl Services for Stand {
    fn manager(&self) -> Manager {
        Manager::Supervisor
    }
    fn refresh(&self, _: &[SlotId]) -> Result<()> {
        Ok(())
    }
    fn start(&self, slot: &SlotId, _: Duration) -> Result<Service> {
        self.running.lock().unwrap().insert(slot.clone());
        Ok(RUNS)
    }
    fn stop(&self, slot: &SlotId) -> Result<()> {
        self.running.lock().unwrap().remove(slot);
        Ok(())
    }
    fn service(&self, slot: &SlotId) -> Result<Option<Service>> {
        Ok(self.running.lock().unwrap().contains(slot).then_some(RUNS))
    }
    fn services(&self) -> Result<BTreeMap<SlotId, Service>> {
        Ok(self.running.lock().unwrap().iter().map(|slot| (slot.clone(), RUNS)).collect())
    }
    fn forget(&self, _: &SlotId) -> Result<()> {
        Ok(())
    }
    fn output(&self, _: &SlotId, _: usize) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

impl Front for Stand {
    fn test(&self, _: &Path, _: &Path) -> Result<std::result::Result<(), String>> {
        Ok(Ok(()))
    }
    fn test_live(&self) -> Result<std::result::Result<(), String>> {
        Ok(Ok(()))
    }
    fn reload(&self) -> Result<()> {
        Ok(())
    }
    fn running(&self) -> Result<bool> {
        Ok(true)
    }
}

impl Probe for Stand {
    fn get(&self, _: &Request) -> Result<std::result::Result<Answer, String>> {
        Ok(Ok(Answer { status: 204, headers: Vec::new(), body: Vec::new(), took: Duration::ZERO }))
    }
}

impl Processes for Stand {
    fn run(&self, run: &Run) -> Result<Exit> {
        if run.args.iter().any(|argument| argument == "-V") {
            return self.parts.processes.run(run);
        }
        Ok(Exit { code: Some(0), timed_out: false, stdout: Vec::new(), tail: Vec::new() })
    }
    fn find(&self, names: &[&str]) -> Option<PathBuf> {
        self.parts.processes.find(names)
    }
}
