//! What the program does on a machine: a pass, and orders of people.

use std::time::Duration;

use portreeve::agent::{Given, Order, Outcome, Target, carry_out, environment, read_standing};
use portreeve::host::Host as _;
use portreeve::plan::{Decision, Want, decide};
use portreeve::policy::Until;
use portreeve::transaction::{self, Failure, Watch};

use crate::site::{Release, Stage, name};

/// What the deploy repository asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    Release(Release),
    Removed,
}

impl Wish {
    pub fn want(&self) -> Want {
        match self {
            Self::Release(release) => Want::Wanted(Box::new(release.wanted())),
            Self::Removed => Want::Absent { tombstone: true },
        }
    }
}

/// One pass over the environment: recover, look, decide, act.
pub fn pass(stage: &Stage, wish: &Wish) -> Outcome {
    pass_for(stage, wish.want())
}

/// The same, when this is what the repository asks for.
pub fn pass_for(stage: &Stage, want: Want) -> Outcome {
    pass_within(stage, want, Duration::ZERO)
}

/// The same, where what is removed can come back at once for so long.
pub fn pass_within(stage: &Stage, want: Want, grace: Duration) -> Outcome {
    let recovered = recover(stage);
    recovered.and_then(|()| act(stage, want, grace)).unwrap_or_else(|failure| Outcome::Failed(Box::new(failure)))
}

/// Its first step.
pub fn recover(stage: &Stage) -> Result<(), Failure> {
    transaction::tidy(&stage.cx());
    transaction::recover(&stage.cx(), &name(), Watch::Bake).map(drop)
}

/// All that follows it, and knows no more of it than what it left on the machine.
pub fn after_recovery(stage: &Stage, want: Want) -> Outcome {
    act(stage, want, Duration::ZERO).unwrap_or_else(|failure| Outcome::Failed(Box::new(failure)))
}

fn act(stage: &Stage, want: Want, grace: Duration) -> Result<Outcome, Failure> {
    let cx = stage.cx();
    let services = cx.host.services().services().expect("they answer");
    let installed = transaction::installed(&cx, &name(), &services)?;
    let standing = read_standing(&cx, &name())?;
    let renders_differently = match (&want, &installed.generation) {
        (Want::Wanted(wanted), Some(generation)) if wanted.digest == generation.wanted.digest => {
            transaction::renders_differently(&cx, generation)?
        }
        _ => false,
    };
    let (moved, foreign, now) = (None, None, stage.host.clock().now());
    let (installed, standing) = (&installed, &standing);
    let decision = Decision { want, moved, installed, standing, foreign, renders_differently, grace, now };
    Ok(environment(&cx, &decide(decision), now))
}

/// `portreeve rollback`
pub fn rollback(stage: &Stage) -> Result<String, String> {
    give(stage, Order::Rollback { to: Target::Previous, until: Until::Change })
}

/// An order of a person's.
pub fn give(stage: &Stage, order: Order) -> Result<String, String> {
    let given = Given { order, by: "anna".to_owned(), reason: Some("cart broken".to_owned()), wait: None };
    carry_out(&stage.cx(), &name(), &given).map_err(|error| transaction::chain(&error))
}
