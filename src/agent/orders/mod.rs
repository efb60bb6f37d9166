//! What people order on a host: go back, stop, start, new processes, stay, go on. Works with the git server down.

mod back;
mod ledger;
mod processes;

use std::time::Duration;

use crate::agent::turn;
use crate::desired::Generation;
use crate::host::Lock;
use crate::manifest::Policy;
use crate::model::{Digest, EnvName, GenerationNumber, moment};
use crate::observed::Installed;
use crate::policy::{Hold, HoldKind, Standing, Until};
use crate::transaction::lock::{LockError, Place, lock, lock_before_others};
use crate::transaction::{self, Context, Failure, Intent, Watch};

use super::{accept, chronicle, read_standing, write_standing};

/// Which state to go back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The one before the present one.
    Previous,
    /// A generation's number.
    Generation(GenerationNumber),
    /// The newest generation that ran this tag, branch or commit.
    Title(String),
    /// One of the two: a tag or the beginning of a commit may be all digits.
    Digits(GenerationNumber, String),
}

/// An order about one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Go back, and stay there.
    Rollback {
        /// Where to.
        to: Target,
        /// Until when.
        until: Until,
    },
    /// No processes.
    Stop,
    /// Processes again.
    Start,
    /// New processes, by a switch of slots.
    Restart,
    /// Touch nothing.
    Suspend {
        /// When it ends.
        until: Option<jiff::Timestamp>,
    },
    /// Go on.
    Resume,
    /// Try the wanted content again.
    Retry,
    /// Agree to a rewritten branch: to this commit, or to the one that begins so.
    Accept(String),
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Nothing of the environment is here.
    #[error("{0} is not on this host; portreeve status lists what is")]
    NotHere(EnvName),
    /// There is nothing to go back to.
    #[error("{0}; portreeve history {1} lists what is here")]
    NoTarget(String, EnvName),
    /// A pro environment is suspended for a reason, which those who wonder at night can read.
    #[error("{0} is not suspended without a reason: --reason \"…\" tells it to those who wonder")]
    NoReason(EnvName),
    /// The order does not fit what is so.
    #[error("{0}")]
    Refused(String),
    /// It did not work; what served before serves on.
    #[error("{0}")]
    Failed(#[from] Failure),
    /// The machine refused.
    #[error(transparent)]
    Host(#[from] crate::host::HostError),
}

impl From<LockError> for OrderError {
    fn from(error: LockError) -> Self {
        Self::Failed(error.into())
    }
}

/// An order with who gave it and why.
#[derive(Debug, Clone)]
pub struct Given {
    /// What.
    pub order: Order,
    /// Who.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// How long to wait for whoever is at work on the environment; `None`: for a while.
    pub wait: Option<Duration>,
}

/// An order waits so long for a transaction of the same environment.
const PATIENCE: Duration = Duration::from_mins(2);

/// Carries out an order. The sentence says what is true now.
pub fn carry_out(cx: &Context<'_>, name: &EnvName, given: &Given) -> Result<String, OrderError> {
    let met = Met::find(cx, name)?;
    let _lock = enter(cx, name, given)?;
    transaction::note_boot(cx);
    // Of an order that was killed, or failed at a sync, no journal tells; what is true by it already is not written again.
    transaction::sync_left(cx)?;
    let left = back::left(cx, name, &given.order)?;
    // Whoever goes back leaves what has been switched to, whatever its health.
    if left.is_none() {
        recover(cx, name, watch(&given.order))?;
    }
    let services = transaction::services_of(cx, name)?;
    let installed = transaction::installed(cx, name, &services)?;
    let standing = read_standing(cx, name)?;
    if installed.title().is_none() && !super::known(cx)?.contains(name) {
        return Err(OrderError::NotHere(name.clone()));
    }
    let order = Ordered { cx, name, given, installed, standing, met, left };
    let said = match given.order {
        // What may take as long as a release gives way as a release does, to whoever orders otherwise.
        Order::Rollback { .. } | Order::Restart | Order::Start => order.giving_way()?,
        _ => order.carry_out()?,
    };
    ledger::done(cx, name, given, &said);
    Ok(said)
}

struct Ordered<'a> {
    cx: &'a Context<'a>,
    name: &'a EnvName,
    given: &'a Given,
    installed: Installed,
    standing: Standing,
    met: Option<Met>,
    /// What the order leaves without its verdict; its journal is open.
    left: Option<Intent>,
}

