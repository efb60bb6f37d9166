//! One row of the history.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};
use serde::de::IntoDeserializer;
use serde::de::value::Error as ValueError;
use serde::{Deserialize, Serialize};

use crate::model::{CommitId, EnvName, GenerationNumber, ReleaseId};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When, by wall-clock.
    pub at: Timestamp,
    /// To which environment; `None`: to the host.
    pub env: Option<EnvName>,
    /// The generation that the event is about.
    pub generation: Option<GenerationNumber>,
    /// What.
    pub kind: EventKind,
    /// The release that the generation holds.
    pub release: Option<ReleaseId>,
    /// The revision as the repository wrote it.
    pub rev: Option<String>,
    /// The deploy repository's commit.
    pub deploy_commit: Option<CommitId>,
    /// The person who gave an order; `None`: the pass.
    pub by: Option<String>,
    /// His reason, or the cause of a failure.
    pub why: Option<String>,
    /// How long it took; kept in whole milliseconds.
    pub took: Option<Duration>,
    /// One line for people.
    pub summary: String,
}

/// The kinds of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A release serves.
    Released,
    /// A release failed before users saw it.
    NotReleased,
    /// Users saw a release, and the one before serves again.
    RolledBack,
    /// Drift was corrected.
    Repaired,
    /// A rollback or suspension holds the environment.
    Held,
    /// A hold ended, or was ended.
    Resumed,
    /// Quarantined content may be tried again.
    Retried,
    /// Stopped by a person.
    Stopped,
    /// Started by a person.
    Started,
    /// The slot was switched without new content.
    Restarted,
    /// Taken off the host.
    Removed,
    /// A file from before was taken over.
    Adopted,
    /// A rewritten branch was agreed to.
    Accepted,
    /// The history begins here.
    Begun,
}

impl EventKind {
    /// The kind as it is stored: `not-released`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::NotReleased => "not-released",
            Self::RolledBack => "rolled-back",
            Self::Repaired => "repaired",
            Self::Held => "held",
            Self::Resumed => "resumed",
            Self::Retried => "retried",
            Self::Stopped => "stopped",
            Self::Started => "started",
            Self::Restarted => "restarted",
            Self::Removed => "removed",
            Self::Adopted => "adopted",
            Self::Accepted => "accepted",
            Self::Begun => "begun",
        }
    }
}

impl Event {
    /// An event with nothing but its kind and its line.
    pub fn new(at: Timestamp, env: Option<EnvName>, kind: EventKind, summary: impl Into<String>) -> Self {
        Self {
            at,
            env,
            generation: None,
            kind,
            release: None,
            rev: None,
            deploy_commit: None,
            by: None,
            why: None,
            took: None,
            summary: summary.into(),
        }
    }

    /// Whether the two are about the same generation, or the same person's order. An order that led to a generation does not tell
    /// how that was made, whether it came to anything or not.
    pub(super) fn tells_of(&self, other: &Self) -> bool {
        let generation = self.generation.is_some() && self.generation == other.generation && !other.is_order_to();
        let order = self.by.is_some() && (self.kind, &self.by, &self.why) == (other.kind, &other.by, &other.why);
        self.env == other.env && (generation || order)
    }

    fn is_order_to(&self) -> bool {
        let tried = matches!(self.kind, EventKind::NotReleased | EventKind::RolledBack);
        self.kind == EventKind::Held || tried && self.by.is_some()
    }

    pub(super) fn insert(&self, connection: &Connection) -> rusqlite::Result<()> {
        let text =
            "INSERT INTO event (at, env, generation, kind, release, rev, deploy_commit, by, why, took_ms, summary)
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        connection.prepare_cached(text)?.execute(params![
            self.at.to_string(),
            self.env.as_ref().map(EnvName::to_string),
            self.generation.map(|number| i64::try_from(number).unwrap_or(i64::MAX)),
            self.kind.as_str(),
            self.release.as_ref().map(ReleaseId::as_str),
            self.rev,
            self.deploy_commit.as_ref().map(CommitId::as_str),
            self.by,
            self.why,
            self.took.map(|took| i64::try_from(took.as_millis()).unwrap_or(i64::MAX)),
            self.summary,
        ])?;
        Ok(())
    }

    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let whole = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(i64::unsigned_abs));
        Ok(Self {
            at: parsed(row, "at")?.unwrap_or(Timestamp::UNIX_EPOCH),
            env: parsed(row, "env")?,
            generation: whole("generation")?,
            kind: parsed(row, "kind")?.unwrap_or(EventKind::Begun),
            release: parsed(row, "release")?,
            rev: row.get("rev")?,
            deploy_commit: parsed(row, "deploy_commit")?,
            by: row.get("by")?,
            why: row.get("why")?,
            took: whole("took_ms")?.map(Duration::from_millis),
            summary: row.get("summary")?,
        })
    }
}

/// A column's text as the type that serde writes as text.
fn parsed<T: for<'de> Deserialize<'de>>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>> {
    let Some(text) = row.get::<_, Option<String>>(column)? else { return Ok(None) };
    let value = T::deserialize(IntoDeserializer::<ValueError>::into_deserializer(text));
    let index = row.as_ref().column_index(column)?;
    value.map(Some).map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error)))
}
