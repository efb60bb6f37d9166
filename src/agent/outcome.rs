//! What a pass did with one environment, and what it exits with.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::GenerationNumber;
use crate::policy::FailureClass;
use crate::transaction::{Failure, FailureKind};

/// What became of one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was as it should be.
    Unchanged,
    /// Drift was corrected, or its processes were started.
    Repaired,
    /// The candidate serves.
    Released {
        /// What people call it.
        title: String,
        /// Its generation.
        generation: GenerationNumber,
        /// How long it took.
        took: Duration,
        /// Why a person must act all the same: its tag has moved.
        left: Option<Left>,
    },
    /// What served before serves on.
    NotReleased {
        /// What was to be released.
        title: String,
        /// The attempt.
        generation: GenerationNumber,
        /// Why.
        failure: Box<Failure>,
        /// Whether users had seen it.
        seen: bool,
        /// What serves; `None`: nothing, as before.
        serves: Option<String>,
    },
    /// Something else failed: recovery, a repair.
    Failed(Box<Failure>),
    /// It was taken off the host, or deleted after its grace: what of it stays, and where.
    Removed(String),
    /// It was left as it is.
    Left(Left),
}

/// Why an environment was left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "words", rename_all = "lowercase")]
pub enum Left {
    /// An operator holds it, has stopped it, or wants nothing touched.
    Held(String),
    /// Its content failed before.
    Quarantined(String),
    /// The last failure may pass by itself.
    Waiting(String),
    /// The host kept it from moving; it is tried again when the host has changed, or after a while.
    Hindered(String),
    /// A person must act first.
    Blocked(String),
    /// The branch was rewritten.
    Diverged(String),
    /// What is wanted isn't known now.
    Stale(String),
    /// Somebody else is at work on it: command, pid, since when.
    Busy(String),
    /// Somebody else moved it, or gave an order about it, after it had been looked at.
    Overtaken,
}

impl Outcome {
    /// The exit code of the contract: 0, 1, 3 or 4.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unchanged | Self::Repaired | Self::Removed(_) => 0,
            Self::Released { left, .. } => left.as_ref().map_or(0, Left::exit_code),
            Self::Left(left) => left.exit_code(),
            Self::NotReleased { failure, .. } => match failure.kind {
                FailureKind::Class(FailureClass::Release) => 3,
                FailureKind::Class(FailureClass::Host) | FailureKind::CutOff => 4,
                FailureKind::Class(FailureClass::Transient) | FailureKind::Cancelled => 1,
                FailureKind::GaveWay => 0,
            },
            Self::Failed(failure) => match failure.kind {
                // A newer portreeve's journal, a port that is taken: a person must act first.
                FailureKind::Class(FailureClass::Host) | FailureKind::CutOff => 4,
                FailureKind::Class(FailureClass::Release | FailureClass::Transient) | FailureKind::Cancelled => 1,
                FailureKind::GaveWay => 0,
            },
        }
    }

    /// Why it is left as it is, with or without something that was done.
    pub fn left(&self) -> Option<&Left> {
        match self {
            Self::Left(left) => Some(left),
            Self::Released { left, .. } => left.as_ref(),
            Self::Unchanged | Self::Repaired | Self::NotReleased { .. } | Self::Failed(_) | Self::Removed(_) => None,
        }
    }
}

impl Left {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Held(_) => 0,
            Self::Waiting(_) | Self::Stale(_) => 1,
            Self::Quarantined(_)
            | Self::Hindered(_)
            | Self::Blocked(_)
            | Self::Diverged(_)
            | Self::Busy(_)
            | Self::Overtaken => 4,
        }
    }
}

/// Of several environments the worst counts, in the order 1, 3, 4 (the first is the worst).
pub fn worst(codes: impl IntoIterator<Item = u8>) -> u8 {
    let rank = |code: &u8| match code {
        0 => 0,
        4 => 1,
        3 => 2,
        _ => 3,
    };
    codes.into_iter().max_by_key(rank).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_for_the_host_ends_as_the_failure_did_that_it_follows() {
        let waits = |left: fn(String) -> Left| Outcome::Left(left(String::new())).exit_code();
        let failed =
            |class| Outcome::Failed(Box::new(Failure::new(class, crate::policy::Phase::Build, ""))).exit_code();
        assert_eq!(waits(Left::Hindered), failed(FailureClass::Host));
        assert_eq!(waits(Left::Waiting), failed(FailureClass::Transient));
        assert_eq!((waits(Left::Hindered), waits(Left::Waiting)), (4, 1));
    }

    #[test]
    fn an_attempt_that_gave_way_has_not_failed() {
        let kinds = [FailureKind::GaveWay, FailureKind::Cancelled];
        let codes = kinds.map(|kind| {
            let failure = Box::new(Failure { kind, ..Failure::cancelled(crate::policy::Phase::Build) });
            let (title, seen, serves) = ("v3".to_owned(), false, None);
            let refused = Outcome::NotReleased { title, generation: 3, failure: failure.clone(), seen, serves };
            [refused.exit_code(), Outcome::Failed(failure).exit_code()]
        });
        assert_eq!(codes, [[0, 0], [1, 1]]);
    }

    #[test]
    fn a_failure_outweighs_a_refused_release_and_that_a_block() {
        assert_eq!(worst([0, 4, 3, 0]), 3);
        assert_eq!(worst([4, 1, 3]), 1);
        assert_eq!(worst([4, 0]), 4);
        assert_eq!(worst([]), 0);
    }
}
