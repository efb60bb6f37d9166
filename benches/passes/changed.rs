//! A whole pass in which one environment changed, or none of this host's: it should cost what changed, not what is there.

use std::time::Instant;

use super::measure::ms;
use super::repositories::make;
use super::{machine, measure};

const RUNS: usize = 9;

/// The table.
pub fn print(counts: &[usize]) {
    println!("\na whole pass after a push (quietest of {RUNS} runs; programs and processes are stood in for)");
    println!("{:>5}  {:<24} {:>8} {:>9}", "envs", "the push changed", "wall ms", "(median)");
    for &count in counts {
        one(count);
    }
}

fn one(count: usize) {
    let directory = tempfile::tempdir().unwrap();
    let bench = make(directory.path(), count);
    let stood = machine::release(&bench);
    assert_eq!(stood.pass(), 0, "the first pass left nothing to do");
    let row = |what: &str, push: &dyn Fn(usize), released: usize| {
        let mut walls = Vec::new();
        for round in 0..RUNS {
            push(round);
            let begun = Instant::now();
            assert_eq!(stood.pass(), released);
            walls.push(ms(begun.elapsed()));
        }
        walls.sort_by(f64::total_cmp);
        println!("{count:>5}  {what:<24} {:>8.1} {:>9.1}", walls[0], measure::median(&walls));
    };
    row("nothing of this host", &|round| bench.push_words(round), 0);
    row("one environment", &|round| bench.push_domain(round), 1);
}
