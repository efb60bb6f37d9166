//! Why the tour ended before its end.

use std::path::PathBuf;

use super::super::Fault;
use crate::emit::EmitError;
use crate::host::HostError;

/// Why the tour ended before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum TourError {
    /// The machine refused.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A path has a byte that a configuration can't carry.
    #[error("the tour can't live in this directory")]
    Emit(#[from] EmitError),
    /// A program is not installed.
    #[error("{0} is not installed")]
    Program(&'static str),
    /// The directory's path has a character that some program of the tour takes for something else.
    #[error("`{0}` in the directory's path: not every program of the tour takes it")]
    Character(char),
    /// The directory has something that we did not make.
    #[error("{} is not empty, and not from a tour; nothing was touched", .0.display())]
    NotOurs(PathBuf),
    /// Another tour is under way there.
    #[error("another tour is under way in {}", .0.display())]
    Busy(PathBuf),
    /// git failed.
    #[error("git {command}: {said}")]
    Git {
        /// Its arguments.
        command: String,
        /// What it printed.
        said: String,
    },
    /// A server did not come up, or went away.
    #[error("{name} {how}: {said}")]
    Server {
        /// Which.
        name: &'static str,
        /// What happened.
        how: String,
        /// The end of its log.
        said: String,
    },
    /// The story took another turn than it should.
    #[error("{0}")]
    Turn(String),
    /// Ctrl-C.
    #[error("ended before its end, as you asked; nothing is left running")]
    Cancelled,
}

impl TourError {
    /// As the end of the command.
    pub fn fault(self) -> Fault {
        let help = match &self {
            Self::NotOurs(_) => Some("name another directory: portreeve try DIR".to_owned()),
            Self::Character(_) => Some("name another directory: portreeve try /tmp/try".to_owned()),
            Self::Busy(_) => Some("end it with ctrl-c, or name another directory: portreeve try DIR".to_owned()),
            Self::Program(name) => {
                Some(format!("apt-get install {name}; or `make try`, which installs what is missing"))
            }
            _ => None,
        };
        let code = if matches!(self, Self::NotOurs(_) | Self::Busy(_) | Self::Character(_)) { 2 } else { 1 };
        Fault { code, help, ..Fault::failed(&self) }
    }
}
