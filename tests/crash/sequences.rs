//! Lives of one environment, drawn by lot, and the promises that hold after each step and its pass, unless an accident waits where
//! a hold or a lack keeps it from being put right:
//!
//! - something healthy serves, if anything ever did;
//! - what serves belongs to one generation;
//! - no content in quarantine is started again by a pass;
//! - what is held does not move;
//! - an idle world comes to rest within two passes, and then a thousand change nothing, whatever its clock says.

use std::cell::RefCell;

use portreeve::policy::Until;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::ledger::{Counts, Order};
use crate::step::{Accident, Behaviour, Step, step};
use crate::world::World;

/// Steps of the longest life.
const LENGTH: usize = 256;
/// Lives in `make test`. `PORTREEVE_LIVES` says another number, and then they are other ones each time.
const LIVES: u32 = 120;
/// How often people are obeyed at least, by each kind of order.
const OBEYED: usize = 50;
/// Passes over a world in which nothing happens.
const IDLE: usize = 1_000;

/// What was counted in a life.
fn live(steps: &[Step]) -> Result<Counts, String> {
    let mut world = World::new();
    for (at, step) in steps.iter().enumerate() {
        world.live(step).map_err(|why| format!("step {at}, {step:?}: {why}"))?;
    }
    let counts = world.counts().clone();
    world.rests(IDLE).map(|()| counts)
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
    let counts = RefCell::new(Counts::default());
    let lived = runner.run(&all, |steps| {
        counts.borrow_mut().add(&live(&steps).map_err(TestCaseError::fail)?);
        Ok(())
    });
    if let Err(TestError::Fail(why, steps)) = lived {
        panic!("{why}\nafter {steps:?}");
    }
    let (counts, idle) = (counts.into_inner(), cases as usize * IDLE);
    crate::told::told(&format!("{cases} lives, {counts}, {idle} passes over idle worlds, 0 broken promises"));
    let enough = counts.steps >= 10_000 && counts.agreed >= 9_000 && counts.died >= 300 && counts.cut_short >= 50;
    assert!(enough, "that is too little: {counts}");
    for order in Order::KINDS {
        assert!(counts.obeyed(order) >= OBEYED, "{order:?} is hardly ever obeyed: {counts}");
    }
}

