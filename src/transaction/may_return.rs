//! Whether going back leads to a release that can live with the database as it is now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::build::{Build, answer};
use super::migrate::{Applied, Migration, applied};
use super::{Context, Event, Facts, Failure, Phase, ground, render};
use crate::desired::Generation;
use crate::model::{EnvName, GenerationNumber};
use crate::policy::FailureClass;

/// So long a database may take to say what was applied to it. Whoever goes back is in a hurry.
const PATIENCE: Duration = Duration::from_secs(30);

/// What Django says that was applied to its database, whichever that is, as it counts itself before it migrates.
const APPLIED: &str = "import json, django
django.setup()
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
print('PORTREEVE ' + json.dumps([list(key) for key in MigrationRecorder(connection).applied_migrations()]))
";

/// Refuses to go back from `serving` to a release that could not live with what was migrated since. What somebody has reversed is
/// no obstacle; where the database does not say, all that was applied still is.
pub fn permit_return(
    cx: &Context<'_>,
    serving: &Generation,
    to: &Generation,
    newest: GenerationNumber,
) -> Result<(), Failure> {
    let mut notes = Vec::new();
    for number in to.number + 1..=newest {
        notes.extend(applied(cx, &to.name, number)?);
    }
    let harmful: Vec<(&Applied, &Migration)> = notes.iter().flat_map(harmful_of).collect();
    if harmful.is_empty() {
        return Ok(());
    }
    let now = applied_now(cx, serving);
    let is_there = |migration: &Migration| now.as_ref().is_none_or(|now| now.contains(&migration.identity()));
    match harmful.into_iter().find(|(_, migration)| is_there(migration)) {
        Some((applied, migration)) => Err(unlivable(&to.name, to, migration, applied)),
        None => Ok(()),
    }
}

fn harmful_of(applied: &Applied) -> impl Iterator<Item = (&Applied, &Migration)> {
    applied
        .migrations
        .iter()
        .filter(|migration| !migration.harmful.is_empty())
        .map(move |migration| (applied, migration))
}

/// By application and name; `None` when that can't be found out now.
fn applied_now(cx: &Context<'_>, serving: &Generation) -> Option<BTreeSet<(String, String)>> {
    cx.report.event(&Event::Working { phase: Phase::Migrate, what: "asking the database what is applied" });
    ask(cx, serving).ok().flatten()
}

fn ask(cx: &Context<'_>, serving: &Generation) -> Result<Option<BTreeSet<(String, String)>>, Failure> {
    let facts = Facts { build_deadline: PATIENCE, ..cx.facts.clone() };
    let cx = &Context { facts: &facts, ..*cx };
    let log = cx.layout.attempt_log(&serving.name, serving.number);
    let build = Build::new(cx, &serving.wanted, ground::owners(cx, &serving.wanted)?, log);
    let env: BTreeMap<String, String> = render::command_env(cx, serving)?;
    let exit = build.python(&env, &["-c", APPLIED])?;
    Ok(answer(&exit).filter(|_| exit.ok()))
}

fn unlivable(name: &EnvName, to: &Generation, harmful: &Migration, applied: &Applied) -> Failure {
    let cause = format!(
        "{} does not know migration {harmful} ({}), which has been applied since",
        to.wanted.title(),
        harmful.harmful.join("; ")
    );
    let failure = Failure::new(FailureClass::Host, Phase::Migrate, cause);
    let dump = applied.dump.as_ref().map(|dump| format!("the database from before: {dump}"));
    let reverse = harmful
        .before
        .as_ref()
        .map(|before| format!("to reverse it: portreeve run {name} manage.py migrate {} {before}", harmful.app));
    let help: Vec<String> = [reverse, dump].into_iter().flatten().collect();
    if help.is_empty() { failure } else { failure.with_help(help.join("; ")) }
}
