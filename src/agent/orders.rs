//! What people order on a host: go back, stop, start, new processes, stay, go on. Works with the git server down.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::desired::{Generation, Why};
use crate::history::{Event as Happened, EventKind};
use crate::host::Lock;
use crate::model::{Digest, EnvName, GenerationNumber, Identity, Node, Slot};
use crate::observed::Installed;
use crate::policy::{Hold, HoldKind, Standing, Until};
use crate::transaction::lock::{LockError, Place, lock, lock_before_others};
use crate::transaction::{self, Context, Failure, Going, Intent, Released};

use super::chronicle;
use super::{read_standing, write_standing};

/// Which state to go back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The one before the present one.
    Previous,
    /// A generation's number.
    Generation(GenerationNumber),
    /// The newest generation that ran this tag, branch or commit.
    Title(String),
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
    // Whoever goes back leaves what has been switched to, whatever its health.
    if !matches!(given.order, Order::Rollback { .. }) || !transaction::committed(cx, name)? {
        // Whatever recovery finds is history by now; only its failure matters here.
        drop(transaction::recover(cx, name)?);
    }
    let services = cx.host.services().services()?;
    let installed = transaction::installed(cx, name, &services)?;
    let Some(serving) = installed.generation.clone() else { return Err(OrderError::NotHere(name.clone())) };
    let standing = read_standing(cx, name)?;
    let order = Ordered { cx, name, given, installed, serving, standing, met };
    let said = order.carry_out()?;
    record(cx, name, given, &said);
    Ok(said)
}

struct Ordered<'a> {
    cx: &'a Context<'a>,
    name: &'a EnvName,
    given: &'a Given,
    installed: Installed,
    serving: Generation,
    standing: Standing,
    met: Option<Met>,
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

/// Takes the environment's lock; a running release gives way to somebody who wants it not to happen.
fn enter(cx: &Context<'_>, name: &EnvName, given: &Given) -> Result<Box<dyn Lock>, LockError> {
    let wait = given.wait.unwrap_or(PATIENCE);
    match given.order {
        Order::Rollback { .. } | Order::Suspend { .. } | Order::Stop => lock_before_others(cx, name, wait),
        Order::Start | Order::Restart | Order::Resume | Order::Retry => lock(cx, Place::Environment(name), wait),
    }
}

