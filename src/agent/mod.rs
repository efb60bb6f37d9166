//! The agent: the pass from the repository to the host, orders that people give, and the loop that repeats the pass.

mod accept;
mod app;
mod chronicle;
pub mod explain;
mod idle;
mod last;
mod look;
mod moving;
mod orders;
mod outcome;
mod pass;
mod preview;
pub mod schedule;
mod standing;
mod survey;
mod tell;
mod trees;
mod turn;
mod want;

pub use app::{App, AppError, Surroundings};
pub use chronicle::past;
pub use last::{LastPass, Seen, read_last_pass};
pub use look::{NextPass, known, look, next_pass};
pub use moving::{Moving, Witness, moving};
pub use orders::{Given, Order, OrderError, Target, carry_out};
pub use outcome::{Left, Outcome, worst};
pub use pass::{PassReport, Told, pass, pass_telling};
pub use preview::{Commits, Migrations, Preview, Previews, manifests, preview};
pub use standing::{host_print, read_standing, settle, standing_here, write_standing};
pub use survey::{Survey, Trouble, deploy_tree, survey};
pub use tell::{mute, tell};
pub use turn::environment;
