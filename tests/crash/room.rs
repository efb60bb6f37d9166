//! What a disk that fills in the middle of a release takes from it: nothing, once it was kept.

use portreeve::agent::Outcome;

use crate::oracle::serving;
use crate::program::{Wish, pass};
use crate::scenarios::{after, bad, standing};
use crate::site::{Release, Stage, bare, layout};
use crate::step::Behaviour;

/// A first release after one that failed, and after a try that the package index kept from its end: its record is to be written at
/// the end, and there is room for so much more than a release before it.
fn released(room: u8) -> (Stage, Outcome) {
    let stage = Stage::new(bare());
    assert_eq!(pass(&stage, &Wish::Release(Release::new("v0-dies", Behaviour::Dies))).exit_code(), 3);
    let (good, mut state) = (Wish::Release(Release::good("v1")), stage.state());
    state.offline = true;
    let stage = Stage::new(state);
    assert_eq!(pass(&stage, &good).exit_code(), 1);
    let mut state = stage.state();
    (state.offline, state.storage.room) = (false, Some(room));
    state.clock += std::time::Duration::from_mins(5);
    let stage = Stage::new(state);
    let outcome = pass(&stage, &good);
    (stage, outcome)
}

/// Judged anew by each pass while the disk is full, it would be taken away at its first bad moment.
#[test]
fn what_was_kept_is_not_judged_again_because_its_record_found_no_room() {
    let mut unrecorded = 0;
    for room in 0..=u8::MAX {
        let (stage, outcome) = released(room);
        if !matches!(outcome, Outcome::Released { .. }) {
            continue;
        }
        let state = stage.state();
        assert_eq!(serving(&state), Ok(Some("v1".to_owned())), "room for {room}");
        assert!(state.storage.names(&layout().journal()).is_empty(), "room for {room}: {outcome:?}");
        unrecorded += usize::from(standing(&state).retry.is_some());
    }
    assert!(unrecorded > 0, "there was always room for its record");
}

/// The way back takes no room: visitors have what they had, however little there is.
#[test]
fn a_release_that_fails_in_front_is_gone_back_from_on_a_full_disk() {
    let (before, bad) = (after(&[Release::good("v1")]), bad("v2", Behaviour::FailsInFront));
    let (mut seen, mut stuck) = (0, 0);
    for room in 0..=u8::MAX {
        let stage = Stage::new(before.clone());
        stage.host.machine.state.borrow_mut().storage.room = Some(room);
        let outcome = pass(&stage, &Wish::Release(bad.clone()));
        let state = stage.state();
        let told = format!("room for {room}: {outcome:?}");
        assert_eq!(serving(&state), Ok(Some("v1".to_owned())), "{told}");
        let is_open = !state.storage.names(&layout().journal()).is_empty();
        match outcome {
            Outcome::NotReleased { seen: true, .. } => {
                assert!(!is_open, "{told}");
                seen += 1;
            }
            Outcome::Failed(failure) => {
                assert!(is_open && failure.cause.contains(", and going back failed as well: can't "), "{told}");
                stuck += 1;
            }
            _ => {}
        }
    }
    assert!(seen > 0 && stuck > 0, "{seen} were gone back from, {stuck} only where visitors are");
}
