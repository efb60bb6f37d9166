//! The record inside each generation, and the listing of its files.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Wanted;
use crate::model::{Boot, Digest, EnvName, GenerationNumber, Identity, Slot};

/// Why a generation was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The deploy repository asked for it.
    Push,
    /// Somebody went back to the state of this generation.
    Rollback(GenerationNumber),
    /// Somebody asked for new processes.
    Restart,
}

/// `generation.toml`: everything that is true of one state of an environment, but for secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// Version of this record, and of the listing and the files beside it; newer ones are refused.
    pub format: u32,
    /// The environment.
    pub name: EnvName,
    /// Its number; they count up and are never used twice.
    pub number: GenerationNumber,
    /// The slot that runs it.
    pub slot: Slot,
    /// When it was made.
    pub at: jiff::Timestamp,
    /// By whose clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
    /// Why.
    pub why: Why,
    /// What it runs.
    pub wanted: Wanted,
}

/// Why a generation's record was not understood.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// Written by a newer version.
    #[error("format {0}, of a newer portreeve (this one knows {FORMAT}): install that version again", FORMAT = Generation::FORMAT)]
    Newer(u32),
    /// Not what we write.
    #[error("damaged")]
    Damaged(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Generation {
    /// The same with its time by the clock as it is set `now`.
    #[must_use]
    pub fn by(self, now: Boot) -> Self {
        Self { at: now.by_now(self.boot.as_ref(), self.at), boot: Some(now), ..self }
    }

    /// The version that this program writes.
    pub const FORMAT: u32 = 1;
    /// The record's file.
    pub const FILE: &str = "generation.toml";

    /// As the file's text.
    pub fn to_bytes(&self) -> Result<Vec<u8>, GenerationError> {
        toml::to_string(self).map(String::into_bytes).map_err(|error| GenerationError::Damaged(error.into()))
    }

    /// From the file's bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, GenerationError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let text = std::str::from_utf8(bytes).map_err(|error| GenerationError::Damaged(error.into()))?;
        let format = match toml::from_str::<Self>(text) {
            Ok(generation) if generation.format <= Self::FORMAT => return Ok(generation),
            Ok(newer) => newer.format,
            // A newer one need not have this shape.
            Err(error) => toml::from_str::<Head>(text)
                .ok()
                .map(|head| head.format)
                .filter(|format| *format > Self::FORMAT)
                .ok_or_else(|| GenerationError::Damaged(error.into()))?,
        };
        Err(GenerationError::Newer(format))
    }
}

/// One file or link of a generation as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Listed {
    /// A file.
    File {
        /// Of its bytes.
        sha256: Digest,
        /// Permission bits.
        mode: u32,
        /// Owner and group.
        owner: Identity,
    },
    /// A symbolic link's text.
    Link(PathBuf),
}

/// `listing.json`: all files of a generation but itself. Its version is that of the generation's record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Listing(pub std::collections::BTreeMap<String, Listed>);

impl Listing {
    /// The listing's file.
    pub const FILE: &str = "listing.json";

    /// As the file's text: the same for the same listing.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}
