//! Git: look at a repository, fetch, choose a commit, read its objects, export its tree.
//!
//! - [`git`]: the `git` program, hardened; all network goes through it
//! - [`repository`]: a look at a remote, and our bare mirror of it
//! - [`refs`], [`select`](mod@select): what a look found, and which commit that means (pure)
//! - [`objects`]: commits, ancestry and the deploy tree, read with libgit2, which is given no transport
//! - [`read_directory_tree`]: the same files from a directory, for those who write them
//! - [`export`]: an application's tree, checked whole before the first byte is written
//!
//! Nothing is ever checked out, so no hook, filter, attribute or submodule of a repository has an effect.

mod child;
mod deploy_tree;
mod directory;
pub mod error;
pub mod export;
pub mod git;
pub mod objects;
pub mod refs;
pub mod repository;
pub mod select;
mod turns;

#[cfg(test)]
mod testing;

pub use crate::model::{Address, LocalPaths, RepoAddressError as AddressError, Transport};
pub use deploy_tree::TreeEntry;
pub use directory::read_directory_tree;
pub use error::SourceError;
pub use export::{Export, ExportError, ExportLimits};
pub use git::{Git, GitLimits, Ssh};
pub use objects::{CommitInfo, Objects};
pub use refs::{NotRefs, Refs};
pub use repository::{Mirror, Wanted, look, tip};
pub use select::{Ancestry, Refusal, Resolved, RevError, TagMoved, Via, follow, pin, resolve};

/// Shorthand for what a repository may refuse.
pub type Result<T> = std::result::Result<T, SourceError>;
