//! What was taken off a host comes back.

use std::time::Duration;

use portreeve::agent::{Order, Outcome, Target};
use portreeve::plan::Want;
use portreeve::policy::Until;

use crate::front::{break_configuration, visit};
use crate::machine::Point;
use crate::oracle::{active_number, serving, settled};
use crate::program::{Wish, give, pass, pass_for, rollback};
use crate::scenarios::{after, standing};
use crate::site::{Release, SITE, Stage, layout};
use crate::step::Behaviour;

fn serves(stage: &Stage) -> Option<String> {
    serving(&stage.state()).expect("all of the host agrees")
}

/// To be gone is other content than what somebody went back from.
#[test]
fn a_rollback_ends_when_its_environment_is_removed() {
    for until in [Until::Change, Until::Resume] {
        let [v1, v2] = ["v1", "v2"].map(Release::good);
        let stage = Stage::new(after(&[v1, v2.clone()]));
        give(&stage, Order::Rollback { to: Target::Previous, until }).expect("it is gone back from");
        assert_eq!(serves(&stage).as_deref(), Some("v1"));
        pass(&stage, &Wish::Removed);
        let kept = until == Until::Resume;
        assert_eq!((serves(&stage).is_some(), standing(&stage.state()).hold.is_some()), (kept, kept), "{until:?}");
        stage.host.machine.state.borrow_mut().clock += Duration::from_hours(1);
        pass(&stage, &Wish::Release(v2));
        assert_eq!(serves(&stage).as_deref(), Some(if kept { "v1" } else { "v2" }), "{until:?}");
    }
}

/// Whether the order still holds or not.
#[test]
fn going_back_does_not_lead_to_what_was_gone_back_from() {
    let [v1, v2, v3] = ["v1", "v2", "v3"].map(Release::good);
    let stage = Stage::new(after(&[v1, v2]));
    rollback(&stage).expect("back to the first");
    pass(&stage, &Wish::Release(v3));
    assert_eq!((serves(&stage).as_deref(), standing(&stage.state()).hold), (Some("v3"), None));
    rollback(&stage).expect("back to what served before");
    assert_eq!(serves(&stage).as_deref(), Some("v1"));
}

/// Whoever goes on again has not left what he goes on from: it is what served before.
#[test]
fn going_on_leaves_nothing_for_good() {
    let [v1, v2, v3] = ["v1", "v2", "v3"].map(Release::good);
    let stage = Stage::new(after(&[v1, v2, v3]));
    rollback(&stage).expect("back to the second");
    let on = Order::Rollback { to: Target::Title("v3".to_owned()), until: Until::Change };
    give(&stage, on).expect("and on to the third");
    give(&stage, Order::Resume).expect("which is what is wanted");
    rollback(&stage).expect("back to what served before");
    assert_eq!(serves(&stage).as_deref(), Some("v2"));
}

/// What nobody is led back to takes no place among those that are kept.
#[test]
fn what_was_gone_back_from_takes_no_good_ones_place() {
    let [v1, v2, v3, v4] = ["v1", "v2", "v3", "v4"].map(|title| Release { keep: 3, ..Release::good(title) });
    let stage = Stage::new(after(&[v1, v2]));
    rollback(&stage).expect("back to the first");
    for next in [v3, v4] {
        pass(&stage, &Wish::Release(next));
    }
    rollback(&stage).expect("back to the third");
    rollback(&stage).expect("back to the first");
    assert_eq!(serves(&stage).as_deref(), Some("v1"));
}

/// It was decided while the git server answered.
#[test]
fn a_removal_that_was_killed_is_ended_while_nobody_knows_what_is_wanted() {
    let stage = Stage::new(after(&["v1", "v2"].map(Release::good)));
    stage.host.machine.watch();
    pass(&stage, &Wish::Removed);
    let (points, mut went) = (stage.host.machine.points(), 0);
    for Point { what, state, .. } in &points {
        let stage = Stage::new(state.clone());
        pass_for(&stage, Want::Unknown("no answer".to_owned()));
        let serves = settled(&stage.state()).unwrap_or_else(|why| panic!("killed before {what}: {why}"));
        if active_number(state) == Some(0) {
            assert_eq!(serves, None, "killed before {what}: it is not ended, but undone");
            went += 1;
        }
    }
    assert!(points.len() > 40 && went > 5, "{went} of {}", points.len());
}

/// It can't be told that somebody goes: he goes on serving, and nothing is written at each pass.
#[test]
fn nobody_is_removed_while_nginx_refuses_to_read_its_configuration() {
    let stage = Stage::new(after(&["v1", "v2"].map(Release::good)));
    break_configuration(&mut stage.host.machine.state.borrow_mut(), &layout());
    stage.host.machine.watch();
    let Outcome::Failed(failure) = pass(&stage, &Wish::Removed) else { panic!("it is removed") };
    assert!(failure.cause.starts_with("nginx refuses its configuration as it is: open()"), "{failure}");
    assert_eq!(visit(&stage.state(), SITE).0, 200);
    let log = stage.host.machine.log.borrow();
    let writes: Vec<&String> = log.iter().filter(|call| !call.contains("sync")).collect();
    assert_eq!(writes, [&""; 0]);
}

/// The next pass would take it for an order that has ended, and lead to whatever was pushed since.
#[test]
fn an_order_to_stay_that_would_hold_nothing_is_refused() {
    let stay = |stage: &Stage, until| {
        let to = Target::Title("v1".to_owned());
        give(stage, Order::Rollback { to, until })
    };
    let stage = Stage::new(after(&[Release::good("v1")]));
    let refused = stay(&stage, Until::Change).expect_err("nothing is kept away");
    assert!(refused.contains("v1 serves already, and nothing else is wanted"), "{refused}");
    assert!(refused.contains("--until-resume"), "{refused}");
    assert_eq!(standing(&stage.state()).hold, None);
    stay(&stage, Until::Resume).expect("that holds");

    let stage = Stage::new(after(&[Release::good("v1")]));
    let wish = Wish::Release(Release::new("v2-fails", Behaviour::Fails));
    pass(&stage, &wish);
    stay(&stage, Until::Change).expect("what failed may be tried again one day");
}

/// A number counts generations, unless only a tag is called so; where both are here a person must say which.
#[test]
fn digits_are_a_number_or_a_name() {
    let to = |stage: &Stage, text: &str| {
        let to = Target::Digits(text.parse().expect("digits"), text.to_owned());
        give(stage, Order::Rollback { to, until: Until::Change })
    };
    let stage = |titles: [&str; 3]| Stage::new(after(&titles.map(Release::good)));
    let [numbered, named, both] =
        [stage(["v1", "v2", "v3"]), stage(["v1", "20261121", "v3"]), stage(["v1", "1", "v3"])];
    to(&numbered, "2").expect("the second generation");
    assert_eq!(serves(&numbered).as_deref(), Some("v2"));
    to(&named, "20261121").expect("a tag of digits");
    assert_eq!(serves(&named).as_deref(), Some("20261121"));
    let refused = to(&both, "1").expect_err("which of the two");
    assert!(refused.starts_with("1 means two: generation 1, which ran v1, and a tag"), "{refused}");
    assert_eq!(serves(&both).as_deref(), Some("v3"));
}
