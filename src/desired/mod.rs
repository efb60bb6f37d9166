//! What the deploy repository and this host together ask for: one side of the diff.

mod generation;
mod wanted;

pub use generation::{Generation, GenerationError, Listed, Listing, Why};
pub use wanted::{Interpreter, Wanted, WantedInput};
