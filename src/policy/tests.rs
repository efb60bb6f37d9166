//! The rules of holding, quarantine and waiting, seen from outside.

use proptest::prelude::*;

use super::super::{Ruling, Until};
use super::*;

const NOON: Timestamp = Timestamp::constant(1_795_000_000, 0);

fn later(seconds: i64) -> Timestamp {
    NOON.checked_add(SignedDuration::from_secs(seconds)).unwrap()
}

fn content(n: u8) -> Digest {
    Digest::of(&[n])
}

fn by_anna(kind: HoldKind) -> Hold {
    Hold { kind, by: "anna".into(), reason: None, since: NOON }
}

fn back_from(left: &[u8], until: Until) -> Hold {
    let excludes = left.iter().map(|&n| content(n)).collect();
    by_anna(HoldKind::RolledBack { pinned: 41, excludes, until, left: None })
}

fn failure(class: FailureClass, n: u8) -> Failure {
    let cause = "\n  500 on /healthz\x1b[31m\nmore".to_owned();
    let (evidence, help, host) = (None, None, Some(content(100)));
    Failure { class, phase: Phase::Health, digest: content(n), generation: Some(43), cause, evidence, help, host }
}

fn is_held(standing: &Standing, wanted: u8) -> bool {
    matches!(standing.decide(content(wanted), NOON), Ruling::Held { pinned: 41, .. })
}

#[test]
fn a_rollback_holds_until_the_content_changes_and_not_longer() {
    let standing = Standing::default().rolled_back(back_from(&[2], Until::Change), content(1));
    assert!(is_held(&standing, 2));
    assert_eq!(standing.decide(content(3), NOON), Ruling::Proceed);
    assert_eq!(standing.decide(content(1), NOON), Ruling::Proceed);
    let settled = standing.settled(Some(content(3)), NOON);
    let left = Standing { left: vec![content(2)], ..Standing::default() };
    assert_eq!((settled.standing, settled.ended.len()), (left, 1));
    assert_eq!(standing.settled(Some(content(2)), NOON).standing, standing);
}

#[test]
fn until_resume_outlasts_new_content() {
    let standing = Standing::default().rolled_back(back_from(&[2], Until::Resume), content(1));
    assert!(is_held(&standing, 3));
    assert!(!is_held(&standing.resumed(), 3));
}

#[test]
fn a_second_step_back_does_not_release_what_the_first_one_left() {
    let first = Standing::default().rolled_back(back_from(&[3], Until::Change), content(1));
    let second = first.rolled_back(back_from(&[2], Until::Change), content(1));
    assert!(is_held(&second, 3) && is_held(&second, 2));
    assert!(!is_held(&second, 4));
    let forth = second.rolled_back(back_from(&[1], Until::Change), content(2));
    assert!(!is_held(&forth, 2) && is_held(&forth, 3), "what is gone back to is not gone away from");
}

#[test]
fn what_was_gone_back_from_is_left_until_it_is_released_again() {
    let left = |standing: &Standing, n| standing.left.contains(&content(n));
    let back = Standing::default().rolled_back(back_from(&[2], Until::Change), content(1));
    let next = back.settled(Some(content(3)), NOON).standing.after_success(content(3));
    assert!(left(&next, 2) && !left(&next, 1), "the order has ended, and 2 is not what served before 3");
    assert!(!left(&next.after_success(content(2)), 2));
    assert!(!left(&next.rolled_back(back_from(&[3], Until::Change), content(2)), 2), "somebody named it");
    let again = next.rolled_back(back_from(&[3], Until::Change), content(1));
    assert!(left(&again, 2) && left(&again, 3));
    assert_eq!(
        again.settled(Some(content(2)), NOON).ended.len(),
        1,
        "only what an order that holds has left is waited for"
    );
    let on = next.gone_on(back_from(&[3], Until::Change), content(2));
    assert!(!left(&on, 2) && !left(&on, 3) && is_held(&on, 3), "what was gone on from is as good as before");
    let often = (0..200).fold(back, |it, n| it.rolled_back(back_from(&[n], Until::Change), content(201)));
    assert_eq!(often.left.len(), 100);
}