/// The release that an order met under way, and may have ended.
struct Met {
    intent: Intent,
    /// It had been switched to.
    served: bool,
}

impl Met {
    fn find(cx: &Context<'_>, name: &EnvName) -> Result<Option<Self>, Failure> {
        let served = transaction::committed(cx, name)?;
        Ok(Intent::find(cx, name)?.map(|intent| Self { intent, served }))
    }
}

/// Ends what was left open. A glance is soon over, and no push takes it from a person; a verdict that takes its time gives way as
/// the release itself would have.
fn recover(cx: &Context<'_>, name: &EnvName, watch: Watch) -> Result<(), Failure> {
    let whom = match watch {
        Watch::Glance => turn::orders,
        Watch::Bake => turn::anybody,
    };
    let recovered = turn::heeding(cx, name, whom, |cx| chronicle::recover(cx, name, watch));
    recovered.map_err(|failure| turn::for_another(cx, name, whom, failure))
}

/// Who wants it to go on wants to know whether it holds, too.
fn watch(order: &Order) -> Watch {
    match order {
        Order::Rollback { .. } | Order::Suspend { .. } | Order::Stop => Watch::Glance,
        Order::Start | Order::Restart | Order::Resume | Order::Retry | Order::Accept(_) => Watch::Bake,
    }
}

/// Takes the environment's lock; a running release gives way to somebody who wants it not to happen.
fn enter(cx: &Context<'_>, name: &EnvName, given: &Given) -> Result<Box<dyn Lock>, LockError> {
    let wait = given.wait.unwrap_or(PATIENCE);
    match given.order {
        Order::Rollback { .. } | Order::Suspend { .. } | Order::Stop => lock_before_others(cx, name, wait),
        Order::Start | Order::Restart | Order::Resume | Order::Retry | Order::Accept(_) => {
            lock(cx, Place::Environment(name), wait)
        }
    }
}

