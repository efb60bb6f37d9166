//! Environments side by side: each has a thread, a lock, and a turn of its own.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::outcome::{Left, Outcome};
use super::pass::{Told, carry_out, left};
use super::{App, read_standing, standing_here};
use crate::history::Writer;
use crate::host::{Heeding, Lock};
use crate::manifest::Policy;
use crate::model::{Digest, EnvName};
use crate::observed::Installed;
use crate::plan::{Action, EnvPlan};
use crate::policy::{FailureClass, Ruling};
use crate::transaction::lock::{self, LockError, Place, lock};
use crate::transaction::{self, About, Context, Failure, FailureKind, Intent, Phase, Report, Watch};

/// So many environments are moved at a time. Their builds, which are what costs, are bounded on their own.
const WORKERS: usize = 32;

/// How long a command waits for another program's transaction of the same environment.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// How long an older release may take to its next safe point: systemd's longest start of a slot, and a little.
const GIVES_WAY: Duration = Duration::from_mins(2);

/// Between two looks at whether somebody still stands in the doorway.
const GLANCE: Duration = Duration::from_millis(50);

/// Carries out these plans: those that move side by side, pro first, and meanwhile the others one after the other.
pub fn all(
    app: &App,
    report: &(dyn Report + Sync),
    plans: Vec<&EnvPlan>,
    looked: Timestamp,
    told: &Told<'_>,
) -> BTreeMap<EnvName, Outcome> {
    let (mut moving, still): (Vec<&EnvPlan>, Vec<&EnvPlan>) = plans.into_iter().partition(|plan| plan.changes());
    moving.sort_by_key(|plan| !is_pro(plan));
    let alone = moving.len() < 2;
    let history = Writer::default();
    let turn = |plan: &&EnvPlan| {
        let about = About { report, env: &plan.name, alone };
        Some(take(&app.context(&about), &history, plan, app.wait, looked))
    };
    let move_on = |plan: &&EnvPlan| turn(plan).inspect(|outcome| told(&plan.name, outcome));
    std::thread::scope(|scope| {
        let moved = scope.spawn(|| side_by_side(moving, |plan| &plan.name, move_on));
        let mut outcomes: BTreeMap<EnvName, Outcome> =
            still.iter().filter_map(|plan| Some((plan.name.clone(), guarded(|| turn(plan))?))).collect();
        outcomes.extend(moved.join().unwrap_or_default());
        outcomes
    })
}

fn is_pro(plan: &EnvPlan) -> bool {
    plan.wants.as_ref().is_some_and(|wanted| wanted.env.policy == Policy::Pro)
}

/// Does `work` for each item in threads of their own, at most [`WORKERS`] at a time. One that panics fails alone.
pub fn side_by_side<T: Send + Sync>(
    items: Vec<T>,
    name: impl Fn(&T) -> &EnvName + Sync,
    work: impl Fn(&T) -> Option<Outcome> + Sync,
) -> BTreeMap<EnvName, Outcome> {
    let workers = items.len().min(WORKERS);
    let queue = Mutex::new(items.into_iter());
    let outcomes = Mutex::new(BTreeMap::new());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let worker = || {
        while let Some(item) = next() {
            if let Some(outcome) = guarded(|| work(&item)) {
                outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert(name(&item).clone(), outcome);
            }
        }
    };
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(worker))));
    outcomes.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// A panic is our own fault, and that of one environment; its journal says what the next pass has to end.
fn guarded(work: impl FnOnce() -> Option<Outcome>) -> Option<Outcome> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let cause = format!("portreeve itself failed: {}", words(&*panic));
        let failure = Failure::new(FailureClass::Host, Phase::Recover, cause);
        Some(Outcome::Failed(Box::new(failure.with_help("the next pass takes it up again; please report this"))))
    })
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
}

/// One environment on its own, as a pass has it that looked at the repository at `looked`.
pub fn environment(cx: &Context<'_>, plan: &EnvPlan, looked: Timestamp) -> Outcome {
    take(cx, &Writer::default(), plan, None, looked)
}

