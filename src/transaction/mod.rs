//! One environment from one generation to another: stage, commit, effects, recover. The rename lives here.
//!
//! The order is the design: nothing live changes before the candidate is healthy; one rename of `active` commits; what follows
//! the rename is a set of idempotent effects, derived from the active generation and simply issued again after a crash.
//! Going back after a failed check, after a crash, and by hand are the same functions.

mod account;
mod as_app;
mod back;
mod blame;
mod build;
mod commit;
mod context;
mod dump;
mod failure;
mod foresee;
mod ground;
mod host_print;
mod installer;
mod journal;
pub mod lock;
mod may_return;
mod migrate;
mod prune;
mod read;
mod recover;
mod release;
mod remove;
mod render;
mod repair;
mod report;
mod requirements;
mod retire;
mod room;
mod slot;
mod stage;
mod statics;
mod sweep;
mod unit;
mod validate;
mod verdict;
mod waits;

pub use context::{Context, Entry, Facts, Trees};
pub use failure::{Failure, FailureKind, Phase, chain};
pub use foresee::{Foreseen, foresee};
pub use ground::secret_fingerprint;
pub use host_print::host_print;
pub use installer::{Installer, Tool};
pub use journal::{Intent, JournalError};
pub use may_return::permit_return;
pub use migrate::{Applied, Migration, recorded};
pub use read::{
    active, expected, installed, installed_names, listing, read_generation, services_of, serving, standing, was_refused,
};
pub use recover::{Recovered, Watch, committed, note_boot, recover, sync_left, tidy};
pub use release::{Going, Ordered, Released, fits, go, go_by_order};
pub use remove::{Deleted, delete, remove};
pub use repair::{renders_differently, repair, start, stay_up};
pub use report::{About, Event, Quiet, Report};
pub use requirements::{LARGEST as LARGEST_REQUIREMENTS, Requirements, Unread};
pub use slot::{retire, runs, stop};
pub use verdict::write_standing;
pub use waits::forget_repairs;
