//! Which rule keeps an environment where it is.

use super::Facts;
use crate::agent::{Left, Moving};
use crate::model::Digest;
use crate::plan;
use crate::policy::{Backoff, Hold, HoldKind, Quarantined, Ruling, Standing};

/// The rule that decides, the first of these that applies.
#[derive(Debug, PartialEq)]
pub enum Rule<'a> {
    /// What was decided about it can't be read.
    Unreadable(&'a str),
    /// A release is under way.
    Releasing(&'a Moving),
    /// A person stopped it.
    Stopped(&'a Hold),
    /// A person wants nothing touched.
    Suspended(&'a Hold),
    /// An operator's word to the init system, which is respected.
    Respected(String),
    /// It should run, and does not.
    Down,
    /// The branch was rewritten; in the last pass's words.
    Diverged(&'a str),
    /// A person went back.
    Held(&'a Hold),
    /// The wanted content failed here.
    Quarantined(&'a Quarantined),
    /// The last failure may pass by itself, or with the host.
    Waiting(&'a Backoff),
    /// A person must act first; in the last pass's words.
    Blocked(&'a str),
    /// What is wanted can't be known now; in the last pass's words.
    Stale(&'a str),
    /// The next pass releases what is wanted.
    Pending,
    /// The next pass puts this right.
    Drifted(Vec<String>),
    /// It is off this host, and its grace lasts; in the last pass's words.
    Removed(&'a str),
    /// Nothing is to be done.
    Fine,
}

/// The rule for these facts.
pub fn rule<'a>(facts: &Facts<'a>) -> Rule<'a> {
    let standing = match facts.standing {
        Ok(standing) => standing,
        Err(words) => return Rule::Unreadable(words),
    };
    if let Some(moving) = facts.moving {
        return Rule::Releasing(moving);
    }
    ordered(facts, standing)
        .or_else(|| down(facts))
        .or_else(|| removed(facts))
        .or_else(|| diverged(facts, standing))
        .or_else(|| held(facts, standing))
        .or_else(|| judged(facts, standing))
        .unwrap_or_else(|| at_rest(facts))
}

fn left<'a>(facts: &Facts<'a>) -> Option<&'a Left> {
    facts.last.environments.get(&facts.installed.name).and_then(|seen| seen.left.as_ref())
}

/// The holds that need no wish to be judged.
fn ordered<'a>(facts: &Facts<'_>, standing: &'a Standing) -> Option<Rule<'a>> {
    match standing.decide(Digest::nothing(), facts.now) {
        Ruling::Stopped(hold) => Some(Rule::Stopped(hold)),
        Ruling::Suspended { hold, .. } => Some(Rule::Suspended(hold)),
        _ => None,
    }
}

fn down<'a>(facts: &Facts<'_>) -> Option<Rule<'a>> {
    let (respected, _) = plan::intents_and_drift(facts.installed);
    if !respected.is_empty() {
        return Some(Rule::Respected(respected.join("; ")));
    }
    // Without its record no pass starts it.
    let starts = !facts.installed.serves() && facts.installed.damaged.is_none();
    starts.then_some(Rule::Down)
}

/// Nothing is wanted of it: what was wanted last, and failed, does not count.
fn removed<'a>(facts: &Facts<'a>) -> Option<Rule<'a>> {
    match (&facts.installed.removed, left(facts)) {
        (Some(_), Some(Left::Held(words))) => Some(Rule::Removed(words)),
        _ => None,
    }
}

/// What a person has agreed to since the last pass is no obstacle any more.
fn diverged<'a>(facts: &Facts<'a>, standing: &Standing) -> Option<Rule<'a>> {
    let Some(Left::Diverged(words)) = left(facts) else { return None };
    // What was agreed to before that pass did not help then.
    let agreed = standing.accepted.as_ref().is_some_and(|accepted| {
        Some(&accepted.commit) == facts.last.tip.as_ref() && facts.last.at.is_none_or(|at| at <= accepted.at)
    });
    (!agreed).then_some(Rule::Diverged(words))
}

/// A rollback counts also while nobody knows what is wanted.
fn held<'a>(facts: &Facts<'_>, standing: &'a Standing) -> Option<Rule<'a>> {
    let wanted = facts.seen().and_then(|seen| seen.digest);
    let mut rollbacks = standing.holds().filter(|hold| matches!(hold.kind, HoldKind::RolledBack { .. }));
    let living = |hold: &&Hold| wanted.is_none_or(|wanted| !hold.has_ended(wanted, facts.now));
    rollbacks.find(living).map(Rule::Held)
}

/// Quarantine and waiting are about the content that is wanted; where that is not known any more, about what was wanted last.
fn judged<'a>(facts: &Facts<'a>, standing: &'a Standing) -> Option<Rule<'a>> {
    let current = facts.seen().is_some_and(|seen| seen.current);
    match left(facts) {
        _ if current => ruled(facts, standing).or_else(|| blocked(facts)),
        Some(Left::Stale(words)) => ruled(facts, standing).or(Some(Rule::Stale(words))),
        _ => blocked(facts).or_else(|| ruled(facts, standing)),
    }
}

fn blocked<'a>(facts: &Facts<'a>) -> Option<Rule<'a>> {
    match left(facts) {
        Some(Left::Blocked(words)) => Some(Rule::Blocked(words)),
        // For another environment: no content of its own was tried.
        Some(Left::Waiting(words)) if facts.seen().is_some_and(|seen| seen.digest.is_none()) => {
            Some(Rule::Blocked(words))
        }
        Some(Left::Stale(words)) => Some(Rule::Stale(words)),
        _ => None,
    }
}

fn ruled<'a>(facts: &Facts<'_>, standing: &'a Standing) -> Option<Rule<'a>> {
    let Some(wanted) = facts.seen().and_then(|seen| seen.digest) else { return remembered(facts, standing) };
    match standing.decide(wanted, facts.now) {
        Ruling::Quarantined(entry) => Some(Rule::Quarantined(entry)),
        Ruling::Wait(backoff) => Some(Rule::Waiting(backoff)),
        _ => None,
    }
}

/// No pass since the host started: what failed after that which serves was made is what was wanted last.
fn remembered<'a>(facts: &Facts<'_>, standing: &'a Standing) -> Option<Rule<'a>> {
    let since = |entry: &&Quarantined| facts.serving().is_none_or(|generation| generation.at < entry.at);
    let failed = standing.quarantine.last().filter(since).map(Rule::Quarantined);
    let waits = |backoff: &&Backoff| backoff.waits(backoff.digest, facts.now);
    standing.retry.as_ref().filter(waits).map(Rule::Waiting).or(failed)
}

fn at_rest<'a>(facts: &Facts<'a>) -> Rule<'a> {
    let serving = facts.serving().map(|generation| generation.wanted.digest);
    let wanted = facts.seen().filter(|seen| seen.current).and_then(|seen| seen.digest);
    if wanted.is_some() && wanted != serving {
        return Rule::Pending;
    }
    let (_, drift) = plan::intents_and_drift(facts.installed);
    if drift.is_empty() { Rule::Fine } else { Rule::Drifted(drift.iter().map(ToString::to_string).collect()) }
}
