//! What a record remembers of a pass.

use super::*;
use crate::agent::last::tests::report;

const BAKERY: &str = "https://git.example.org/bakery.git";

fn tags() -> ToLook {
    ToLook { address: BAKERY.to_owned(), names: vec!["refs/tags/v1".to_owned()] }
}

#[test]
fn a_repository_that_could_not_be_asked_is_asked_again_and_its_answer_is_news() {
    let mut survey = report(Outcome::Unchanged, Outcome::Unchanged).survey;
    let [unasked] = &remembered(vec![tags()], &survey)[..] else { panic!("it is forgotten") };
    assert_eq!((unasked.address.as_str(), unasked.names.len()), (BAKERY, 1));
    let there = || CommitId::parse(&"1".repeat(40)).unwrap();
    let answers = [Refs::default(), Refs::from_iter([("refs/tags/v1".to_owned(), there())])];
    for answer in answers {
        assert_ne!(digest(&answer, &unasked.names), unasked.refs, "{answer:?}");
        survey.refs.insert(BAKERY.to_owned(), answer);
        let seen: Vec<_> = tags().seen(&survey).into_iter().collect();
        assert_eq!(remembered(vec![tags()], &survey), seen, "asked, it is as it was seen");
    }
}