impl Ordered<'_> {
    fn carry_out(&self) -> Result<String, OrderError> {
        match &self.given.order {
            Order::Rollback { to, until } => self.rollback(to, *until),
            Order::Stop => self.stop(),
            Order::Start => self.start(),
            Order::Restart => self.restart(),
            Order::Suspend { until } => {
                self.write(&self.standing.suspended(self.hold(HoldKind::Suspended { until: *until })))?;
                Ok("suspended: nothing is changed until it ends".to_owned())
            }
            Order::Resume => {
                self.write(&self.standing.resumed())?;
                Ok("goes on at the next pass".to_owned())
            }
            Order::Retry => {
                let quarantine: Vec<Digest> = self.standing.quarantine.iter().map(|entry| entry.digest).collect();
                let clean =
                    quarantine.into_iter().fold(self.standing.clone(), |standing, digest| standing.retried(digest));
                self.write(&clean)?;
                Ok("tried again at the next pass".to_owned())
            }
        }
    }

    fn write(&self, standing: &Standing) -> Result<(), OrderError> {
        Ok(write_standing(self.cx, self.name, standing)?)
    }

    fn hold(&self, kind: HoldKind) -> Hold {
        Hold { kind, by: self.given.by.clone(), reason: self.given.reason.clone(), since: self.cx.host.clock().now() }
    }

    /// The hold is durable before anything moves: a pass that begins right after must not go forward again.
    fn rollback(&self, to: &Target, until: Until) -> Result<String, OrderError> {
        if *to == Target::Previous && self.has_gone_back() {
            return self.stay(until);
        }
        let target = self.target(to)?;
        transaction::permit_return(self.cx, self.name, &target, self.installed.newest)?;
        let excludes = self.excluded(&target);
        let pinned = target.number;
        let after = self.standing.rolled_back(self.hold(HoldKind::RolledBack { pinned, excludes, until }));
        let order = transaction::Ordered { before: self.standing.clone(), after };
        let going = if transaction::fits(&self.installed, &target) {
            Going::Back(Box::new(target.clone()))
        } else {
            Going::Forward { wanted: Box::new(target.wanted.clone()), why: Why::Rollback(target.number) }
        };
        match transaction::go_by_order(self.cx, &self.installed, &going, &order) {
            Released::Kept { .. } => Ok(format!("{} serves again; later passes leave it there", target.wanted.title())),
            Released::Refused { failure, .. } => Err(OrderError::Failed(*failure)),
        }
    }

    /// What served, and what was tried since: neither may come back by itself.
    fn excluded(&self, target: &Generation) -> BTreeSet<Digest> {
        let mut excluded: BTreeSet<Digest> = self.standing.quarantine.iter().map(|entry| entry.digest).collect();
        excluded.insert(self.serving.wanted.digest);
        excluded.extend(self.met.as_ref().and_then(|met| met.intent.digest));
        excluded.remove(&target.wanted.digest);
        excluded
    }

    /// Whether the release that the order met had been switched to, and has been gone back from meanwhile: whoever wanted to go
    /// back from it does not want to go back twice.
    fn has_gone_back(&self) -> bool {
        self.met.as_ref().is_some_and(|met| met.served && met.intent.from == self.serving.number)
    }

    fn stay(&self, until: Until) -> Result<String, OrderError> {
        let (pinned, excludes) = (self.serving.number, self.excluded(&self.serving));
        self.write(&self.standing.rolled_back(self.hold(HoldKind::RolledBack { pinned, excludes, until })))?;
        Ok(format!("{} serves again already; later passes leave it there", self.serving.wanted.title()))
    }

    fn target(&self, to: &Target) -> Result<Generation, OrderError> {
        let numbers = (1..=self.installed.newest).rev().filter(|&number| number != self.serving.number);
        for number in numbers {
            let Some(generation) = transaction::read_generation(self.cx, self.name, number)? else { continue };
            let refused = transaction::was_refused(self.cx, self.name, number)?;
            let fits = match to {
                Target::Previous => !refused && self.served_before(&generation),
                Target::Generation(wanted) => generation.number == *wanted,
                Target::Title(title) => {
                    !refused
                        && (generation.wanted.title() == *title || generation.wanted.commit.as_str().starts_with(title))
                }
            };
            if fits {
                return Ok(generation);
            }
        }
        let what = match to {
            Target::Previous => "there is no earlier release on this host".to_owned(),
            Target::Generation(number) => format!("generation {number} is not on this host"),
            Target::Title(title) => format!("no generation of {title} is on this host"),
        };
        Err(OrderError::NoTarget(what, self.name.clone()))
    }

    /// A generation that went before and ran something else.
    fn served_before(&self, generation: &Generation) -> bool {
        generation.number < self.serving.number && generation.wanted.digest != self.serving.wanted.digest
    }

    fn stop(&self) -> Result<String, OrderError> {
        self.write(&self.standing.stopped(self.hold(HoldKind::Stopped)))?;
        let flag = Node::File { bytes: Vec::new(), mode: 0o644, owner: Identity::ROOT };
        let path = self.cx.layout.stopped_flag(self.name);
        if let Some(parent) = path.parent() {
            self.cx.host.files().make_directory(parent, 0o755, Identity::ROOT)?;
        }
        self.cx.host.files().put(&path, &flag)?;
        for slot in Slot::BOTH {
            self.cx.host.services().stop(&crate::model::SlotId { env: self.name.clone(), slot })?;
        }
        Ok(format!("stopped; it stays so, over reboots, until portreeve start {}", self.name))
    }

    fn start(&self) -> Result<String, OrderError> {
        self.cx.host.files().remove(&self.cx.layout.stopped_flag(self.name))?;
        self.write(&self.standing.started())?;
        transaction::start(self.cx, &self.serving)?;
        Ok(format!("{} serves", self.serving.wanted.title()))
    }

    fn restart(&self) -> Result<String, OrderError> {
        let going = Going::Forward { wanted: Box::new(self.serving.wanted.clone()), why: Why::Restart };
        match transaction::go(self.cx, &self.installed, &going) {
            Released::Kept { generation, .. } => Ok(format!("new processes in slot {}", generation.slot)),
            Released::Refused { failure, .. } => Err(OrderError::Failed(*failure)),
        }
    }
}

/// The history is written last and never in the way.
fn record(cx: &Context<'_>, name: &EnvName, given: &Given, said: &str) {
    let kind = match given.order {
        Order::Rollback { .. } | Order::Suspend { .. } => EventKind::Held,
        Order::Stop => EventKind::Stopped,
        Order::Start => EventKind::Started,
        Order::Restart => EventKind::Restarted,
        Order::Resume => EventKind::Resumed,
        Order::Retry => EventKind::Retried,
    };
    let now = cx.host.clock().now();
    let event = Happened {
        by: Some(given.by.clone()),
        why: given.reason.clone(),
        ..Happened::new(now, Some(name.clone()), kind, said)
    };
    chronicle::write(cx, &event);
}
