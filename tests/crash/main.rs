//! What a kill, a power cut or a disk's error leaves, at every point of every transaction.

mod cell;
mod disk;
mod files;
mod front;
mod host;
mod machine;
mod oracle;
mod program;
mod scenarios;
mod services;
mod site;
mod storage;
mod sweep;

use crate::machine::Flaw;
use crate::sweep::{Tally, errors, kills};

#[test]
fn nothing_is_ever_half_applied() {
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut all = Tally::default();
    for (name, scenario) in scenarios::ALL.iter().filter(|(name, _)| name.contains(&only)) {
        let begun = std::time::Instant::now();
        let scenario = scenario();
        let mut tally = kills(&scenario, Flaw::None, std::env::var("PAIRS").is_ok());
        if std::env::var("ERRORS").is_ok() {
            tally.add(errors(&scenario));
        }
        println!(
            "{name}: {} kills, {} images, {} pairs, {} errors, {} half {:?}",
            tally.kills,
            tally.images,
            tally.pairs,
            tally.errors,
            tally.half_applied.len(),
            begun.elapsed()
        );
        for wrong in tally.half_applied.iter().step_by((tally.half_applied.len() / 12).max(1)) {
            println!("    {wrong}");
        }
        all.add(tally);
    }
    println!(
        "{} kill points, {} error points, {} pairs, {} half-applied",
        all.kills,
        all.errors,
        all.pairs,
        all.half_applied.len()
    );
    assert!(all.half_applied.is_empty());
}
