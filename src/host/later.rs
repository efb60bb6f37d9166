//! Names that become durable together: a wait for each directory instead of one for each name in it, and all but the first are
//! short, because a file system writes what happened before in one go.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::handle::{sync, sys};
use super::{HostError, Result, Together};

/// Directories by device and inode, with a handle and the path for messages.
type Waiting = BTreeMap<(u64, u64), (OwnedFd, PathBuf)>;

/// The directories that wait, while changes are gathered.
#[derive(Debug, Default)]
pub(super) struct Later(Mutex<Option<Waiting>>);

impl Later {
    /// Makes what happened in the directory outlive a power cut: now or, while changes are gathered, with the others.
    pub(super) fn sync(&self, directory: BorrowedFd<'_>, path: &Path) -> Result<()> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = waiting.as_mut() else { return sync(directory, path) };
        let about = sys("look at", path, || rustix::fs::fstat(directory))?;
        let handle = directory.try_clone_to_owned().map_err(HostError::at("open", path))?;
        waiting.entry((about.st_dev, about.st_ino)).or_insert_with(|| (handle, path.to_owned()));
        Ok(())
    }

    /// Gathers from now on.
    pub(super) fn gather(&self) -> Gathering<'_> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
        Gathering(self)
    }

    fn settle(&self) -> Result<()> {
        let waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        waiting.into_values().try_for_each(|(handle, path)| sync(handle, &path))
    }
}

/// Until its end, names wait for each other.
pub(super) struct Gathering<'a>(&'a Later);

impl Together for Gathering<'_> {
    fn finish(self: Box<Self>) -> Result<()> {
        self.0.settle()
    }
}

impl Drop for Gathering<'_> {
    /// After a failure, which is what is told: what was done stays done.
    fn drop(&mut self) {
        drop(self.0.settle());
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    fn waiting(later: &Later) -> Option<usize> {
        later.0.lock().unwrap().as_ref().map(BTreeMap::len)
    }

    #[test]
    fn a_directory_waits_once_and_only_while_changes_are_gathered() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let later = Later::default();
        let change = |directory: &tempfile::TempDir| {
            let flags = rustix::fs::OFlags::DIRECTORY;
            let handle = rustix::fs::open(directory.path(), flags, rustix::fs::Mode::empty()).unwrap();
            later.sync(handle.as_fd(), directory.path()).unwrap();
        };
        change(&one);
        assert_eq!(waiting(&later), None);
        let together = Box::new(later.gather());
        for directory in [&one, &two, &one] {
            change(directory);
        }
        assert_eq!(waiting(&later), Some(2));
        together.finish().unwrap();
        assert_eq!(waiting(&later), None);
        let failed = later.gather();
        change(&one);
        drop(failed);
        assert_eq!(waiting(&later), None);
    }
}
