//! What is on the host: the other side of the diff. Gathered by `transaction::read`, judged here.

mod expectation;

use std::collections::{BTreeMap, BTreeSet};

pub use expectation::{Difference, Drift, Expectation, Owners, Part, expectations};

use crate::desired::Generation;
use crate::model::{Activity, EnvName, GenerationNumber, Service, Slot};

/// One environment as it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Installed {
    /// Its name.
    pub name: EnvName,
    /// Where its commit point leads; `None`: nothing of it was ever set up. 0: absent.
    pub active: Option<GenerationNumber>,
    /// The record of the active generation; `None` when there is none or it was damaged.
    pub generation: Option<Generation>,
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
    /// Slots that an operator masked.
    pub masked: BTreeSet<Slot>,
}

impl Installed {
    /// An environment of which the host holds nothing.
    pub fn nothing(name: EnvName) -> Self {
        let (slots, services) = (BTreeMap::new(), BTreeMap::new());
        let (drift, raised, masked) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        Self { name, active: None, generation: None, slots, newest: 0, drift, services, raised, masked }
    }

    /// The slot that serves, if any does.
    pub fn serving_slot(&self) -> Option<Slot> {
        self.generation.as_ref().map(|generation| generation.slot)
    }

    /// Whether the serving slot runs. True for an environment that is absent.
    pub fn serves(&self) -> bool {
        self.serving_slot().is_none_or(|slot| self.runs(slot))
    }

    /// Whether a slot runs, or is about to.
    pub fn runs(&self, slot: Slot) -> bool {
        self.services
            .get(&slot)
            .is_some_and(|service| matches!(service.activity, Activity::Active | Activity::Changing))
    }

    /// The slot that stayed up after a release, if there is one.
    pub fn warm_slot(&self) -> Option<Slot> {
        let other = self.serving_slot()?.other();
        (self.raised.contains(&other) && self.runs(other)).then_some(other)
    }
}
