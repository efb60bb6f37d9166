#![expect(
    clippy::disallowed_methods,
    reason = "SQLite opens its file by itself, so a broken one is moved aside here too"
)]
//! What happened, for people: one row an event, in SQLite, readable while a pass writes.
//!
//! Nothing decides by it. It can be lost or broken without harm to what serves: a failing history never fails a release.

mod event;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

pub use event::{Event, EventKind};

use crate::model::EnvName;

/// The schema that this program writes, kept in SQLite's `user_version`.
const SCHEMA: i64 = 1;
/// How long a reader or writer waits for another one.
const BUSY: Duration = Duration::from_secs(5);

const CREATE: &str = "
    CREATE TABLE event (
        id INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        env TEXT,
        generation INTEGER,
        kind TEXT NOT NULL,
        release TEXT,
        rev TEXT,
        deploy_commit TEXT,
        by TEXT,
        why TEXT,
        took_ms INTEGER,
        summary TEXT NOT NULL
    ) STRICT;
    CREATE INDEX event_env ON event (env, id);
    PRAGMA user_version = 1;
";

/// Why the history could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A newer portreeve wrote it.
    #[error("{} is of a newer portreeve (schema {found}, this one knows {SCHEMA}): install that version again", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
    },
    /// It is broken; the next write moves it aside and begins a fresh one.
    #[error("{} is damaged; the next pass keeps a copy beside it and begins a new one", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// The broken file could not be moved aside.
    #[error("can't move {} aside", .path.display())]
    Aside {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// SQLite refused: disk full, locked for too long, no permission.
    #[error("can't use {}", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
}

type Result<T> = std::result::Result<T, HistoryError>;

/// An open history.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    connection: Connection,
}

impl History {
    /// Opens the history for writing, and makes it when there is none; the directory must be there. A damaged one is renamed
    /// to `history.sqlite.corrupt-TIME`, and the fresh one begins with an event that says so.
    pub fn open(path: &Path, now: Timestamp) -> Result<Self> {
        match Self::begin(path, now, None) {
            Err(HistoryError::Damaged { source, .. }) => Self::begin_again(path, now, &source),
            other => other,
        }
    }

    /// Opens the history for reading; `None` when there is none yet.
    pub fn open_to_read(path: &Path) -> Result<Option<Self>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match Connection::open_with_flags(path, flags) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) && !path.exists() => {
                return Ok(None);
            }
            other => other.map_err(failed(path))?,
        };
        connection.busy_timeout(BUSY).map_err(failed(path))?;
        // 0: another process is about to make it.
        if schema(path, &connection)? == 0 { Ok(None) } else { Ok(Some(Self { path: path.to_owned(), connection })) }
    }

    /// Adds an event. When the file turns out to be damaged, it is moved aside as by [`open`](Self::open).
    pub fn append(&mut self, event: &Event) -> Result<()> {
        match event.insert(&self.connection).map_err(failed(&self.path)) {
            Err(HistoryError::Damaged { source, .. }) => {
                *self = Self::begin_again(&self.path, event.at, &source)?;
                event.insert(&self.connection).map_err(failed(&self.path))
            }
            other => other,
        }
    }

    /// The latest `limit` events, newest first; of one environment or, with `None`, of all and of the host.
    pub fn list(&self, env: Option<&EnvName>, limit: u32) -> Result<Vec<Event>> {
        let query = "SELECT * FROM event WHERE ?1 IS NULL OR env = ?1 ORDER BY id DESC LIMIT ?2";
        self.select(query, params![env.map(EnvName::to_string), limit])
    }

    /// The latest event of each environment.
    pub fn latest_by_env(&self) -> Result<BTreeMap<EnvName, Event>> {
        let query = "SELECT * FROM event WHERE id IN (SELECT max(id) FROM event WHERE env IS NOT NULL GROUP BY env)";
        let events = self.select(query, params![])?;
        Ok(events.into_iter().filter_map(|event| Some((event.env.clone()?, event))).collect())
    }

    fn select(&self, query: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<Event>> {
        let failed = || failed(&self.path);
        let mut statement = self.connection.prepare_cached(query).map_err(failed())?;
        let rows = statement.query_map(values, Event::from_row).map_err(failed())?;
        rows.collect::<rusqlite::Result<_>>().map_err(failed())
    }
}

impl History {
    /// Opens or makes the file; `why` it begins, when that is worth a word.
    fn begin(path: &Path, now: Timestamp, why: Option<String>) -> Result<Self> {
        let mut connection = Connection::open(path).map_err(failed(path))?;
        connection.busy_timeout(BUSY).map_err(failed(path))?;
        if schema(path, &connection)? < SCHEMA {
            create(&mut connection, now, why).map_err(failed(path))?;
        }
        // Damage shows where the last rows and their index are, if anywhere.
        let history = Self { path: path.to_owned(), connection };
        history.list(None, 1)?;
        Ok(history)
    }

    fn begin_again(path: &Path, now: Timestamp, damage: &rusqlite::Error) -> Result<Self> {
        let aside = move_aside(path, now).map_err(|source| HistoryError::Aside { path: path.to_owned(), source })?;
        let why = format!("the one before was damaged ({damage}); it is kept as {}", aside.display());
        Self::begin(path, now, Some(why))
    }
}

fn create(connection: &mut Connection, now: Timestamp, why: Option<String>) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    let change = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // Another process may have been quicker.
    if change.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? < SCHEMA {
        change.execute_batch(CREATE)?;
        let begun = Event { why, ..Event::new(now, None, EventKind::Begun, "the history begins here") };
        begun.insert(&change)?;
    }
    change.commit()
}

/// The file's schema; 0 is an empty file.
fn schema(path: &Path, connection: &Connection) -> Result<i64> {
    let found = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed(path))?;
    if found > SCHEMA { Err(HistoryError::Newer { path: path.to_owned(), found }) } else { Ok(found) }
}

/// Renames the file and what SQLite keeps beside it: a log left behind would be played into the fresh file.
fn move_aside(path: &Path, now: Timestamp) -> io::Result<PathBuf> {
    let mark = format!(".corrupt-{}", now.strftime("%Y%m%dT%H%M%SZ"));
    for suffix in ["-wal", "-shm", ""] {
        match std::fs::rename(beside(path, suffix), beside(path, &format!("{mark}{suffix}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(beside(path, &mark))
}

/// The path with more at its end.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Tells damage from everything else that SQLite may refuse. A table that is not there is damage too.
fn failed(path: &Path) -> impl FnOnce(rusqlite::Error) -> HistoryError {
    let path = path.to_owned();
    move |source| {
        let code = source.sqlite_error_code();
        let no_table = code == Some(ErrorCode::Unknown) && source.to_string().contains("no such table");
        if no_table || matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) {
            HistoryError::Damaged { path, source }
        } else {
            HistoryError::Sqlite { path, source }
        }
    }
}

#[cfg(test)]
mod tests;
