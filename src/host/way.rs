//! Opened directories on the way to a name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Result;
use super::disk::{About, Disk};
use super::handle::sys;

/// Where a directory is: its file system, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub device: u64,
    pub inode: u64,
}

/// An opened directory.
#[derive(Debug)]
pub(super) struct Directory<H> {
    pub handle: H,
    /// Without links: ways and parents are compared by it.
    pub path: PathBuf,
    pub place: Place,
}

impl<H> Directory<H> {
    /// What `handle` holds, and what more there is to know about it.
    pub fn of<D: Disk<Handle = H>>(disk: &D, handle: H, path: &Path) -> Result<(Self, About)> {
        let about = sys("look at", path, || disk.about(&handle))?;
        let place = Place { device: about.device, inode: about.inode };
        Ok((Self { handle, path: path.to_owned(), place }, about))
    }
}

/// Who else may change what is in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Nobody.
    Ours,
    /// This system group.
    Shared(u32),
}

/// A directory that was judged.
#[derive(Debug)]
pub(super) struct Step<H> {
    pub directory: Arc<Directory<H>>,
    pub trust: Trust,
}

impl<H> Clone for Step<H> {
    fn clone(&self) -> Self {
        Self { directory: Arc::clone(&self.directory), trust: self.trust }
    }
}

/// A directory, and those through which it was reached, from a base on.
#[derive(Debug)]
pub(super) struct Way<H> {
    before: Vec<Step<H>>,
    pub here: Step<H>,
}

impl<H> Clone for Way<H> {
    fn clone(&self) -> Self {
        Self { before: self.before.clone(), here: self.here.clone() }
    }
}

impl<H> Way<H> {
    /// From a base.
    pub fn from(base: Step<H>) -> Self {
        Self { before: Vec::new(), here: base }
    }

    /// How many steps it is from the base.
    pub fn len(&self) -> usize {
        self.before.len()
    }

    /// One step on.
    pub fn go(&mut self, next: Step<H>) {
        self.before.push(std::mem::replace(&mut self.here, next));
    }

    /// The part of it that leads to `goal` as well, if that begins at the same base.
    pub fn towards(mut self, base: &Path, goal: &Path) -> Option<Self> {
        while !goal.starts_with(&self.here.directory.path) {
            self.here = self.before.pop()?;
        }
        let first = self.before.first().unwrap_or(&self.here);
        (first.directory.path == base).then_some(self)
    }
}
