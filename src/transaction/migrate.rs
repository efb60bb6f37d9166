//! The database's schema, before the candidate starts.

use super::build::{Build, succeed};
use super::{Context, Event, Failure, Phase, render};
use crate::desired::Generation;
use crate::model::Found;

/// Copies a live SQLite database by its online backup, as the application's user, and proves the copy readable.
const DUMP: &str = "import os, sqlite3, sys
os.umask(0o077)
source = sqlite3.connect('file:%s?mode=ro' % sys.argv[1], uri=True)
target = sqlite3.connect(sys.argv[2])
source.backup(target)
assert target.execute('pragma integrity_check').fetchone() == ('ok',), 'the copy is damaged'
";

/// Applies pending migrations, if there are any; the database is dumped first.
pub fn migrate(cx: &Context<'_>, build: &Build<'_>, generation: &Generation) -> Result<String, Failure> {
    if generation.wanted.env.django.is_none() {
        return Ok("no Django".to_owned());
    }
    let env = render::command_env(cx, generation)?;
    if build.manage_exit(&env, &["migrate", "--check", "-v", "0"])?.ok() {
        return Ok("nothing pending".to_owned());
    }
    let dump = dump(cx, build, generation)?;
    cx.report.event(&Event::Working { phase: Phase::Migrate, what: "applying migrations" });
    let exit = build.manage_exit(&env, &["migrate", "--noinput"])?;
    let applied = String::from_utf8_lossy(&exit.stdout).lines().filter(|line| line.contains("... OK")).count();
    succeed(exit, Phase::Migrate, "a migration failed").map_err(|failure| match &dump {
        Some(dump) => failure.with_help(format!("the database as it was before: {dump}")),
        None => failure,
    })?;
    Ok(format!("{applied} applied"))
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
    Ok(Some(target))
}
