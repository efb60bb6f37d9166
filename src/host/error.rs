//! What a machine may refuse, and where.

use std::io;
use std::path::{Path, PathBuf};

/// A refusal of the machine.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A system call on a path failed.
    #[error("can't {action} {}", .path.display())]
    Path {
        /// A verb: `write`, `rename`, `list`.
        action: &'static str,
        /// The path as the kernel knows it.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A path is not what it must be before root touches it.
    #[error("{}: {why}", .path.display())]
    Unsafe {
        /// The path.
        path: PathBuf,
        /// Why not, with the cure.
        why: String,
    },
    /// Another process holds a lock.
    #[error("{holder} holds {}", .path.display())]
    Locked {
        /// The lock.
        path: PathBuf,
        /// What it wrote into it: command, pid, since when.
        holder: String,
    },
    /// A program could not be run, or failed where it must not.
    #[error("{program}: {why}")]
    Program {
        /// The program.
        program: String,
        /// What happened.
        why: String,
    },
    /// The service manager refused or did not answer.
    #[error("{manager}: {why}")]
    Service {
        /// Which.
        manager: &'static str,
        /// Its words.
        why: String,
    },
}

impl HostError {
    /// For `map_err` after a system call on `path`.
    pub fn at(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Path { action, path: path.as_ref().to_owned(), source }
    }

    /// The kernel's error number, when there was one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Path { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}
