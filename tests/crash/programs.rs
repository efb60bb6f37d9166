//! Programs of the host that come to a bad end while a release is built.

use portreeve::agent::Outcome;
use portreeve::host::Exit;
use portreeve::plan::Want;
use portreeve::policy::FailureClass;
use portreeve::transaction::FailureKind;

use crate::program::pass_for;
use crate::site::{Release, Stage, bare};

fn exit(code: Option<i32>, killed: bool, said: &[&str]) -> Exit {
    let tail = said.iter().map(|&line| line.to_owned()).collect();
    Exit { code, killed, timed_out: false, stdout: Vec::new(), tail }
}

/// A first release, with messages, in which the program with this word ends so.
fn released(word: &'static str, exit: Exit) -> Outcome {
    let stage = Stage::new(bare());
    *stage.host.machine.end.borrow_mut() = Some((word, exit));
    let mut wanted = Release::good("v1").wanted();
    wanted.env.django.as_mut().expect("it is Django's").compilemessages = true;
    pass_for(&stage, Want::Wanted(Box::new(wanted)))
}

#[track_caller]
fn is_the_hosts_fault(outcome: &Outcome, cause: &str) {
    let Outcome::NotReleased { failure, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.kind, FailureKind::Class(FailureClass::Host), "{failure:?}");
    assert!(failure.cause.contains(cause), "{failure}");
}

#[test]
fn where_nobody_could_look_for_messages_none_are_left_out() {
    for exit in [exit(Some(1), false, &["find: '/x': Permission denied"]), exit(None, true, &[])] {
        is_the_hosts_fault(&released("*.po", exit), "the release can't be searched for messages: ");
    }
}

/// A page of an older release would ask for what is not there.
#[test]
fn static_files_that_could_not_be_shared_fail_the_release() {
    let full = "cp: cannot create hard link '/y': No space left on device";
    for exit in [exit(Some(1), false, &[full]), exit(None, true, &[]), exit(None, false, &[])] {
        is_the_hosts_fault(&released("-rlf", exit), "/static can't have the release's static files too");
    }
}

/// What was a file of an earlier release is a directory now.
#[test]
fn static_files_that_can_t_take_the_place_of_others_fail_nothing() {
    let said = "cp: cannot overwrite non-directory '/y' with directory '/x'";
    let outcome = released("-rlf", exit(Some(1), false, &[said]));
    assert!(matches!(outcome, Outcome::Released { .. }), "{outcome:?}");
}
