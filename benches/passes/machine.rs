//! A real machine below a directory, on which nothing has to be installed or started.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portreeve::agent::{App, Outcome, Surroundings, pass};
use portreeve::host::{
    Activity, Answer, Exit, Front, Machine, Manager, Parts, Probe, Processes, RealProcesses, Request, Result, Run,
    Service, Services, SlotId, Twice,
};
use portreeve::model::{EnvName, Layout, Root};
use portreeve::transaction::Quiet;

use super::repositories::Bench;

/// A host whose passes are made in this process.
pub struct Stood {
    app: App,
}

/// Opens it.
pub fn open(bench: &Bench) -> Stood {
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
    let programs = Programs(parts.processes.clone());
    let host = Machine::new(parts, Box::new(Slots::default()), Box::new(Stand), Box::new(Stand));
    app.host = Box::new(host.with_processes(Box::new(programs)));
    Stood { app }
}

impl Stood {
    /// A pass; how many environments it released.
    pub fn pass(&self) -> usize {
        let done = pass(&self.app, &Quiet, &BTreeSet::new()).unwrap();
        assert!(done.survey.trouble.is_none(), "{:?}", done.survey.trouble);
        for (name, outcome) in &done.outcomes {
            assert_eq!(outcome.exit_code(), 0, "{name}: {outcome:?}");
        }
        done.outcomes.values().filter(|outcome| matches!(outcome, Outcome::Released { .. })).count()
    }
}

/// Releases everything.
pub fn release(bench: &Bench) -> Stood {
    let stood = open(bench);
    assert_eq!(stood.pass(), bench.projects.len());
    stood
}

/// The managed paths of a host on which everything was released once.
pub fn paths(bench: &Bench, stood: &Stood) -> Vec<String> {
    let cx = stood.app.context(&Quiet);
    let of = |project: &String| {
        let name = EnvName::parse(&format!("{project}/pro")).unwrap();
        let generation = portreeve::transaction::read_generation(&cx, &name, 1).unwrap().unwrap();
        let expected = portreeve::transaction::expected(&cx, &generation).unwrap();
        expected.into_iter().map(|expected| expected.path.to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let mut paths: Vec<String> = bench.projects.iter().flat_map(of).collect();
    paths.sort_unstable();
    paths
}

const RUNS: Service = Service { activity: Activity::Active, pid: 4711, restarts: 0, masked: false };

/// Slots that run as soon as they are told to.
#[derive(Default)]
struct Slots(Mutex<BTreeSet<SlotId>>);

impl Services for Slots {
    fn manager(&self) -> Manager {
        Manager::Supervisor
    }
    fn refresh(&self, _: &[SlotId]) -> Result<()> {
        Ok(())
    }
    fn start(&self, slot: &SlotId, _: Duration) -> Result<Service> {
        self.0.lock().unwrap().insert(slot.clone());
        Ok(RUNS)
    }
    fn stop(&self, slot: &SlotId) -> Result<()> {
        self.0.lock().unwrap().remove(slot);
        Ok(())
    }
    fn stop_within(&self, slot: &SlotId, _: Duration) -> Result<()> {
        self.stop(slot)
    }
    fn service(&self, slot: &SlotId) -> Result<Option<Service>> {
        Ok(self.0.lock().unwrap().contains(slot).then_some(RUNS))
    }
    fn services(&self) -> Result<BTreeMap<SlotId, Service>> {
        Ok(self.0.lock().unwrap().iter().map(|slot| (slot.clone(), RUNS)).collect())
    }
    fn forget(&self, _: &SlotId) -> Result<()> {
        Ok(())
    }
    fn output(&self, _: &SlotId, _: usize) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// nginx, and whatever answers through it.
struct Stand;

impl Front for Stand {
    fn test(&self, _: &Path, _: &Path) -> Result<std::result::Result<Twice, String>> {
        Ok(Ok(Twice::new()))
    }
    fn test_live(&self) -> Result<std::result::Result<Twice, String>> {
        Ok(Ok(Twice::new()))
    }
    fn reload(&self) -> Result<()> {
        Ok(())
    }
    fn process(&self) -> Result<Option<u32>> {
        Ok(Some(1))
    }
}

impl Probe for Stand {
    fn get(&self, _: &Request) -> Result<std::result::Result<Answer, String>> {
        Ok(Ok(Answer { status: 204, headers: Vec::new(), body: Vec::new(), listener: None, took: Duration::ZERO }))
    }
}

/// Programs that have nothing to say; but interpreters tell their version.
struct Programs(RealProcesses);

impl Processes for Programs {
    fn run(&self, run: &Run) -> Result<Exit> {
        if run.args.iter().any(|argument| argument == "-V") {
            return self.0.run(run);
        }
        Ok(Exit { code: Some(0), killed: false, timed_out: false, stdout: Vec::new(), tail: Vec::new() })
    }
    fn find(&self, names: &[&str]) -> Option<PathBuf> {
        self.0.find(names)
    }
}
