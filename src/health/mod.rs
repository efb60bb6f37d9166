//! Whether a release is healthy: a client that cannot be held up, and the verdict on what it saw.

mod probe;
mod verdict;
mod visitors;
mod watch;

pub use probe::HttpProbe;
pub use verdict::{Step, Streak};
pub use visitors::{Habits, Seen, Span, Visitors};
pub use watch::{Check, Outcome, Through, Verdict, Watcher};
