//! What is remembered of one environment, as one JSON record.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::{Boot, CommitId, Digest, GenerationNumber};

/// The format that this program writes; it reads those before it too. 2: evidence, cures, the host's state, what a rollback left.
/// 3: in place of what a rewritten history was agreed to, and by which clock. 4: what was gone back from. 5: how many failures
/// visitors may have seen. 6: digests of content alone.
const FORMAT: u32 = 6;
/// The first that says what was left; before it, only the holds did.
const FORMAT_WITH_LEFT: u32 = 4;
/// The first whose digests today's content can be compared with: by older ones all that is wanted would be a change.
const FORMAT_OF_DIGESTS: u32 = 6;

/// Where an environment stands, apart from what runs: `/etc/portreeve/policy/ENV.json`. No record is [`Standing::default`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// The hold that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Holds that come back when [`hold`](Self::hold) ends: a rolled-back environment that is stopped and started again
    /// is still rolled back. At most one of each kind in all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub covered: Vec<Hold>,
    /// Contents that failed here, oldest first; they are not tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quarantine: Vec<Quarantined>,
    /// Contents that people went back from and that were not released since, oldest first: to go back once more does not lead
    /// to them, whether the order still holds or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Digest>,
    /// A failure that may pass by itself, and when the same content is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Backoff>,
    /// The rewritten branch that a person agreed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<Accepted>,
}

/// A person's order to stay put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// What is held, and until when.
    pub kind: HoldKind,
    /// Who gave the order.
    pub by: String,
    /// Why, in his words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When.
    pub since: Timestamp,
}

/// The kinds of hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum HoldKind {
    /// `portreeve rollback`: serves an older generation, against which drift is corrected.
    RolledBack {
        /// The generation that serves.
        pinned: GenerationNumber,
        /// What the rollback went away from: the content that served and the content that was wanted then,
        /// and those of earlier rollbacks that this one continues.
        excludes: BTreeSet<Digest>,
        /// When it ends.
        until: Until,
        /// What people call the release that it went away from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        left: Option<String>,
    },
    /// `portreeve suspend`: nothing is changed, not even drift.
    Suspended {
        /// When it ends; `None`: when a person says so.
        until: Option<Timestamp>,
    },
    /// `portreeve stop`: neither slot runs.
    Stopped,
}

/// When a rollback's hold ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// When the repository wants other content for this environment than what was excluded.
    Change,
    /// When a person says so.
    Resume,
}

/// Content that failed by its own fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quarantined {
    /// The environment digest.
    pub digest: Digest,
    /// The generation that was tried; `None` when it failed before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<GenerationNumber>,
    /// Where it failed.
    pub phase: Phase,
    /// Why, in one line.
    pub cause: String,
    /// The line of its log that says most, if the cause does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// What to do about it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// Waiting before the same content is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// What is waited for; other content does not wait.
    pub digest: Digest,
    /// Failures in a row, from 1.
    pub failures: u32,
    /// Those of them that visitors may have seen.
    #[serde(default)]
    pub seen: u32,
    /// Not before; see [`Backoff::due`].
    pub next: Timestamp,
    /// [`FailureClass::Transient`] or [`FailureClass::Host`].
    pub class: FailureClass,
    /// Where it failed.
    pub phase: Phase,
    /// Why, in one line.
    pub cause: String,
    /// What to do about it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Of what the host was like, for [`FailureClass::Host`]: another one ends the wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Digest>,
}

/// Whose fault a failure is. A cancelled attempt is no failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The network's: fetch, DNS, package index.
    Transient,
    /// The host's: disk full, port taken, missing user. Never quarantined.
    Host,
    /// The content's: build, check, migration, health.
    Release,
}

/// The step of a release that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Ending what a killed program left.
    Recover,
    /// Looking up and fetching the application's source.
    Fetch,
    /// Virtual environment, static files, messages.
    Build,
    /// Django's own check, and the effective settings.
    Check,
    /// Rendering and validating the generation.
    Validate,
    /// Migrations.
    Migrate,
    /// Starting the candidate.
    Start,
    /// Asking the candidate.
    Health,
    /// The switch and what follows it.
    Switch,
    /// Asking through the web server.
    Verify,
    /// Watching after the switch.
    Bake,
}

