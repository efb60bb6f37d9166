//! Records on disks have a format, and no program takes a newer one's for none, or writes over it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A record that a newer portreeve wrote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: format {found}, of a newer portreeve (this one knows {known}): install that version again", .path.display())]
pub struct Newer {
    /// The record.
    pub path: PathBuf,
    /// Its format.
    pub found: u32,
    /// The newest that this program knows.
    pub known: u32,
}

/// Reads a JSON record that what it says can be found out without: one that is damaged is none.
pub fn unless_newer<T: DeserializeOwned>(path: &Path, known: u32, bytes: &[u8]) -> Result<Option<T>, Newer> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    match serde_json::from_slice::<Head>(bytes) {
        Ok(Head { format: found }) if found > known => Err(Newer { path: path.to_owned(), found, known }),
        _ => Ok(serde_json::from_slice(bytes).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_record_is_none_and_a_newer_one_is_not() {
        let read = |text: &str| unless_newer::<serde_json::Value>(Path::new("/state"), 1, text.as_bytes());
        assert_eq!(read(r#"{"format": 1}"#).map(|record| record.is_some()), Ok(true));
        assert_eq!(read(r#"{"format": 1"#), Ok(None));
        let newer = read(r#"{"format": 2, "shape": "unknown here"}"#).unwrap_err().to_string();
        assert_eq!(newer, "/state: format 2, of a newer portreeve (this one knows 1): install that version again");
    }
}
