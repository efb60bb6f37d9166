//! `portreeve reconcile`: one pass now.

use std::collections::BTreeSet;

use super::args::{Environments, Global};
use super::{Fault, json, open, printer};
use crate::agent::{App, Left, Outcome, PassReport, Survey, Trouble, Witness, pass, tell, worst};
use crate::model::EnvName;
use crate::policy::FailureClass;
use crate::transaction::{Applied, Failure, FailureKind};

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
    } else {
        tell_all(report, global.quiet);
        if only.is_empty() && report.outcomes.is_empty() && trouble.is_none() && !global.quiet {
            printer::line(format!("hosts/{}.toml names no environments", app.name));
        }
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
    if any && !global.json {
        printer::raw(&super::diagnostics::render(diagnostics, tree, false));
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

/// Says what became of each environment, and what is wrong with the repository.
pub fn tell_all(report: &PassReport, quiet: bool) {
    let trouble = report.survey.trouble.as_ref();
    let said = |outcome: &Outcome| match (outcome, trouble) {
        (Outcome::Left(Left::Blocked(words)), Some(trouble)) => words == trouble.words(),
        _ => false,
    };
    for (name, outcome) in report.outcomes.iter().filter(|(_, outcome)| !said(outcome)) {
        tell_one(name, outcome, quiet);
    }
    if let Some(trouble) = trouble {
        printer::error(&Fault::usage(trouble.words()));
    }
}

/// Says what became of one environment.
pub fn tell_one(name: &EnvName, outcome: &Outcome, quiet: bool) {
    match outcome {
        Outcome::Unchanged if !quiet => printer::line(format!("{name}  unchanged")),
        Outcome::Released { title, took, left, .. } => {
            if !quiet {
                printer::line(format!("{name}  {title} released after {}", printer::took(*took)));
            }
            if let Some(left) = left {
                trouble(name, left);
            }
        }
        Outcome::Removed(words) => printer::line(format!("{name}  {words}")),
        // Nothing is wrong where nobody waits for this release.
        Outcome::NotReleased { title, failure, .. } if quiet && failure.kind == FailureKind::Cancelled => {
            printer::note(&format!("{name}: {title} not released: {}", failure.cause));
        }
        Outcome::NotReleased { title, failure, seen, serves, .. } => {
            not_released(name, title, failure, *seen, serves.as_deref());
        }
        Outcome::Failed(failure) => {
            printer::error(&Fault { message: format!("{name}: {}", failure.cause), ..fault(failure) });
            evidence(failure);
        }
        Outcome::Left(Left::Held(words)) if !quiet => printer::line(format!("{name}  {words}")),
        Outcome::Left(Left::Stale(words)) if !quiet => printer::line(format!("{name}  stale: {words}")),
        // The agent's next pass sees to it.
        Outcome::Left(Left::Busy(_) | Left::Overtaken) if quiet => {}
        Outcome::Left(left) => trouble(name, left),
        Outcome::Unchanged | Outcome::Repaired => {}
    }
}

fn trouble(name: &EnvName, left: &Left) {
    let (state, words) = match left {
        Left::Quarantined(words) => ("quarantined", words),
        Left::Waiting(words) => ("waiting", words),
        Left::Hindered(words) | Left::Blocked(words) => ("blocked", words),
        Left::Diverged(words) => ("diverged", words),
        Left::Busy(holder) => {
            let words = format!("{holder} is at work on it");
            return busy(name, &words);
        }
        Left::Overtaken => return busy(name, "others change it while this command looks"),
        Left::Held(words) | Left::Stale(words) => ("left", words),
    };
    // The first line says what is so; those below it, where there are any, what to type.
    let (fact, cure) = words.split_once('\n').unwrap_or((words, ""));
    printer::error(&Fault::blocked(format!("{name} is {state}: {fact}")).with_help(format!("portreeve why {name}")));
    cure.lines().for_each(printer::help);
}

fn busy(name: &EnvName, words: &str) {
    printer::error(&Fault::blocked(format!("{name} is busy: {words}")));
    printer::help(&format!("it goes on by itself; portreeve reconcile {name} --wait 5m waits longer for it"));
}

/// In the order of every message about trouble: the cause's headline, who is served by what, the evidence, what we do next, and
/// what to type.
fn not_released(name: &EnvName, title: &str, failure: &Failure, seen: bool, serves: Option<&str>) {
    let verb = if seen { "rolled back" } else { "not released" };
    let what = if serves == Some(title) { "changed configuration of " } else { "" };
    printer::error(&Fault::blocked(format!("{what}{title} {verb}: {}", failure.cause)));
    printer::sentence(&served(failure, seen, serves));
    evidence(failure);
    if let Some(schema) = &failure.schema {
        way_back(schema);
    }
    if failure.kind == FailureKind::Class(FailureClass::Release) {
        printer::note("quarantined; later passes leave this content alone");
    }
    if let Some(help) = &failure.help {
        printer::help(help);
    }
    printer::help(&format!("portreeve why {name}"));
}

fn served(failure: &Failure, seen: bool, serves: Option<&str>) -> String {
    let who = match serves {
        Some(serves) if seen => format!("users saw it for a moment; they get {serves} again"),
        Some(serves) => format!("users still get {serves}"),
        None => "nothing served before, and nothing does now".to_owned(),
    };
    match &failure.schema {
        Some(schema) => format!("{who}; {}", migrated(schema, serves)),
        None if serves.is_some() && !seen => format!("{who}; nothing live was changed"),
        None => who,
    }
}

/// What going back leaves of an attempt's migrations.
fn migrated(schema: &Applied, serves: Option<&str>) -> String {
    let names: Vec<String> = schema.migrations.iter().map(ToString::to_string).collect();
    let harmful: Vec<&str> = schema.migrations.iter().flat_map(|each| &each.harmful).map(String::as_str).collect();
    match serves {
        // A database without transactions for its schema keeps what went before the failure.
        _ if names.is_empty() => "its code and files are as before".to_owned(),
        None => format!("its database is migrated: {}", names.join(", ")),
        Some(serves) if harmful.is_empty() => {
            format!("its database is migrated ({}), which {serves} can live with", names.join(", "))
        }
        Some(serves) => format!(
            "its database is migrated ({}), which {serves} was not made for: {}",
            names.join(", "),
            harmful.join("; ")
        ),
    }
}

/// The way back of the schema: the release that serves has no file of these migrations, so it can't reverse them.
fn way_back(schema: &Applied) {
    if let Some(dump) = &schema.dump {
        printer::detail("dump", &format!("{dump}, from before"));
    }
    if schema.migrations.iter().any(|each| !each.harmful.is_empty()) {
        printer::help("push a release that has these migrations, or one that reverses them; what serves can't");
    }
}

fn evidence(failure: &Failure) {
    if let Some(body) = &failure.body {
        printer::detail("body", body);
    }
    for line in failure.log.iter().rev().take(20).rev() {
        printer::detail("log", line);
    }
}
