//! `portreeve reconcile`: one pass now.

use std::collections::BTreeSet;

use super::args::{Environments, Global};
use super::outcome::{Voice, tell_all};
use super::{Fault, json, open, printer};
use crate::agent::{App, Left, Outcome, PassReport, Survey, Trouble, Witness, pass, tell, worst};
use crate::model::EnvName;
use crate::policy::FailureClass;
use crate::transaction::{Failure, FailureKind};

/// Runs a pass and says what it did.
pub fn run(args: &Environments, global: &Global) -> Result<u8, Fault> {
    let app = open::acting(global)?;
    let progress = printer::Progress::new(global);
    let only: BTreeSet<EnvName> = args.environments.iter().cloned().collect();
    let report = whole(&app, &progress, &only);
    drop(progress);
    let code = match &report {
        Ok(report) => Ok(conclude(&app, report, &only, global)),
        Err(failure) => Err(fault(failure)),
    };
    for note in tell(&app, report.as_ref(), only.is_empty()) {
        printer::note(&note);
    }
    code
}

/// A pass, and another one over what somebody else had first: what is left to do there is another question.
fn whole(app: &App, progress: &printer::Progress, only: &BTreeSet<EnvName>) -> Result<PassReport, Failure> {
    let witness = Witness::new(app, progress);
    let mut report = pass(app, &witness, only)?;
    let overtaken = overtaken(&report);
    if !overtaken.is_empty() {
        report.outcomes.extend(pass(app, &witness, &overtaken)?.outcomes);
    }
    Ok(report)
}

fn overtaken(report: &PassReport) -> BTreeSet<EnvName> {
    let overtaken = report.outcomes.iter().filter(|(_, outcome)| **outcome == Outcome::Left(Left::Overtaken));
    overtaken.map(|(name, _)| name.clone()).collect()
}

/// A failure as the end of a command.
pub fn fault(failure: &Failure) -> Fault {
    let code = match failure.kind {
        FailureKind::Class(FailureClass::Release) => 3,
        FailureKind::Class(FailureClass::Host) | FailureKind::CutOff => 4,
        FailureKind::Class(FailureClass::Transient) | FailureKind::Cancelled => 1,
        FailureKind::GaveWay => 0,
    };
    Fault { code, message: failure.cause.clone(), help: failure.help.clone() }
}

fn conclude(app: &App, report: &PassReport, only: &BTreeSet<EnvName>, global: &Global) -> u8 {
    let trouble = report.survey.trouble.as_ref();
    // What a repository that can't be read would know of a name is not known.
    let unknown: Vec<&EnvName> =
        only.iter().filter(|name| trouble.is_none() && !report.outcomes.contains_key(name)).collect();
    let mistakes = mistakes(&report.survey, global);
    let code = worst(report.outcomes.values().map(Outcome::exit_code).chain(trouble.map(Trouble::exit_code)));
    if global.json {
        printer::json(&summary(report));
    }
    let voice = Voice::of(global);
    tell_all(app, report, voice);
    if only.is_empty() && report.outcomes.is_empty() && trouble.is_none() {
        voice.line(&format!("hosts/{}.toml names no environments", app.name));
    }
    for name in &unknown {
        printer::error(&not_here(app, name));
    }
    with_mistakes(code, mistakes || !unknown.is_empty())
}

/// What is written wrong counts, unless something worse came of the pass.
fn with_mistakes(code: u8, mistakes: bool) -> u8 {
    if mistakes && (code == 0 || code == 4) { 2 } else { code }
}

/// Nothing is known of an environment: it has no such name, or the repository that would know it can't be read.
pub fn unknown(app: &App, survey: &Survey, name: &EnvName) -> Fault {
    match &survey.trouble {
        Some(trouble) => Fault { code: trouble.exit_code(), message: trouble.words().to_owned(), help: None },
        None => not_here(app, name),
    }
}

fn not_here(app: &App, name: &EnvName) -> Fault {
    Fault::usage(format!("{name} is not in hosts/{}.toml", app.name))
}

/// Whether the deploy repository itself has mistakes, which are shown: then 2 is the code, unless something worse came of it.
pub fn mistakes(survey: &Survey, global: &Global) -> bool {
    let Some((tree, diagnostics)) = &survey.manifests else { return false };
    let any = diagnostics.errors().next().is_some();
    if any {
        let text = super::diagnostics::render(diagnostics, tree, false);
        if global.json { printer::complaints(&text) } else { printer::raw(&text) }
    }
    any
}

fn summary(report: &PassReport) -> json::Pass {
    let each = report.outcomes.iter().map(|(name, outcome)| json::Reconciled {
        environment: name.clone(),
        outcome: word(outcome).to_owned(),
        exit_code: outcome.exit_code(),
    });
    json::Pass { tip: report.survey.plan.tip.clone(), environments: each.collect() }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Unchanged => "unchanged",
        Outcome::Repaired => "repaired",
        Outcome::Released { .. } => "released",
        Outcome::NotReleased { .. } => "not-released",
        Outcome::Failed(failure) if failure.kind == FailureKind::GaveWay => "busy",
        Outcome::Failed(_) => "failed",
        Outcome::Removed(_) => "removed",
        Outcome::Left(Left::Held(_)) => "held",
        Outcome::Left(Left::Quarantined(_)) => "quarantined",
        Outcome::Left(Left::Waiting(_)) => "waiting",
        Outcome::Left(Left::Hindered(_) | Left::Blocked(_)) => "blocked",
        Outcome::Left(Left::Diverged(_)) => "diverged",
        Outcome::Left(Left::Stale(_)) => "stale",
        Outcome::Left(Left::Busy(_) | Left::Overtaken) => "busy",
    }
}
