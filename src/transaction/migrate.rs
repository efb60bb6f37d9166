//! The database's schema, before the candidate starts.
//!
//! Forward only. While the old release still serves, and may have to serve again, the new schema must be one that it can live
//! with: on pro a migration that is not additive waits for a person. What was applied is remembered beside the generation, so
//! that going back can refuse before anything is touched.

use serde::{Deserialize, Serialize};

use super::build::{Build, succeed};
use super::{Context, Event, Failure, Phase, render};
use crate::desired::Generation;
use crate::manifest::{Migrations, Policy};
use crate::model::{EnvName, Found, GenerationNumber, Identity, Node};
use crate::observed::Installed;
use crate::policy::FailureClass;

/// Copies a live SQLite database by its online backup, as the application's user, and proves the copy readable.
const DUMP: &str = "import os, sqlite3, sys
os.umask(0o077)
source = sqlite3.connect('file:%s?mode=ro' % sys.argv[1], uri=True)
target = sqlite3.connect(sys.argv[2])
source.backup(target)
assert target.execute('pragma integrity_check').fetchone() == ('ok',), 'the copy is damaged'
";

/// A migration that a release applies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// The application within the project.
    pub app: String,
    /// Its name: `0012_order_note`.
    pub name: String,
    /// Its operations that a release from before can't live with, in Django's words; none: it is additive.
    pub harmful: Vec<String>,
}

/// What a generation's release applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// In order.
    pub migrations: Vec<Migration>,
    /// The database from before; `None` where there was none.
    pub dump: Option<String>,
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
    let env = render::command_env(cx, generation)?;
    let exit = build.python(&env, &["-c", include_str!("pending.py")])?;
    let said = String::from_utf8_lossy(&exit.stdout).into_owned();
    succeed(exit, Phase::Migrate, "the pending migrations can't be found out")?;
    let line = said.lines().rev().find_map(|line| line.strip_prefix("PORTREEVE ")).unwrap_or_default();
    let migrations: Vec<Migration> = serde_json::from_str(line)
        .map_err(|_| Failure::release(Phase::Migrate, "the pending migrations can't be found out"))?;
    if migrations.is_empty() {
        return Ok("nothing pending".to_owned());
    }
    permit(installed, generation, &migrations)?;
    let applied = Applied { dump: dump(cx, build, generation)?, migrations };
    remember(cx, generation, &applied)?;
    cx.report.event(&Event::Working { phase: Phase::Migrate, what: "applying migrations" });
    let exit = build.manage_exit(&env, &["migrate", "--noinput"])?;
    succeed(exit, Phase::Migrate, "a migration failed").map_err(|failure| match &applied.dump {
        Some(dump) => failure.with_help(format!("the database as it was before: {dump}")),
        None => failure,
    })?;
    Ok(format!("{} applied", applied.migrations.len()))
}

/// A first release has no one before it to harm.
fn permit(installed: &Installed, generation: &Generation, migrations: &[Migration]) -> Result<(), Failure> {
    let env = &generation.wanted.env;
    let free = env.policy != Policy::Pro || env.migrations == Migrations::Any || installed.generation.is_none();
    match migrations.iter().find(|migration| !migration.harmful.is_empty()) {
        Some(migration) if !free => {
            let Migration { app, name, harmful } = migration;
            let cause = format!(
                "migration {app}.{name} is not additive ({}): the release that serves could not live with it",
                harmful.join("; ")
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

/// The dump's path; `None` while there is no database yet.
fn dump(cx: &Context<'_>, build: &Build<'_>, generation: &Generation) -> Result<Option<String>, Failure> {
    let paths = cx.paths(&generation.wanted);
    let database = paths.data().join("db.sqlite3");
    let found = cx.host.files().look(&database).map_err(Failure::on_host(Phase::Migrate))?;
    if !matches!(found, Found::File { size, .. } if size > 0) {
        return Ok(None);
    }
    cx.report.event(&Event::Working { phase: Phase::Migrate, what: "dumping the database" });
    let dump = paths.backup_dir().join(format!("before-{}.sqlite3", generation.number));
    let (source, target) = (database.to_string_lossy().into_owned(), dump.to_string_lossy().into_owned());
    let exit = build.python(&std::collections::BTreeMap::new(), &["-c", DUMP, &source, &target])?;
    succeed(exit, Phase::Migrate, "the database could not be dumped")?;
    cx.host.files().settle(&dump).map_err(Failure::on_host(Phase::Migrate))?;
    Ok(Some(target))
}

/// Durable before the schema changes.
fn remember(cx: &Context<'_>, generation: &Generation, applied: &Applied) -> Result<(), Failure> {
    let path = cx.layout.migrated_note(&generation.name, generation.number);
    let bytes = serde_json::to_vec(applied).unwrap_or_default();
    let node = Node::File { bytes, mode: 0o600, owner: Identity::ROOT };
    cx.host.files().put(&path, &node).map_err(Failure::on_host(Phase::Migrate))
}

/// Refuses to go back to a release that could not live with what was migrated since.
pub fn permit_return(
    cx: &Context<'_>,
    name: &EnvName,
    to: &Generation,
    newest: GenerationNumber,
) -> Result<(), Failure> {
    for number in to.number + 1..=newest {
        let path = cx.layout.migrated_note(name, number);
        let bytes = cx.host.files().read(&path, 1024 * 1024).map_err(Failure::on_host(Phase::Migrate))?;
        let applied: Option<Applied> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Some(applied) = applied else { continue };
        if let Some(harmful) = applied.migrations.iter().find(|migration| !migration.harmful.is_empty()) {
            return Err(unlivable(name, to, harmful, &applied));
        }
    }
    Ok(())
}

fn unlivable(name: &EnvName, to: &Generation, harmful: &Migration, applied: &Applied) -> Failure {
    let cause = format!(
        "{} does not know migration {}.{} ({}), which has been applied since",
        to.wanted.title(),
        harmful.app,
        harmful.name,
        harmful.harmful.join("; ")
    );
    let dump = applied.dump.as_ref().map(|dump| format!("; the database from before: {dump}")).unwrap_or_default();
    let before = harmful
        .name
        .split('_')
        .next()
        .and_then(|number| number.parse::<u32>().ok())
        .map_or(0, |number| number.saturating_sub(1));
    let reverse = format!("to reverse it: portreeve run {name} manage.py migrate {} {before:04}{dump}", harmful.app);
    Failure::new(FailureClass::Host, Phase::Migrate, cause).with_help(reverse)
}
