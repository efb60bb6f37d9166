//! The database from before a migration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::blame::succeed;
use super::build::Build;
use super::migrate::{Applied, applied};
use super::{Context, Event, Failure, Phase, as_app};
use crate::desired::Generation;
use crate::model::{Digest, Found, GenerationNumber};

/// Copies a live SQLite database by its online backup, as the application's user, and proves the copy readable. Only a whole one
/// on the disk has the name of a dump.
const DUMP: &str = "import os, sqlite3, sys
os.umask(0o077)
part = sys.argv[2] + '.part'
source = sqlite3.connect('file:%s?mode=ro' % sys.argv[1], uri=True)
target = sqlite3.connect(part)
source.backup(target)
assert target.execute('pragma integrity_check').fetchone() == ('ok',), 'the copy is damaged'
target.close()
with open(part, 'rb') as file:
    os.fsync(file.fileno())
os.rename(part, sys.argv[2])
";
/// What a dump that was killed is called, and what SQLite keeps beside it.
const PART: &str = ".sqlite3.part";

/// The dump's path; `None` while there is no database yet. One that does not come to its end leaves nothing.
pub fn take(cx: &Context<'_>, build: &Build<'_>, generation: &Generation) -> Result<Option<String>, Failure> {
    let paths = cx.paths(&generation.wanted);
    let database = paths.data().join("db.sqlite3");
    let found = cx.host.files().look(&database).map_err(Failure::on_host(Phase::Migrate))?;
    if !matches!(found, Found::File { size, .. } if size > 0) {
        return Ok(None);
    }
    cx.report.event(&Event::Working { phase: Phase::Migrate, what: "dumping the database" });
    discard_parts(cx, build, generation)?;
    let dump = path(cx, generation, generation.number);
    let (source, target) = (database.to_string_lossy().into_owned(), dump.to_string_lossy().into_owned());
    let exit = build.python(&BTreeMap::new(), &["-c", DUMP, &source, &target])?;
    if let Err(failure) = succeed(exit, Phase::Migrate, "the database could not be dumped") {
        discard_parts(cx, build, generation)?;
        return Err(failure);
    }
    cx.host.files().sync_all(&paths.backup_dir()).map_err(Failure::on_host(Phase::Migrate))?;
    Ok(Some(target))
}

fn path(cx: &Context<'_>, generation: &Generation, number: GenerationNumber) -> PathBuf {
    cx.paths(&generation.wanted).backup_dir().join(format!("before-{number}.sqlite3"))
}

/// Takes away what earlier tries of the same content dumped that changed nothing since `serving`, or each further one would cost the
/// disk a database. Two stay: the first, from before any of them, and the present one.
pub fn replaced(
    cx: &Context<'_>,
    build: &Build<'_>,
    generation: &Generation,
    serving: GenerationNumber,
) -> Result<(), Failure> {
    let mut tries = BTreeMap::new();
    for number in serving + 1..generation.number {
        // One that can't be read says nothing of its dump, which stays.
        tries.extend(applied(cx, &generation.name, number).ok().flatten().map(|tried| (number, tried)));
    }
    let made: BTreeSet<String> = superseded(&tries, generation.wanted.digest)
        .map(|number| path(cx, generation, number).to_string_lossy().into_owned())
        .filter(|made| tries.values().any(|tried| tried.dump.as_ref() == Some(made)))
        .collect();
    if made.is_empty() { Ok(()) } else { discard(cx, build, &made.into_iter().collect::<Vec<_>>()) }
}

/// All but the first of those tries of `content` that applied nothing.
fn superseded(tries: &BTreeMap<GenerationNumber, Applied>, content: Digest) -> impl Iterator<Item = GenerationNumber> {
    let same = tries.iter().filter(move |(_, tried)| tried.content == Some(content) && tried.dump.is_some());
    same.filter(|(_, tried)| tried.migrations.is_empty()).skip(1).map(|(number, _)| *number)
}

/// Halves of dumps: of this one, or of those that were killed.
fn discard_parts(cx: &Context<'_>, build: &Build<'_>, generation: &Generation) -> Result<(), Failure> {
    let directory = cx.paths(&generation.wanted).backup_dir();
    let names = cx.host.files().list(&directory).map_err(Failure::on_host(Phase::Migrate))?;
    let parts: Vec<String> =
        names.iter().filter(|name| is_part(name)).map(|name| directory.join(name).display().to_string()).collect();
    if parts.is_empty() { Ok(()) } else { discard(cx, build, &parts) }
}

fn is_part(name: &str) -> bool {
    let number = name.strip_prefix("before-").and_then(|rest| rest.split_once(PART)).map(|(number, _)| number);
    number.is_some_and(|number| number.parse::<GenerationNumber>().is_ok())
}

/// As the application: the directory is its own.
fn discard(cx: &Context<'_>, build: &Build<'_>, dumps: &[String]) -> Result<(), Failure> {
    let dumps: Vec<&str> = dumps.iter().map(String::as_str).collect();
    as_app::run(cx, build.app(), "rm", &[&["-f", "--"], &dumps[..]].concat()).map(drop)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test runs the script where it can be looked at")]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::transaction::Migration;

    /// Makes a dump by the script, with these words before it: whether there is one, and whether there is half of one.
    fn dumped(words: &str) -> (bool, bool) {
        let place = tempfile::tempdir().unwrap();
        let (source, target) = (place.path().join("db.sqlite3"), place.path().join("before-2.sqlite3"));
        let run = |script: &str| {
            let arguments = [Path::new("-c"), Path::new(script), &source, &target];
            std::process::Command::new("python3").args(arguments).output().expect("python3")
        };
        run("import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('create table cakes (name)')");
        run(&format!("import os, sqlite3\n{words}\n{DUMP}"));
        let names = std::fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string());
        let names: Vec<String> = names.map(Result::unwrap).collect();
        (target.exists(), names.iter().any(|name| is_part(name)))
    }

    #[test]
    fn a_dump_that_was_killed_is_not_taken_for_one() {
        assert_eq!(dumped(""), (true, false));
        assert_eq!(dumped("os.fsync = lambda _: os._exit(9)"), (false, true), "before it is on the disk");
        assert_eq!(dumped("os.rename = lambda *_: os._exit(9)"), (false, true), "before it is proven");
        assert!(is_part("before-12.sqlite3.part-journal") && is_part("before-12.sqlite3.part"));
        for other in ["before-12.sqlite3", "before-noon.sqlite3.part", "mine.sqlite3.part"] {
            assert!(!is_part(other), "{other}");
        }
    }

    #[test]
    fn the_first_dump_of_a_content_that_is_tried_again_stays_and_so_does_every_one_that_somebody_may_need() {
        let content = Digest::of(b"v2");
        let note = |applied: &[&str], content, dump: Option<&str>| Applied {
            migrations: applied
                .iter()
                .map(|name| Migration {
                    app: "shop".to_owned(),
                    name: (*name).to_owned(),
                    before: None,
                    harmful: Vec::new(),
                })
                .collect(),
            dump: dump.map(str::to_owned),
            content,
        };
        let unapplied = |number| (number, note(&[], Some(content), Some("dump")));
        let tries = BTreeMap::from([
            (2, note(&[], None, Some("of an older version"))),
            (3, note(&[], Some(Digest::of(b"other")), Some("dump"))),
            unapplied(4),
            (5, note(&["0002_size"], Some(content), Some("dump"))),
            unapplied(6),
            (7, note(&[], Some(content), None)),
            unapplied(8),
        ]);
        assert_eq!(superseded(&tries, content).collect::<Vec<_>>(), [6, 8]);
    }
}
