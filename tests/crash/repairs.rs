//! Repairs that can't come to their end.

use std::time::Duration;

use portreeve::agent::{Order, Outcome};
use portreeve::desired::{Listed, Listing};
use portreeve::model::{Digest, GenerationNumber, Slot};

use crate::front::{break_configuration, visit};
use crate::machine::{Point, State};
use crate::oracle::{active_number, serving};
use crate::program::{Wish, give, pass, recover, rollback};
use crate::scenarios::{after, standing};
use crate::site::{Release, SITE, Stage, layout, name};
use crate::step::Behaviour;
use crate::world::forget;

/// An older version rendered the file of logrotate in other bytes, which are lost.
fn irreparable(state: &mut State, number: GenerationNumber) {
    let directory = layout().generation(&name(), number);
    let bytes = state.storage.read(&directory.join(Listing::FILE)).expect("a listing");
    let mut listing: Listing = serde_json::from_slice(&bytes).expect("a whole one");
    let Some(Listed::File { sha256, .. }) = listing.0.get_mut("logrotate") else { panic!("{listing:?}") };
    *sha256 = Digest::of(b"as it was then");
    state.storage.write(&directory.join(Listing::FILE), &listing.to_bytes());
}

/// It is held where something can't be put right.
fn held() -> (Stage, Wish) {
    let stage = Stage::new(after(&[Release::good("v1"), Release::good("v2")]));
    rollback(&stage).expect("v1 serves again");
    irreparable(&mut stage.host.machine.state.borrow_mut(), 1);
    (stage, Wish::Release(Release::good("v2")))
}

#[test]
fn what_is_held_and_can_t_be_put_right_is_told_at_each_pass_and_writes_nothing() {
    let (stage, wish) = held();
    let fails = || {
        let Outcome::Failed(failure) = pass(&stage, &wish) else { panic!("it is no failure") };
        assert!(failure.cause.ends_with("its bytes can't be made again by this version"), "{failure}");
    };
    fails();
    stage.host.machine.watch();
    for _ in 0..3 {
        stage.host.machine.state.borrow_mut().clock += Duration::from_hours(1);
        fails();
    }
    let run = layout().runtime().display().to_string();
    let log = stage.host.machine.log.borrow();
    let writes: Vec<&String> = log.iter().filter(|call| !call.contains("sync") && !call.contains(&run)).collect();
    assert_eq!(writes, [&""; 0]);
}

#[test]
fn what_waits_to_be_put_right_is_tried_again_when_a_person_says_so() {
    let (stage, wish) = held();
    let tries = || {
        stage.host.machine.watch();
        pass(&stage, &wish);
        stage.host.machine.log.replace(Vec::new()).iter().any(|call| call.contains("repair.json"))
    };
    assert!(tries() && !tries(), "it waits");
    let said = give(&stage, Order::Retry).expect("an order");
    assert!(said.starts_with("tried again at the next pass"), "{said}");
    assert!(tries() && !tries());
    give(&stage, Order::Retry).expect("an order");
    let said = give(&stage, Order::Retry).expect("an order");
    assert_eq!(said, "nothing is quarantined or waits");
}

/// One that can't keeps no other from being put right.
#[test]
fn what_can_be_put_right_is() {
    let (stage, wish) = held();
    let unit = layout().unit_file(&name(), Slot::A);
    let before = stage.state().storage.read(&unit);
    stage.host.machine.state.borrow_mut().storage.write(&unit, b"mine");
    let Outcome::Failed(_) = pass(&stage, &wish) else { panic!("it is no failure") };
    assert_eq!(stage.state().storage.read(&unit), before);
}