/// Lives that a promise was once broken in.
const ONCE_WRONG: [&[Step]; 16] = [
    // A stop that a full disk had kept from its end was carried out where it was to be removed: so it was for the ledger to learn.
    &[
        Step::Push(Behaviour::Dies),
        Step::Push(Behaviour::Well),
        Step::Push(Behaviour::Well),
        Step::Name,
        Step::Resume,
        Step::Room(Some(142)),
        Step::Push(Behaviour::Dies),
        Step::Stop,
        Step::Push(Behaviour::Well),
        Step::Remove(0),
        Step::Rollback(Until::Change),
        Step::Rollback(Until::Change),
        Step::Rollback(Until::Change),
        Step::PutBack,
        Step::Rollback(Until::Change),
    ],
    // Who came back while his deletion was cut short left half of his slots there, under a name that nobody looks for.
    &[
        Step::Push(Behaviour::Dies),
        Step::Kill(0),
        Step::Push(Behaviour::Well),
        Step::Remove(3),
        Step::Resume,
        Step::Resume,
        Step::PowerCut(45372, 9_201_262_123_138_133_484),
        Step::Push(Behaviour::Well),
        Step::Resume,
        Step::Name,
        Step::Push(Behaviour::Well),
        Step::Push(Behaviour::Well),
    ],
    // A pass that was killed at once did not write down that a suspension had ended: so it was for the ledger to learn.
    &[
        Step::Push(Behaviour::Well),
        Step::Suspend(Some(1)),
        Step::Kill(0),
        Step::Wait(59),
        Step::Reboot(-1),
        Step::Drift(Accident::NginxLinkGone),
    ],
    // A full disk kept a first release from its end, and the next pass from writing its unit, which was there: it was taken down.
    &[
        Step::Push(Behaviour::Dies),
        Step::Remove(0),
        Step::Index(false),
        Step::Push(Behaviour::Well),
        Step::Resume,
        Step::Name,
        Step::Room(Some(135)),
        Step::Index(true),
        Step::Push(Behaviour::Dies),
        Step::Name,
    ],
    // A suspension that had ended where nothing could be followed was begun again by a boot by an earlier clock; and so was one
    // below a stop.
    &[Step::ForcePush, Step::Suspend(Some(1)), Step::Wait(59), Step::Reboot(-1), Step::ForcePush, Step::PutBack],
    &[
        Step::Push(Behaviour::Well),
        Step::Suspend(Some(1)),
        Step::Stop,
        Step::Wait(59),
        Step::Wait(59),
        Step::Reboot(-1),
        Step::Start,
        Step::Push(Behaviour::Well),
    ],
    // A suspension in its last second, and a boot by an earlier clock.
    &[Step::ForcePush, Step::Suspend(Some(1)), Step::Wait(58), Step::Reboot(-1), Step::Drift(Accident::NginxLinkGone)],
    // Who went back twice while the left slot was warm was led to the release that he had left first.
    &[
        Step::Push(Behaviour::Well),
        Step::Push(Behaviour::Well),
        Step::Push(Behaviour::Well),
        Step::Rollback(Until::Change),
        Step::Rollback(Until::Change),
    ],
    // What a pass was building when it was killed stayed, because the next one had nothing to build.
    &[Step::Push(Behaviour::Well), Step::Kill(3432), Step::Push(Behaviour::Well), Step::ForcePush],
    // Its link put right, and not reloaded any more: nginx, which had started without it, served nothing for ever.
    &[
        Step::Push(Behaviour::Well),
        Step::Suspend(None),
        Step::Drift(Accident::NginxLinkGone),
        Step::ForcePush,
        Step::PowerCut(0, 5_794_627_818_727_623_636),
        Step::Start,
        Step::Kill(26_215),
        Step::Resume,
        Step::Push(Behaviour::Well),
    ],
    // A repair that was killed left its own half-made link.
    &[Step::ForcePush, Step::Kill(16_384), Step::Drift(Accident::SocketMoved), Step::Drift(Accident::NginxLinkGone)],
    // It could not be stopped for want of room, was taken off and came back with what is in quarantine: it answers nobody, and yet
    // nobody stopped it.
    &[
        Step::ForcePush,
        Step::Push(Behaviour::Well),
        Step::Push(Behaviour::Well),
        Step::Push(Behaviour::Dies),
        Step::Room(Some(126)),
        Step::PowerCut(507, 0),
        Step::PutBack,
        Step::Index(true),
        Step::Stop,
        Step::Room(Some(6)),
        Step::Remove(0),
        Step::Name,
        Step::Room(None),
        Step::Reboot(0),
        Step::Room(None),
        Step::Name,
        Step::Resume,
        Step::Push(Behaviour::Well),
    ],
    // Whoever went back from a release that was killed built on what it had not synced.
    &[
        Step::Push(Behaviour::Well),
        Step::Push(Behaviour::Well),
        Step::Stop,
        Step::Push(Behaviour::Well),
        Step::Kill(64_334),
        Step::Start,
        Step::Rollback(Until::Resume),
        Step::PowerCut(0, 451_847_291_240_710_219),
        Step::Drift(Accident::NginxLinkGone),
        Step::Push(Behaviour::Well),
    ],
    // A repair was killed that had no room to write down that it began: what it left half-made stayed.
    &[
        Step::Push(Behaviour::Well),
        Step::Room(Some(0)),
        Step::Drift(Accident::NginxLinkGone),
        Step::Kill(8_192),
        Step::Wait(1),
    ],
    // The link that somebody had removed was back after a power cut, and what it led to was deleted: nginx did not start.
    &[
        Step::Push(Behaviour::Dies),
        Step::Drift(Accident::NginxLinkGone),
        Step::Remove(0),
        Step::PowerCut(0, 9_323_907_467_804_288_071),
        Step::Push(Behaviour::Well),
    ],
    // The journal of a removal that was finished was back after a power cut, all else was deleted, and each pass failed.
    &[
        Step::PutBack,
        Step::Push(Behaviour::Well),
        Step::Push(Behaviour::Dies),
        Step::Push(Behaviour::Dies),
        Step::Name,
        Step::Push(Behaviour::Well),
        Step::Git(true),
        Step::Start,
        Step::Drift(Accident::NginxLinkGone),
        Step::Kill(9_627),
        Step::Remove(0),
        Step::Resume,
        Step::PowerCut(0, 4_684_494_193_307_569_831),
        Step::Push(Behaviour::Well),
    ],
];

#[test]
fn what_once_went_wrong_goes_well() {
    for steps in ONCE_WRONG {
        if let Err(why) = live(steps) {
            panic!("{why}\nafter {steps:?}");
        }
    }
}
