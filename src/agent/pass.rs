//! The pass: recover, look, decide, and bring each environment to where it should be, each on its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::desired::Why;
use crate::history::{Event as Happened, EventKind};
use crate::host::Lock;
use crate::model::{EnvName, Identity, Node};
use crate::observed::Installed;
use crate::plan::{Action, EnvPlan};
use crate::policy;
use crate::resource;
use crate::transaction::{self, Context, Event, Failure, Going, Phase, Recovered, Released, Report, chain};

use super::chronicle;
use super::idle::{self, Glance};
use super::last;
use super::outcome::{Left, Outcome};
use super::survey::survey_at;
use super::{App, Survey, read_standing, write_standing};

/// What a pass found and did.
#[derive(Debug)]
pub struct PassReport {
    /// What it decided from.
    pub survey: Survey,
    /// What became of each environment.
    pub outcomes: BTreeMap<EnvName, Outcome>,
}

/// How long a pass waits for another program's transaction of the same environment.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// One pass over `only` these environments, or over all.
pub fn pass(app: &App, report: &dyn Report, only: &BTreeSet<EnvName>) -> Result<PassReport, Failure> {
    let cx = app.context(report);
    let (inputs, seen) = match idle::glance(app, &cx, only) {
        Glance::Converged(converged) => {
            last::still(&cx);
            return Ok(*converged);
        }
        Glance::Whole { inputs, tip } => (inputs, tip),
    };
    let mut outcomes = recover_all(&cx)?;
    let survey = survey_at(app, &cx, only, seen)?;
    let looked = cx.host.clock().now();
    reserve_ports(&cx, &survey);
    for plan in &survey.plan.environments {
        // Where recovery failed, nothing else may begin: the journal still says where to go back to.
        outcomes.entry(plan.name.clone()).or_insert_with(|| unless_cancelled(&cx, plan));
    }
    let pass = PassReport { survey, outcomes };
    if let Some(inputs) = inputs {
        idle::remember(app, &cx, &inputs, &pass);
    }
    if let Err(error) = last::remember(&cx, &pass, looked, only.is_empty()) {
        report.event(&Event::Note { text: &format!("what this pass saw is not kept for status: {}", chain(&error)) });
    }
    Ok(pass)
}

fn unless_cancelled(cx: &Context<'_>, plan: &EnvPlan) -> Outcome {
    if cx.host.clock().cancelled() {
        return Outcome::Failed(Box::new(Failure::cancelled(Phase::Recover)));
    }
    environment(cx, plan)
}

/// Takes one of our locks; its text says who holds it.
pub(super) fn lock(cx: &Context<'_>, name: &str, wait: Duration) -> Result<Box<dyn Lock>, Failure> {
    let path = cx.layout.locks().join(format!("{name}.lock"));
    let holder = format!("portreeve (pid {})", std::process::id());
    cx.host.files().lock(&path, wait, &holder).map_err(Failure::on_host(Phase::Recover))
}

fn recover_all(cx: &Context<'_>) -> Result<BTreeMap<EnvName, Outcome>, Failure> {
    let mut outcomes = BTreeMap::new();
    transaction::tidy(cx);
    let names = cx.host.files().list(&cx.layout.journal()).map_err(Failure::on_host(Phase::Recover))?;
    for name in names.iter().filter_map(|name| EnvName::parse_flat(name.strip_suffix(".json")?).ok()) {
        let _lock = lock(cx, &name.flat(), PATIENCE)?;
        match transaction::recover(cx, &name) {
            Ok(Recovered::Clean | Recovered::Finished(_) | Recovered::Undone(_)) => {}
            Err(failure) => {
                outcomes.insert(name, Outcome::Failed(Box::new(failure)));
            }
        }
    }
    Ok(outcomes)
}

/// One environment: its lock, its one action, its repairs.
pub fn environment(cx: &Context<'_>, plan: &EnvPlan) -> Outcome {
    if !plan.changes() && !matches!(plan.action, Action::Nothing) {
        return Outcome::Left(left(&plan.action));
    }
    let locked = lock(cx, &plan.name.flat(), PATIENCE).and_then(|lock| {
        let services = cx.host.services().services().map_err(Failure::on_host(Phase::Recover))?;
        Ok((lock, transaction::installed(cx, &plan.name, &services)?))
    });
    let (_lock, installed) = match locked {
        Ok(locked) => locked,
        Err(failure) => return Outcome::Failed(Box::new(failure)),
    };
    if let Err(failure) = repair(cx, plan, &installed) {
        return Outcome::Failed(Box::new(failure));
    }
    let outcome = act(cx, plan, &installed);
    record(cx, plan, &outcome);
    outcome
}

fn repair(cx: &Context<'_>, plan: &EnvPlan, installed: &Installed) -> Result<(), Failure> {
    match &installed.generation {
        Some(generation) if !plan.repairs.is_empty() => transaction::repair(cx, generation, &plan.repairs),
        _ => Ok(()),
    }
}

fn act(cx: &Context<'_>, plan: &EnvPlan, installed: &Installed) -> Outcome {
    let settled = |result: Result<(), Failure>, good: Outcome| match result {
        Ok(()) => good,
        Err(failure) => Outcome::Failed(Box::new(failure)),
    };
    match (&plan.action, &plan.wants, &installed.generation) {
        (Action::Release, Some(wanted), _) => release(cx, plan, installed, wanted),
        (Action::Start, _, Some(generation)) => settled(transaction::start(cx, generation), Outcome::Repaired),
        (Action::Remove, _, _) => settled(transaction::remove(cx, installed), Outcome::Removed),
        (Action::Nothing | Action::Release | Action::Start, _, _) => {
            let unchanged = if plan.repairs.is_empty() { Outcome::Unchanged } else { Outcome::Repaired };
            settled(transaction::retire_warm(cx, installed).map(|_| ()), unchanged)
        }
        (action, _, _) => Outcome::Left(left(action)),
    }
}