/// It moves nothing, so it is in nobody's way while who reads what was put right can't be told.
#[test]
fn a_repair_that_nginx_does_not_read_keeps_no_order_from_being_carried_out() {
    let wish = Wish::Release(Release::good("v1"));
    let stage = Stage::new(after(&[Release::good("v1")]));
    let vhost = layout().nginx_link(&name());
    {
        let mut state = stage.host.machine.state.borrow_mut();
        break_configuration(&mut state, &layout());
        forget(&mut state.storage, &vhost);
    }
    let Outcome::Failed(_) = pass(&stage, &wish) else { panic!("it is no failure") };
    assert!(stage.state().storage.exists(&layout().journal().join("bakery_pro.json")));
    give(&stage, Order::Suspend { until: None }).expect("it is suspended");
    give(&stage, Order::Resume).expect("and goes on");
    pass(&stage, &Wish::Release(Release::good("v2")));
    assert_eq!(visit(&stage.state(), SITE).0, 200);
    forget(&mut stage.host.machine.state.borrow_mut().storage, &layout().nginx_sites().join("broken.conf"));
    stage.host.machine.state.borrow_mut().clock += Duration::from_hours(1);
    pass(&stage, &Wish::Release(Release::good("v2")));
    assert_eq!(serving(&stage.state()).expect("all agrees").as_deref(), Some("v2"));
}

/// Whatever comes beside it comes to its end: its journal is closed, and what serves is what belongs there.
#[track_caller]
fn ends(stage: &Stage, allowed: &[&str], told: &str) {
    recover(stage).unwrap_or_else(|failure| panic!("{told}: {failure}"));
    let state = stage.state();
    assert_eq!(state.storage.names(&layout().journal()).len(), 0, "{told}");
    let (status, process) = visit(&state, SITE);
    let serves = process.map(|process| process.code.release.clone()).unwrap_or_default();
    assert!(status == 200 && allowed.contains(&serves.as_str()), "{told}: {serves} answers {status}");
}

#[test]
fn what_can_t_be_put_right_keeps_no_failed_release_from_being_undone() {
    for behaviour in [Behaviour::Fails, Behaviour::FailsInFront] {
        let stage = Stage::new(after(&[Release::good("v1")]));
        irreparable(&mut stage.host.machine.state.borrow_mut(), 1);
        let bad = Wish::Release(Release::new(&format!("v2-{}", behaviour.word()), behaviour));
        let outcome = pass(&stage, &bad);
        assert!(matches!(outcome, Outcome::NotReleased { .. }), "{outcome:?}");
        assert!(standing(&stage.state()).quarantine.len() == 1, "{behaviour:?}: it is not remembered");
        ends(&stage, &["v1"], behaviour.word());
    }
}

/// Of what is gone back to, and of what was switched to already.
#[test]
fn what_can_t_be_put_right_keeps_no_killed_release_from_its_end() {
    let mut state = after(&[Release::good("v1")]);
    irreparable(&mut state, 1);
    let stage = Stage::new(state);
    stage.host.machine.watch();
    let released = pass(&stage, &Wish::Release(Release::good("v2")));
    assert!(matches!(released, Outcome::Released { .. }), "{released:?}");
    let points = stage.host.machine.points();
    assert!(points.len() > 20, "{} moments", points.len());
    for Point { what, state, .. } in points {
        let mut state = state;
        if active_number(&state) == Some(2) {
            irreparable(&mut state, 2);
        }
        ends(&Stage::new(state), &["v1", "v2"], &what);
    }
}

/// What one file lacks keeps nobody from being told of another, which was put right before the kill.
#[test]
fn who_reads_what_a_killed_repair_put_right_is_told_though_another_file_can_t_be_put_right() {
    let (stage, wish) = held();
    let mut state = stage.state();
    forget(&mut state.storage, &layout().nginx_link(&name()));
    state.front.boot(&state.storage, &layout());
    assert_eq!(visit(&state, SITE).0, 404, "nginx has read that there is none");
    let stage = Stage::new(state);
    stage.host.machine.watch();
    pass(&stage, &wish);
    let points = stage.host.machine.points();
    assert!(points.len() > 4, "{} moments", points.len());
    for Point { what, state, .. } in points {
        let stage = Stage::new(state);
        let outcome = pass(&stage, &wish);
        assert!(matches!(outcome, Outcome::Failed(_)), "killed {what}: {outcome:?}");
        assert_eq!(visit(&stage.state(), SITE).0, 200, "killed {what}");
    }
}
