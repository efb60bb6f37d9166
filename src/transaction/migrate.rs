//! The database's schema, before the candidate starts.
//!
//! Forward only. While the old release still serves, and may have to serve again, the new schema must be one that it can live
//! with: on pro a migration that is not additive waits for a person. What was applied is remembered beside the generation, so
//! that going back can refuse before anything is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::blame::succeed;
use super::build::{Build, answer};
use super::{Context, Event, Failure, Phase, as_app, dump, render};
use crate::desired::Generation;
use crate::host::Heeding;
use crate::manifest::{Migrations, Policy};
use crate::model::{Digest, EnvName, GenerationNumber, Identity, Node};
use crate::observed::Installed;
use crate::policy::FailureClass;

/// What a SQLite database says that was applied to it. Read only, by the host's own Python: no code of the application runs.
const RECORDED: &str = "import json, sqlite3, sys
database = sqlite3.connect('file:%s?mode=ro' % sys.argv[1], uri=True, timeout=2)
print(json.dumps(database.execute('select app, name from django_migrations').fetchall()))
";

/// A migration that a release applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// The application within the project.
    pub app: String,
    /// Its name: `0012_order_note`.
    pub name: String,
    /// The one before it in its application, or `zero`; `None` in older records.
    #[serde(default)]
    pub before: Option<String>,
    /// Its operations that a release from before can't live with, in Django's words; none: it is additive.
    pub harmful: Vec<String>,
}

impl Migration {
    /// Its application and name, as databases record it.
    pub fn identity(&self) -> (String, String) {
        (self.app.clone(), self.name.clone())
    }

    fn is(&self, other: &Self) -> bool {
        (&self.app, &self.name) == (&other.app, &other.name)
    }
}

impl std::fmt::Display for Migration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.app, self.name)
    }
}

/// What a generation's release applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// In order.
    pub migrations: Vec<Migration>,
    /// The database from before; `None` where there was none.
    pub dump: Option<String>,
    /// The content that was tried; `None` in older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Digest>,
}

/// What the release says of its database, before anything is changed.
#[derive(Debug, Deserialize)]
struct Pending {
    /// In order.
    migrations: Vec<Migration>,
    unwritten: Vec<Unwritten>,
}

/// Models of an application that differ from its migrations.
#[derive(Debug, Deserialize)]
struct Unwritten {
    app: String,
    /// In Django's words: `Add field note to order`.
    changes: Vec<String>,
}

/// Applies pending migrations, if there are any; the database is dumped first.
pub fn migrate(
    cx: &Context<'_>,
    build: &Build<'_>,
    installed: &Installed,
    generation: &Generation,
) -> Result<String, Failure> {
    if generation.wanted.env.django.is_none() {
        return Ok("no Django".to_owned());
    }
    // A schema half changed is no safe point, and a database without transactions for it keeps what went before.
    let host = Heeding::nobody(cx.host);
    let cx = &cx.on(&host);
    let build = &build.on(cx);
    let env = render::command_env(cx, generation)?;
    let Pending { migrations, unwritten } = pending(build, &env)?;
    for models in &unwritten {
        warn(cx, models);
    }
    if migrations.is_empty() {
        return Ok("nothing pending".to_owned());
    }
    permit(installed, generation, &migrations)?;
    let content = Some(generation.wanted.digest);
    let applied = Applied { dump: dump::take(cx, build, generation)?, migrations, content };
    remember(cx, generation, &applied)?;
    dump::replaced(cx, build, generation, installed.active.unwrap_or(0))?;
    cx.report.event(&Event::Working { phase: Phase::Migrate, what: "applying migrations" });
    let exit = build.manage_exit(&env, &["migrate", "--noinput"])?;
    if let Err(failure) = succeed(exit, Phase::Migrate, "a migration failed") {
        correct(cx, build, generation, &env, applied)?;
        return Err(failure);
    }
    Ok(format!("{} applied", applied.migrations.len()))
}

fn pending(build: &Build<'_>, env: &BTreeMap<String, String>) -> Result<Pending, Failure> {
    let exit = build.python(env, &["-c", include_str!("pending.py")])?;
    let pending = answer(&exit);
    succeed(exit, Phase::Migrate, "the pending migrations can't be found out")?;
    pending.ok_or_else(|| Failure::release(Phase::Migrate, "the pending migrations can't be found out"))
}

