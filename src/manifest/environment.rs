//! An environment as its three layers say together: `[defaults]`, `project.toml`, its own file.
//!
//! This is the resolved, typed form; where in the files a value came from is no longer known here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{CommitId, Domain, EnvName, PortRange, Span, UserName};

/// All that the repository says of one environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Its name.
    pub name: EnvName,
    /// What it may do.
    pub policy: Policy,
    /// The system user that builds and runs it.
    pub user: UserName,
    /// Parent of the user's directory, `/home` unless said.
    pub base_dir: PathBuf,
    /// Its ports; the first is the development server's.
    pub ports: PortRange,
    /// The application's repository.
    pub source: String,
    /// What of it to release.
    pub rev: Rev,
    /// The names it answers to; the first is the primary one.
    pub domains: Vec<Domain>,
    /// Its interpreter and packages.
    pub python: Python,
    /// The process that answers requests.
    pub web: Web,
    /// Django, if it is a Django site.
    pub django: Option<Django>,
    /// When a candidate is healthy.
    pub health: Health,
    /// Django settings as Python literals.
    pub settings: BTreeMap<String, Literal>,
    /// Environment variables of its processes.
    pub env: BTreeMap<String, String>,
    /// The vhost.
    pub nginx: Nginx,
    /// Rotation of its logs.
    pub logs: Logs,
    /// How many releases stay on the host; at least 2.
    pub keep_releases: u32,
    /// How long the old slot stays up after a release, so that going back is one rename.
    pub warm: Span,
    /// Whether non-additive migrations may run without a person (`[django] migrate = "any"`).
    pub migrations: Migrations,
    /// The tombstone: the environment is to be taken off its hosts.
    pub removed: bool,
}

/// What an environment may do without being asked; the strictest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Commits and tags only, no rewritten history, never `DEBUG`.
    Pro,
    /// Branches too.
    Stage,
    /// Branches, rewritten history and `DEBUG`.
    Dev,
}

/// A revision of the application.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rev {
    /// `rev = "…"`: a tag if `refs/tags/` has it, else a branch. Decided on the host.
    #[serde(rename = "rev")]
    Named(String),
    /// `tag = "…"`.
    Tag(String),
    /// `branch = "…"`.
    Branch(String),
    /// `commit = "…"`, or a `rev` of 40 hexadecimal digits.
    Commit(CommitId),
}

impl Rev {
    /// As the repository wrote it; a commit in seven digits.
    pub fn display(&self) -> &str {
        match self {
            Self::Named(name) | Self::Tag(name) | Self::Branch(name) => name,
            Self::Commit(commit) => commit.short(),
        }
    }
}

/// The interpreter and what is installed beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Python {
    /// `3.11`: the program is `python3.11`. `None`: the host's `python3`.
    pub version: Option<String>,
    /// The requirements file, relative to the application's tree.
    pub requirements: PathBuf,
}

/// The process that answers requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Web {
    /// `[web.gunicorn]`
    Gunicorn(Gunicorn),
}

/// `[web.gunicorn]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gunicorn {
    /// `module:callable`.
    pub app: String,
    /// Worker processes; `None`: 2 × cores + 1, decided on the host.
    pub workers: Option<u32>,
    /// Threads of each worker.
    pub threads: u32,
    /// A worker silent for longer is killed.
    pub timeout: Span,
    /// How long a worker may finish its requests after SIGTERM.
    pub graceful_timeout: Span,
    /// A worker is replaced after so many requests; 0: never.
    pub max_requests: u32,
}

/// `[django]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Django {
    /// The project's settings module.
    pub settings: String,
    /// The directory of manage.py, when there are several.
    pub dir: Option<PathBuf>,
    /// Whether `DEBUG` is on (dev only).
    pub debug: bool,
    /// Whether `compilemessages` runs.
    pub compilemessages: bool,
    /// Whether `collectstatic` runs.
    pub collectstatic: bool,
}

/// Which pending migrations a release may apply by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Migrations {
    /// Those that the old release can live with.
    Additive,
    /// All.
    Any,
}

/// `[health]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The path asked for.
    pub path: String,
    /// What counts as healthy.
    pub expect: Expect,
    /// Longest time for one request.
    pub timeout: Span,
    /// Longest time for all of them.
    pub deadline: Span,
    /// How many in a row must succeed.
    pub passes: u32,
    /// How long to go on watching after the switch.
    pub bake: Span,
}

/// The answers that count as healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// Exactly this status.
    Status(u16),
    /// Below 400, or 401: the default where `[health]` says nothing.
    Answer,
}

impl Expect {
    /// Whether `status` is healthy.
    pub fn accepts(self, status: u16) -> bool {
        match self {
            Self::Status(wanted) => status == wanted,
            Self::Answer => status < 400 || status == 401,
        }
    }
}

/// A Python literal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Literal {
    /// `True` or `False`
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A finite float.
    Float(f64),
    /// A string.
    Text(String),
    /// A list.
    List(Vec<Literal>),
    /// A dictionary with string keys.
    Table(BTreeMap<String, Literal>),
}

/// `[nginx]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nginx {
    /// Largest request body in bytes; 20 MB unless said.
    pub max_body: u64,
    /// Response headers that are added to every answer.
    pub headers: BTreeMap<String, String>,
}

/// `[logs]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// A file is rotated when it is larger, in bytes; 20 MB unless said.
    pub max_size: u64,
    /// How many rotated files stay; 20 unless said.
    pub keep: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_as_healthy() {
        let accepted = |expect: Expect| {
            let statuses = [200, 204, 302, 399, 400, 401, 403, 404, 500, 503];
            statuses.into_iter().filter(|status| expect.accepts(*status)).collect::<Vec<u16>>()
        };
        assert_eq!(accepted(Expect::Answer), [200, 204, 302, 399, 401]);
        assert_eq!(accepted(Expect::Status(503)), [503]);
    }
}
