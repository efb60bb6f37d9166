//! Whether a release is healthy: a client that cannot be held up, and the verdict on what it saw.

mod probe;
mod verdict;
mod watch;

pub use probe::HttpProbe;
pub use verdict::{Step, Streak};
pub use watch::{Check, Outcome, Verdict, Watcher};
