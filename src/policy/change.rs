//! The next standing, after something happened.

use jiff::{SignedDuration, Timestamp};

use super::{Accepted, Backoff, FailureClass, Hold, HoldKind, Phase, Quarantined, Standing};
use crate::model::{CommitId, Digest, GenerationNumber};

/// The first wait.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(5);
/// No wait is longer.
pub const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(180);
/// So many contents are remembered as failed; the oldest go first.
const QUARANTINE_LIMIT: usize = 100;
/// So many contents are remembered as left.
const LEFT_LIMIT: usize = 100;
/// The longest cause, in characters.
const CAUSE_LIMIT: usize = 300;

/// A failed release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whose fault it is.
    pub class: FailureClass,
    /// Where it failed.
    pub phase: Phase,
    /// The content that was tried.
    pub digest: Digest,
    /// Its generation, if it came to one.
    pub generation: Option<GenerationNumber>,
    /// Why. Only its first line that says something is kept.
    pub cause: String,
    /// The line of its log that says most: [`telling`].
    pub evidence: Option<String>,
    /// What to do about it, where that is known.
    pub help: Option<String>,
    /// What the host was like, where that is its fault.
    pub host: Option<Digest>,
}

/// The line of a log that says most of why: the last that names an error, as Python, pip and uv write it, or the last.
pub fn telling(log: &[String]) -> Option<String> {
    let kinds = ["Error", "Exception", "ERROR", "cause"];
    let said = || log.iter().rev().map(|line| line.trim()).filter(|line| !line.is_empty());
    let names_error =
        |line: &&str| line.split_once(':').is_some_and(|(head, _)| kinds.iter().any(|kind| head.ends_with(kind)));
    said()
        .find(names_error)
        .or_else(|| said().next())
        .map(|line| line.strip_prefix("cause: ").unwrap_or(line).to_owned())
}

/// How long to wait after so many failures in a row: 5 s, doubled each time, at most 3 min.
pub fn backoff(failures: u32) -> SignedDuration {
    let factor = 1 << failures.saturating_sub(1).min(16);
    FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT)
}

impl Standing {
    /// `digest` was released, or repaired, and serves. Holds stay.
    #[must_use]
    pub fn after_success(&self, digest: Digest) -> Self {
        let mut next = self.retried(digest);
        next.left.retain(|left| *left != digest);
        next
    }

    /// A release failed.
    #[must_use]
    pub fn after_failure(&self, failure: Failure, now: Timestamp) -> Self {
        match failure.class {
            FailureClass::Release => self.quarantining(failure, now),
            FailureClass::Transient | FailureClass::Host => self.waiting(failure, now),
        }
    }

    /// A person went back to the content `to`; `hold.kind` is [`HoldKind::RolledBack`]. What an earlier rollback that still holds
    /// went away from stays excluded, or a second step back would release the content that the first one left.
    #[must_use]
    pub fn rolled_back(&self, mut hold: Hold, to: Digest) -> Self {
        if let HoldKind::RolledBack { excludes, .. } = &mut hold.kind {
            excludes.extend(self.holds().flat_map(Hold::excludes));
            excludes.remove(&to);
        }
        let mut next = self.leaving(&hold, to).held(hold);
        // Whoever names content that failed here wants it all the same.
        next.quarantine.retain(|entry| entry.digest != to);
        next
    }

    /// The same, to a content that served after the present one: what served is no worse for it.
    #[must_use]
    pub fn gone_on(&self, hold: Hold, to: Digest) -> Self {
        let left = self.left.iter().copied().filter(|left| *left != to).collect();
        Self { left, ..self.rolled_back(hold, to) }
    }

    /// A person stopped the processes; `hold.kind` is [`HoldKind::Stopped`].
    #[must_use]
    pub fn stopped(&self, hold: Hold) -> Self {
        self.held(hold)
    }

    /// A person started them again. A rollback or suspension from before counts again.
    #[must_use]
    pub fn started(&self) -> Self {
        self.without(|kind| matches!(kind, HoldKind::Stopped))
    }

    /// A person wants nothing changed; `hold.kind` is [`HoldKind::Suspended`].
    #[must_use]
    pub fn suspended(&self, hold: Hold) -> Self {
        self.held(hold)
    }

    /// A person lets it go on: rollback and suspension end; what was stopped stays stopped.
    #[must_use]
    pub fn resumed(&self) -> Self {
        self.without(|kind| !matches!(kind, HoldKind::Stopped))
    }