impl Ordered<'_> {
    fn giving_way(self) -> Result<String, OrderError> {
        let (cx, name) = (self.cx, self.name);
        let done = turn::heeding(cx, name, turn::orders, |cx| Ordered { cx, ..self }.carry_out());
        done.map_err(|error| match error {
            OrderError::Failed(failure) => OrderError::Failed(turn::for_another(cx, name, turn::orders, failure)),
            error => error,
        })
    }

    fn carry_out(&self) -> Result<String, OrderError> {
        if let (Order::Rollback { .. } | Order::Restart, Some(hold)) = (&self.given.order, self.stopped()) {
            return Err(self.stopped_by(hold));
        }
        match &self.given.order {
            Order::Rollback { to, until } => self.rollback(to, *until),
            Order::Stop => self.stop(),
            Order::Start => self.start(),
            Order::Restart => self.restart(),
            Order::Suspend { until } => self.suspend(*until),
            Order::Resume => self.resume(),
            Order::Retry => self.retry(),
            Order::Accept(commit) => self.accept(commit),
        }
    }

    /// What serves; most orders are about that.
    fn serving(&self) -> Result<&Generation, OrderError> {
        self.installed.generation.as_ref().ok_or_else(|| OrderError::Refused(self.unserved()))
    }

    fn unserved(&self) -> String {
        let name = self.name;
        match &self.installed.damaged {
            Some(damaged) => {
                format!("{damaged}: {name} serves on, but as what is not known; portreeve reconcile {name} comes first")
            }
            None => format!("nothing of {name} serves yet; portreeve why {name} says why"),
        }
    }

    fn stopped(&self) -> Option<&Hold> {
        self.standing.holds().find(|hold| hold.kind == HoldKind::Stopped)
    }

    /// New processes are not what somebody who stopped them expects, and without them nothing can be proven healthy.
    fn stopped_by(&self, hold: &Hold) -> OrderError {
        OrderError::Refused(format!("{0} is stopped, by {1}; portreeve start {0} comes first", self.name, hold.by))
    }

    fn suspend(&self, until: Option<jiff::Timestamp>) -> Result<String, OrderError> {
        let policy = self.installed.generation.as_ref().map(|generation| generation.wanted.env.policy);
        if policy.is_none_or(|policy| policy == Policy::Pro) && self.given.reason.is_none() {
            return Err(OrderError::NoReason(self.name.clone()));
        }
        self.write(&self.standing.suspended(self.hold(HoldKind::Suspended { until })))?;
        let now = self.cx.host.clock().now();
        let end = until.map_or_else(|| "somebody resumes it".to_owned(), |until| moment(until, now));
        Ok(format!("suspended until {end}: nothing is changed, not even drift; portreeve resume {} ends it", self.name))
    }

    fn resume(&self) -> Result<String, OrderError> {
        let resumed = self.standing.resumed();
        let stopped = resumed.hold.is_some();
        if resumed == self.standing {
            let stays = format!("it is stopped, and stays so until portreeve start {}", self.name);
            return Ok(if stopped { stays } else { "nothing held it".to_owned() });
        }
        self.write(&resumed)?;
        if stopped {
            return Ok(format!("no longer held, but stopped until portreeve start {}", self.name));
        }
        Ok(format!("goes on at the next pass; portreeve reconcile {} does not wait for it", self.name))
    }

    fn retry(&self) -> Result<String, OrderError> {
        let quarantine = self.standing.quarantine.iter().map(|entry| entry.digest);
        let clean = quarantine
            .fold(Standing { retry: None, ..self.standing.clone() }, |standing, digest| standing.retried(digest));
        let repairs = transaction::forget_repairs(self.cx, self.name)?;
        if clean != self.standing {
            self.write(&clean)?;
        } else if !repairs {
            return Ok("nothing is quarantined or waits".to_owned());
        }
        // What a rollback holds is repaired all the same.
        let now = self.cx.host.clock().now();
        let repaired = repairs && self.standing.decide(Digest::nothing(), now).corrects_drift();
        Ok(match self.held_up().filter(|_| !repaired) {
            None => format!("tried again at the next pass; portreeve reconcile {} does not wait for it", self.name),
            Some(cure) => format!("tried again {cure}"),
        })
    }

    fn accept(&self, words: &str) -> Result<String, OrderError> {
        let serving = self.installed.generation.as_ref().map(|generation| &generation.wanted);
        let (accepted, said) = accept::accepted(self.cx, self.name, serving, self.given, words)?;
        self.write(&self.standing.accepted(accepted))?;
        Ok(match self.held_up() {
            None => format!("{said}; the next pass goes there"),
            Some(cure) => format!("{said}; it goes there {cure}"),
        })
    }

    fn held_up(&self) -> Option<String> {
        held_up(&self.standing, self.wanted_last(), self.cx.host.clock().now(), self.name)
    }

    fn write(&self, standing: &Standing) -> Result<(), OrderError> {
        Ok(write_standing(self.cx, self.name, standing)?)
    }

    fn hold(&self, kind: HoldKind) -> Hold {
        Hold { kind, by: self.given.by.clone(), reason: self.given.reason.clone(), since: self.cx.host.clock().now() }
    }
}

/// What keeps an environment, about to be brought to `wanted`, where it is, and how that ends.
fn held_up(standing: &Standing, wanted: Option<Digest>, now: jiff::Timestamp, name: &EnvName) -> Option<String> {
    let hold = standing.holds().find(|hold| wanted.is_none_or(|wanted| !hold.has_ended(wanted, now)))?;
    let (how, verb) = if hold.kind == HoldKind::Stopped { ("started", "start") } else { ("resumed", "resume") };
    Some(format!("once it is {how}: portreeve {verb} {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_not_promised_for_the_next_pass() {
        let name = EnvName::parse("bakery/pro").unwrap();
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        let said = |standing: &Standing| held_up(standing, Some(Digest::of(b"v2")), at(20), &name);
        let hold = |kind| Hold { kind, by: "anna".to_owned(), reason: None, since: at(10) };
        let suspended = |until| Standing::default().suspended(hold(HoldKind::Suspended { until: Some(at(until)) }));
        assert_eq!((said(&Standing::default()), said(&suspended(15))), (None, None));
        assert_eq!(said(&suspended(30)).as_deref(), Some("once it is resumed: portreeve resume bakery/pro"));
        let stopped = suspended(30).stopped(hold(HoldKind::Stopped));
        assert_eq!(said(&stopped).as_deref(), Some("once it is started: portreeve start bakery/pro"));
    }
}
