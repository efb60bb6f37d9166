//! A person's order meets a release that was switched to and has no verdict yet, or a plan that was made before it.

use std::time::Duration;

use portreeve::agent::{Left, Order, Outcome, Target, environment};
use portreeve::host::Host as _;
use portreeve::plan::{Action, Decision, decide};
use portreeve::policy::Until;
use portreeve::transaction::{self, Intent};
use rustix::io::Errno;

use crate::front::break_configuration;
use crate::machine::{Refusal, State};
use crate::oracle::{active_number, serving};
use crate::program::{Wish, give, pass, rollback};
use crate::scenarios::{after, bad, standing};
use crate::site::{Release, Stage, layout, name};
use crate::step::Behaviour;
use crate::world::forget;

fn failing() -> Release {
    bad("v2", Behaviour::FailsInFront)
}

fn open(state: &State) -> Option<Intent> {
    let path = layout().journal().join(format!("{}.json", name().flat()));
    Intent::parse(&path, &state.storage.read(&path)?).ok()
}

/// Machines on which a release that fails its visitors has been switched to; `judged`: and its failure is written down.
fn switched(judged: bool) -> Vec<State> {
    let stage = Stage::new(after(&[Release::good("v1")]));
    stage.host.machine.watch();
    pass(&stage, &Wish::Release(failing()));
    let states = stage.host.machine.points().into_iter().map(|point| point.state);
    let is_so = |state: &State| {
        active_number(state) == Some(2) && open(state).is_some_and(|intent| intent.failed.is_some() == judged)
    };
    states.filter(is_so).collect()
}

/// What failed is gone for good: its release was judged, or the order to leave it holds.
#[track_caller]
fn is_left(state: State, what: &str) {
    let stage = Stage::new(state);
    for _ in 0..2 {
        stage.host.machine.state.borrow_mut().clock += Duration::from_hours(1);
        pass(&stage, &Wish::Release(failing()));
    }
    let state = stage.state();
    assert_eq!(serving(&state), Ok(Some("v1".to_owned())), "{what}");
    let standing = standing(&state);
    assert!(standing.hold.is_some() || standing.quarantined(failing().wanted().digest).is_some(), "{what}");
}

#[test]
fn a_rollback_that_comes_to_nothing_leaves_the_verdict_of_what_it_met_due() {
    let before = switched(false).pop().expect("it is switched to");
    let watched = Stage::new(before.clone());
    watched.host.machine.watch();
    rollback(&watched).expect("v1 serves again");
    let points = watched.host.machine.points();
    for point in &points {
        is_left(point.state.clone(), &format!("killed {}", point.what));
    }
    for call in 0..watched.host.machine.calls() {
        let stage = Stage::new(before.clone());
        stage.host.machine.refusal.set(Some(Refusal { call, errno: Errno::NOSPC }));
        let given = rollback(&stage);
        stage.host.machine.refusal.set(None);
        is_left(stage.state(), &format!("no room at call {call}: {given:?}"));
    }
    assert!(points.len() > 20, "{}", points.len());
}

#[test]
fn a_verdict_that_is_known_is_remembered_whoever_leaves_the_release_first() {
    let judged = switched(true);
    assert!(!judged.is_empty());
    for state in judged {
        let stage = Stage::new(state);
        rollback(&stage).expect("v1 serves again");
        let state = stage.state();
        assert_eq!(serving(&state), Ok(Some("v1".to_owned())));
        assert!(standing(&state).quarantined(failing().wanted().digest).is_some());
    }
}

#[test]
fn a_removal_heeds_an_order_that_was_given_since_it_was_decided() {
    let stage = Stage::new(after(&["v1", "v2"].map(Release::good)));
    let services = stage.host.services().services().expect("they answer");
    let installed = transaction::installed(&stage.cx(), &name(), &services).expect("v2");
    let (moved, foreign, now) = (None, None, stage.host.clock().now());
    let (want, before, grace) = (Wish::Removed.want(), standing(&stage.state()), Duration::ZERO);
    let (installed, standing, renders_differently) = (&installed, &before, false);
    let plan = decide(Decision { want, moved, installed, standing, foreign, renders_differently, grace, now });
    assert_eq!(plan.action, Action::Delete);
    let to = Target::Title("v2".to_owned());
    give(&stage, Order::Rollback { to, until: Until::Resume }).expect("v2 stays");
    assert!(matches!(environment(&stage.cx(), &plan, now), Outcome::Left(Left::Overtaken)));
    assert_eq!(serving(&stage.state()), Ok(Some("v2".to_owned())));
}

/// The repair that nginx would not read is open, and what is suspended is nobody's but its operator's.
#[test]
fn what_is_suspended_is_not_put_right_by_the_end_of_a_repair() {
    let wish = Wish::Release(Release::good("v1"));
    let stage = Stage::new(after(&[Release::good("v1")]));
    {
        let mut state = stage.host.machine.state.borrow_mut();
        break_configuration(&mut state, &layout());
        forget(&mut state.storage, &layout().nginx_link(&name()));
    }
    pass(&stage, &wish);
    give(&stage, Order::Suspend { until: None }).expect("it is suspended");
    assert!(open(&stage.state()).is_some(), "a repair is open");
    let settings = layout().generation(&name(), 1).join("settings_local.py");
    stage.host.machine.state.borrow_mut().storage.write(&settings, b"# tried out\n");
    pass(&stage, &wish);
    assert_eq!(stage.state().storage.read(&settings).as_deref(), Some(&b"# tried out\n".to_vec()));
    give(&stage, Order::Resume).expect("it goes on");
    pass(&stage, &wish);
    assert_ne!(stage.state().storage.read(&settings).as_deref(), Some(&b"# tried out\n".to_vec()));
}

/// The first order names it, and stands again where the second one comes to nothing.
#[test]
fn what_an_earlier_order_is_pinned_to_outlasts_a_later_one_that_fails() {
    let releases = ["v1", "v2", "v3"].map(|title| Release { keep: 3, ..Release::good(title) });
    let to = |title: &str| Order::Rollback { to: Target::Title(title.to_owned()), until: Until::Change };
    let stage = Stage::new(after(&releases[..2]));
    pass(&stage, &Wish::Release(releases[2].clone()));
    give(&stage, to("v1")).expect("v1 serves again, as another generation");
    let before = stage.state();
    let (calls, mut failed) = (400, 0);
    for call in 0..calls {
        let stage = Stage::new(before.clone());
        stage.host.machine.refusal.set(Some(Refusal { call, errno: Errno::NOSPC }));
        let given = give(&stage, to("v3"));
        stage.host.machine.refusal.set(None);
        failed += usize::from(given.is_err());
        let there = stage.state().storage.exists(&layout().generation(&name(), 1));
        assert!(there || given.is_ok(), "no room at call {call}: {given:?}");
    }
    assert!(failed > 5 && failed < calls, "{failed}");
}
