//! A record that somebody damaged, or deleted: what serves serves on, whatever comes next and wherever that is killed.

use portreeve::agent::{Left, Order, Outcome};
use portreeve::desired::{Generation, Listing};
use portreeve::model::Slot;
use portreeve::plan::Want;
use rustix::io::Errno;

use crate::front::visit;
use crate::host::boot;
use crate::machine::{Refusal, State};
use crate::oracle::{active, active_number, at_rest};
use crate::program::{Wish, give, pass};
use crate::scenarios::after;
use crate::site::{Release, SITE, Stage, layout, name};
use crate::step::Behaviour;
use crate::world::forget;

#[derive(Debug, Clone, Copy)]
enum Damage {
    Cut,
    Gone,
}

/// v1 serves from slot a, or v2 from slot b.
fn serving_from(slot: Slot) -> State {
    let releases = [Release::good("v1"), Release::good("v2")];
    after(if slot == Slot::A { &releases[..1] } else { &releases })
}

/// The same, and its record is damaged.
fn damaged(slot: Slot, damage: Damage) -> State {
    let mut state = serving_from(slot);
    let record = active(&state).expect("it serves").join(Generation::FILE);
    match damage {
        Damage::Cut => {
            let bytes = state.storage.read(&record).expect("a record");
            state.storage.write(&record, &bytes[..bytes.len() / 2]);
        }
        Damage::Gone => forget(&mut state.storage, &record),
    }
    state.storage.sync_all();
    state
}

/// The release that visitors get, and whether they get it well.
fn visitors(state: &State) -> Option<(String, bool)> {
    let (status, process) = visit(state, SITE);
    process.map(|process| (process.code.release.clone(), status == 200))
}

/// The machine at every point at which the release could have been killed: as it is then, and after a power cut.
fn killed(before: &State, wish: &Wish) -> Vec<(String, State)> {
    let stage = Stage::new(before.clone());
    stage.host.machine.watch();
    drop(pass(&stage, wish));
    let mut images = Vec::new();
    for point in stage.host.machine.points() {
        let mut dark = point.state.clone();
        dark.storage = dark.storage.after_power_cut(&dark.storage.at_risk().into_iter().collect());
        boot(&mut dark, &layout());
        images.push((format!("killed {}", point.what), point.state));
        images.push((format!("power cut {}", point.what), dark));
    }
    assert!(images.len() > 20, "{} moments", images.len());
    images
}

