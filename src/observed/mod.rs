//! What is on the host: the other side of the diff. Gathered by `transaction::read`, judged here.

mod expectation;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use expectation::{Difference, Drift, Expectation, Owners, Part, expectations};

use crate::desired::Generation;
use crate::model::{Boot, EnvName, GenerationNumber, Newer, Service, Slot, unless_newer};

/// One environment as it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// Its name.
    pub name: EnvName,
    /// Where its commit point leads, or led; `None`: nothing of it was ever set up. 0: absent.
    pub active: Option<GenerationNumber>,
    /// The record of the active generation; `None` when nothing is active, or when it is [`damaged`](Self::damaged).
    pub generation: Option<Generation>,
    /// The record of the active generation, where one should be and none can be read: something serves all the same.
    pub damaged: Option<Damaged>,
    /// What each slot's link leads to.
    pub slots: BTreeMap<Slot, GenerationNumber>,
    /// The highest number that was ever used.
    pub newest: GenerationNumber,
    /// Files that are not as the active generation wants them.
    pub drift: Vec<Drift>,
    /// What the service manager says of each slot that it knows.
    pub services: BTreeMap<Slot, Service>,
    /// Slots whose run flag is up.
    pub raised: BTreeSet<Slot>,
    /// Whether its stopped flag is up: then no boot starts it.
    pub kept_down: bool,
    /// Slots that an operator masked.
    pub masked: BTreeSet<Slot>,
    /// Since when it is off this host, once it is.
    pub removed: Option<Removed>,
}

/// A record that is gone, or that is not what we wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its generation.
    pub number: GenerationNumber,
    /// Where it is, or was.
    pub record: PathBuf,
    /// The slot that serves, by what else is on the disk; `None`: that says nothing, or contradicts itself.
    pub slot: Option<Slot>,
}

impl Damaged {
    /// What serves, as far as that is known.
    pub fn title(&self) -> String {
        format!("generation {}", self.number)
    }
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged or gone", self.record.display())
    }
}

/// The note of a removal, beside the generations: from then on the grace is counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Version of this record.
    pub format: u32,
    /// When its processes had stopped and its vhost was gone.
    pub since: Timestamp,
    /// By whose clock that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
    /// When its grace was begun anew: at a reboot, for nobody knows what its clock did.
    #[serde(skip)]
    pub anew: Option<Timestamp>,
    /// What stays for ever: data, media, backups, logs, secrets.
    pub kept: Vec<PathBuf>,
}

impl Removed {
    /// The version that this program writes.
    pub const FORMAT: u32 = 1;

    /// Reads a note; `None`: it is damaged. `path` is for the message.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Option<Self>, Newer> {
        unless_newer(path, Self::FORMAT, bytes)
    }

    /// The same by the clock as it is set `now`.
    #[must_use]
    pub fn by(self, now: &Boot) -> Self {
        let anew = self.boot.as_ref().filter(|boot| now.is_later_than(boot)).map(|_| now.began);
        Self { since: now.by_now(self.boot.as_ref(), self.since), anew, ..self }
    }

    /// When its files go; `None`: never, as far as this calendar goes. No grace is shorter than it was told by a clock that ran on
    /// or was set while nobody looked.
    pub fn ends(&self, grace: Duration) -> Option<Timestamp> {
        self.anew.unwrap_or(self.since).checked_add(grace).ok()
    }

    /// Where that is which stays.
    pub fn stays(&self) -> String {
        stays(&self.kept)
    }
}

/// What stays for ever of what was removed, and where it is.
pub fn stays(kept: &[PathBuf]) -> String {
    let paths: Vec<String> = kept.iter().map(|path| path.display().to_string()).collect();
    if paths.is_empty() {
        "data, media, backups and logs stay".to_owned()
    } else {
        format!("{} stay", paths.join(", "))
    }
}

impl Installed {
    /// An environment of which the host holds nothing.
    pub fn nothing(name: EnvName) -> Self {
        let (slots, services) = (BTreeMap::new(), BTreeMap::new());
        let (drift, raised, masked) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let (active, generation, damaged, removed) = (None, None, None, None);
        let (newest, kept_down) = (0, false);
        Self { name, active, generation, damaged, slots, newest, drift, services, raised, kept_down, masked, removed }
    }

    /// The slot that serves, if any does.
    pub fn serving_slot(&self) -> Option<Slot> {
        let damaged = || self.damaged.as_ref().and_then(|damaged| damaged.slot);
        self.generation.as_ref().map(|generation| generation.slot).or_else(damaged)
    }

    /// What people call what serves.
    pub fn title(&self) -> Option<String> {
        let damaged = || self.damaged.as_ref().map(Damaged::title);
        self.generation.as_ref().map(|generation| generation.wanted.title()).or_else(damaged)
    }

    /// Whether the serving slot is up. True for an environment that is absent.
    pub fn serves(&self) -> bool {
        self.serving_slot().is_none_or(|slot| self.services.get(&slot).is_some_and(Service::is_up))
    }

    /// Whether something of a slot runs, or will.
    pub fn runs(&self, slot: Slot) -> bool {
        self.services.get(&slot).is_some_and(Service::runs)
    }

    /// Whether something of it runs, or would be started by a boot.
    pub fn starts(&self) -> bool {
        let would_start = self.title().is_some() && !self.kept_down;
        would_start || Slot::BOTH.iter().any(|slot| self.runs(*slot))
    }

    /// The slot that stayed up after a release, if there is one.
    pub fn warm_slot(&self) -> Option<Slot> {
        let other = self.serving_slot()?.other();
        (self.raised.contains(&other) && self.runs(other)).then_some(other)
    }
}
