//! The tour's directory. What we made there before is removed; what we didn't make is never touched.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::super::open;
use super::TourError;
use crate::host::{Clock, Parts, Processes as _, Scratch, Users as _};
use crate::model::{Identity, Layout, Root};

/// Says that a directory is a tour's; locked while one is under way.
const MARKER: &str = ".portreeve-try";

/// What a tour makes, and the next one removes.
const OURS: [&str; 6] = ["host", "deploy", "deploy.git", "bakery", "bakery.git", "logs"];

/// The directory, the host in it, and the programs that the tour needs.
#[derive(Debug)]
pub(super) struct Place {
    /// The directory.
    pub files: Scratch,
    /// As the person named it, for what is shown.
    pub named: PathBuf,
    /// The host below `host/`.
    pub layout: Layout,
    /// That host's parts; its clock knows of Ctrl-C.
    pub parts: Parts,
    /// Whether everything runs as root, because whoever started this is root.
    pub as_root: bool,
    _lock: File,
}

impl Place {
    /// Takes the directory, and empties it of an earlier tour.
    pub fn take(directory: &Path, cancel: Arc<AtomicBool>) -> Result<Self, TourError> {
        if let Some(odd) = odd_character(directory) {
            return Err(TourError::Character(odd));
        }
        let files = Scratch::open(directory)?;
        let names = files.names()?;
        if !names.is_empty() && !names.iter().any(|name| name == MARKER) {
            return Err(TourError::NotOurs(directory.to_owned()));
        }
        let Some(lock) = files.lock(MARKER)? else { return Err(TourError::Busy(directory.to_owned())) };
        for name in OURS {
            files.remove(name)?;
        }
        files.make("logs")?;
        files.make("host")?;
        let root = Root::at(files.path().join("host"));
        let layout = open::layout_at(root);
        if !layout.runtime().starts_with(files.path()) {
            files.remove(layout.runtime())?;
        }
        let parts = Parts::open(&layout, cancel)?;
        let as_root = parts.users.own() == Identity::ROOT;
        Ok(Self { files, named: directory.to_owned(), layout, parts, as_root, _lock: lock })
    }

    /// A path in the directory.
    pub fn at(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// A path in the directory, as the person would type it.
    pub fn shown(&self, name: &str) -> String {
        self.named.join(name).display().to_string()
    }

    /// An installed program.
    pub fn program(&self, name: &'static str) -> Result<PathBuf, TourError> {
        self.parts.processes.find(&[name]).ok_or(TourError::Program(name))
    }

    /// An error once somebody wants the tour to end.
    pub fn go_on(&self) -> Result<(), TourError> {
        if self.parts.clock.cancelled() { Err(TourError::Cancelled) } else { Ok(()) }
    }
}

impl Drop for Place {
    /// What lies elsewhere, because sockets need a short path, goes with the servers. `rm -r` of the directory is then all.
    fn drop(&mut self) {
        if !self.layout.runtime().starts_with(self.files.path()) {
            let _next_time = self.files.remove(self.layout.runtime());
        }
    }
}

/// A character that a search path, an include, a shebang or an address would not take as it is.
fn odd_character(directory: &Path) -> Option<char> {
    let whole = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    let plain = |c: &char| c.is_ascii_alphanumeric() || "/._-+@,=".contains(*c);
    whole.to_string_lossy().chars().find(|c| !plain(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_tour_made_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mine = Scratch::open(&dir.path().join("mine")).unwrap();
        mine.write("host/precious", "x").unwrap();
        let refused = Place::take(mine.path(), Arc::default()).unwrap_err();
        assert!(matches!(refused, TourError::NotOurs(_)), "{refused}");
        assert!(mine.read("host/precious").unwrap().is_some());

        let odd = Place::take(&dir.path().join("a b"), Arc::default()).unwrap_err();
        assert!(matches!(odd, TourError::Character(' ')), "{odd}");
        assert!(!dir.path().join("a b").exists());

        let tour = dir.path().join("try");
        let place = Place::take(&tour, Arc::default()).unwrap();
        place.files.write("deploy/x", "made by the tour").unwrap();
        place.files.write("notes", "made by a person").unwrap();
        assert!(matches!(Place::take(&tour, Arc::default()).unwrap_err(), TourError::Busy(_)));
        drop(place);
        let place = Place::take(&tour, Arc::default()).unwrap();
        assert_eq!(place.files.read("deploy/x").unwrap(), None);
        assert!(place.files.read("notes").unwrap().is_some());
    }
}
