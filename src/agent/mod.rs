//! The agent: the pass from the repository to the host, orders that people give, and the loop that repeats the pass.

mod app;
mod outcome;
mod orders;
mod pass;
pub mod schedule;
mod standing;
mod survey;
mod trees;
mod want;

pub use app::{App, AppError, Surroundings};
pub use orders::{Order, OrderError, Target};
pub use outcome::{Outcome, worst};
pub use pass::{PassReport, pass};
pub use standing::{read_standing, write_standing};
pub use survey::{Survey, survey};
