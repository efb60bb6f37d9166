//! What `--json` prints: the contract with programs, told in `docs/json.md`, whose examples are parsed by the test below.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::agent::explain::Explanation;
use crate::history;
use crate::model::{CommitId, EnvName, GenerationNumber, PortRange, ReleaseId};

/// `portreeve status`; `portreeve why ENV` is one of its environments.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// The host's name in the deploy repository.
    pub host: String,
    /// How many environments answer with less than 500.
    pub answering: usize,
    /// How many stay as they are until a person does something.
    pub need_you: usize,
    /// The deploy repository.
    pub repository: Repository,
    /// A line for each way of telling people that does not work.
    pub notify: Vec<String>,
    /// By name.
    pub environments: Vec<Explanation>,
}

/// What the last pass knew of the deploy repository.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Its branch.
    pub branch: String,
    /// Its tip when it was read last.
    pub tip: Option<CommitId>,
    /// When that was; `None`: not since the host started.
    pub fetched: Option<Timestamp>,
    /// When the last whole pass looked, whether it could read it or not; `None`: none since the host started.
    pub looked: Option<Timestamp>,
    /// Why it can't be read since.
    pub trouble: Option<String>,
    /// When the next pass comes, if the agent runs; `None`: it is overdue.
    pub next_pass: Option<Timestamp>,
}

/// A row of `portreeve history`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// To which environment; `None`: to the host.
    pub environment: Option<EnvName>,
    /// The generation that it is about.
    pub generation: Option<GenerationNumber>,
    /// What.
    pub event: history::EventKind,
    /// The release that the generation holds.
    pub release: Option<ReleaseId>,
    /// The revision as the repository wrote it.
    pub rev: Option<String>,
    /// The deploy repository's commit.
    pub deploy_commit: Option<CommitId>,
    /// The person who gave an order; `None`: the pass.
    pub by: Option<String>,
    /// That person's reason, or the cause of a failure.
    pub why: Option<String>,
    /// How long it took.
    pub took_ms: Option<u64>,
    /// One line for people.
    pub summary: String,
}

impl From<history::Event> for Event {
    fn from(event: history::Event) -> Self {
        let history::Event { at, env, generation, kind, release, rev, deploy_commit, by, why, took, summary } = event;
        let took_ms = took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        Self { at, environment: env, generation, event: kind, release, rev, deploy_commit, by, why, took_ms, summary }
    }
}

/// A row of `portreeve plan`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// Which environment.
    pub environment: EnvName,
    /// `nothing`, `release`, `start`, `remove`, `repair`, or what keeps it: `held`, `stopped`, `suspended`, `quarantined`,
    /// `waiting`, `blocked`, `diverged`, `stale`.
    pub action: String,
    /// What people call the release that serves.
    pub serves: Option<String>,
    /// What people call the release that is wanted.
    pub wants: Option<String>,
    /// What the plan would need, and this host has not.
    pub not_here: Vec<NotHere>,
    /// Drift that a pass puts right.
    pub repairs: Vec<String>,
}

/// Something that a plan would need, and the host has not.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotHere {
    /// What.
    pub need: String,
    /// Why not.
    pub reason: String,
}

/// A row of `portreeve plan --since`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Since {
    /// Which environment.
    pub environment: EnvName,
    /// The hosts that it is on.
    pub hosts_before: BTreeSet<String>,
    /// The hosts that it would be on.
    pub hosts_after: BTreeSet<String>,
    /// The manifests of it that changed.
    pub files: Vec<String>,
}

/// `portreeve reconcile`
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    /// The deploy repository's tip; `None`: it could not be read.
    pub tip: Option<CommitId>,
    /// By name.
    pub environments: Vec<Reconciled>,
}

/// What became of one environment in a pass.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconciled {
    /// Which.
    pub environment: EnvName,
    /// `unchanged`, `repaired`, `released`, `not-released`, `failed`, `removed`, or what kept it: `held`, `quarantined`,
    /// `waiting`, `blocked`, `diverged`, `stale`, `busy`.
    pub outcome: String,
    /// What the pass would end with if there were no other environment.
    pub exit_code: u8,
}

/// A row of `portreeve check`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Complaint {
    /// `error` or `warning`.
    pub severity: String,
    /// The file, within the deploy repository.
    pub file: String,
    /// From 1, also where it is about the file as a whole.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// The cure.
    pub help: Option<String>,
}

/// A row of `portreeve ports`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// The block.
    pub ports: PortRange,
    /// Whose it is.
    pub environment: EnvName,
    /// Who listens there: `60001 gunicorn`.
    pub listeners: Vec<String>,
}

/// `portreeve adopt`
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adopted {
    /// Whose file goes there.
    pub environment: EnvName,
    /// What was taken over.
    pub path: PathBuf,
    /// Where what it was is kept.
    pub copy: PathBuf,
}

#[cfg(test)]
pub use tests::an_explanation;

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::*;

    /// The document's example of a command's output.
    fn example(command: &str) -> Value {
        let document = include_str!("../../docs/json.md");
        let heading = format!("\n## `portreeve {command}`\n");
        let (_, section) = document.split_once(&heading).unwrap_or_else(|| panic!("no section on {command}"));
        let (_, example) = section.split_once("```json\n").expect("an example");
        let (example, _) = example.split_once("```").expect("the example's end");
        serde_json::from_str(example).unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Of an environment that is well.
    pub fn an_explanation() -> Explanation {
        let mut status: Status = serde_json::from_value(example("status --json")).expect("a status");
        status.environments.remove(0)
    }

    /// The example has each field of the type, and no other.
    fn told<T: Serialize + DeserializeOwned>(command: &str) {
        let example = example(command);
        let parsed: T = serde_json::from_value(example.clone()).unwrap_or_else(|error| panic!("{command}: {error}"));
        assert_eq!(serde_json::to_value(parsed).unwrap(), example, "{command}");
    }

    #[test]
    fn the_document_tells_every_field_and_no_other() {
        told::<Status>("status --json");
        told::<Explanation>("why ENV --json");
        told::<Vec<Event>>("history --json");
        told::<Vec<Planned>>("plan --json");
        told::<Vec<Since>>("plan --since REV --json");
        told::<Pass>("reconcile --json");
        told::<Vec<Complaint>>("check --json");
        told::<Vec<Ports>>("ports --json");
        told::<Adopted>("adopt PATH --json");
    }
}