/// One environment's turn: its lock, another look at what the plan was made from, and then the plan.
fn take(cx: &Context<'_>, history: &Writer, plan: &EnvPlan, wait: Option<Duration>, looked: Timestamp) -> Outcome {
    let name = &plan.name;
    if cx.host.clock().cancelled() {
        return Outcome::Failed(Box::new(Failure::cancelled(Phase::Recover)));
    }
    if !plan.changes() && plan.retires.is_none() && !plan.settles && !is_newer(cx, plan, looked) {
        match plan.action {
            Action::Nothing if plan.moved.is_none() => return Outcome::Unchanged,
            Action::Nothing => {}
            _ => return Outcome::Left(left(&plan.action)),
        }
    }
    let _lock = match enter(cx, plan, wait, looked) {
        Ok(lock) => lock,
        Err(LockError::Busy { holder, .. }) => return Outcome::Left(Left::Busy(holder)),
        Err(error) => return Outcome::Failed(Box::new(error.into())),
    };
    let outcome = heeding(cx, name, anybody, |cx| match before(cx, plan) {
        Ok(Some(installed)) => carry_out(cx, history, plan, &installed),
        Ok(None) => Outcome::Left(Left::Overtaken),
        Err(failure) => Outcome::Failed(Box::new(failure)),
    });
    given_way(cx, name, outcome)
}

/// Takes the environment's lock. A running release of something older gives way; anybody else is waited for. `asked`: at most so
/// long; nothing, as the agent waits, is too short for a release's next safe point.
fn enter(
    cx: &Context<'_>,
    plan: &EnvPlan,
    asked: Option<Duration>,
    looked: Timestamp,
) -> Result<Box<dyn Lock>, LockError> {
    let wait = asked.unwrap_or(PATIENCE);
    let limit = asked.filter(|wait| !wait.is_zero()).map(|wait| cx.host.clock().monotonic() + wait);
    let left = || limit.map_or(GIVES_WAY, |limit| limit.saturating_sub(cx.host.clock().monotonic()));
    match after(cx, &plan.name, anybody, Duration::ZERO) {
        Err(LockError::Busy { .. }) if is_newer(cx, plan, looked) => {
            let _wish = lock(cx, Place::Newer(&plan.name), left())?;
            // Whoever stood there before may have begun what we came for.
            if is_newer(cx, plan, looked) {
                return after(cx, &plan.name, orders, left());
            }
        }
        Err(LockError::Busy { .. }) if !wait.is_zero() => {}
        taken => return taken,
    }
    after(cx, &plan.name, anybody, limit.map_or(wait, |_| left()))
}

/// Takes the lock when none of these wants it: what was begun before him would only have to give way at once.
fn after(cx: &Context<'_>, name: &EnvName, whom: Whom, wait: Duration) -> Result<Box<dyn Lock>, LockError> {
    let clock = cx.host.clock();
    let until = clock.monotonic() + wait;
    loop {
        let taken = lock(cx, Place::Environment(name), until.saturating_sub(clock.monotonic()))?;
        match whom(cx, name) {
            None => return Ok(taken),
            Some(Wish { holder, .. }) if clock.monotonic() >= until => {
                return Err(LockError::Busy { place: name.to_string(), holder });
            }
            Some(_) => drop(taken),
        }
        clock.sleep(GLANCE);
    }
}

/// Whether the repository had asked for what is under way, and asks for other content since: for what serves already, for none, or
/// for what can't be released now. A clock that was set back since we looked makes us wait for the end of it.
fn is_newer(cx: &Context<'_>, plan: &EnvPlan, looked: Timestamp) -> bool {
    let wants = match (&plan.action, &plan.wants) {
        (Action::Remove | Action::Delete, _) => Digest::nothing(),
        (_, Some(wanted)) => wanted.digest,
        _ => return false,
    };
    match Intent::find(cx, &plan.name) {
        Ok(Some(Intent { digest: Some(digest), at: Some(at), asked: true, .. })) => digest != wants && at < looked,
        _ => false,
    }
}

/// What is there, if the plan still fits it. Somebody may have released, or given an order, before the lock was ours; and what
/// he left undone when he was killed is ended first.
fn before(cx: &Context<'_>, plan: &EnvPlan) -> Result<Option<Installed>, Failure> {
    super::chronicle::recover(cx, &plan.name, Watch::Glance)?;
    let services = transaction::services_of(cx, &plan.name).map_err(Failure::on_host(Phase::Recover))?;
    let installed = transaction::installed(cx, &plan.name, &services)?;
    let standing = standing_here(cx, read_standing(cx, &plan.name)?, plan.wants.as_deref());
    let serves = installed.generation.as_ref();
    let moved = serves.map(|it| it.number) != plan.serves.as_ref().map(|it| it.generation);
    let now = cx.host.clock().now();
    let stays = match (&plan.action, &plan.wants) {
        (Action::Release, Some(wanted)) => !matches!(standing.decide(wanted.digest, now), Ruling::Proceed),
        (Action::Remove | Action::Delete, _) => !matches!(standing.decide(Digest::nothing(), now), Ruling::Proceed),
        (Action::Stopped(_), _) => !matches!(standing.decide(Digest::nothing(), now), Ruling::Stopped(_)),
        _ => matches!(standing.decide(Digest::nothing(), now), Ruling::Stopped(_) | Ruling::Suspended { .. }),
    };
    Ok((!moved && !stays).then_some(installed))
}

