//! The pass: recover, look, decide, and bring each environment to where it should be, each on its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::desired::Why;
use crate::history::Writer;
use crate::model::EnvName;
use crate::observed::Installed;
use crate::plan::{Action, EnvPlan};
use crate::transaction::lock::{LockError, Place, lock};
use crate::transaction::{self, Context, Event, Failure, FailureKind, Going, Phase, Released, Report, Watch};

use super::chronicle;
use super::floor;
use super::idle::{self, Glance};
use super::last;
use super::outcome::{Left, Outcome};
use super::standing::{recorded, settle_others};
use super::survey::survey_at;
use super::{App, Survey, read_standing, reserve, settle, turn};

/// What a pass found and did.
#[derive(Debug)]
pub struct PassReport {
    /// What it decided from.
    pub survey: Survey,
    /// What became of each environment.
    pub outcomes: BTreeMap<EnvName, Outcome>,
    /// When it looked; a pass with a long release ends after others that looked later.
    pub looked: Timestamp,
}

/// Who is told what became of an environment.
pub type Told<'a> = dyn Fn(&EnvName, &Outcome) + Sync + 'a;

/// Said before the first look at the deploy repository: over a network it takes a while.
pub(super) const LOOKING: Event<'_> = Event::Working { phase: Phase::Fetch, what: "the deploy repository" };

/// One pass over `only` these environments, or over all. Each environment goes its own way: those that have far to go keep no
/// other waiting, and one that fails, or that somebody else is at work on, fails or is left alone.
pub fn pass(app: &App, report: &(dyn Report + Sync), only: &BTreeSet<EnvName>) -> Result<PassReport, Failure> {
    pass_telling(app, report, only, &|_, _| ())
}

/// The same; of those that moved `told` hears as soon as each is done.
pub fn pass_telling(
    app: &App,
    report: &(dyn Report + Sync),
    only: &BTreeSet<EnvName>,
    told: &Told<'_>,
) -> Result<PassReport, Failure> {
    let cx = app.context(report);
    report.event(&LOOKING);
    let now = || cx.host.clock().now();
    let glanced = now();
    let (inputs, seen) = match idle::glance(app, &cx, only) {
        Glance::Converged(converged) => {
            return Ok(PassReport { looked: last::still(&cx), ..*converged });
        }
        Glance::Whole { inputs, tip } => (inputs, tip),
    };
    transaction::tidy(&cx);
    let open = open_journals(&cx)?;
    // Recovery takes as long as an application's health does: what was seen before it may have been pushed over.
    let was_open = !open.is_empty();
    let mut outcomes = recover_all(app, report, open);
    let (seen, looked) = if was_open { (None, now()) } else { (seen, glanced) };
    let boot = cx.boot();
    let survey = survey_at(app, &cx, only, seen)?;
    let newest = raise_floor(&cx, &survey);
    reserve::ports(&cx, &survey);
    // What could not be written is tried again at the next pass.
    let inputs = inputs.filter(|_| newest.is_ok());
    let newest = newest.unwrap_or(true);
    // Where recovery failed, nothing else may begin: the journal still says where to go back to.
    let plans = survey.plan.environments.iter().filter(|plan| !outcomes.contains_key(&plan.name));
    let (plans, old): (Vec<&EnvPlan>, Vec<_>) = plans.partition(|plan| newest || !plan.changes());
    outcomes.extend(old.into_iter().map(|plan| (plan.name.clone(), Outcome::Left(Left::Overtaken))));
    let taken = turn::all(app, report, plans, looked, told);
    if taken.values().any(|outcome| matches!(outcome, Outcome::Released { .. } | Outcome::Removed(_))) {
        reserve::ports(&cx, &survey);
    }
    outcomes.extend(taken);
    if only.is_empty() {
        settle_others(&cx, &outcomes);
    }
    let pass = PassReport { survey, outcomes, looked };
    if let Some(inputs) = inputs {
        idle::remember(&cx, &inputs, &boot, &pass);
    }
    if let Err(failure) = last::remember(&cx, &pass, looked, only.is_empty()) {
        report.event(&Event::Note { text: &format!("what this pass saw is not kept for status: {failure}") });
    }
    if inputs.is_none() {
        // What a pass over some of them saw is put right by none that sees nothing new.
        idle::forget(&cx);
    }
    Ok(pass)
}