#[test]
fn stop_and_start_bring_back_the_rollback() {
    let rolled_back = Standing::default().rolled_back(back_from(&[2], Until::Change), content(1));
    let stopped = rolled_back.stopped(by_anna(HoldKind::Stopped));
    let ruling = stopped.decide(content(9), NOON);
    assert!(matches!(ruling, Ruling::Stopped(_)) && !ruling.corrects_drift());
    assert_eq!(stopped.started(), rolled_back);
    assert!(matches!(stopped.resumed().decide(content(9), NOON), Ruling::Stopped(_)));
}

#[test]
fn a_suspension_ends_at_its_time() {
    let until = Some(later(60));
    let standing = Standing::default().suspended(by_anna(HoldKind::Suspended { until }));
    let ruling = |now| standing.decide(content(2), now);
    assert!(matches!(ruling(later(59)), Ruling::Suspended { until: Some(_), .. }));
    assert_eq!(ruling(later(60)), Ruling::Proceed);
    let below = standing.rolled_back(back_from(&[2], Until::Change), content(1)).stopped(by_anna(HoldKind::Stopped));
    assert_eq!((below.next_end(), below.stopped(by_anna(HoldKind::Stopped)).holds().count()), (until, 3));
    assert_eq!(below.settled(None, later(59)).standing, below);
    let settled = below.settled(None, later(60));
    assert_eq!((settled.ended.len(), settled.standing.holds().count(), settled.standing.next_end()), (1, 2, None));
}

#[test]
fn a_bad_release_waits_for_other_content_or_a_person() {
    let standing = Standing::default().after_failure(failure(FailureClass::Release, 2), NOON);
    let Ruling::Quarantined(entry) = standing.decide(content(2), later(999_999)) else { panic!() };
    assert_eq!(entry.cause, "500 on /healthz[31m");
    assert_eq!(standing.decide(content(3), NOON), Ruling::Proceed);
    assert!(standing.after_success(content(3)).quarantined(content(2)).is_some());
    assert_eq!(standing.retried(content(2)), Standing::default());
}

#[test]
fn waits_double_up_to_three_minutes() {
    let waits: Vec<_> = (1..=8).map(|n| backoff(n).as_secs()).collect();
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 180, 180]);
    assert_eq!(backoff(u32::MAX), LONGEST_WAIT);
}

/// A disk that was full for a night is no reason to give up after the first failure that somebody may have seen.
#[test]
fn only_what_visitors_may_have_seen_counts_towards_the_last_try() {
    let at = |phase| Failure { phase, ..failure(FailureClass::Host, 2) };
    let due = |phases: &[Phase]| {
        let tried = |standing: Standing, phase: &Phase| standing.after_failure(at(*phase), NOON);
        phases.iter().fold(Standing::default(), tried).retry.unwrap().due()
    };
    let (hidden, seen) = (Phase::Build, Phase::Switch);
    assert!(due(&[hidden, hidden, hidden, seen, seen]).is_some());
    assert_eq!(due(&[seen, hidden, seen, hidden, hidden, seen]), None);
    assert!(due(&[seen, seen, seen, hidden]).is_some(), "it shows nothing to anybody");
}

#[test]
fn new_content_does_not_wait_for_old() {
    let once = Standing::default().after_failure(failure(FailureClass::Transient, 2), NOON);
    let twice = once.after_failure(failure(FailureClass::Host, 2), later(6));
    assert!(matches!(twice.decide(content(2), later(15)), Ruling::Wait(_)));
    assert_eq!(twice.decide(content(2), later(16)), Ruling::Proceed);
    assert_eq!(twice.decide(content(3), later(6)), Ruling::Proceed);
    let other = twice.after_failure(failure(FailureClass::Transient, 3), later(7));
    assert_eq!(other.retry.unwrap().failures, 1);
}

#[test]
fn only_what_the_host_did_wrong_is_tried_again_when_the_host_changes() {
    let waits = |class, host| {
        let standing = Standing::default().after_failure(failure(class, 2), NOON).on(content(host));
        matches!(standing.decide(content(2), NOON), Ruling::Wait(_))
    };
    assert!(waits(FailureClass::Host, 100) && !waits(FailureClass::Host, 101));
    assert!(waits(FailureClass::Transient, 101));
    let bad = Standing::default().after_failure(failure(FailureClass::Release, 2), NOON);
    assert_eq!(bad.on(content(101)), bad);
}

