//! What must hold in an environment's life, judged from beside the host: by what visitors get, by which release was started, by
//! where one link leads, and by a ledger of what people ordered and were told. The program's own records are not asked.

use std::collections::BTreeSet;

use portreeve::policy::Until;

use crate::cmd::CmdResult;
use crate::crash::died;
use crate::oracle::agreed;
use crate::seen::Seen;
use crate::world::World;

/// So many contents are remembered as failed; it is no promise for older ones.
const REMEMBERED: usize = 100;

/// What people order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Rollback(Until),
    Suspend,
    Resume,
    Retry,
    Stop,
    Start,
    Restart,
}

/// A pass, as somebody saw it.
#[derive(Debug)]
pub struct Passed<'a> {
    /// What the repository asks for; `None`: that can't be known, or must not be followed.
    pub wanted: Option<&'a str>,
    pub before: &'a Seen,
    pub after: &'a Seen,
    /// The releases that were started meanwhile.
    pub started: &'a [String],
    pub said: &'a CmdResult,
}

/// Somebody went back, and what was there then is not to come back by itself.
#[derive(Debug, Clone)]
struct Back {
    until: Until,
    excludes: BTreeSet<String>,
}

/// What somebody beside the host would write down. It never says more than was seen: where it is silent, all is allowed.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Something healthy served, once.
    pub served: bool,
    /// Something happened to the host, and no pass has had the time to put it right.
    pub drifted: bool,
    /// What was tried and was not kept, oldest first.
    refused: Vec<String>,
    still: Still,
    back: Option<Back>,
}

/// Orders to move nothing.
#[derive(Debug, Clone, Default)]
struct Still {
    stopped: bool,
    suspended: bool,
}

impl Ledger {
    /// An order was given, and this is what was to be seen before and after it.
    pub fn ordered(&mut self, order: Order, obeyed: bool, before: &Seen, after: &Seen) {
        match order {
            // What was not started may not have been started well, but it is no longer meant to be stopped.
            Order::Start => self.still.stopped = false,
            _ if !obeyed => {}
            Order::Stop => self.still.stopped = true,
            Order::Suspend => self.still.suspended = true,
            Order::Retry => self.refused.clear(),
            Order::Restart => {}
            Order::Resume => (self.still.suspended, self.back) = (false, None),
            Order::Rollback(until) => {
                let left = before.front.iter().filter(|_| before.front != after.front);
                let earlier = self.back.take().map(|back| back.excludes).unwrap_or_default();
                let mut excludes: BTreeSet<String> = earlier.into_iter().chain(left.cloned()).collect();
                excludes.extend(self.quarantine().map(str::to_owned));
                excludes.retain(|version| after.front.as_ref() != Some(version));
                self.back = Some(Back { until, excludes });
            }
        }
    }

    fn quarantine(&self) -> impl Iterator<Item = &str> {
        self.refused.iter().rev().take(REMEMBERED).map(String::as_str)
    }

    /// A pass was made. What became of it, or the promise that it broke.
    pub fn judged(&mut self, world: &World, pass: &Passed<'_>) -> Result<String, String> {
        if let Some(again) = self.quarantine().find(|refused| pass.started.iter().any(|started| started == refused)) {
            return Err(format!("{again} is in quarantine and was started again"));
        }
        let held = self.holds(pass.wanted);
        self.wants(pass.wanted);
        if died(pass.said) {
            return match (&pass.before.front, &pass.after.front) {
                // A first release that turns out to be bad is taken away again.
                (Some(served), None) if self.served => {
                    Err(format!("{served} served, and nothing since a pass was killed"))
                }
                _ => Ok("the pass was killed".to_owned()),
            };
        }
        let (outcome, code) = told(pass.said)?;
        if outcome == "failed" {
            return Err("the pass fails".to_owned());
        }
        if outcome == "released"
            && !pass.wanted.is_some_and(|wanted| pass.started.iter().any(|started| started == wanted))
        {
            return Err("something was released, and the journal does not say that it was started".to_owned());
        }
        if held && !pass.before.open && pass.before.active != pass.after.active {
            return Err("it is held, and moved".to_owned());
        }
        if self.still.suspended && !pass.before.open {
            let as_before = pass.before.front.is_none() || pass.before.front == pass.after.front;
            return if as_before { Ok(outcome) } else { Err("it is suspended, and serves something else".to_owned()) };
        }
        if !self.still.stopped {
            self.drifted = false;
            self.rests(world, pass.after)?;
            self.arrives(pass, code == 3)?;
        }
        Ok(outcome)
    }

    /// Whether a pass may not move it, when this is wanted; `None`: that can't be known, or must not be followed.
    fn holds(&self, wanted: Option<&str>) -> bool {
        let back = self.back.as_ref().is_some_and(|back| {
            back.until == Until::Resume || wanted.is_some_and(|wanted| back.excludes.contains(wanted))
        });
        self.still.stopped || self.still.suspended || back || wanted.is_none() && self.served
    }

    /// A rollback that waits for other content may end by this, or holds for reasons that were not seen: nothing more is said of it.
    fn wants(&mut self, wanted: Option<&str>) {
        if let (Some(back), Some(wanted)) = (&mut self.back, wanted)
            && back.until == Until::Change
            && !back.excludes.contains(wanted)
        {
            back.excludes.clear();
        }
    }

    /// Something healthy serves, if anything ever did, and all of the host agrees which.
    fn rests(&mut self, world: &World, after: &Seen) -> Result<(), String> {
        if self.served && !after.healthy {
            return Err("nothing healthy serves".to_owned());
        }
        self.served |= after.healthy;
        if self.served {
            agreed(world).map_err(|why| format!("not one generation: {why}"))?;
        }
        if after.open { Err("something is left to end".to_owned()) } else { Ok(()) }
    }

    /// What is wanted and good serves, unless a person or its own failure keeps it from that.
    fn arrives(&mut self, pass: &Passed<'_>, refused: bool) -> Result<(), String> {
        let Some(wanted) = pass.wanted else { return Ok(()) };
        let good = wanted.ends_with("-well");
        if pass.after.front.as_deref() == Some(wanted) {
            self.back.take_if(|back| back.until == Until::Change);
            return if good { Ok(()) } else { Err(format!("{wanted} serves")) };
        }
        if good && self.back.is_none() {
            return Err(format!("{wanted} is good, nothing holds it, and it does not serve"));
        }
        if refused {
            self.refused.push(wanted.to_owned());
        }
        Ok(())
    }
}

/// What the pass says of the environment, and with which code.
fn told(pass: &CmdResult) -> Result<(String, i64), String> {
    let told: serde_json::Value = serde_json::from_str(&pass.stdout).map_err(|error| format!("no answer: {error}"))?;
    let environment = &told["environments"][0];
    let outcome = environment["outcome"].as_str().zip(environment["exit_code"].as_i64());
    let (outcome, code) = outcome.ok_or("the pass says nothing of the environment")?;
    Ok((outcome.to_owned(), code))
}