/// Before anything follows from the tip: from now on the environments that follow it don't go back below it. Whether it is the
/// newest that was followed: another pass may have looked later, while this one waited for an application's repository.
fn raise_floor(cx: &Context<'_>, survey: &Survey) -> Result<bool, Failure> {
    let Some(tip) = survey.plan.tip.as_ref().filter(|_| !survey.followed.is_empty()) else { return Ok(true) };
    floor::raise(cx, &survey.followed, tip).inspect_err(|error| {
        let text = format!("that deploy commit {} was followed is not kept: {error}", tip.short());
        cx.report.event(&Event::Note { text: &text });
    })
}

/// The environments with a transaction under way, or one that a killed program left.
fn open_journals(cx: &Context<'_>) -> Result<Vec<EnvName>, Failure> {
    recorded(cx, &cx.layout.journal()).map_err(Failure::on_host(Phase::Recover))
}

/// Ends what killed programs left. What somebody is at work on was not left.
fn recover_all(app: &App, report: &(dyn Report + Sync), open: Vec<EnvName>) -> BTreeMap<EnvName, Outcome> {
    turn::side_by_side(
        open,
        |name| name,
        |name| {
            let cx = &app.context(report);
            let _lock = match lock(cx, Place::Environment(name), Duration::ZERO) {
                Ok(lock) => lock,
                Err(LockError::Busy { .. }) => return None,
                Err(error) => return Some(Outcome::Failed(Box::new(error.into()))),
            };
            let ended = turn::heeding(cx, name, turn::anybody, |cx| chronicle::recover(cx, name, Watch::Bake));
            ended.err().map(|failure| turn::given_way(cx, name, Outcome::Failed(Box::new(failure))))
        },
    )
}

/// One environment, whose lock is held: its repairs, its one action.
pub(super) fn carry_out(cx: &Context<'_>, history: &Writer, plan: &EnvPlan, installed: &Installed) -> Outcome {
    // A start moves nothing: a hold whose end can't be written down keeps nobody from it.
    let settled = noted_if(plan.action == Action::Start, cx, settle(cx, &plan.name, plan.goes_to()))
        .and_then(|()| repair(cx, plan, installed))
        .and_then(|()| retire(cx, plan));
    let before = read_standing(cx, &plan.name).unwrap_or_default();
    let outcome = settled.map_or_else(|failure| Outcome::Failed(Box::new(failure)), |()| act(cx, plan, installed));
    if plan.action == Action::Release && fails(&outcome) {
        transaction::stay_up(cx, installed);
    }
    chronicle::tell(cx, history, plan, &outcome, &before);
    match (outcome, lasting(plan)) {
        (Outcome::Unchanged | Outcome::Repaired, Some(left)) => Outcome::Left(left),
        (Outcome::Released { title, generation, took, .. }, left) => {
            Outcome::Released { title, generation, took, left }
        }
        (outcome, _) => outcome,
    }
}

/// By itself, and not because somebody wished it to stop.
fn fails(outcome: &Outcome) -> bool {
    let (Outcome::Failed(failure) | Outcome::NotReleased { failure, .. }) = outcome else { return false };
    matches!(failure.kind, FailureKind::Class(_))
}

/// What the pass does not end, whatever else it does: told as ended now, it would be told anew by the next one.
fn lasting(plan: &EnvPlan) -> Option<Left> {
    let moved = || plan.moved.clone().map(Left::Diverged);
    plan.stays.as_deref().map(left).or_else(moved)
}

fn repair(cx: &Context<'_>, plan: &EnvPlan, installed: &Installed) -> Result<(), Failure> {
    let Some(generation) = installed.generation.as_ref().filter(|_| !plan.repairs.is_empty()) else { return Ok(()) };
    // What can't be put right is for a new generation to end, and keeps nothing from running.
    let goes_on = matches!(plan.action, Action::Release | Action::Start);
    noted_if(goes_on, cx, transaction::repair(cx, generation, &plan.repairs))
}

