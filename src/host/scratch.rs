//! A directory of the caller's own, with plain files in it: what a person would make by hand. Nothing here is durable, and
//! nothing is judged: no host, and nobody's data.
#![expect(clippy::disallowed_methods, reason = "plain files, as a person makes them")]

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{HostError, Result};

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// The directory `path`, by its real name; made when it is missing, with its parents.
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(HostError::at("make", path))?;
        path.canonicalize().map(Self).map_err(HostError::at("open", path))
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What is in it, in no order.
    pub fn names(&self) -> Result<Vec<String>> {
        let fail = || HostError::at("list", &self.0);
        let entries = fs::read_dir(&self.0).map_err(fail())?;
        entries.map(|entry| Ok(entry.map_err(fail())?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Writes a file, and the directories above it.
    pub fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<()> {
        let path = self.0.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(HostError::at("make", parent))?;
        }
        fs::write(&path, bytes).map_err(HostError::at("write", &path))
    }

    /// Makes a directory, and those above it.
    pub fn make(&self, name: impl AsRef<Path>) -> Result<()> {
        let path = self.0.join(name);
        fs::create_dir_all(&path).map_err(HostError::at("make", &path))
    }

    /// The lock `name`, until the value is dropped; `None` while another process holds it.
    pub fn lock(&self, name: impl AsRef<Path>) -> Result<Option<File>> {
        let path = self.0.join(name);
        let opened = File::options().create(true).append(true).open(&path);
        let file = opened.map_err(HostError::at("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(HostError::at("lock", &path)(error)),
        }
    }

    /// A file's text; `None` when it is not there.
    pub fn read(&self, name: impl AsRef<Path>) -> Result<Option<String>> {
        let path = self.0.join(name);
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            text => text.map(Some).map_err(HostError::at("read", &path)),
        }
    }

    /// Removes a file or a tree; a link is not followed, and nothing there is fine.
    pub fn remove(&self, name: impl AsRef<Path>) -> Result<()> {
        let path = self.0.join(name);
        let removed = match path.symlink_metadata() {
            Ok(about) if about.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(HostError::at("remove", &path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_removed_and_not_what_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(&dir.path().join("a/b")).unwrap();
        scratch.write("kept/x", "x").unwrap();
        std::os::unix::fs::symlink(scratch.path().join("kept"), scratch.path().join("link")).unwrap();
        scratch.remove("link").unwrap();
        scratch.remove("link").unwrap();
        assert_eq!(scratch.read("kept/x").unwrap().as_deref(), Some("x"));
        scratch.remove("kept").unwrap();
        assert_eq!(scratch.names().unwrap(), [""; 0]);
    }
}