#[test]
fn what_visitors_saw_three_times_is_not_tried_again_by_time() {
    let failing = |phase, class, times| {
        let again = |standing: Standing, _| standing.after_failure(Failure { phase, ..failure(class, 2) }, NOON);
        (0..times).fold(Standing::default(), again)
    };
    let released = |standing: &Standing| standing.decide(content(2), later(999_999)) == Ruling::Proceed;
    for phase in [Phase::Switch, Phase::Verify, Phase::Bake] {
        assert!(released(&failing(phase, FailureClass::Host, 2)), "{phase}");
        let seen = failing(phase, FailureClass::Host, 3);
        assert!(!released(&seen) && seen.retry.as_ref().is_some_and(|retry| retry.due().is_none()), "{phase}");
        assert!(released(&seen.on(content(101))), "{phase}: another host");
        assert!(released(&seen.retried(content(2))), "{phase}: a person");
        assert_eq!(seen.decide(content(3), NOON), Ruling::Proceed, "{phase}: other content");
    }
    assert!(released(&failing(Phase::Health, FailureClass::Host, 9)), "nobody saw it");
    assert!(released(&failing(Phase::Switch, FailureClass::Transient, 9)), "the network comes back by itself");
}

#[test]
fn of_a_log_the_error_is_kept_unless_the_cause_says_it() {
    let log = |lines: &[&str]| telling(&lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>());
    assert_eq!(log(&["KeyError: 'A'", "[1] [INFO] Worker exiting", ""]).as_deref(), Some("KeyError: 'A'"));
    assert_eq!(log(&["first", "last"]).as_deref(), Some("last"));
    assert_eq!(log(&[]), None);
    let said = Failure { evidence: Some("500 on /healthz".to_owned()), ..failure(FailureClass::Release, 2) };
    assert_eq!(Standing::default().after_failure(said, NOON).quarantine[0].evidence, None);
    let more = Failure { evidence: Some("KeyError: 'A'".to_owned()), ..failure(FailureClass::Release, 2) };
    assert_eq!(Standing::default().after_failure(more, NOON).quarantine[0].evidence.as_deref(), Some("KeyError: 'A'"));
}

#[test]
fn a_clock_that_jumps_never_parks_an_environment() {
    let ten_years = 10 * 366 * 24 * 3600;
    let standing = Standing::default().after_failure(failure(FailureClass::Transient, 2), NOON);
    for now in [later(-ten_years), later(ten_years)] {
        assert_eq!(standing.decide(content(2), now), Ruling::Proceed);
    }
}

#[test]
fn the_quarantine_does_not_grow_for_ever() {
    let all = (0..150).fold(Standing::default(), |s, n| s.after_failure(failure(FailureClass::Release, n), NOON));
    assert_eq!(all.quarantine.len(), QUARANTINE_LIMIT);
    assert!(all.quarantined(content(149)).is_some() && all.quarantined(content(49)).is_none());
}

#[derive(Debug, Clone)]
enum Happening {
    Failed(FailureClass, u8),
    Succeeded(u8),
    RolledBack(u8, Until),
    Suspended(Option<i64>),
    Stopped,
    Started,
    Resumed,
    Retried(u8),
    Pass(u8, i64),
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening as H;
    let class = prop_oneof![Just(FailureClass::Transient), Just(FailureClass::Host), Just(FailureClass::Release)];
    let until = prop_oneof![Just(Until::Change), Just(Until::Resume)];
    prop_oneof![
        (class, 0..5u8).prop_map(|(class, n)| H::Failed(class, n)),
        (0..5u8).prop_map(H::Succeeded),
        (0..5u8, until).prop_map(|(n, until)| H::RolledBack(n, until)),
        proptest::option::of(-400_000_000..400_000_000i64).prop_map(H::Suspended),
        Just(H::Stopped),
        Just(H::Started),
        Just(H::Resumed),
        (0..5u8).prop_map(H::Retried),
        (0..5u8, -400_000_000..400_000_000i64).prop_map(|(n, seconds)| H::Pass(n, seconds)),
    ]
}

fn apply(standing: &Standing, happening: &Happening) -> Standing {
    match happening {
        Happening::Failed(class, n) => standing.after_failure(failure(*class, *n), NOON),
        Happening::Succeeded(n) => standing.after_success(content(*n)),
        Happening::RolledBack(n, until) => standing.rolled_back(back_from(&[*n], *until), content(1)),
        Happening::Suspended(until) => standing.suspended(by_anna(HoldKind::Suspended { until: until.map(later) })),
        Happening::Stopped => standing.stopped(by_anna(HoldKind::Stopped)),
        Happening::Started => standing.started(),
        Happening::Resumed => standing.resumed(),
        Happening::Retried(n) => standing.retried(content(*n)),
        Happening::Pass(n, seconds) => standing.settled(Some(content(*n)), later(*seconds)).standing,
    }
}

