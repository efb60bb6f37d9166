//! What the pass may do with an environment now.

use jiff::Timestamp;

use super::change::{LONGEST_WAIT, backoff};
use super::{Backoff, FailureClass, Hold, HoldKind, Quarantined, Standing, Until};
use crate::model::{Digest, GenerationNumber};

/// After so many failures in front of visitors, the last in a row among them, time alone is no reason to try again.
const OFTEN_SEEN: u32 = 3;

/// What the pass may do. All but [`Proceed`](Self::Proceed) leave in place the release that serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Ruling<'a> {
    /// Release what is wanted, or, when that already serves, keep it as it should be.
    Proceed,
    /// Rolled back by hand.
    Held {
        /// The order.
        hold: &'a Hold,
        /// The generation to stay on.
        pinned: GenerationNumber,
    },
    /// Nothing is to be changed.
    Suspended {
        /// The order.
        hold: &'a Hold,
        /// When it ends; `None`: when a person says so.
        until: Option<Timestamp>,
    },
    /// Nothing is to run.
    Stopped(&'a Hold),
    /// The wanted content failed here before.
    Quarantined(&'a Quarantined),
    /// The last failure may pass by itself.
    Wait(&'a Backoff),
}

impl Ruling<'_> {
    /// Whether the generation that serves is still repaired.
    pub fn corrects_drift(&self) -> bool {
        !matches!(self, Self::Suspended { .. } | Self::Stopped(_))
    }
}

/// A standing without the holds that have ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Settled {
    /// What is left, to be written when anything ended.
    pub standing: Standing,
    /// What ended, for the history.
    pub ended: Vec<Hold>,
}

impl Standing {
    /// The ruling for an environment whose repository wants the content `wanted`.
    /// Pure: the same record, wants and time give the same ruling.
    pub fn decide(&self, wanted: Digest, now: Timestamp) -> Ruling<'_> {
        if let Some(hold) = self.holds().find(|hold| !hold.has_ended(wanted, now)) {
            return hold.ruling();
        }
        // Also where it serves: the same content in other files, by another version of this program, can fail.
        if let Some(entry) = self.quarantined(wanted) {
            return Ruling::Quarantined(entry);
        }
        match &self.retry {
            Some(backoff) if backoff.waits(wanted, now) => Ruling::Wait(backoff),
            _ => Ruling::Proceed,
        }
    }

    /// Takes off the holds that have ended. An ended hold does not come back when the excluded content is wanted again, or when
    /// the clock is set back, so the result is to be written before the environment goes to `goes_to`; `None`: it stays where it
    /// is, and only time can have ended anything.
    pub fn settled(&self, goes_to: Option<Digest>, now: Timestamp) -> Settled {
        let has_ended = |hold: &Hold| hold.is_over(now) || goes_to.is_some_and(|wanted| hold.has_ended(wanted, now));
        let (ended, left) = self.holds().cloned().partition(has_ended);
        Settled { standing: self.with_holds(left), ended }
    }

    /// When the next hold is over by time alone; `None`: none ever is.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.holds().filter_map(Hold::until).min()
    }
}

impl Hold {
    /// Whether the order is over by itself.
    pub fn has_ended(&self, wanted: Digest, now: Timestamp) -> bool {
        match &self.kind {
            HoldKind::RolledBack { excludes, until: Until::Change, .. } => !excludes.contains(&wanted),
            HoldKind::RolledBack { until: Until::Resume, .. } | HoldKind::Suspended { .. } | HoldKind::Stopped => {
                self.is_over(now)
            }
        }
    }

    /// Whether its time is over, whatever is wanted.
    fn is_over(&self, now: Timestamp) -> bool {
        self.until().is_some_and(|until| until <= now)
    }

    fn until(&self) -> Option<Timestamp> {
        match self.kind {
            HoldKind::Suspended { until } => until,
            HoldKind::RolledBack { .. } | HoldKind::Stopped => None,
        }
    }

    fn ruling(&self) -> Ruling<'_> {
        match &self.kind {
            HoldKind::RolledBack { pinned, .. } => Ruling::Held { hold: self, pinned: *pinned },
            HoldKind::Suspended { until } => Ruling::Suspended { hold: self, until: *until },
            HoldKind::Stopped => Ruling::Stopped(self),
        }
    }
}

impl Backoff {
    /// Before this it is not tried again by itself; `None`: not at all, until the host has changed or a person says so, because
    /// visitors have seen it come and go often enough.
    pub fn due(&self) -> Option<Timestamp> {
        let seen = self.class == FailureClass::Host && self.phase.is_in_front() && self.seen >= OFTEN_SEEN;
        (!seen).then_some(self.next)
    }

    /// When it failed last, by the wait that this made.
    pub fn failed_at(&self) -> Option<Timestamp> {
        self.next.checked_sub(backoff(self.failures)).ok()
    }

    /// Whether `wanted` has to wait. A time further off than any wait is the mark of a clock that was set back.
    pub fn waits(&self, wanted: Digest, now: Timestamp) -> bool {
        let waits = |due| now < due && due.duration_since(now) <= LONGEST_WAIT;
        self.digest == wanted && self.due().is_none_or(waits)
    }
}
