//! What a kill, a power cut or a disk's error leaves, at every point of every transaction.

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
    let mut all = Tally::default();
    let only = std::env::var("ONLY").unwrap_or_default();
    for scenario in scenarios::all().into_iter().filter(|scenario| scenario.name.contains(&only)) {
        let begun = std::time::Instant::now();
        let mut tally = kills(&scenario, Flaw::None, std::env::var("PAIRS").is_ok());
        tally.add(errors(&scenario));
        println!(
            "{}: {} kills, {} images, {} pairs, {} errors, {} half {:?}",
            scenario.name,
            tally.kills,
            tally.images,
            tally.pairs,
            tally.errors,
            tally.half_applied.len(),
            begun.elapsed()
        );
        all.add(tally);
    }
    for wrong in all.half_applied.iter().take(20) {
        println!("{wrong}");
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
