//! What is said of an environment, or of the host.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The states that `portreeve status` knows, but for those that last no longer than a pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it is wanted.
    #[default]
    Ok,
    /// The wanted content failed by its own fault.
    Quarantined,
    /// Rolled back by a person.
    Held,
    /// A person wants nothing changed.
    Suspended,
    /// A person stopped it.
    Stopped,
    /// A person must act, or the host must change.
    Blocked,
    /// The branch was rewritten.
    Diverged,
    /// What is wanted can't be known.
    Stale,
    /// No longer on this host.
    Removed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Quarantined => "quarantined",
            Self::Held => "held",
            Self::Suspended => "suspended",
            Self::Stopped => "stopped",
            Self::Blocked => "blocked",
            Self::Diverged => "diverged",
            Self::Stale => "stale",
            Self::Removed => "removed",
        })
    }
}

/// A state, and what it is about: the same state because of other content, or by another order, is another thing to tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Face {
    /// The state.
    pub state: State,
    /// What tells it from the same state at another time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

/// What a pass saw of one environment, or of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sight {
    /// The state.
    pub state: State,
    /// What tells it from the same state at another time: a content's digest, who ordered it and why. No times, no counts.
    pub about: Option<String>,
    /// It may pass by itself.
    pub passing: bool,
    /// What people call the release that is wanted.
    pub wants: Option<String>,
    /// Why, in one line.
    pub cause: String,
    /// The attempt that failed.
    pub attempt: Option<u64>,
    /// What happens next by itself, where more is known than the state says.
    pub next: Option<String>,
    /// What to do about it, where more is known than the state says.
    pub help: Option<String>,
}

/// The release that an environment's commit point leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Active {
    /// `v1.4.2 (generation 42)`
    pub title: String,
    /// Whether it runs: otherwise users get nothing.
    pub runs: bool,
}

impl Sight {
    /// All is well.
    pub fn ok() -> Self {
        Self::default()
    }

    /// This state because of this.
    pub fn of(state: State, cause: impl Into<String>) -> Self {
        Self { state, cause: cause.into(), ..Self::default() }
    }

    pub(super) fn face(&self) -> Face {
        Face { state: self.state, about: self.about.clone() }
    }
}
