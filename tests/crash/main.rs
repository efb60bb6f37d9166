//! What a kill, a power cut or a disk's error leaves, at every point of every transaction.
//!
//! The program's own code runs on a machine in memory: the same order of the same system calls as on a real one, with a point
//! before and after each. Points are enumerated: nothing here is drawn by lot.

#![expect(clippy::similar_names, reason = "a stage has a state")]

mod away;
mod cell;
mod clock;
mod damaged;
mod disk;
mod files;
mod front;
mod host;
mod lasting;
#[path = "../lives/ledger.rs"]
mod ledger;
mod machine;
mod oracle;
mod program;
mod repairs;
mod returns;
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
mod world;

use crate::machine::Flaw;
use crate::sweep::{Recovered, Scenario, errors, kills, pairs};
use crate::tally::Tally;

#[test]
fn nothing_is_ever_half_applied() {
    let mut all = Tally::default();
    for (name, scenario) in &scenarios::ALL {
        let (scenario, recovered) = (scenario(), Recovered::default());
        let mut tally = kills(&scenario, Flaw::None, &recovered);
        tally.add(pairs(&scenario, &recovered));
        tally.add(errors(&scenario, &recovered));
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
    let flawed: [(fn() -> Scenario, Flaw); 7] = [
        (scenarios::second, Flaw::FilesUnsynced),
        (scenarios::second, Flaw::BuildsUnsynced),
        (scenarios::second, Flaw::DirectoryUnsynced("bakery_pro")),
        (scenarios::second, Flaw::DirectoryUnsynced("system")),
        (scenarios::first, Flaw::LinkFirst),
        (scenarios::second, Flaw::DirectoryUnsynced("active")),
        (scenarios::failing, Flaw::DirectoryUnsynced("policy")),
    ];
    let mut unseen = Vec::new();
    for (scenario, flaw) in flawed {
        match kills(&scenario(), flaw, &Recovered::default()).half_applied.first() {
            Some(wrong) => println!("{flaw:?}: {wrong}"),
            None => unseen.push(flaw),
        }
    }
    assert_eq!(unseen, [], "goes unseen");
}
