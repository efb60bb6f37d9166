//! A machine in memory: disk, service manager, web server, clock. Its whole state is one value, which is copied at each point
//! at which a program could be killed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;

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
    /// Programs' own files are never synced.
    BuildsUnsynced,
    /// nginx's permanent link is made before what it leads to.
    LinkFirst,
    /// The journal is closed before what it says is remembered.
    JournalFirst,
}

/// A machine that programs run on.
#[derive(Debug)]
pub struct Machine {
    pub state: RefCell<State>,
    /// Every point so far, when somebody wants them.
    points: RefCell<Option<Vec<Point>>>,
    /// How many calls changed something, or tried to.
    calls: Cell<usize>,
    /// Which one fails.
    pub refusal: Cell<Option<Refusal>>,
    /// What was refused: the call and its path.
    pub refused: RefCell<Option<String>>,
    pub flaw: Cell<Flaw>,
    pub locks: RefCell<BTreeSet<Id>>,
    /// Every changing call, for comparisons.
    pub log: RefCell<Vec<String>>,
}

impl Machine {
    pub fn new(state: State) -> Rc<Self> {
        Rc::new(Self {
            state: RefCell::new(state),
            points: RefCell::new(None),
            calls: Cell::new(0),
            refusal: Cell::new(None),
            refused: RefCell::new(None),
            flaw: Cell::new(Flaw::None),
            locks: RefCell::new(BTreeSet::new()),
            log: RefCell::new(Vec::new()),
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