fn left(action: &Action) -> Left {
    match action {
        Action::Held(words) => Left::Held(format!("held {words}")),
        Action::Stopped(words) => Left::Held(format!("stopped {words}")),
        Action::Suspended(words) => Left::Held(format!("suspended {words}")),
        Action::Quarantined(words) => Left::Quarantined(words.clone()),
        Action::Waiting(words) => Left::Waiting(words.clone()),
        Action::Blocked(words) => Left::Blocked(words.clone()),
        Action::Diverged(words) => Left::Diverged(words.clone()),
        Action::Stale(words) => Left::Stale(words.clone()),
        Action::Nothing | Action::Release | Action::Start | Action::Remove => Left::Held(String::new()),
    }
}

fn release(cx: &Context<'_>, plan: &EnvPlan, installed: &Installed, wanted: &crate::desired::Wanted) -> Outcome {
    let standing = match read_standing(cx, &plan.name) {
        Ok(standing) => standing,
        Err(failure) => return Outcome::Failed(Box::new(failure)),
    };
    let settled = standing.settled(wanted.digest, cx.host.clock().now()).standing;
    if settled != standing
        && let Err(error) = write_standing(cx, &plan.name, &settled)
    {
        return Outcome::Failed(Box::new(Failure::host(Phase::Recover, &error)));
    }
    let going = Going::Forward { wanted: Box::new(wanted.clone()), why: Why::Push };
    concluded(plan, transaction::go(cx, installed, &going), wanted.title())
}

/// What became of it; the transaction has made that durable by itself.
fn concluded(plan: &EnvPlan, released: Released, title: String) -> Outcome {
    match released {
        Released::Kept { generation, took } => Outcome::Released { title, generation: generation.number, took },
        Released::Refused { number, failure, seen } => {
            let serves = plan.serves.as_ref().map(|serving| serving.title.clone());
            Outcome::NotReleased { title, generation: number, failure, seen, serves }
        }
    }
}

/// Writes what happened into the history; a history that can't be written never fails a release.
fn record(cx: &Context<'_>, plan: &EnvPlan, outcome: &Outcome) {
    let Some(event) = happened(cx, plan, outcome) else { return };
    chronicle::write(cx, &event);
}

fn happened(cx: &Context<'_>, plan: &EnvPlan, outcome: &Outcome) -> Option<Happened> {
    let event = |kind, summary: String| Happened::new(cx.host.clock().now(), Some(plan.name.clone()), kind, summary);
    let wants = plan.wants.as_ref();
    let about = |event: Happened, generation| Happened {
        generation: Some(generation),
        release: wants.map(|wanted| wanted.release.clone()),
        rev: wants.map(|wanted| wanted.title()),
        deploy_commit: wants.map(|wanted| wanted.deploy_commit.clone()),
        ..event
    };
    Some(match outcome {
        Outcome::Released { title, generation, took } => {
            let event = about(event(EventKind::Released, format!("released {title}")), *generation);
            Happened { took: Some(*took), ..event }
        }
        Outcome::NotReleased { title, generation, failure, seen, .. } => {
            let kind = if *seen { EventKind::RolledBack } else { EventKind::NotReleased };
            let event = about(event(kind, format!("{title} not released: {}", failure.cause)), *generation);
            Happened { why: Some(failure.cause.clone()), ..event }
        }
        Outcome::Repaired => {
            event(EventKind::Repaired, plan.repairs.first().map_or_else(|| "started".to_owned(), ToString::to_string))
        }
        Outcome::Removed => event(EventKind::Removed, "taken off this host; data, media and logs stay".to_owned()),
        Outcome::Unchanged | Outcome::Failed(_) | Outcome::Left(_) => return None,
    })
}

/// Keeps the kernel from handing out our ports: at once, and after a reboot by sysctl.d. Other people's entries stay.
fn reserve_ports(cx: &Context<'_>, survey: &Survey) {
    if survey.ports.is_empty() || !cx.host.users().can_change_identity() {
        return;
    }
    if let Err(failure) = try_reserve(cx, survey) {
        cx.report.event(&Event::Note { text: &format!("ports are not reserved in the kernel: {failure}") });
    }
}

fn try_reserve(cx: &Context<'_>, survey: &Survey) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Validate);
    let (kernel, files) = (cx.host.kernel(), cx.host.files());
    let path = cx.layout.sysctl_d().join("60-portreeve.conf");
    let file = files.read(&path, 1024 * 1024).map_err(&fail)?;
    let before = resource::host::blocks(&String::from_utf8_lossy(file.as_deref().unwrap_or_default()));
    let present = kernel.reserved_ports().map_err(&fail)?;
    let (first, last) = kernel.ephemeral_ports().map_err(&fail)?;
    let wanted = resource::host::reserved_ports(&present, &before, &survey.ports, (first, last));
    let wanted = wanted.map_err(|error| {
        let cause = format!("the kernel's present value `{present}` can't be read: {error}");
        Failure::new(policy::FailureClass::Host, Phase::Validate, cause)
    })?;
    let ephemeral = crate::model::PortRange { first, last };
    let ours: Vec<_> = survey.ports.iter().copied().filter(|block| block.overlaps(ephemeral)).collect();
    let bytes = resource::host::sysctl(&wanted, &ours).into_bytes();
    if file.as_ref() != Some(&bytes) {
        files.put(&path, &Node::File { bytes, mode: 0o644, owner: Identity::ROOT }).map_err(&fail)?;
    }
    if present == wanted { Ok(()) } else { kernel.reserve_ports(&wanted).map_err(&fail) }
}