impl Phase {
    /// Whether visitors may have been led to the candidate in it.
    pub fn is_in_front(self) -> bool {
        matches!(self, Self::Switch | Self::Verify | Self::Bake)
    }

    /// Whether it is the candidate's processes that speak in it, not a program that was run to its end.
    pub fn is_of_processes(self) -> bool {
        matches!(self, Self::Start | Self::Health | Self::Verify | Self::Bake)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Recover => "recover",
            Self::Fetch => "fetch",
            Self::Build => "build",
            Self::Check => "check",
            Self::Validate => "validate",
            Self::Migrate => "migrate",
            Self::Start => "start",
            Self::Health => "health",
            Self::Switch => "switch",
            Self::Verify => "verify",
            Self::Bake => "bake",
        })
    }
}

/// A rewritten history that a person agreed to (`portreeve accept`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// The tip that need not descend from what was applied.
    pub commit: CommitId,
    /// What was followed then. In place of anything that was followed since it was not agreed to, and where caches are lost
    /// only this tells. None: in place of anything.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub over: BTreeSet<CommitId>,
    /// Who agreed.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// Why a record could not be read. Until it can, the environment is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum StandingError {
    /// A newer portreeve wrote it.
    #[error("format {found}, of a newer portreeve (this one knows {FORMAT}): install that version again")]
    Newer {
        /// Its format.
        found: u32,
    },
    /// Truncated or edited.
    #[error("not a record of holds and quarantine: correct it, or remove it to forget them")]
    Corrupt(#[source] serde_json::Error),
}

#[derive(Deserialize)]
struct Header {
    format: u32,
}

/// The record around a standing.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record<T> {
    format: u32,
    /// By whose clock its times are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<Boot>,
    standing: T,
}

impl Standing {
    /// Reads a record; its times are by the clock as it is set `now`.
    pub fn parse(bytes: &[u8], now: &Boot) -> Result<Self, StandingError> {
        let header: Header = serde_json::from_slice(bytes).map_err(StandingError::Corrupt)?;
        if header.format > FORMAT {
            return Err(StandingError::Newer { found: header.format });
        }
        let Record { boot, standing, .. } =
            serde_json::from_slice::<Record<Self>>(bytes).map_err(StandingError::Corrupt)?;
        let standing = match header.format {
            ..FORMAT_WITH_LEFT => standing.with_left().until_resumed(),
            FORMAT_WITH_LEFT..FORMAT_OF_DIGESTS => standing.until_resumed(),
            _ => standing,
        };
        Ok(standing.by(|time| now.by_now(boot.as_ref(), time)))
    }

    /// The record, for people too: indented, with a newline at its end.
    pub fn to_bytes(&self, now: &Boot) -> Vec<u8> {
        let record = Record { format: FORMAT, boot: Some(now.clone()), standing: self };
        let mut bytes = serde_json::to_vec_pretty(&record).unwrap_or_else(|_| unreachable!("all keys are text"));
        bytes.push(b'\n');
        bytes
    }

    /// The same with each time as another clock has it.
    #[must_use]
    pub fn by(mut self, clock: impl Fn(Timestamp) -> Timestamp) -> Self {
        for hold in self.hold.iter_mut().chain(&mut self.covered) {
            let since = hold.since;
            hold.since = clock(since);
            if let HoldKind::Suspended { until: Some(until) } = &mut hold.kind {
                // As long as it was ordered for, whenever that was.
                *until = hold.since.checked_add(until.duration_since(since)).unwrap_or(Timestamp::MAX);
            }
        }
        self.quarantine.iter_mut().for_each(|failed| failed.at = clock(failed.at));
        self.retry.iter_mut().for_each(|retry| retry.next = clock(retry.next));
        self.accepted.iter_mut().for_each(|accepted| accepted.at = clock(accepted.at));
        self
    }

