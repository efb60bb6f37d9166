//! What to do with each environment, decided once: `plan` prints the same value that a pass executes. Pure.

mod decide;
mod differences;
mod edits;
mod need;

pub use decide::{Decision, decide, intents_and_drift};
pub use differences::differences;
pub use edits::{Edited, edited, masked};
#[cfg(test)]
pub(crate) use need::tests::wanted;
pub use need::{Need, Row};

use crate::desired::Wanted;
use crate::model::{CommitId, Digest, EnvName, Slot};
use crate::observed::Drift;

/// What the repository asks of an environment, as far as that could be found out.
#[derive(Debug, Clone, PartialEq)]
pub enum Want {
    /// This.
    Wanted(Box<Wanted>),
    /// It is not on this host's list. The flag says whether its file carries the tombstone.
    Absent {
        /// `removed = true` stands in its file, or it may go without.
        tombstone: bool,
    },
    /// Its manifest can't be used, or its revision means nothing: a person must act.
    Unusable(String),
    /// It can be had once another environment of this host is where it should be.
    Later(String),
    /// The tip is no descendant of what is applied.
    Diverged(String),
    /// It can't be known now: the network, or its server.
    Unknown(String),
}

/// What is to be done with one environment.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvPlan {
    /// Which.
    pub name: EnvName,
    /// What serves: its title and release id.
    pub serves: Option<Serving>,
    /// What is wanted.
    pub wants: Option<Box<Wanted>>,
    /// What to do.
    pub action: Action,
    /// What to put right, whatever the action is.
    pub repairs: Vec<Drift>,
    /// What an operator did that is respected, not repaired.
    pub respected: Vec<String>,
    /// What keeps it from what is wanted all the same, where what is to be done about it is a start.
    pub stays: Option<Box<Action>>,
    /// Its tag is on another commit than the one that was released by that name, in words. The other is not followed.
    pub moved: Option<String>,
    /// The slot that stayed up after a release, and whose time has come.
    pub retires: Option<Slot>,
    /// A hold ends by what is wanted, or by its time: to be written down, though nothing else may be left to do.
    pub settles: bool,
    /// Somebody stopped it, and something of it runs, or would at the next boot: an order was cut short.
    pub stops: bool,
}

/// What serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Serving {
    /// What people call it.
    pub title: String,
    /// The generation.
    pub generation: u64,
    /// What it runs.
    pub wanted: Wanted,
}

/// The one thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Nothing: it is as it should be.
    Nothing,
    /// Release what is wanted.
    Release,
    /// Start the slot that should be running.
    Start,
    /// Take it off this host: no processes, no vhost. All else stays for a grace, so that it can come back.
    Remove,
    /// Its grace is over, or there is none: delete what is ours.
    Delete,
    /// Leave it: it is off this host, and its grace lasts.
    Removed {
        /// When, and what stays.
        words: String,
        /// When the grace ends.
        until: Option<jiff::Timestamp>,
    },
    /// Leave it: an operator said so.
    Held(String),
    /// Leave it stopped: an operator said so.
    Stopped(String),
    /// Leave it: an operator wants nothing touched.
    Suspended(String),
    /// Leave it: this content failed before.
    Quarantined(String),
    /// Leave it for now: the last failure may pass by itself.
    Waiting(String),
    /// Leave it for now: the host kept it from moving, and is tried again when it has changed, or after a while.
    Hindered(String),
    /// A person must act first.
    Blocked(String),
    /// The branch was rewritten.
    Diverged(String),
    /// What is wanted isn't known now.
    Stale(String),
}

/// The deploy repository's tip and what follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The tip; `None` while the repository can't be reached.
    pub tip: Option<CommitId>,
    /// The environments, by name.
    pub environments: Vec<EnvPlan>,
}

impl EnvPlan {
    /// Whether it goes by what is wanted: nothing keeps it from that.
    pub fn follows(&self) -> bool {
        matches!(self.action, Action::Nothing | Action::Release | Action::Start) && self.stays.is_none()
    }

    /// The content that it is made to serve; to be gone is another one than any that was gone back from. `None`: it stays as it is.
    pub fn goes_to(&self) -> Option<Digest> {
        match (&self.action, &self.wants) {
            (Action::Remove | Action::Delete, _) => Some(Digest::nothing()),
            (_, Some(wanted)) if self.follows() => Some(wanted.digest),
            _ => None,
        }
    }

    /// Whether a pass would change anything.
    pub fn changes(&self) -> bool {
        matches!(self.action, Action::Release | Action::Start | Action::Remove | Action::Delete)
            || !self.repairs.is_empty()
            || self.stops
    }
}
