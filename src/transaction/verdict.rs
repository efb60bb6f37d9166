//! What is remembered of a transaction after its end: the content that failed, or that it works again.
//!
//! The journal carries a failure from the moment it is known, and is closed only when the environment's record says the same.
//! So a program that is killed in between leaves both to the next one, and no failed content is ever tried again by accident.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Context, Failure, FailureKind, Intent, Phase, host_print, read};
use crate::desired::Wanted;
use crate::host::HostError;
use crate::model::{Boot, Digest, EnvName, Identity, Node};
use crate::policy::{self, FailureClass, Standing};

/// Why a transaction is being undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whose fault it is.
    pub class: FailureClass,
    /// Where it failed.
    pub phase: Phase,
    /// Why.
    pub cause: String,
    /// The line of its log that says most.
    #[serde(default)]
    pub evidence: Option<String>,
    /// What to do about it, where that is known.
    #[serde(default)]
    pub help: Option<String>,
    /// What the host was like, where that is its fault.
    #[serde(default)]
    pub host: Option<Digest>,
    /// When.
    pub at: Timestamp,
}

impl Verdict {
    /// A failure that is remembered; somebody's wish to stop is none.
    pub fn of(cx: &Context<'_>, wanted: &Wanted, failure: &Failure) -> Option<Self> {
        let FailureKind::Class(class) = failure.kind else { return None };
        Some(Self {
            class,
            phase: failure.phase,
            cause: policy::one_line(&failure.cause),
            evidence: policy::telling(&failure.log).map(|line| policy::one_line(&line)),
            help: failure.help.clone(),
            host: (class == FailureClass::Host).then(|| host_print(cx, wanted)),
            at: cx.host.clock().now(),
        })
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// What it went to serves.
    Kept,
    /// What was before serves.
    Undone,
}

/// Makes the environment's record say how it ended. Once more changes nothing.
pub fn remember(cx: &Context<'_>, intent: &Intent, end: End) -> Result<(), Failure> {
    if let (End::Undone, Some(before)) = (end, &intent.before) {
        return replace(cx, &intent.env, &read::standing(cx, &intent.env)?, before);
    }
    let Some(digest) = intent.digest.filter(|_| intent.asked) else { return Ok(()) };
    let standing = read::standing(cx, &intent.env)?;
    let next = match (end, &intent.failed) {
        (End::Kept, _) => standing.after_success(digest),
        (End::Undone, Some(verdict)) if !counts(&standing, digest, verdict) => {
            let Verdict { class, phase, cause, evidence, help, host, at } = verdict.clone();
            let generation = Some(intent.to);
            let failure = policy::Failure { class, phase, digest, generation, cause, evidence, help, host };
            standing.after_failure(failure, at)
        }
        (End::Undone, _) => return Ok(()),
    };
    replace(cx, &intent.env, &standing, &next)
}

fn replace(cx: &Context<'_>, name: &EnvName, standing: &Standing, next: &Standing) -> Result<(), Failure> {
    if next == standing {
        return Ok(());
    }
    write_standing(cx, name, next).map_err(Failure::on_host(Phase::Recover))
}

/// Whether the record counts this failure already.
fn counts(standing: &Standing, digest: Digest, verdict: &Verdict) -> bool {
    let same = |time: Timestamp| Boot::is_same_moment(time, verdict.at);
    let waits =
        standing.retry.as_ref().is_some_and(|retry| retry.digest == digest && retry.failed_at().is_some_and(same));
    waits || standing.quarantined(digest).is_some_and(|entry| same(entry.at))
}

/// Makes an environment's record durable; an empty one is removed.
pub fn write_standing(cx: &Context<'_>, name: &EnvName, standing: &Standing) -> Result<(), HostError> {
    let files = cx.host.files();
    let path = cx.layout.standing(name);
    if *standing == Standing::default() {
        return files.remove(&path);
    }
    files.make_directory(&cx.layout.policy(), 0o700, Identity::ROOT)?;
    let bytes = standing.to_bytes(&cx.boot());
    files.put(&path, &Node::File { bytes, mode: 0o600, owner: Identity::ROOT })
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_failure_counts_once_wherever_the_clock_is_set_meanwhile() {
        let (at, digest) = (Timestamp::UNIX_EPOCH, Digest::of(b"content"));
        for class in [FailureClass::Transient, FailureClass::Host, FailureClass::Release] {
            let (phase, cause) = (Phase::Build, "it failed".to_owned());
            let (generation, evidence, help, host) = (None, None, None, None);
            let failure =
                policy::Failure { class, phase, digest, generation, cause: cause.clone(), evidence, help, host };
            let standing = Standing::default().after_failure(failure, at);
            let verdict =
                |at| Verdict { class, phase, cause: cause.clone(), evidence: None, help: None, host: None, at };
            assert!(counts(&standing, digest, &verdict(at)), "{class:?}");
            let set = SignedDuration::from_hours(24 * 3_650);
            let standing = standing.by(|time| time + set + SignedDuration::from_micros(7));
            assert!(counts(&standing, digest, &verdict(at + set)), "{class:?}");
            assert!(!counts(&standing, digest, &verdict(at + set + SignedDuration::from_secs(30))), "{class:?}");
            assert!(!counts(&standing, Digest::of(b"other"), &verdict(at + set)), "{class:?}");
        }
    }
}
