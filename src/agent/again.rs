//! When a pass is to be followed by another before the schedule says so: what failed by the network's fault, or by the host's, is
//! tried again after seconds, however far the schedule's passes are apart.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::standing::ends;
use super::{App, Left, Outcome, PassReport, Trouble, read_standing};
use crate::model::{Digest, EnvName};
use crate::plan::{Action, EnvPlan};
use crate::policy::{Backoff, backoff};
use crate::transaction::Quiet;

/// How long after its end a pass is to be followed by another one; `None`: nothing of it waits. `unread`: so many passes, this one
/// the last of them, could not find out what is wanted.
pub fn again(app: &App, pass: &PassReport, unread: u32) -> Option<Duration> {
    if is_freed(pass) {
        return Some(Duration::ZERO);
    }
    let cx = app.context(&Quiet);
    let now = app.host.clock().now();
    let retry = |name: &EnvName| read_standing(&cx, name).ok()?.retry;
    let dues = pass.outcomes.iter().filter(|(_, outcome)| may_wait(outcome)).filter_map(|(name, _)| {
        let plan = pass.survey.plan.environments.iter().find(|plan| plan.name == *name)?;
        due(&retry(name)?, plan.wants.as_ref()?.digest, pass.looked)
    });
    let looks = (unread > 0).then(|| now.checked_add(backoff(unread)).ok()).flatten();
    let next = dues.chain(looks).min()?;
    Some(Duration::try_from(next.duration_since(now)).unwrap_or_default())
}

/// How long until the first suspension ends of those that had not when a pass looked, `since` then by the monotonic clock.
pub fn next_end(app: &App, since: Duration) -> Option<Duration> {
    let cx = app.context(&Quiet);
    let clock = app.host.clock();
    let (now, passed) = (clock.now(), clock.monotonic().saturating_sub(since));
    let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
    let next = ends(&cx).into_iter().filter(|end| now.duration_since(*end) < passed).min()?;
    Some(Duration::try_from(next.duration_since(now)).unwrap_or_default())
}

/// Whether somebody waits for what another environment had, and one was moved in this pass: a domain is nobody's meanwhile.
fn is_freed(pass: &PassReport) -> bool {
    let waits = |plan: &EnvPlan| plan.wants.is_none() && matches!(plan.action, Action::Waiting(_));
    let moved = |outcome: &Outcome| matches!(outcome, Outcome::Released { .. } | Outcome::Removed(_));
    pass.outcomes.values().any(moved) && pass.survey.plan.environments.iter().any(waits)
}

/// Whether what is wanted could not be found out, of the whole repository or of one application's.
pub fn is_unread(pass: &PassReport) -> bool {
    matches!(pass.survey.trouble, Some(Trouble::Passing(_)))
        || pass.outcomes.values().any(|outcome| matches!(outcome.left(), Some(Left::Stale(_))))
}

/// Whatever else keeps an environment where it is does not end with its wait.
fn may_wait(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::NotReleased { .. })
        || matches!(outcome.left(), Some(Left::Waiting(_) | Left::Hindered(_)))
}

/// A time that had come before the pass looked has had its try.
fn due(backoff: &Backoff, wanted: Digest, looked: Timestamp) -> Option<Timestamp> {
    backoff.due().filter(|due| backoff.digest == wanted && *due > looked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::last::tests::report;
    use crate::policy::{Failure, FailureClass, Phase, Standing};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    /// After so many failures at second 100, each in front of visitors.
    fn waits(class: FailureClass, failures: u32) -> Backoff {
        let (digest, phase, cause) = (Digest::of(b"v2"), Phase::Switch, "no route to host".to_owned());
        let failure = Failure { class, phase, digest, generation: None, cause, evidence: None, help: None, host: None };
        let failed = |standing: Standing, _| standing.after_failure(failure.clone(), at(100));
        (0..failures).fold(Standing::default(), failed).retry.unwrap()
    }

    #[test]
    fn each_wait_for_what_is_wanted_leads_to_one_try() {
        let v2 = Digest::of(b"v2");
        let once = waits(FailureClass::Transient, 1);
        assert_eq!(due(&once, v2, at(90)), Some(at(105)), "it failed in this pass");
        assert_eq!(due(&once, v2, at(104)), Some(at(105)), "it was left waiting by this pass");
        assert_eq!(due(&once, v2, at(105)), None, "this pass was its try, whatever came of it");
        assert_eq!(due(&once, Digest::of(b"v3"), at(90)), None);
        assert_eq!(due(&waits(FailureClass::Transient, 9), v2, at(90)), Some(at(280)));
        assert_eq!(due(&waits(FailureClass::Host, 3), v2, at(90)), None, "only its host ends this wait");
    }

    #[test]
    fn what_is_left_for_another_reason_does_not_wait() {
        let words = String::new;
        assert!(may_wait(&Outcome::Left(Left::Waiting(words()))));
        assert!(may_wait(&Outcome::Left(Left::Hindered(words()))));
        for left in [Left::Held(words()), Left::Quarantined(words()), Left::Blocked(words()), Left::Overtaken] {
            assert!(!may_wait(&Outcome::Left(left)));
        }
        assert!(!may_wait(&Outcome::Unchanged) && !may_wait(&Outcome::Repaired));
    }

    #[test]
    fn a_repository_that_could_not_be_read_is_known_by_its_environments() {
        let stale = || Outcome::Left(Left::Stale("no route to host".to_owned()));
        assert!(is_unread(&report(Outcome::Unchanged, stale())));
        assert!(!is_unread(&report(Outcome::Unchanged, Outcome::Repaired)));
    }
}