    /// A person wants `wanted` tried again, now.
    #[must_use]
    pub fn retried(&self, wanted: Digest) -> Self {
        let mut next = self.clone();
        next.quarantine.retain(|entry| entry.digest != wanted);
        next.retry = None;
        next
    }

    /// The same on a host that is like `host` now: what failed by the host's fault waits no longer once the host has changed.
    #[must_use]
    pub fn on(&self, host: Digest) -> Self {
        let fits =
            |backoff: &&Backoff| backoff.class != FailureClass::Host || backoff.host.is_none_or(|was| was == host);
        Self { retry: self.retry.as_ref().filter(fits).cloned(), ..self.clone() }
    }

    /// A person agreed to a rewritten branch.
    #[must_use]
    pub fn accepted(&self, accepted: Accepted) -> Self {
        Self { accepted: Some(accepted), ..self.clone() }
    }

    /// The tip that a person agreed to in place of `floor`.
    pub fn accepted_over(&self, floor: &CommitId) -> Option<&CommitId> {
        let accepted = self.accepted.as_ref().filter(|it| it.over.is_empty() || it.over.contains(floor));
        accepted.map(|accepted| &accepted.commit)
    }

    /// The same with these holds: the one that touches least counts.
    pub(super) fn with_holds(&self, mut holds: Vec<Hold>) -> Self {
        holds.sort_by_key(|hold| std::cmp::Reverse(hold.kind.rank()));
        let mut holds = holds.into_iter();
        Self { hold: holds.next(), covered: holds.collect(), ..self.clone() }
    }

    /// What `hold` excludes is left for `to`.
    fn leaving(&self, hold: &Hold, to: Digest) -> Self {
        let mut next = self.clone();
        next.left.retain(|left| *left != to && !hold.excludes().any(|excluded| excluded == left));
        next.left.extend(hold.excludes());
        let excess = next.left.len().saturating_sub(LEFT_LIMIT);
        next.left.drain(..excess);
        next
    }

    fn held(&self, hold: Hold) -> Self {
        let rank = hold.kind.rank();
        let others = self.holds().filter(|other| other.kind.rank() != rank).cloned();
        self.with_holds(others.chain([hold]).collect())
    }

    fn without(&self, ends: impl Fn(&HoldKind) -> bool) -> Self {
        self.with_holds(self.holds().filter(|hold| !ends(&hold.kind)).cloned().collect())
    }

    fn quarantining(&self, failure: Failure, now: Timestamp) -> Self {
        let mut next = self.retried(failure.digest);
        let Failure { digest, generation, phase, cause, evidence, help, .. } = failure;
        let cause = one_line(&cause);
        let evidence = evidence.map(|line| one_line(&line)).filter(|line| !cause.contains(line.as_str()));
        next.quarantine.push(Quarantined { digest, generation, phase, cause, evidence, help, at: now });
        let excess = next.quarantine.len().saturating_sub(QUARANTINE_LIMIT);
        next.quarantine.drain(..excess);
        next
    }

    fn waiting(&self, failure: Failure, now: Timestamp) -> Self {
        let before = self.retry.as_ref().filter(|backoff| backoff.digest == failure.digest);
        let (failures, seen) = before.map_or((0, 0), |backoff| (backoff.failures, backoff.seen));
        let (failures, seen) = (failures.saturating_add(1), seen.saturating_add(failure.phase.is_in_front().into()));
        let Failure { digest, class, phase, cause, help, host, .. } = failure;
        let next = now.checked_add(backoff(failures)).unwrap_or(Timestamp::MAX);
        let retry = Backoff { digest, failures, seen, next, class, phase, cause: one_line(&cause), help, host };
        Self { retry: Some(retry), ..self.clone() }
    }
}

impl Hold {
    /// What of a rollback is not to come by itself.
    pub fn excludes(&self) -> impl Iterator<Item = &Digest> {
        let excludes = match &self.kind {
            HoldKind::RolledBack { excludes, .. } => Some(excludes),
            HoldKind::Suspended { .. } | HoldKind::Stopped => None,
        };
        excludes.into_iter().flatten()
    }
}

/// The first line that says something, without control characters.
pub fn one_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given");
    line.chars().filter(|c| !c.is_control()).take(CAUSE_LIMIT).collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
