//! What a kill, a power cut or a disk's error leaves, at every point of every transaction.
//!
//! The program's own transactions run on a machine in memory, with a point before and after each system call that changes
//! something. The pass around them (`program`) is written once more: it recovers, decides and acts as the agent's, without what
//! that keeps of the deploy repository (floors, reserved ports, notes for `status`). Points are enumerated: nothing here is drawn
//! by lot.

#![expect(clippy::similar_names, reason = "a stage has a state")]

mod again;
mod away;
mod cell;
mod clock;
mod damaged;
mod disk;
mod double;
mod files;
mod front;
mod host;
mod images;
mod judge;
mod lasting;
#[path = "../lives/ledger.rs"]
mod ledger;
mod machine;
mod met;
mod oracle;
mod program;
mod programs;
mod repairs;
mod returns;
mod room;
mod scenarios;
mod sequences;
mod services;
mod site;
#[path = "../lives/step.rs"]
mod step;
mod stopped;
mod storage;
mod sweep;
#[path = "../lives/tally.rs"]
mod tally;
#[path = "../lives/told.rs"]
mod told;
mod upgrade;
mod world;

use crate::judge::{Memory, Scenario};
use crate::machine::Flaw;
use crate::sweep::{Hunt, errors, kills, pairs};
use crate::tally::Tally;

/// The system's allocator costs a sweep an eighth of its time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[test]
fn nothing_is_ever_half_applied() {
    let mut all = Tally::default();
    for (name, scenario) in &scenarios::ALL {
        let (scenario, memory) = (scenario(), Memory::default());
        let mut tally = kills(&scenario, Hunt::SOUND, &memory);
        tally.add(pairs(&scenario, Hunt::SOUND, &memory));
        tally.add(errors(&scenario, Hunt::SOUND, &memory));
        println!("{name}: {tally}");
        tally.half_applied.iter().take(10).for_each(|wrong| println!("  {wrong}"));
        all.add(tally);
    }
    told::told(&all.to_string());
    assert_eq!(all.half_applied, [""; 0], "half-applied");
    let enough = all.kills >= 4_000 && all.errors >= 9_000 && all.pairs >= 200_000;
    assert!(enough, "so few points are no proof: {all}");
}

/// A sweep that finds nothing wrong with these is blind.
#[test]
fn a_missing_sync_or_a_wrong_order_is_seen() {
    type Sweep = fn(&Scenario, Hunt, &Memory) -> Tally;
    type Flawed = (Sweep, fn() -> Scenario, Flaw, &'static str);
    let (unsynced, forgotten) = (Flaw::DirectoryUnsynced, Flaw::DirectoryForgotten);
    let flawed: [Flawed; 14] = [
        (kills, scenarios::second, Flaw::FilesUnsynced, "not a journal that portreeve wrote"),
        (kills, scenarios::second, Flaw::BuildsUnsynced, "nginx runs is false"),
        (kills, scenarios::second, unsynced("bakery_pro"), "is there already and is not ours"),
        (kills, scenarios::second, unsynced("system"), "None serves"),
        (kills, scenarios::first, Flaw::LinkFirst, "nginx would not start"),
        (kills, scenarios::second, unsynced("active"), "generation 2 was kept and does not serve"),
        (kills, scenarios::failing, unsynced("policy"), "it is not in quarantine"),
        (
            kills,
            scenarios::second,
            unsynced("journal"),
            "the journal is closed: generation 2 was kept and does not serve",
        ),
        (kills, scenarios::first, forgotten("sites-enabled"), "not durable"),
        (kills, scenarios::first, forgotten("logrotate.d"), "not durable: logrotate is None"),
        (kills, scenarios::first, forgotten("tmpfiles.d"), "not durable: tmpfiles.conf is None"),
        (kills, scenarios::cold, unsynced("policy"), "not durable: the record of holds"),
        (errors, scenarios::second, Flaw::SyncErrorsForgotten, "then power cut"),
        (pairs, scenarios::failing, unsynced("policy"), "a recovery forgets that the release failed"),
    ];
    let mut unseen = Vec::new();
    for (sweep, scenario, flaw, words) in flawed {
        let found = sweep(&scenario(), Hunt { flaw, words }, &Memory::default()).half_applied;
        match found.iter().find(|wrong| wrong.contains(words)) {
            Some(wrong) => println!("{flaw:?}: {wrong}"),
            None => unseen.push((flaw, words, found.into_iter().next())),
        }
    }
    assert_eq!(unseen, [], "goes unseen");
}