    /// A record from before there was [`left`](Self::left), with it.
    #[must_use]
    pub fn with_left(mut self) -> Self {
        let excluded: BTreeSet<Digest> = self.holds().flat_map(Hold::excludes).copied().collect();
        self.left.retain(|left| !excluded.contains(left));
        self.left.extend(excluded);
        self
    }

    /// A record of digests that can't be compared: what was held until a change is held until somebody resumes it.
    #[must_use]
    pub fn until_resumed(mut self) -> Self {
        for hold in self.hold.iter_mut().chain(&mut self.covered) {
            if let HoldKind::RolledBack { until, .. } = &mut hold.kind {
                *until = Until::Resume;
            }
        }
        self
    }

    /// All holds, the one that counts first.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.hold.iter().chain(&self.covered)
    }

    /// The quarantine's entry for `digest`.
    pub fn quarantined(&self, digest: Digest) -> Option<&Quarantined> {
        self.quarantine.iter().find(|entry| entry.digest == digest)
    }
}

impl HoldKind {
    /// Which of two holds counts: the one that touches less, so the higher rank.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::RolledBack { .. } => 0,
            Self::Suspended { .. } => 1,
            Self::Stopped => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot() -> Boot {
        Boot::new("one", "2026-11-20T18:00:00Z".parse().unwrap())
    }

    #[test]
    fn a_newer_record_is_refused_and_a_broken_one_is_not_taken_for_none() {
        let newer = br#"{"format": 7, "standing": {"shape": "unknown here"}}"#;
        assert!(matches!(Standing::parse(newer, &boot()), Err(StandingError::Newer { found: 7 })));
        let whole = Standing::default().to_bytes(&boot());
        for len in 0..whole.len() - 2 {
            assert!(matches!(Standing::parse(&whole[..len], &boot()), Err(StandingError::Corrupt(_))), "{len}");
        }
        let misspelt = br#"{"format": 1, "standing": {"holt": null}}"#;
        assert!(matches!(Standing::parse(misspelt, &boot()), Err(StandingError::Corrupt(_))));
    }

    #[test]
    fn a_record_of_the_first_format_is_read() {
        let text = r#"{"format": 1, "standing": {"hold": {
            "kind": {"rolled-back": {"pinned": 42, "until": "change",
                "excludes": ["ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]}},
            "by": "anna", "reason": "cart broken", "since": "2026-11-21T02:41:07Z"}}}"#;
        let standing = Standing::parse(text.as_bytes(), &boot()).unwrap();
        assert_eq!(Standing::parse(&standing.to_bytes(&boot()), &boot()).unwrap(), standing);
        let HoldKind::RolledBack { pinned, excludes, until, left: None } = &standing.hold.as_ref().unwrap().kind else {
            panic!()
        };
        assert_eq!((*pinned, *until), (42, Until::Resume));
        assert!(excludes.contains(&Digest::of(b"abc")));
    }

    #[test]
    fn the_record_on_disk_keeps_its_shape() {
        let text = r#"{
  "format": 6,
  "boot": {
    "id": "one",
    "began": "2026-11-20T18:00:00Z"
  },
  "standing": {
    "hold": {
      "kind": {
        "rolled-back": {
          "pinned": 42,
          "excludes": [
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
          ],
          "until": "change",
          "left": "v1.5.0"
        }
      },
      "by": "anna",
      "since": "2026-11-21T02:41:07Z"
    },
    "quarantine": [
      {
        "digest": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "generation": 43,
        "phase": "health",
        "cause": "health answered 500, expected 200",
        "evidence": "ConnectionRefusedError: 127.0.0.1:6380",
        "at": "2026-11-21T02:41:07Z"
      }
    ],
    "retry": {
      "digest": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
      "failures": 3,
      "seen": 1,
      "next": "2026-11-21T02:41:27Z",
      "class": "host",
      "phase": "build",
      "cause": "/home has 210 MB free",
      "help": "make room",
      "host": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    }
  }
}
"#;
        let standing = Standing::parse(text.as_bytes(), &boot()).unwrap();
        assert_eq!(String::from_utf8(standing.to_bytes(&boot())).unwrap(), text);
    }
}
