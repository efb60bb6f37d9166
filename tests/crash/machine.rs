//! A machine in memory: disk, service manager, web server, clock. Its whole state is one value, which is copied at each point
//! at which a program could be killed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use portreeve::host::Exit;
use rustix::io::Errno;

use crate::cell::Shared;
use crate::front::Nginx;
use crate::services::Manager;
use crate::storage::{Id, Storage};

/// Everything that outlives a killed program.
#[derive(Debug, Clone)]
pub struct State {
    pub storage: Storage,
    pub services: Manager,
    pub front: Nginx,
    /// Since the machine was made.
    pub clock: Duration,
    /// How often it was booted, and when last.
    pub boots: u32,
    pub booted: Duration,
    /// By how much somebody has set the clock on the wall, in seconds.
    pub set: i64,
    /// The package index does not answer.
    pub offline: bool,
}

impl State {
    /// Whether nothing happened between the two but time.
    pub fn is_same(&self, other: &Self) -> bool {
        self.storage.is_same(&other.storage) && self.services == other.services && self.front == other.front
    }
}

/// A moment at which a program can be killed.
#[derive(Debug, Clone)]
pub struct Point {
    /// What was about to happen, or had just happened.
    pub what: String,
    /// How many points fall on this moment: after one call, before the next one.
    pub count: usize,
    /// The machine then.
    pub state: State,
}

impl Point {
    /// Whether a name has just come or gone.
    pub fn changed_a_name(&self) -> bool {
        ["after rename", "after symlink", "after unlink"].iter().any(|call| self.what.starts_with(call))
    }
}

/// What a disk refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The number of the call, from 0.
    pub call: usize,
    /// With what.
    pub errno: Errno,
}

/// What a disk does wrong, to prove that it would be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing.
    None,
    /// Syncs of files do nothing.
    FilesUnsynced,
    /// Syncs of the directory with this name do nothing.
    DirectoryUnsynced(&'static str),
    /// The same, and a sync of its whole file system passes it over.
    DirectoryForgotten(&'static str),
    /// A sync that fails is taken for one that worked.
    SyncErrorsForgotten,
    /// Programs' own files are never synced.
    BuildsUnsynced,
    /// nginx's permanent link is made before what it leads to.
    LinkFirst,
}

/// A machine that programs run on.
#[derive(Debug)]
pub struct Machine {
    pub state: Shared<State>,
    /// Every point so far, when somebody wants them.
    points: Shared<Option<Vec<Point>>>,
    /// How many calls changed something, or tried to.
    calls: Shared<usize>,
    /// Which one fails.
    pub refusal: Shared<Option<Refusal>>,
    /// What was refused: the call and its path.
    pub refused: Shared<Option<String>>,
    pub flaw: Shared<Flaw>,
    /// How a program ends that has these among its words, in place of what it would do.
    pub end: Shared<Option<(&'static str, Exit)>>,
    pub locks: Shared<BTreeSet<Id>>,
    /// The release in every slot that was told to start.
    pub started: Shared<Vec<String>>,
    /// Every changing call, for comparisons.
    pub log: Shared<Vec<String>>,
}

impl Machine {
    pub fn new(state: State) -> Arc<Self> {
        Arc::new(Self {
            state: Shared::new(state),
            points: Shared::new(None),
            calls: Shared::new(0),
            refusal: Shared::new(None),
            refused: Shared::new(None),
            flaw: Shared::new(Flaw::None),
            end: Shared::new(None),
            locks: Shared::new(BTreeSet::new()),
            started: Shared::new(Vec::new()),
            log: Shared::new(Vec::new()),
        })
    }

    /// From now on all points are kept.
    pub fn watch(&self) {
        *self.points.borrow_mut() = Some(Vec::new());
    }

    /// The points since then.
    pub fn points(&self) -> Vec<Point> {
        self.points.borrow_mut().take().unwrap_or_default()
    }

    /// How many calls there were.
    pub fn calls(&self) -> usize {
        self.calls.get()
    }

    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.borrow())
    }

    /// A system call that changes something: a kill can fall before and after it, and the disk can refuse it.
    pub fn call<T>(
        &self,
        what: &dyn Fn() -> String,
        change: impl FnOnce(&mut State) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let number = self.calls.replace(self.calls.get() + 1);
        if let Some(refusal) = self.refusal.get().filter(|refusal| refusal.call == number) {
            *self.refused.borrow_mut() = Some(what());
            return Err(refusal.errno);
        }
        self.keep("before", what);
        let done = change(&mut self.state.borrow_mut());
        self.keep("after", what);
        done
    }

    /// Something else than a system call of ours that changes the machine: it can't be refused.
    pub fn effect<T>(&self, what: &dyn Fn() -> String, change: impl FnOnce(&mut State) -> T) -> T {
        self.keep("before", what);
        let done = change(&mut self.state.borrow_mut());
        self.keep("after", what);
        done
    }

    fn keep(&self, when: &str, what: &dyn Fn() -> String) {
        if let Some(points) = self.points.borrow_mut().as_mut() {
            if when == "before" {
                self.log.borrow_mut().push(what());
            }
            let state = self.state.borrow();
            match points.last_mut().filter(|last| last.state.is_same(&state)) {
                Some(last) => last.count += 1,
                None => points.push(Point { what: format!("{when} {}", what()), count: 1, state: state.clone() }),
            }
        }
    }
}