/// Who wants an environment that somebody else is at work on.
pub struct Wish {
    /// Command, pid, since when.
    holder: String,
    /// For the sake of newer content, not by a person's order.
    newer: bool,
}

/// To whom what is under way gives way: [`orders`] or [`anybody`].
type Whom = fn(&Context<'_>, &EnvName) -> Option<Wish>;

/// A person's order alone: no push takes back what a person ordered.
pub fn orders(cx: &Context<'_>, name: &EnvName) -> Option<Wish> {
    lock::holder(cx, Place::Doorway(name)).map(|holder| Wish { holder, newer: false })
}

/// An order, or a pass that wants newer content.
pub fn anybody(cx: &Context<'_>, name: &EnvName) -> Option<Wish> {
    orders(cx, name).or_else(|| lock::holder(cx, Place::Newer(name)).map(|holder| Wish { holder, newer: true }))
}

/// Does `work` on a machine whose clock is cancelled also when one of these wants this environment's lock at once.
pub fn heeding<T>(cx: &Context<'_>, name: &EnvName, whom: Whom, work: impl FnOnce(&Context<'_>) -> T) -> T {
    let wish = || cx.host.clock().cancelled() || whom(cx, name).is_some();
    let host = Heeding::new(cx.host, &wish);
    work(&cx.on(&host))
}

/// What was ended because somebody else wants the environment has not failed, unless we were asked to stop as well. The lock is still
/// held, so that he still waits.
pub fn given_way(cx: &Context<'_>, name: &EnvName, mut outcome: Outcome) -> Outcome {
    if let Outcome::Failed(failure) | Outcome::NotReleased { failure, .. } = &mut outcome
        && let Some(wish) = wished(cx, name, anybody, failure)
    {
        failure.kind = FailureKind::GaveWay;
        failure.cause = wish.words();
    }
    outcome
}

/// The same of an order: it was not carried out, and says for whom.
pub fn for_another(cx: &Context<'_>, name: &EnvName, whom: Whom, mut failure: Failure) -> Failure {
    if let Some(wish) = wished(cx, name, whom, &failure) {
        failure.cause = failure.cause.replacen(Failure::ON_REQUEST, &wish.words(), 1);
        let again = || "it was not carried out; give the order again when that is done".to_owned();
        failure.help = wish.newer.then(again).or(failure.help);
    }
    failure
}

/// Who else wants the environment, if that is why it was ended.
fn wished(cx: &Context<'_>, name: &EnvName, whom: Whom, failure: &Failure) -> Option<Wish> {
    let ended = failure.kind == FailureKind::Cancelled && !cx.host.clock().cancelled();
    whom(cx, name).filter(|_| ended)
}

impl Wish {
    fn words(&self) -> String {
        let ours = self.holder.contains(&format!("(pid {},", std::process::id()));
        let words = || format!("stopped for {}", self.holder);
        if self.newer && ours { "the repository wants something newer".to_owned() } else { words() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn names() -> Vec<EnvName> {
        ["bakery/dev", "bakery/pro", "bakery/stage"].map(|name| EnvName::parse(name).unwrap()).to_vec()
    }

    #[test]
    fn one_that_waits_for_another_keeps_none_from_going_on() {
        let (tell, told) = mpsc::channel();
        let told = Mutex::new(told);
        let outcomes = side_by_side(
            names(),
            |name| name,
            |name| match name.to_string().as_str() {
                // The first one ends only when the last one has spoken.
                "bakery/dev" => {
                    let spoken = told.lock().unwrap().recv_timeout(Duration::from_mins(1));
                    Some(if spoken.is_ok() { Outcome::Unchanged } else { Outcome::Removed(String::new()) })
                }
                "bakery/stage" => tell.send(()).ok().map(|()| Outcome::Repaired),
                _ => None,
            },
        );
        let expected = [(names().remove(0), Outcome::Unchanged), (names().remove(2), Outcome::Repaired)];
        assert_eq!(outcomes, BTreeMap::from(expected));
    }

    #[test]
    fn one_that_panics_fails_alone_and_says_why() {
        let outcomes = side_by_side(
            names(),
            |name| name,
            |name| {
                assert!(name.environment.to_string() != "pro", "no such thing as {name}");
                Some(Outcome::Unchanged)
            },
        );
        let words = outcomes.values().map(|outcome| match outcome {
            Outcome::Failed(failure) => failure.cause.clone(),
            other => format!("{other:?}"),
        });
        let expected = ["Unchanged", "portreeve itself failed: no such thing as bakery/pro", "Unchanged"];
        assert_eq!(words.collect::<Vec<_>>(), expected);
    }
}
