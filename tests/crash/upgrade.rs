//! What an older program released: its digests can't be compared with those of what is wanted now.

use portreeve::agent::{Order, Target};
use portreeve::desired::{Generation, Listed, Listing, Wanted};
use portreeve::model::Digest;
use portreeve::plan::Want;
use portreeve::policy::{Hold, HoldKind, Until};

use crate::machine::State;
use crate::oracle::serving;
use crate::program::{Wish, give, pass_for, rollback};
use crate::scenarios::{after, standing};
use crate::site::{Release, Stage, layout, name};

/// The last generations were made by a program whose digests say less.
fn of_an_older_program(releases: &[Release]) -> State {
    let mut state = after(releases);
    for number in 1..=u32::try_from(releases.len()).unwrap() {
        let directory = layout().generation(&name(), number.into());
        let [record, listing] = [Generation::FILE, Listing::FILE].map(|file| directory.join(file));
        let generation = Generation::parse(&state.storage.read(&record).expect("a record")).expect("a record of ours");
        assert!(generation.wanted.is_comparable());
        let older = Wanted { formula: 0, ..generation.wanted };
        let bytes = Generation { wanted: older, ..generation }.to_bytes().expect("it is written");
        let mut listed: Listing = serde_json::from_slice(&state.storage.read(&listing).expect("a listing")).unwrap();
        if let Some(Listed::File { sha256, .. }) = listed.0.get_mut(Generation::FILE) {
            *sha256 = Digest::of(&bytes);
        }
        state.storage.write(&record, &bytes);
        state.storage.write(&listing, &listed.to_bytes());
    }
    state.storage.sync_all();
    state
}

/// What this program wants, which has another digest for the same content.
fn wanted(release: &Release) -> Want {
    let wanted = release.wanted();
    let digest = Digest::of_parts([b"by another formula".as_slice(), wanted.digest.to_string().as_bytes()]);
    Want::Wanted(Box::new(Wanted { digest, ..wanted }))
}

fn serves(stage: &Stage) -> Option<String> {
    serving(&stage.state()).expect("all of the host agrees")
}

fn until(stage: &Stage) -> Option<Until> {
    match standing(&stage.state()).hold {
        Some(Hold { kind: HoldKind::RolledBack { until, .. }, .. }) => Some(until),
        _ => None,
    }
}

/// Typed before the first pass of the new program: nobody knows yet what the release that is left is called by it.
#[test]
fn what_was_gone_back_from_does_not_come_back_by_the_first_pass() {
    let [v1, v2] = ["v1", "v2"].map(Release::good);
    let stage = Stage::new(of_an_older_program(&[v1, v2.clone()]));
    rollback(&stage).expect("back to the first");
    assert_eq!(until(&stage), Some(Until::Resume));
    pass_for(&stage, wanted(&v2));
    assert_eq!(serves(&stage).as_deref(), Some("v1"));
    give(&stage, Order::Resume).expect("a person ends it");
    pass_for(&stage, wanted(&v2));
    assert_eq!(serves(&stage).as_deref(), Some("v2"));
}

#[test]
fn an_order_to_stay_lasts_as_well() {
    let [v1, v2] = ["v1", "v2"].map(Release::good);
    let stage = Stage::new(of_an_older_program(&[v1]));
    let to = Target::Title("v1".to_owned());
    give(&stage, Order::Rollback { to, until: Until::Change }).expect("it stays");
    pass_for(&stage, wanted(&v2));
    assert_eq!((serves(&stage).as_deref(), until(&stage)), (Some("v1"), Some(Until::Resume)));
}

/// The first pass releases the same content once more; whoever goes back wants to be rid of it.
#[test]
fn going_back_leads_past_the_same_content_of_another_digest() {
    let [v1, v2] = ["v1", "v2"].map(Release::good);
    let stage = Stage::new(of_an_older_program(&[v1, v2.clone()]));
    pass_for(&stage, wanted(&v2));
    let state = stage.state();
    assert_eq!((serves(&stage).as_deref(), crate::oracle::active_number(&state)), (Some("v2"), Some(3)));
    rollback(&stage).expect("back to the first");
    assert_eq!(serves(&stage).as_deref(), Some("v1"));
}

/// What this program released holds until something changes, as ever.
#[test]
fn what_can_be_compared_is_held_until_it_changes() {
    let [v1, v2, v3] = ["v1", "v2", "v3"].map(Release::good);
    let stage = Stage::new(after(&[v1, v2.clone()]));
    rollback(&stage).expect("back to the first");
    assert_eq!(until(&stage), Some(Until::Change));
    for (wish, expected) in [(v2, "v1"), (v3, "v3")] {
        pass_for(&stage, Wish::Release(wish).want());
        assert_eq!(serves(&stage).as_deref(), Some(expected));
    }
}
