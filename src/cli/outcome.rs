//! What became of an environment, in words: who is served by what, the cause, what we do next and when, what to type.

use super::args::Global;
use super::reconcile::fault;
use super::{Fault, printer};
use crate::agent::explain::next_try;
use crate::agent::{App, Left, Outcome, PassReport, read_standing};
use crate::model::EnvName;
use crate::policy::FailureClass;
use crate::transaction::{Applied, Failure, FailureKind, Quiet, installed, services_of};

/// How much of it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// All of it.
    Whole,
    /// What somebody may have to know.
    Quiet,
    /// What goes to standard error; the rest is told as JSON.
    Complaints,
}

impl Voice {
    /// As the arguments say.
    pub fn of(global: &Global) -> Self {
        match (global.json, global.quiet) {
            (true, _) => Self::Complaints,
            (false, true) => Self::Quiet,
            (false, false) => Self::Whole,
        }
    }

    /// A line about what is well.
    pub fn line(self, text: &str) {
        if self == Self::Whole {
            printer::line(text);
        }
    }
}

/// Says what became of each environment, and what is wrong with the repository.
pub fn tell_all(app: &App, report: &PassReport, voice: Voice) {
    let trouble = report.survey.trouble.as_ref();
    let said = |outcome: &Outcome| match (outcome, trouble) {
        (Outcome::Left(Left::Blocked(words)), Some(trouble)) => words == trouble.words(),
        _ => false,
    };
    for (name, outcome) in report.outcomes.iter().filter(|(_, outcome)| !said(outcome)) {
        tell_one(app, name, outcome, voice);
    }
    if let Some(trouble) = trouble {
        printer::error(&Fault::usage(trouble.words()));
    }
}

/// Says what became of one environment.
pub fn tell_one(app: &App, name: &EnvName, outcome: &Outcome, voice: Voice) {
    let quiet = voice == Voice::Quiet;
    match outcome {
        Outcome::Unchanged => voice.line(&format!("{name}  unchanged")),
        Outcome::Released { title, took, left, .. } => {
            voice.line(&format!("{name}  {title} released after {}", printer::took(*took)));
            if let Some(left) = left {
                trouble(name, left);
            }
        }
        Outcome::Removed(words) if voice != Voice::Complaints => printer::line(format!("{name}  {words}")),
        // Nothing is wrong where nobody waits for this release.
        Outcome::NotReleased { title, failure, .. } if quiet && failure.kind == FailureKind::Cancelled => {
            printer::note(&format!("{name}: {title} not released: {}", failure.cause));
        }
        Outcome::NotReleased { title, failure, seen, serves, .. } if failure.kind == FailureKind::GaveWay => {
            printer::note(&format!("{name}: {title} not released: {}", failure.cause));
            if !quiet {
                printer::sentence(&served(failure, *seen, serves.as_deref()));
            }
        }
        Outcome::NotReleased { title, failure, seen, serves, .. } => {
            not_released(app, name, title, failure, *seen, serves.as_deref());
        }
        Outcome::Failed(failure) => failed(app, name, failure),
        Outcome::Left(Left::Held(words)) => voice.line(&format!("{name}  {words}")),
        Outcome::Left(Left::Stale(words)) if voice == Voice::Whole => voice.line(&format!("{name}  stale: {words}")),
        // The agent's next pass sees to it.
        Outcome::Left(Left::Busy(_) | Left::Overtaken) if quiet => {}
        Outcome::Left(left) => trouble(name, left),
        Outcome::Repaired | Outcome::Removed(_) => {}
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
        Left::Stale(words) => ("stale", words),
        Left::Held(words) => ("left", words),
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
fn not_released(app: &App, name: &EnvName, title: &str, failure: &Failure, seen: bool, serves: Option<&str>) {
    let verb = if seen { "rolled back" } else { "not released" };
    let what = if serves == Some(title) { "changed configuration of " } else { "" };
    printer::error(&Fault::blocked(format!("{what}{title} {verb}: {}", failure.cause)));
    printer::sentence(&served(failure, seen, serves));
    evidence(failure);
    if let Some(schema) = &failure.schema {
        way_back(schema);
    }
    match failure.kind {
        FailureKind::Class(FailureClass::Release) => {
            printer::note("quarantined; later passes leave this content alone");
        }
        FailureKind::Class(_) => printer::note(&next(app, name)),
        FailureKind::Cancelled | FailureKind::GaveWay | FailureKind::CutOff => {}
    }
    cures(name, failure);
}

/// When the same content is tried again, as `why` says it.
fn next(app: &App, name: &EnvName) -> String {
    let standing = read_standing(&app.context(&Quiet), name).ok();
    let backoff = standing.and_then(|standing| standing.retry);
    backoff.as_ref().map_or_else(|| "the next pass tries again".to_owned(), next_try)
}

/// Recovery, a repair or a start. Whoever asked us to stop, or came first, knows the rest.
fn failed(app: &App, name: &EnvName, failure: &Failure) {
    let words = format!("{name}: {}", failure.cause);
    match failure.kind {
        FailureKind::GaveWay => return printer::note(&words),
        FailureKind::Cancelled => return printer::error(&Fault { message: words, ..fault(failure) }),
        FailureKind::Class(_) | FailureKind::CutOff => {}
    }
    printer::error(&Fault { message: words, help: None, ..fault(failure) });
    if let Some(words) = runs(app, name) {
        printer::sentence(&words);
    }
    evidence(failure);
    printer::note("later passes try again");
    cures(name, failure);
}

/// What is to serve, and whether it runs; `None`: that can't be told.
fn runs(app: &App, name: &EnvName) -> Option<String> {
    let cx = app.context(&Quiet);
    let installed = installed(&cx, name, &services_of(&cx, name).ok()?).ok()?;
    let title = installed.title()?;
    Some(if installed.serves() { format!("{title} runs on") } else { format!("{title} does not run") })
}

/// What to type, and where to read more.
fn cures(name: &EnvName, failure: &Failure) {
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