fn noted_if(goes_on: bool, cx: &Context<'_>, done: Result<(), Failure>) -> Result<(), Failure> {
    match done {
        Err(failure) if goes_on && failure.kind != FailureKind::Cancelled => {
            cx.report.event(&Event::Note { text: &failure.cause });
            Ok(())
        }
        done => done,
    }
}

fn retire(cx: &Context<'_>, plan: &EnvPlan) -> Result<(), Failure> {
    let retired = plan.retires.map_or(Ok(()), |slot| transaction::retire(cx, &plan.name, slot));
    retired.map_err(Failure::on_host(Phase::Verify))
}

fn act(cx: &Context<'_>, plan: &EnvPlan, installed: &Installed) -> Outcome {
    let settled = |result: Result<(), Failure>, good: Outcome| match result {
        Ok(()) => good,
        Err(failure) => Outcome::Failed(Box::new(failure)),
    };
    match (&plan.action, &plan.wants, &installed.generation) {
        (Action::Release, Some(wanted), _) => release(cx, installed, wanted),
        (Action::Start, _, Some(generation)) => settled(transaction::start(cx, generation), Outcome::Repaired),
        (Action::Stopped(_), _, _) if plan.stops => {
            let stopped = transaction::stop(cx, &plan.name).map_err(Failure::on_host(Phase::Start));
            settled(stopped, Outcome::Left(left(&plan.action)))
        }
        (Action::Remove | Action::Delete, _, _) => {
            remove(cx, plan, installed).unwrap_or_else(|failure| Outcome::Failed(Box::new(failure)))
        }
        (Action::Nothing | Action::Release | Action::Start, _, _) => {
            if plan.repairs.is_empty() {
                Outcome::Unchanged
            } else {
                Outcome::Repaired
            }
        }
        (action, _, _) => Outcome::Left(left(action)),
    }
}

/// Takes it off the host, or deletes what the grace has left.
fn remove(cx: &Context<'_>, plan: &EnvPlan, installed: &Installed) -> Result<Outcome, Failure> {
    if plan.action == Action::Remove {
        let removed = transaction::remove(cx, installed)?;
        return Ok(Outcome::Removed(format!("taken off this host; {}", removed.stays())));
    }
    Ok(Outcome::Removed(transaction::delete(cx, installed)?.to_string()))
}

/// Why an environment with this action is left alone.
pub(super) fn left(action: &Action) -> Left {
    match action {
        Action::Held(words) => Left::Held(format!("held {words}")),
        Action::Stopped(words) => Left::Held(format!("stopped {words}")),
        Action::Suspended(words) => Left::Held(format!("suspended {words}")),
        Action::Quarantined(words) => Left::Quarantined(words.clone()),
        Action::Waiting(words) => Left::Waiting(words.clone()),
        Action::Hindered(words) => Left::Hindered(words.clone()),
        Action::Blocked(words) => Left::Blocked(words.clone()),
        Action::Diverged(words) => Left::Diverged(words.clone()),
        Action::Stale(words) => Left::Stale(words.clone()),
        Action::Removed { words, .. } => Left::Held(words.clone()),
        Action::Nothing | Action::Release | Action::Start | Action::Remove | Action::Delete => {
            Left::Held(String::new())
        }
    }
}

fn release(cx: &Context<'_>, installed: &Installed, wanted: &crate::desired::Wanted) -> Outcome {
    let going = Going::Forward { wanted: Box::new(wanted.clone()), why: Why::Push };
    concluded(installed, transaction::go(cx, installed, &going), wanted.title())
}

/// What became of it; the transaction has made that durable by itself.
fn concluded(before: &Installed, released: Released, title: String) -> Outcome {
    match released {
        Released::Open(failure) => Outcome::Failed(failure),
        Released::Kept { generation, took } => {
            Outcome::Released { title, generation: generation.number, took, left: None }
        }
        Released::Refused { number, failure, seen } => {
            Outcome::NotReleased { title, generation: number, failure, seen, serves: before.title() }
        }
    }
}