/// The release is not refused for it: a difference need not reach the database, and may be another package's.
fn warn(cx: &Context<'_>, unwritten: &Unwritten) {
    let Unwritten { app, changes } = unwritten;
    let text = format!(
        "the models of {app} have changes without a migration ({}): no host writes one; makemigrations {app}, commit, push",
        changes.join("; ")
    );
    cx.report.event(&Event::Note { text: &text });
}

/// After a migration failed: remembers only those before it. Where that can't be found out, all may have been applied.
fn correct(
    cx: &Context<'_>,
    build: &Build<'_>,
    generation: &Generation,
    env: &BTreeMap<String, String>,
    planned: Applied,
) -> Result<(), Failure> {
    let Ok(left) = pending(build, env) else { return Ok(()) };
    let is_left = |migration: &Migration| left.migrations.iter().any(|left| left.is(migration));
    let migrations: Vec<Migration> = planned.migrations.into_iter().filter(|migration| !is_left(migration)).collect();
    remember(cx, generation, &Applied { migrations, ..planned })
}

/// What an attempt did to the schema; `None`: it did not come so far.
pub fn applied(cx: &Context<'_>, name: &EnvName, number: GenerationNumber) -> Result<Option<Applied>, Failure> {
    let path = cx.layout.migrated_note(name, number);
    let bytes = cx.host.files().read(&path, 1024 * 1024).map_err(Failure::on_host(Phase::Migrate))?;
    bytes.map(|bytes| parse(&path, &bytes)).transpose()
}

/// One that can't be read may tell of a migration that nobody could live with, so it counts as one.
fn parse(path: &Path, bytes: &[u8]) -> Result<Applied, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        let cause = format!("{}: what was migrated can't be read: {error}", path.display());
        Failure::new(FailureClass::Host, Phase::Migrate, cause)
            .with_help("compare the database's migrations with the release's by hand; then move the file away")
    })
}

/// A first release has no one before it to harm.
fn permit(installed: &Installed, generation: &Generation, migrations: &[Migration]) -> Result<(), Failure> {
    let env = &generation.wanted.env;
    let free = env.policy != Policy::Pro || env.migrations == Migrations::Any || installed.title().is_none();
    match migrations.iter().find(|migration| !migration.harmful.is_empty()) {
        Some(migration) if !free => {
            let cause = format!(
                "migration {migration} is not additive ({}): the release that serves could not live with it",
                migration.harmful.join("; ")
            );
            let cure = format!(
                "split it, or say that this is meant: migrate = \"any\" below [django] in projects/{}.toml",
                env.name
            );
            Err(Failure::new(FailureClass::Host, Phase::Migrate, cause).with_help(cure))
        }
        _ => Ok(()),
    }
}

/// The migrations that the database of what serves has, by application and name; `None` when that can't be found out now.
pub fn recorded(cx: &Context<'_>, serving: &Generation) -> Option<BTreeSet<(String, String)>> {
    let app = cx.host.users().user(&serving.wanted.env.user).ok()??;
    let python = serving.wanted.python.program.to_string_lossy();
    let database = cx.paths(&serving.wanted).data().join("db.sqlite3");
    let exit = as_app::run(cx, app, &python, &["-I", "-c", RECORDED, &database.to_string_lossy()]).ok()?;
    serde_json::from_slice(&exit.stdout).ok().filter(|_| exit.ok())
}

/// Durable before the schema changes.
fn remember(cx: &Context<'_>, generation: &Generation, applied: &Applied) -> Result<(), Failure> {
    let path = cx.layout.migrated_note(&generation.name, generation.number);
    let bytes = serde_json::to_vec(applied).unwrap_or_default();
    let node = Node::File { bytes, mode: 0o600, owner: Identity::ROOT };
    cx.host.files().put(&path, &node).map_err(Failure::on_host(Phase::Migrate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_record_of_migrations_is_not_taken_for_none() {
        let path = Path::new("/etc/portreeve/generations/bakery_pro/43.migrated");
        let whole = serde_json::to_vec(&Applied { migrations: Vec::new(), dump: None, content: None }).unwrap();
        assert_eq!(parse(path, &whole).unwrap().dump, None);
        for length in 0..whole.len() {
            let refused = parse(path, &whole[..length]).unwrap_err();
            assert!(refused.cause.starts_with("/etc/portreeve/generations/bakery_pro/43.migrated: "), "{refused}");
        }
    }
}
