//! Lives of one environment, drawn by lot, and the promises that hold after each step:
//!
//! - something healthy serves, if anything ever did;
//! - what serves belongs to one generation;
//! - no content in quarantine is started again by a pass;
//! - what is held does not move;
//! - an idle world comes to rest within two passes, and then a thousand change nothing, whatever its clock says.

use std::sync::atomic::{AtomicUsize, Ordering};

use portreeve::policy::Until;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::services::Behaviour;
use crate::world::{Accident, Step, World};

/// Steps of the longest life.
const LENGTH: usize = 256;
/// Lives in `make test`. `PORTREEVE_LIVES` says another number, and then they are other ones each time.
const LIVES: u32 = 80;
/// Passes over a world in which nothing happens.
const IDLE: usize = 1_000;

fn behaviour() -> impl Strategy<Value = Behaviour> {
    prop_oneof![
        4 => Just(Behaviour::Well),
        1 => Just(Behaviour::Dies),
        1 => Just(Behaviour::Fails),
        1 => Just(Behaviour::FailsInFront),
    ]
}

fn accident() -> impl Strategy<Value = Accident> {
    prop_oneof![
        Just(Accident::NginxLinkGone),
        Just(Accident::LogrotateLinkGone),
        Just(Accident::VhostEdited),
        Just(Accident::SettingsReadable),
        Just(Accident::UnitEdited),
        Just(Accident::SlotStopped),
        Just(Accident::SocketMoved),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => behaviour().prop_map(Step::Push),
        2 => Just(Step::PushSame),
        3 => (0..6_usize).prop_map(Step::PushOld),
        1 => Just(Step::ForcePush),
        2 => Just(Step::PutBack),
        3 => prop_oneof![Just(Until::Change), Just(Until::Resume)].prop_map(Step::Rollback),
        1 => proptest::option::of(1..5_i64).prop_map(Step::Suspend),
        3 => Just(Step::Resume),
        2 => Just(Step::Retry),
        1 => Just(Step::Stop),
        2 => Just(Step::Start),
        1 => Just(Step::Restart),
        5 => any::<u16>().prop_map(Step::Kill),
        4 => (any::<u16>(), any::<u64>()).prop_map(|(share, bits)| Step::PowerCut(share, bits)),
        2 => Just(Step::Reboot),
        4 => accident().prop_map(Step::Drift),
        1 => (-3650..3650_i64).prop_map(Step::Clock),
        1 => Just(Step::Git(false)),
        3 => Just(Step::Git(true)),
        2 => (1..600_u64).prop_map(Step::Wait),
    ]
}

static LIVED: AtomicUsize = AtomicUsize::new(0);

fn live(steps: &[Step]) -> Result<(), String> {
    let mut world = World::new();
    for (at, step) in steps.iter().enumerate() {
        world.live(step).map_err(|why| format!("step {at}, {step:?}: {why}"))?;
        LIVED.fetch_add(1, Ordering::Relaxed);
    }
    world.rests(IDLE)
}

#[expect(clippy::disallowed_methods, reason = "a test finds out how much it may do")]
fn runner() -> (u32, TestRunner) {
    let asked = std::env::var("PORTREEVE_LIVES").ok().and_then(|lives| lives.parse().ok());
    let cases = asked.unwrap_or(LIVES);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4_000, ..Config::default() };
    let same = || TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let runner = match asked {
        Some(_) => TestRunner::new(config),
        None => TestRunner::new_with_rng(config, same()),
    };
    (cases, runner)
}

#[test]
fn whatever_happens_the_promises_hold() {
    let (cases, mut runner) = runner();
    let all = proptest::collection::vec(step(), 0..=LENGTH);
    let lived = runner.run(&all, |steps| live(&steps).map_err(TestCaseError::fail));
    if let Err(TestError::Fail(why, steps)) = lived {
        panic!("{why}\nafter {steps:?}");
    }
    let steps = LIVED.load(Ordering::Relaxed);
    println!("{cases} lives, {steps} steps, {} passes over idle worlds, 0 broken promises", cases as usize * IDLE);
    assert!(steps >= 10_000, "{steps} steps are too few");
}
