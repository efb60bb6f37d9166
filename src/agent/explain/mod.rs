//! Where an environment stands, and why: one value, of which `status` prints a row and `why` prints all. Pure, and nothing in it
//! asks the network: it is made of the host, the environment's standing, and what the last pass saw.

mod held;
mod rule;
mod words;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LastPass, Moving, NextPass, Seen};
use crate::desired::Generation;
use crate::manifest::Expect;
use crate::model::{CommitId, EnvName, GenerationNumber, ReleaseId, Slot};
use crate::observed::Installed;
use crate::policy::{FailureClass, Standing};
use crate::source::CommitInfo;

pub use words::next_try;

/// What is known of one environment.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What is on the host.
    pub installed: &'a Installed,
    /// Holds and quarantine, for the host as it is now ([`Standing::on`]); or why they can't be read.
    pub standing: Result<&'a Standing, &'a str>,
    /// What the last pass saw.
    pub last: &'a LastPass,
    /// Since when it has been blocked, diverged or stale, as far as it is known.
    pub since: Option<Timestamp>,
    /// The deploy repository's branch.
    pub branch: &'a str,
    /// The deploy repository's tip, as far as it is known here.
    pub tip: Option<&'a CommitInfo>,
    /// The release that is under way.
    pub moving: Option<&'a Moving>,
    /// What its visitors get; `None`: nothing serves, so nothing was asked.
    pub answer: Option<&'a Answered>,
    /// The generation that a rollback went to.
    pub pinned: Option<&'a Generation>,
    /// When the next pass comes.
    pub next_pass: NextPass,
    /// The wall clock.
    pub now: Timestamp,
}

/// What one request through the web server gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// An answer.
    Status {
        /// HTTP's.
        status: u16,
        /// How long it took, in milliseconds.
        took_ms: u64,
    },
    /// None, and why.
    Silent(String),
}

/// The states that an environment can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It can't go on before something outside of it changes.
    Blocked,
    /// Its content failed here, and is left alone.
    Quarantined,
    /// The deploy repository was rewritten.
    Diverged,
    /// What is wanted can't be known now.
    Stale,
    /// A release is under way.
    Releasing,
    /// A person went back.
    Held,
    /// A person wants nothing touched.
    Suspended,
    /// A person stopped it.
    Stopped,
    /// Nothing keeps it from being what the repository wants.
    Ok,
}

impl State {
    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Quarantined => "quarantined",
            Self::Diverged => "diverged",
            Self::Stale => "stale",
            Self::Releasing => "releasing",
            Self::Held => "held",
            Self::Suspended => "suspended",
            Self::Stopped => "stopped",
            Self::Ok => "ok",
        }
    }
}

/// A commit of the deploy repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deploy {
    /// Its id.
    pub commit: CommitId,
    /// The first line of its message, while this host has a clone.
    pub subject: Option<String>,
    /// Who wrote it.
    pub author: Option<String>,
    /// When.
    pub time: Option<Timestamp>,
}

/// Where an environment stands, and why. As JSON it is a row of `status` and the whole of `why` (`docs/json.md`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    /// Which.
    pub environment: EnvName,
    /// Its state.
    pub state: State,
    /// Whose fault a failure is that keeps it where it is.
    pub class: Option<FailureClass>,
    /// Whether it stays so until a person does something. Not where a person decided it.
    pub needs_you: bool,
    /// The state's words in a table.
    pub detail: String,
    /// What people call the release that serves.
    pub serves: Option<String>,
    /// Its tree.
    pub release: Option<ReleaseId>,
    /// Its generation.
    pub generation: Option<GenerationNumber>,
    /// Its slot.
    pub slot: Option<Slot>,
    /// What visitors get now, through the web server; `None`: no answer.
    pub http: Option<u16>,
    /// How long that took.
    pub took_ms: Option<u64>,
    /// What that means for users.
    pub users: String,
    /// What people call the release that is wanted, as far as it is known.
    pub wants: Option<String>,
    /// The deploy repository's commit that wants it.
    pub deploy: Option<Deploy>,
    /// In which of its inputs what is wanted differs from what serves.
    pub changed: Vec<String>,
    /// The rule that decided, and the cause.
    pub rule: Vec<String>,
    /// What happens next by itself, and when.
    pub next: String,
    /// Not tried again before this time.
    pub retry_at: Option<Timestamp>,
    /// What you can do.
    pub you: Vec<String>,
}

impl Facts<'_> {
    fn seen(&self) -> Option<&Seen> {
        self.last.environments.get(&self.installed.name)
    }

    fn serving(&self) -> Option<&Generation> {
        self.installed.generation.as_ref()
    }

    /// What people call what serves.
    fn title(&self) -> String {
        self.installed.title().unwrap_or_else(|| "nothing".to_owned())
    }

    /// Whether visitors get what its health check asks for.
    fn answers_well(&self) -> bool {
        let expect = self.serving().map_or(Expect::Answer, |generation| generation.wanted.env.health.expect);
        matches!(self.answer, Some(Answered::Status { status, .. }) if expect.accepts(*status))
    }

    fn deploy(&self) -> Option<Deploy> {
        let commit = self.last.tip.clone()?;
        let info = self.tip.filter(|info| info.id == commit);
        let (subject, author) = (info.map(|info| info.subject.clone()), info.map(|info| info.author.clone()));
        Some(Deploy { commit, subject, author, time: info.map(|info| info.time) })
    }
}

/// Explains an environment.
pub fn explain(facts: &Facts<'_>) -> Explanation {
    let rule = rule::rule(facts);
    let said = words::said(facts, &rule);
    let serving = facts.serving();
    let (http, took_ms) = match facts.answer {
        Some(Answered::Status { status, took_ms }) => (Some(*status), Some(*took_ms)),
        Some(Answered::Silent(_)) | None => (None, None),
    };
    Explanation {
        environment: facts.installed.name.clone(),
        state: said.state,
        class: said.class,
        needs_you: said.needs_you,
        detail: words::aged(facts, &rule, said.detail),
        serves: facts.installed.title(),
        release: serving.map(|generation| generation.wanted.release.clone()),
        generation: facts.installed.active.filter(|_| facts.installed.title().is_some()),
        slot: facts.installed.serving_slot(),
        http,
        took_ms,
        users: words::users(facts, &rule),
        wants: facts.seen().and_then(|seen| seen.wants.clone()),
        deploy: facts.deploy(),
        changed: words::changed(facts),
        rule: said.rule.into_iter().chain(facts.installed.damaged.as_ref().map(words::damaged)).collect(),
        next: said.next,
        retry_at: said.retry_at,
        you: said.you,
    }
}

#[cfg(test)]
pub(super) mod tests;
