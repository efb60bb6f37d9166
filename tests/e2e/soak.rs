//! One environment's long life on a booted host, drawn by lot: `make soak`. The steps are those of the lives on the host in memory,
//! and so are the promises that hold after each:
//!
//! - something healthy serves, if anything ever did;
//! - what serves belongs to one generation;
//! - nothing in quarantine is started again by a pass;
//! - what is held does not move;
//! - and at the end an idle world comes to rest within two passes, and then a thousand write nothing outside of /run.
//!
//! Each life is another one; `PORTREEVE_SOAK` is the seed of one to repeat, `PORTREEVE_STEPS` another length.

#![expect(clippy::print_stdout, reason = "somebody watches for a quarter of an hour")]

use std::time::{Instant, SystemTime};

use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::idle::stays_at_rest;
use crate::ledger::Order;
use crate::life::Life;
use crate::step::{Step, step};
use crate::told::told;

/// From so many steps on so many passes at least are killed at work, after half of them all of the host agrees, and half of the kinds
/// of orders are obeyed.
const LONG: usize = 200;
const DIED: usize = 5;
/// Passes over the world at rest.
const IDLE: usize = 1_000;

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// No time is waited for here, so no step is one that only waits.
fn drawn(seed: u64, count: usize) -> Vec<Step> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut lot = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let (any, waits) = (step(), |step: &Step| matches!(step, Step::Wait(_)));
    let drawn = std::iter::repeat_with(|| any.new_tree(&mut lot).expect("a step").current());
    drawn.filter(|step| !waits(step)).take(count).collect()
}

/// Nobody does anything any more: it comes to rest within two passes.
fn rests(life: &mut Life) -> Result<(), String> {
    life.calm()?;
    for _ in 0..2 {
        println!("     at rest: {}", life.pass()?);
    }
    stays_at_rest(&life.world, IDLE)
}

#[test]
#[ignore = "a quarter of an hour: make soak"]
fn whatever_happens_the_promises_hold() {
    let clock =
        || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos().into());
    let seed = asked("PORTREEVE_SOAK").unwrap_or_else(clock);
    let count = asked("PORTREEVE_STEPS").map_or(LONG, |count| usize::try_from(count).expect("a length"));
    println!("seed {seed}: PORTREEVE_SOAK={seed} PORTREEVE_STEPS={count} make soak");
    let steps = drawn(seed, count);
    let mut life = Life::new("soak");
    for (at, step) in steps.iter().enumerate() {
        let begun = Instant::now();
        match life.live(step) {
            Ok(said) => println!("{at:4} {:5.1} s  {step:?}: {said}", begun.elapsed().as_secs_f64()),
            Err(why) => panic!("seed {seed}, step {at}, {step:?}: {why}\nafter {:?}", &steps[..at]),
        }
    }
    let counts = life.counts().clone();
    if let Err(why) = rests(&mut life) {
        panic!("seed {seed}, at rest: {why}\nafter {steps:?}");
    }
    told(&format!("{counts}, {IDLE} idle passes, 0 broken promises"));
    let obeyed = Order::KINDS.into_iter().filter(|&order| counts.obeyed(order) > 0).count();
    let tells = counts.died >= DIED && counts.agreed * 2 > counts.steps && obeyed * 2 > Order::KINDS.len();
    assert!(count < LONG || tells, "hardly a pass was killed, an order obeyed, or anything looked at: {counts}");
}
