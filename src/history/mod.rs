#![expect(
    clippy::disallowed_methods,
    reason = "SQLite opens its file by itself, so a broken one is moved aside here too"
)]
//! What happened, for people: one row an event, in SQLite, readable while a pass writes.
//!
//! Nothing decides by it. It can be lost or broken without harm to what serves: a failing history never fails a release. When it
//! begins anew, it begins with [`Remains`]: what the host still knows by itself.

mod event;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
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
    #[error("{} is damaged; the next event keeps it aside and rebuilds it from the generations", .path.display())]
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

/// What generations, holds and quarantine still say of what happened, for a history that begins anew.
pub type Remains<'a> = &'a dyn Fn() -> Vec<Event>;

/// Events, and how many more there are that mean nothing to this program: a newer one, or a person, wrote them.
#[derive(Debug, Default)]
pub struct Listed {
    /// Those that it can read.
    pub events: Vec<Event>,
    /// How many it can't.
    pub unread: usize,
}

/// An open history.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    connection: Connection,
}

/// A history that is written to: open from its first event to the writer's end, when SQLite carries its log over into the file;
/// for each event on its own that would be three waits for the disk, behind the same of everybody else.
#[derive(Debug, Default)]
pub struct Writer(Mutex<Option<(History, Inode)>>);

impl Writer {
    /// Adds an event, and makes the history when there is none; the directory must be there. A damaged one is renamed to
    /// `history.sqlite.corrupt-TIME`. What begins anew begins with what remains, and the line that is returned says so.
    pub fn record(&self, path: &Path, event: &Event, remains: Remains<'_>) -> Result<Option<String>> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = || remains().into_iter().filter(|known| !known.tells_of(event)).collect();
        // What was deleted meanwhile could be written to for ever.
        let kept = open.take().filter(|(_, inode)| Inode::of(path) == Some(*inode));
        let (history, note) = match kept {
            Some((history, _)) => (history, None),
            None => History::open(path, event.at, &before)?,
        };
        let (history, note) = match event.insert(&history.connection).map_err(failed(path)) {
            Err(HistoryError::Damaged { source, .. }) => {
                drop(history);
                let (again, why) = History::open_again(path, event.at, &source, &before)?;
                event.insert(&again.connection).map_err(failed(path))?;
                (again, why)
            }
            other => other.map(|()| (history, note))?,
        };
        *open = Inode::of(path).map(|inode| (history, inode));
        Ok(note)
    }
}

/// Which file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    fn of(path: &Path) -> Option<Self> {
        let about = std::fs::metadata(path).ok()?;
        Some(Self { device: about.dev(), number: about.ino() })
    }
}

impl History {
    /// Opens the history for reading; `None` when there is none yet.
    pub fn open_to_read(path: &Path) -> Result<Option<Self>> {
        match Self::read(path) {
            Err(HistoryError::Sqlite { source, .. }) if stands_still(&source) && path.exists() => {
                Self::read_still(path)
            }
            Err(HistoryError::Sqlite { source, .. }) if source.sqlite_error_code() == Some(ErrorCode::CannotOpen) => {
                if path.exists() {
                    Err(HistoryError::Sqlite { path: path.to_owned(), source })
                } else {
                    Ok(None)
                }
            }
            other => other,
        }
    }

    fn read(path: &Path) -> Result<Option<Self>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Self::existing(path, Connection::open_with_flags(path, flags))
    }

    /// On a disk that nobody can write: as it is, without the shared memory that readers and writers agree in
    /// (<https://sqlite.org/wal.html#read_only_databases>).
    fn read_still(path: &Path) -> Result<Option<Self>> {
        let escaped = [("%", "%25"), ("?", "%3f"), ("#", "%23")]
            .iter()
            .fold(path.display().to_string(), |text, (odd, code)| text.replace(odd, code));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        Self::existing(path, Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags))
    }

    fn existing(path: &Path, opened: rusqlite::Result<Connection>) -> Result<Option<Self>> {
        let connection = opened.map_err(failed(path))?;
        connection.busy_timeout(BUSY).map_err(failed(path))?;
        // 0: another process is about to make it.
        if schema(path, &connection)? == 0 { Ok(None) } else { Ok(Some(Self { path: path.to_owned(), connection })) }
    }

    /// The latest `limit` events, newest first; of one environment or, with `None`, of all and of the host.
    pub fn list(&self, env: Option<&EnvName>, limit: u32) -> Result<Listed> {
        let query = "SELECT * FROM event WHERE ?1 IS NULL OR env = ?1 ORDER BY id DESC LIMIT ?2";
        self.select(query, params![env.map(EnvName::to_string), limit])
    }

    /// The latest event of each environment.
    pub fn latest_by_env(&self) -> Result<BTreeMap<EnvName, Event>> {
        let query = "SELECT * FROM event WHERE id IN (SELECT max(id) FROM event WHERE env IS NOT NULL GROUP BY env)";
        let listed = self.select(query, params![])?;
        Ok(listed.events.into_iter().filter_map(|event| Some((event.env.clone()?, event))).collect())
    }

    fn select(&self, query: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Listed> {
        let failed = || failed(&self.path);
        let mut statement = self.connection.prepare_cached(query).map_err(failed())?;
        let rows = statement.query_map(values, Event::from_row).map_err(failed())?;
        let mut listed = Listed::default();
        for row in rows {
            match row {
                Ok(event) => listed.events.push(event),
                Err(rusqlite::Error::FromSqlConversionFailure(..)) => listed.unread += 1,
                Err(error) => return Err(failed()(error)),
            }
        }
        Ok(listed)
    }
}

