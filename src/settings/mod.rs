//! The host's own configuration, `/etc/portreeve/agent.toml`: which repository, under which name, how often.
//!
//! Text in, [`AgentSettings`] or every mistake at once out. What is not said and only the machine knows (its name, its
//! service manager) stays `None` here.

mod mistake;
mod read;
mod write;

use std::path::PathBuf;

pub use mistake::{Mistake, SettingsError};

use crate::agent::schedule::Schedule;
use crate::model::Span;

/// All of `agent.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSettings {
    /// The deploy repository, as git takes it.
    pub repo: String,
    /// Its branch.
    pub branch: String,
    /// The name of this host's file in `hosts/`. `None`: the hostname, whole, then its first label.
    pub host: Option<String>,
    /// When passes begin.
    pub schedule: Schedule,
    /// Each host begins later by an own, fixed part of this.
    pub jitter: Span,
    /// The service manager. `None`: systemd where it is PID 1, else Supervisor.
    pub manager: Option<Manager>,
    /// Whether `file://` repositories and paths are fetched from: for tests and the tour.
    pub allow_local_git: bool,
    /// `[git]`
    pub git: Git,
    /// `[nginx]`
    pub nginx: Nginx,
    /// `[python]`
    pub python: Python,
    /// `[prune]`
    pub prune: Prune,
}

/// The two service managers, as the file names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// `systemd`
    Systemd,
    /// `supervisor`
    Supervisor,
}

/// `[git]`: how repositories are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Git {
    /// The private key for ssh; `None`: ssh's own choice.
    pub key: Option<PathBuf>,
    /// The pinned host keys; `None`: ssh's own file. Never trust on first use.
    pub known_hosts: Option<PathBuf>,
    /// Longest time for one fetch; a first one brings the whole history.
    pub deadline: Span,
}

/// `[nginx]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nginx {
    /// The port of plain http.
    pub port: u16,
}

/// `[python]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    /// A directory of wheels; with it no package index is asked.
    pub wheelhouse: Option<PathBuf>,
}

/// `[prune]`: what becomes of environments that are no longer this host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prune {
    /// Between the end of their processes and the deletion of their files; data, media, backups and logs always stay.
    pub grace: Span,
}

impl AgentSettings {
    /// The settings for `repo` with everything else as if unsaid.
    pub fn new(repo: impl Into<String>) -> Self {
        Self {
            repo: repo.into(),
            branch: "main".to_owned(),
            host: None,
            schedule: Schedule::default(),
            jitter: Span::secs(30),
            manager: None,
            allow_local_git: false,
            git: Git { key: None, known_hosts: None, deadline: Span::secs(120) },
            nginx: Nginx { port: 80 },
            python: Python { wheelhouse: None },
            prune: Prune { grace: Span::secs(24 * 3600) },
        }
    }

    /// Parses the file; `file` is its name for messages.
    pub fn parse(file: &str, text: &str) -> Result<Self, SettingsError> {
        read::settings(file, text)
    }

    /// The file for this, with a comment for each key; what is as if unsaid is commented out.
    pub fn to_toml(&self) -> String {
        write::settings(self)
    }
}

impl Manager {
    /// As the file names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Supervisor => "supervisor",
        }
    }
}

#[cfg(test)]
mod tests;