fn any_standing() -> impl Strategy<Value = Standing> {
    proptest::collection::vec(happening(), 0..12)
        .prop_map(|all| all.iter().fold(Standing::default(), |standing, one| apply(&standing, one)))
}

fn has_living_hold(standing: &Standing, wanted: Digest, now: Timestamp) -> bool {
    standing.holds().any(|hold| match &hold.kind {
        HoldKind::Stopped | HoldKind::Suspended { until: None } | HoldKind::RolledBack { until: Until::Resume, .. } => {
            true
        }
        HoldKind::Suspended { until: Some(until) } => now < *until,
        HoldKind::RolledBack { excludes, .. } => excludes.contains(&wanted),
    })
}

proptest! {
    #[test]
    fn the_record_keeps_everything(standing in any_standing()) {
        let boot = crate::model::Boot::new("one", Timestamp::UNIX_EPOCH);
        prop_assert_eq!(Standing::parse(&standing.to_bytes(&boot), &boot).unwrap(), standing);
    }

    #[test]
    fn no_happening_but_an_order_moves_a_held_environment(
        standing in any_standing(), n in 0..5u8, m in 0..5u8, seconds in -400_000_000..400_000_000i64,
    ) {
        let now = later(seconds);
        prop_assume!(has_living_hold(&standing, content(n), now));
        for next in [
            standing.clone(),
            standing.after_success(content(m)),
            standing.after_failure(failure(FailureClass::Release, m), now),
            standing.after_failure(failure(FailureClass::Host, m), now),
            standing.retried(content(m)),
            standing.settled(Some(content(n)), now).standing,
        ] {
            let ruling = next.decide(content(n), now);
            let held = matches!(ruling, Ruling::Held { .. } | Ruling::Suspended { .. } | Ruling::Stopped(_));
            prop_assert!(held, "{ruling:?}");
        }
    }

    #[test]
    fn failed_content_proceeds_only_after_a_retry(
        standing in any_standing(), more in proptest::collection::vec(happening(), 0..12), bad in 0..5u8,
        seconds in -400_000_000..400_000_000i64,
    ) {
        let failed = standing.after_failure(failure(FailureClass::Release, bad), NOON);
        let pardons = |one: &&Happening| match one {
            Happening::Retried(n) | Happening::Succeeded(n) => *n == bad,
            Happening::RolledBack(..) => bad == 1,
            _ => false,
        };
        let after = more.iter().filter(|one| !pardons(one)).fold(failed, |standing, one| apply(&standing, one));
        prop_assert_ne!(after.decide(content(bad), later(seconds)), Ruling::Proceed);
    }

    #[test]
    fn a_pass_over_content_that_always_fails_does_not_loop(
        standing in any_standing(), wanted in 0..5u8, release in any::<bool>(), tick in 1..30i64,
    ) {
        let class = if release { FailureClass::Release } else { FailureClass::Transient };
        let (mut standing, mut attempts) = (standing.retried(content(wanted)), 0);
        for now in (0..3600).step_by(usize::try_from(tick).unwrap()).map(later) {
            standing = standing.settled(Some(content(wanted)), now).standing;
            if standing.decide(content(wanted), now) == Ruling::Proceed {
                attempts += 1;
                standing = standing.after_failure(failure(class, wanted), now);
            }
        }
        prop_assert!(attempts <= if release { 1 } else { 3600 / 180 + 8 }, "{attempts} attempts");
    }

    #[test]
    fn holds_are_one_of_each_kind_and_settling_is_done_at_once(standing in any_standing(), n in 0..5u8) {
        let ranks: Vec<_> = standing.holds().map(|hold| hold.kind.rank()).collect();
        prop_assert!(ranks.is_sorted_by(|a, b| a > b), "{ranks:?}");
        let once = standing.settled(Some(content(n)), NOON).standing;
        prop_assert_eq!(&once.settled(Some(content(n)), NOON).standing, &once);
        let ruling = standing.decide(content(n), NOON);
        prop_assert_eq!(once.decide(content(n), NOON), ruling);
    }
}
