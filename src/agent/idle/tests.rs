//! What a record remembers of a pass.

use super::*;
use crate::agent::last::tests::report;
use crate::model::Activity;

const BAKERY: &str = "https://git.example.org/bakery.git";

fn tags() -> ToLook {
    (BAKERY.to_owned(), vec!["refs/tags/v1".to_owned()])
}

#[test]
fn a_repository_that_could_not_be_asked_is_asked_again_and_its_answer_is_news() {
    let mut survey = report(Outcome::Unchanged, Outcome::Unchanged).survey;
    let remembered = |survey: &Survey| seen(tags(), survey, Some(Digest::nothing())).expect("it is not forgotten");
    let unasked = remembered(&survey);
    assert_eq!((unasked.address.as_str(), unasked.names.len()), (BAKERY, 1));
    let there = || CommitId::parse(&"1".repeat(40)).unwrap();
    let answers = [Refs::default(), Refs::from_iter([("refs/tags/v1".to_owned(), there())])];
    for answer in answers {
        assert_ne!(digest(&answer, &unasked.names), unasked.refs, "{answer:?}");
        survey.refs.insert(BAKERY.to_owned(), answer);
        assert_eq!(Some(remembered(&survey)), seen(tags(), &survey, None), "asked, it is as it was seen");
    }
}

#[test]
fn by_which_clock_a_time_is_nobody_knows_that_was_reckoned_while_it_was_set() {
    let boot = |began| Boot::new("one", Timestamp::from_second(began).unwrap());
    assert_eq!(unmoved(&boot(1_000), boot(1_000)), Some(boot(1_000)));
    for set in [400, 5_000] {
        assert_eq!(unmoved(&boot(1_000), boot(set)), None);
    }
}

#[test]
fn a_slot_that_somebody_stopped_or_started_since_the_look_is_no_rest() {
    let name = EnvName::parse("bakery/dev").unwrap();
    let rests = |action: Action, running: &[Slot]| {
        let mut plan = report(Outcome::Unchanged, Outcome::Unchanged).survey.plan;
        plan.environments[0].action = action;
        let service = Service { activity: Activity::Active, pid: 1, restarts: 0, masked: false };
        let slot = |slot: &Slot| (SlotId { env: name.clone(), slot: *slot }, service);
        super::rests(&plan, &running.iter().map(slot).collect(), &name, Slot::A)
    };
    let stopped = || Action::Stopped("by anna".to_owned());
    assert!(rests(Action::Nothing, &[Slot::A]) && rests(stopped(), &[]));
    assert!(!rests(Action::Nothing, &[]), "it is down, and the next tick is to start it");
    assert!(!rests(Action::Held("by anna".to_owned()), &[]), "so it is where it is held");
    assert!(!rests(stopped(), &[Slot::A]), "it runs, and was ordered not to");
    assert!(!rests(Action::Nothing, &Slot::BOTH), "one is warm");
}
