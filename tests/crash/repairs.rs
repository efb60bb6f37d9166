//! Repairs that can't come to their end.

use std::time::Duration;

use portreeve::agent::Outcome;
use portreeve::desired::{Listed, Listing};
use portreeve::model::{Digest, Slot};

use crate::program::{Wish, pass, rollback};
use crate::scenarios::after;
use crate::site::{Release, Stage, layout, name};

/// An older version rendered the file of logrotate in other bytes, which are lost.
fn irreparable(stage: &Stage) {
    let directory = layout().generation(&name(), 1);
    let mut state = stage.host.machine.state.borrow_mut();
    let bytes = state.storage.read(&directory.join(Listing::FILE)).expect("a listing");
    let mut listing: Listing = serde_json::from_slice(&bytes).expect("a whole one");
    let Some(Listed::File { sha256, .. }) = listing.0.get_mut("logrotate") else { panic!("{listing:?}") };
    *sha256 = Digest::of(b"as it was then");
    state.storage.write(&directory.join(Listing::FILE), &listing.to_bytes());
}

#[test]
fn what_is_held_and_can_t_be_put_right_is_told_at_each_pass_and_writes_nothing() {
    let wish = Wish::Release(Release::good("v2"));
    let stage = Stage::new(after(&[Release::good("v1"), Release::good("v2")]));
    rollback(&stage).expect("v1 serves again");
    irreparable(&stage);
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

/// One that can't keeps no other from being put right.
#[test]
fn what_can_be_put_right_is() {
    let wish = Wish::Release(Release::good("v2"));
    let stage = Stage::new(after(&[Release::good("v1"), Release::good("v2")]));
    rollback(&stage).expect("v1 serves again");
    irreparable(&stage);
    let unit = layout().unit_file(&name(), Slot::A);
    let before = stage.state().storage.read(&unit);
    stage.host.machine.state.borrow_mut().storage.write(&unit, b"mine");
    let Outcome::Failed(_) = pass(&stage, &wish) else { panic!("it is no failure") };
    assert_eq!(stage.state().storage.read(&unit), before);
}