impl History {
    /// Opens or makes the file; the line says what it began with, where it was made and something was there before.
    fn open(path: &Path, now: Timestamp, remains: Remains<'_>) -> Result<(Self, Option<String>)> {
        match Self::begin(path, now, None, remains) {
            Err(HistoryError::Damaged { source, .. }) => Self::open_again(path, now, &source, remains),
            other => other,
        }
    }

    fn open_again(
        path: &Path,
        now: Timestamp,
        damage: &rusqlite::Error,
        remains: Remains<'_>,
    ) -> Result<(Self, Option<String>)> {
        let aside = move_aside(path, now).map_err(|source| HistoryError::Aside { path: path.to_owned(), source })?;
        let why = format!("the one before was damaged ({damage}); it is kept as {}", aside.display());
        Self::begin(path, now, Some(why), remains)
    }

    fn begin(path: &Path, now: Timestamp, why: Option<String>, remains: Remains<'_>) -> Result<(Self, Option<String>)> {
        let mut connection = Connection::open(path).map_err(failed(path))?;
        connection.busy_timeout(BUSY).map_err(failed(path))?;
        // A power cut may take the last lines, never the file (sqlite.org/pragma.html#pragma_synchronous); what holds and what
        // is refused stands elsewhere.
        connection.pragma_update(None, "synchronous", "normal").map_err(failed(path))?;
        let mut begun = None;
        if schema(path, &connection)? < SCHEMA {
            begun = create(&mut connection, now, why, remains).map_err(failed(path))?;
        }
        // Damage shows where the last rows and their index are, if anywhere.
        let history = Self { path: path.to_owned(), connection };
        history.list(None, 1)?;
        Ok((history, begun.map(|begun| line(path, &begun))))
    }
}

/// `history.sqlite: rebuilt from what this host still knows, 3 events; …`
fn line(path: &Path, begun: &Event) -> String {
    let why = begun.why.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
    format!("{}: {}{why}", path.display(), begun.summary)
}

/// The first event of the new file, unless it is a host's first.
fn create(
    connection: &mut Connection,
    now: Timestamp,
    why: Option<String>,
    remains: Remains<'_>,
) -> rusqlite::Result<Option<Event>> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    let change = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    // Another process may have been quicker.
    if change.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? >= SCHEMA {
        return Ok(None);
    }
    change.execute_batch(CREATE)?;
    let known = remains();
    for event in &known {
        event.insert(&change)?;
    }
    let summary = match known.len() {
        0 => "the history begins here".to_owned(),
        1 => "rebuilt from what this host still knows: 1 event".to_owned(),
        several => format!("rebuilt from what this host still knows: {several} events"),
    };
    let first = why.is_none() && known.is_empty();
    let begun = Event { why, ..Event::new(now, None, EventKind::Begun, summary) };
    begun.insert(&change)?;
    change.commit()?;
    Ok((!first).then_some(begun))
}

/// What SQLite says where the files beside the database can't be made.
fn stands_still(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
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

/// Tells damage from everything else that SQLite may refuse. A table that is not there is damage too, and so is a nothing where the
/// table allows none: pages beyond the end of a file that was cut read as zeros.
fn failed(path: &Path) -> impl FnOnce(rusqlite::Error) -> HistoryError {
    let path = path.to_owned();
    move |source| {
        let code = source.sqlite_error_code();
        let no_table = code == Some(ErrorCode::Unknown) && source.to_string().contains("no such table");
        let impossible = matches!(source, rusqlite::Error::InvalidColumnType(..));
        if no_table || impossible || matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) {
            HistoryError::Damaged { path, source }
        } else {
            HistoryError::Sqlite { path, source }
        }
    }
}

#[cfg(test)]
mod tests;
