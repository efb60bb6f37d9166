//! Who was told what, and when.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portreeve::host::{Exit, Processes, RealProcesses, Result, Run};
use portreeve::transaction::{Event, Phase, Report};

/// Phases that have ended: begin and length. Programs that have run: begin, length, and whether they were the application's.
#[derive(Default)]
struct Notes {
    phases: Vec<(Phase, Instant, Duration)>,
    programs: Vec<(Instant, Duration)>,
}

/// Notes phases as they are reported, and the application's programs as they run.
#[derive(Clone, Default)]
pub struct Stopwatch(Arc<Mutex<Notes>>);

impl Stopwatch {
    /// Begins anew.
    pub fn forget(&self) {
        *self.0.lock().unwrap() = Notes::default();
    }

    /// How long a phase took.
    pub fn phase(&self, phase: Phase) -> Duration {
        self.0.lock().unwrap().phases.iter().filter(|(ended, ..)| *ended == phase).map(|(.., took)| took).sum()
    }

    /// When a phase began.
    pub fn begin(&self, phase: Phase) -> Instant {
        self.0.lock().unwrap().phases.iter().find(|(ended, ..)| *ended == phase).unwrap().1
    }

    /// How long the application's own programs ran, but for those in one phase.
    pub fn programs(&self, but: Option<Phase>) -> Duration {
        let notes = self.0.lock().unwrap();
        let inside = |begun: &Instant| {
            let mut phases = notes.phases.iter().filter(|(phase, ..)| Some(*phase) == but);
            phases.any(|(_, begin, took)| begin <= begun && *begun <= *begin + *took)
        };
        notes.programs.iter().filter(|(begun, _)| !inside(begun)).map(|(_, took)| took).sum()
    }
}

impl Report for Stopwatch {
    fn event(&self, event: &Event<'_>) {
        if let Event::Of { event, .. } = event {
            self.event(event);
        } else if let Event::Done { phase, took, .. } = event {
            self.0.lock().unwrap().phases.push((*phase, Instant::now().checked_sub(*took).unwrap(), *took));
        }
    }
}

/// The machine's programs, with a watch on the application's Python.
pub struct Watched {
    /// The machine's.
    pub programs: RealProcesses,
    /// Whose they are noted.
    pub watch: Stopwatch,
}

impl Processes for Watched {
    fn run(&self, run: &Run) -> Result<Exit> {
        let begun = Instant::now();
        let exit = self.programs.run(run);
        if run.program.ends_with("bin/python") {
            self.watch.0.lock().unwrap().programs.push((begun, begun.elapsed()));
        }
        exit
    }

    fn find(&self, names: &[&str]) -> Option<PathBuf> {
        self.programs.find(names)
    }
}
