//! Who may move an environment, and when it is tried again: holds, quarantine, waiting.
//!
//! One [`Standing`] for each environment outlives reboots and the loss of every cache. The pass asks [`Standing::decide`]
//! before it touches anything; what happened goes back in through the functions that return the next standing.
//! Nothing here reads a clock or a file.

mod change;
mod ruling;
mod standing;

pub use change::{Failure, LONGEST_WAIT, backoff, one_line, telling};
pub use ruling::{Ruling, Settled};
pub use standing::{
    Accepted, Backoff, FailureClass, Hold, HoldKind, Phase, Quarantined, Standing, StandingError, Until,
};
