//! What an environment consists of on a host: pure renderers, one file a kind.
//!
//! Everything that a process reads is reached through its slot (`/etc/portreeve/slots/ENV/SLOT`), never through a
//! generation's number, so that the same state renders to the same bytes in every generation.

mod absent;
pub mod exec;
pub mod host;
mod logrotate;
mod settings;
mod supervisor;
pub mod sysusers;
#[cfg(test)]
mod tests;
mod tmpfiles;
mod unit;
pub mod variables;
pub mod vhost;

use std::fmt;
use std::path::PathBuf;

use secrecy::SecretString;

pub use absent::absent_files;
pub use exec::Exec;

use crate::emit::EmitError;
use crate::manifest::Environment;
use crate::model::{Capabilities, EnvLayout, Manager, Slot};

/// The settings module that we set; its file lies in the generation.
pub const SETTINGS_MODULE: &str = "portreeve_settings";

/// Everything that the files of one generation are made of.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// What the repository says.
    pub env: &'a Environment,
    /// Where it lives.
    pub layout: &'a EnvLayout,
    /// The slot that will run it.
    pub slot: Slot,
    /// The release's tree, by its real path.
    pub release: PathBuf,
    /// The directory of manage.py within the release, absolute.
    pub code_dir: PathBuf,
    /// The virtual environment.
    pub venv: PathBuf,
    /// The application's group: its user's first one.
    pub group: String,
    /// The web server's user: `www-data`.
    pub web_user: String,
    /// The web server's group.
    pub web_group: String,
    /// Worker processes.
    pub workers: u32,
    /// The port of the vhost: 80, or a high one under `--root`.
    pub http_port: u16,
    /// Django's `SECRET_KEY`.
    pub secret_key: &'a SecretString,
    /// What the host can do: give files and processes to other users, listen everywhere.
    pub capabilities: &'a Capabilities,
    /// Who starts the processes.
    pub manager: Manager,
    /// Our own program and its global options: `portreeve --root DIR`. Supervisor's programs go through it.
    pub launcher: Vec<String>,
}

/// One file of a generation.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Its name within the generation.
    pub path: PathBuf,
    /// All of it.
    pub bytes: Vec<u8>,
    /// Who reads it.
    pub audience: Audience,
}

/// Who reads a file. Nobody but root writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// `root:root 0644`; holds no secret.
    Everyone,
    /// `root:APPGROUP 0440`; holds secrets.
    Application,
}

impl Audience {
    /// The permission bits.
    pub fn mode(self) -> u32 {
        match self {
            Self::Everyone => 0o644,
            Self::Application => 0o440,
        }
    }
}

impl Rendered {
    fn everyone(path: &str, text: String) -> Self {
        Self { path: path.into(), bytes: text.into_bytes(), audience: Audience::Everyone }
    }

    fn application(path: &str, text: String) -> Self {
        Self { path: path.into(), bytes: text.into_bytes(), audience: Audience::Application }
    }
}

impl fmt::Debug for Rendered {
    /// Shows no bytes: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, bytes, audience } = self;
        f.debug_struct("Rendered").field("path", path).field("len", &bytes.len()).field("audience", audience).finish()
    }
}

/// The files of a generation, or the first value that one of them cannot carry.
pub fn generation_files(subject: &Subject<'_>) -> Result<Vec<Rendered>, EmitError> {
    let exec = exec::web(subject)?;
    let mut files = vec![
        Rendered::everyone("nginx.conf", vhost::render(subject)?),
        Rendered::everyone("logrotate", logrotate::render(subject)?),
        Rendered::everyone("tmpfiles.conf", tmpfiles::render(subject)?),
        Rendered::everyone("unit", program(subject, &exec)?),
        Rendered::everyone("exec.json", exec.render()),
        Rendered::application("env.conf", variables::render(subject)?),
    ];
    if let Some(django) = &subject.env.django {
        files.push(Rendered::application("settings_local.py", settings::local(subject, django)?));
        files.push(Rendered::everyone("portreeve_settings.py", settings::entry(django)?));
    }
    Ok(files)
}

/// The slot's own text for its service manager.
fn program(subject: &Subject<'_>, exec: &Exec) -> Result<String, EmitError> {
    match subject.manager {
        Manager::Systemd => unit::render(subject, exec),
        Manager::Supervisor => supervisor::render(subject),
    }
}