fn each(mut judge: impl FnMut(&str, State, &'static str)) {
    for (slot, damage, serves) in [(Slot::A, Damage::Cut, "v1"), (Slot::B, Damage::Gone, "v2")] {
        let before = damaged(slot, damage);
        assert_eq!(visitors(&before), Some((serves.to_owned(), true)));
        judge(&format!("{damage:?}, slot {slot}"), before, serves);
    }
}

#[test]
fn a_good_release_goes_beside_what_serves_and_heals_it() {
    let wish = Wish::Release(Release::good("v3"));
    each(|what, before, serves| {
        for (when, state) in killed(&before, &wish) {
            let told = format!("{what}, {when}");
            let allowed = [serves, "v3"].map(|title| Some((title.to_owned(), true)));
            assert!(allowed.contains(&visitors(&state)), "{told}: {:?}", visitors(&state));
            let stage = Stage::new(state);
            let ended = pass(&stage, &wish);
            assert!(!matches!(ended, Outcome::Failed(_)), "{told}: {ended:?}");
            assert_eq!(at_rest(&stage.state()), Ok(Some("v3".to_owned())), "{told}: {ended:?}");
        }
    });
}

#[test]
fn a_release_that_fails_leaves_it_serving_and_the_journal_closed() {
    for behaviour in [Behaviour::Fails, Behaviour::Dies, Behaviour::FailsInFront] {
        let title = format!("v3-{}", behaviour.word());
        let wish = Wish::Release(Release::new(&title, behaviour));
        each(|what, before, serves| {
            let number = active_number(&before);
            for (when, state) in killed(&before, &wish) {
                let told = format!("{title}, {what}, {when}");
                let well = visitors(&state) == Some((serves.to_owned(), true));
                let switched = visitors(&state).is_some_and(|(release, _)| release == title);
                assert!(well || switched && behaviour == Behaviour::FailsInFront, "{told}: {:?}", visitors(&state));
                let stage = Stage::new(state);
                let ended = pass(&stage, &wish);
                is_back(&stage.state(), number, serves, &format!("{told}: {ended:?}"));
                let again = Stage::new(stage.state());
                again.host.machine.watch();
                let left = pass(&again, &wish);
                assert!(matches!(left, Outcome::Left(Left::Quarantined(_))), "{told}: {left:?}");
                assert_eq!(again.host.machine.calls(), 0, "{told}: {:?}", again.host.machine.log.borrow());
            }
        });
    }
}

#[track_caller]
fn is_back(state: &State, number: Option<u64>, serves: &str, told: &str) {
    assert_eq!(visitors(state), Some((serves.to_owned(), true)), "{told}");
    assert_eq!(active_number(state), number, "{told}");
    assert_eq!(state.storage.names(&layout().journal()).len(), 0, "{told}");
}

/// Visitors are led by the socket's link, which says what the commit point was; without that each release would be the first, and
/// would take the slot that serves.
#[test]
fn a_commit_point_that_somebody_removed_is_put_back_first() {
    for (slot, serves) in [(Slot::A, "v1"), (Slot::B, "v2")] {
        let mut before = serving_from(slot);
        let number = active_number(&before);
        forget(&mut before.storage, &layout().active_link(&name()));
        let same = Stage::new(before.clone());
        let outcome = pass(&same, &Wish::Release(Release::good(serves)));
        assert!(matches!(outcome, Outcome::Repaired), "{outcome:?}");
        is_back(&same.state(), number, serves, "nothing new");
        for behaviour in [Behaviour::Well, Behaviour::Fails, Behaviour::Dies] {
            let title = format!("v3-{}", behaviour.word());
            let wish = Wish::Release(Release::new(&title, behaviour));
            let leads_to = if behaviour == Behaviour::Well { &title } else { serves };
            for (when, state) in killed(&before, &wish).into_iter().filter(|(when, _)| when.starts_with("killed")) {
                let told = format!("{behaviour:?}, {slot}, {when}");
                let allowed = [serves, leads_to].map(|title| Some((title.to_owned(), true)));
                assert!(allowed.contains(&visitors(&state)), "{told}: {:?}", visitors(&state));
                let stage = Stage::new(state);
                let ended = pass(&stage, &wish);
                assert_eq!(at_rest(&stage.state()), Ok(Some(leads_to.to_owned())), "{told}: {ended:?}");
            }
        }
    }
}

/// An order comes before any pass has put it back, and fails, or is killed: what serves is no first release's to replace.
#[test]
fn an_order_without_a_commit_point_leads_back_to_what_served() {
    for (slot, serves) in [(Slot::A, "v1"), (Slot::B, "v2")] {
        let mut before = serving_from(slot);
        forget(&mut before.storage, &layout().active_link(&name()));
        let first = Stage::new(before.clone());
        first.host.machine.watch();
        give(&first, Order::Restart).expect("it is restarted");
        let refused = (0..first.host.machine.calls()).map(|call| {
            let stage = Stage::new(before.clone());
            stage.host.machine.refusal.set(Some(Refusal { call, errno: Errno::IO }));
            let said = give(&stage, Order::Restart);
            stage.host.machine.refusal.set(None);
            (format!("call {call} failed: {said:?}"), stage.state())
        });
        let killed =
            first.host.machine.points().into_iter().map(|point| (format!("killed {}", point.what), point.state));
        for (when, state) in killed.chain(refused) {
            let told = format!("slot {slot}, {when}");
            let well = Some((serves.to_owned(), true));
            assert_eq!(visitors(&state), well, "{told}");
            let bad = Stage::new(state);
            let title = format!("v3-{}", Behaviour::Fails.word());
            let wish = Wish::Release(Release::new(&title, Behaviour::Fails));
            let outcome = pass(&bad, &wish);
            assert_eq!(at_rest(&bad.state()), Ok(Some(serves.to_owned())), "{told}: {outcome:?}");
        }
    }
}

/// Who knows of no slot that is free starts nothing.
#[test]
fn where_nothing_says_which_slot_serves_nothing_is_touched() {
    let wish = Wish::Release(Release::good("v3"));
    each(|what, mut state, serves| {
        let directory = active(&state).expect("it serves");
        for slot in Slot::BOTH {
            forget(&mut state.storage, &directory.join(format!("slot-{slot}")));
            forget(&mut state.storage, &layout().slot_link(&name(), slot));
        }
        let booted = Stage::new(state);
        booted.cx().note_boot().expect("it is noted");
        let stage = Stage::new(booted.state());
        stage.host.machine.watch();
        let outcome = pass(&stage, &wish);
        let Outcome::Left(Left::Blocked(words)) = outcome else { panic!("{what}: {outcome:?}") };
        assert!(words.contains("generation.toml is damaged or gone, and no link says which slot"), "{words}");
        assert_eq!(stage.host.machine.calls(), 0, "{what}");
        assert_eq!(visitors(&stage.state()), Some((serves.to_owned(), true)));
    });
}

/// The commit had happened when the program was killed, and then the record of what it went to was lost as well.
#[test]
fn a_first_release_whose_record_is_lost_before_its_verdict_serves_on() {
    let wish = Wish::Release(Release::good("v1"));
    let committed = killed(&crate::site::bare(), &wish).into_iter().filter(|(_, state)| {
        active_number(state) == Some(1)
            && visitors(state).is_some()
            && !state.storage.names(&layout().journal()).is_empty()
    });
    let mut count = 0;
    for (when, mut state) in committed {
        count += 1;
        let record = active(&state).expect("it serves").join(Generation::FILE);
        forget(&mut state.storage, &record);
        let (ended, rest) = {
            let stage = Stage::new(state.clone());
            crate::program::recover(&stage).expect("it is ended");
            (stage.state(), stage)
        };
        is_back(&ended, Some(1), "v1", &when);
        drop(pass(&rest, &wish));
        assert_eq!(at_rest(&rest.state()), Ok(Some("v1".to_owned())), "{when}");
    }
    assert!(count > 2, "{count} such moments");
}

/// v1 serves, and nobody can read any more what its files were made as.
fn unlisted(left: &[u8]) -> (State, Wish) {
    let v1 = Release::good("v1");
    let mut state = after(std::slice::from_ref(&v1));
    let listing = active(&state).expect("it serves").join(Listing::FILE);
    state.storage.write(&listing, left);
    (state, Wish::Release(v1))
}

/// What a truncation leaves.
const CUT: [&[u8]; 2] = [b"", b"{\"nginx.conf\":"];

#[test]
fn a_damaged_listing_is_made_again_where_the_files_are_as_they_were_made() {
    for left in CUT {
        let (state, wish) = unlisted(left);
        let (before, stage) = (active_number(&state), Stage::new(state));
        let outcome = pass(&stage, &wish);
        assert!(matches!(outcome, Outcome::Repaired), "{outcome:?}");
        assert_eq!(at_rest(&stage.state()), Ok(Some("v1".to_owned())));
        assert_eq!(active_number(&stage.state()), before, "a repair is no release");
        assert!(matches!(pass(&stage, &wish), Outcome::Unchanged));
    }
}

/// A file that was changed meanwhile must not become what it was made as.
#[test]
fn where_they_are_not_it_is_said_and_a_release_heals_it() {
    CUT.into_iter().for_each(is_said_and_healed);
}

#[track_caller]
fn is_said_and_healed(left: &[u8]) {
    let (mut state, wish) = unlisted(left);
    let vhost = active(&state).expect("it serves").join("nginx.conf");
    let mine = [state.storage.read(&vhost).expect("a vhost").as_slice(), b"# mine\n"].concat();
    state.storage.write(&vhost, &mine);
    let stage = Stage::new(state.clone());
    let outcome = crate::program::pass_for(&stage, Want::Unknown("no answer".to_owned()));
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert!(failure.cause.contains("bakery_pro/1/listing.json "), "{failure}");
    assert!(failure.cause.ends_with(", and its bytes can't be made again by this version"), "{failure}");
    assert_eq!(failure.help.as_deref(), Some("portreeve restart bakery/pro makes a new generation"));
    assert_eq!(visitors(&stage.state()), Some(("v1".to_owned(), true)));

    let stage = Stage::new(state);
    let outcome = pass(&stage, &wish);
    assert!(matches!(outcome, Outcome::Released { .. }), "{outcome:?}");
    assert_eq!(at_rest(&stage.state()), Ok(Some("v1".to_owned())));
}
