//! The files of a directory that somebody names on the command line, for `portreeve check DIR`.
#![expect(clippy::disallowed_methods, reason = "the directory is its caller's own, anywhere, and only read")]

use std::fs;
use std::path::Path;

use crate::host::{HostError, Result};
use crate::manifest::Entry;

/// Below a deploy repository nothing of ours lies deeper.
const DEPTH: u32 = 3;

/// The files below `directory` whose relative path is wanted; links are not followed.
pub fn read_directory_tree(directory: &Path, limit: u64, wants: &dyn Fn(&str) -> bool) -> Result<Vec<(String, Entry)>> {
    let mut found = Vec::new();
    walk(directory, "", DEPTH, limit, wants, &mut found)?;
    Ok(found)
}

fn walk(
    directory: &Path,
    prefix: &str,
    depth: u32,
    limit: u64,
    wants: &dyn Fn(&str) -> bool,
    found: &mut Vec<(String, Entry)>,
) -> Result<()> {
    for entry in fs::read_dir(directory).map_err(HostError::at("list", directory))? {
        let entry = entry.map_err(HostError::at("list", directory))?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().map_err(HostError::at("look at", entry.path()))?;
        if kind.is_dir() && depth > 1 && !path.starts_with('.') {
            walk(&entry.path(), &format!("{path}/"), depth - 1, limit, wants, found)?;
        } else if !kind.is_dir() && wants(&path) {
            found.push((path, file(&entry, kind.is_file(), limit)?));
        }
    }
    Ok(())
}

fn file(entry: &fs::DirEntry, regular: bool, limit: u64) -> Result<Entry> {
    let path = entry.path();
    let size = entry.metadata().map_err(HostError::at("look at", &path))?.len();
    if !regular {
        return Ok(Entry::Link);
    }
    if size > limit {
        return Ok(Entry::TooLarge(size));
    }
    Ok(Entry::File(fs::read(&path).map_err(HostError::at("read", &path))?))
}
