//! Whole directories: made aside and renamed into place, renamed aside and removed.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use super::ground::{Ground, Spot};
use super::handle::{give, is_directory, open_directory, stat_in, sync, sys};
use super::leftover::{Purpose, Sweep, hold, names, sweep, with_temporary};
use super::stage::{create, fill};
use super::{HostError, Node, Result};
use crate::model::Identity;

/// Up to here files are synced one by one; a bigger tree is synced by one `syncfs(2)`, which writes all data and names of
/// its file system, ours among them, before it returns, and since Linux 5.8 reports what could not be written. A venv has
/// thousands of files: one wait instead of one for each. For a few files it would wait for everybody else's data.
const SYNCED_ONE_BY_ONE: usize = 32;

/// Deeper trees are not of our making.
const DEEPEST: usize = 256;

/// The nodes of a tree, relative and parents first.
pub(super) type Nodes<'a> = &'a mut dyn Iterator<Item = Result<(PathBuf, Node)>>;

/// Makes the tree aside, syncs it, and renames it to `path`, where nothing may be.
pub(super) fn make(ground: &Ground, path: &Path, mode: u32, owner: Identity, nodes: Nodes<'_>) -> Result<()> {
    let spot = ground.spot(path)?.ours()?;
    sweep(spot.directory(), spot.parent(), Sweep::Of(spot.name()))?;
    if spot.stat()?.is_some() {
        return Err(HostError::at("make", path)(Errno::EXIST.into()));
    }
    let created =
        with_temporary(spot.name(), Purpose::New, |name| rustix::fs::mkdirat(spot.directory(), name, Mode::RWXU));
    let (name, ()) = created.map_err(|errno| HostError::at("make", path)(errno.into()))?;
    let done = grow(ground, &spot, &name, nodes, mode, owner).and_then(|_held| settle(&spot, &name));
    if done.is_err() {
        // The failure above is what is told; what stays behind is swept next time.
        drop(remove_entry(spot.directory(), &name, &spot.parent().join(&name)));
    }
    done
}

fn settle(spot: &Spot, name: &OsStr) -> Result<()> {
    sys("make", &spot.path(), || {
        rustix::fs::renameat_with(spot.directory(), name, spot.directory(), spot.name(), RenameFlags::NOREPLACE)
    })?;
    spot.sync_name()
}

fn grow(ground: &Ground, spot: &Spot, name: &OsStr, nodes: Nodes<'_>, mode: u32, owner: Identity) -> Result<OwnedFd> {
    let path = spot.path();
    let top = open_directory(spot.directory(), name).map_err(|errno| HostError::at("open", &path)(errno.into()))?;
    hold(&top);
    let mut growth =
        Growth { ground, path: &path, top: top.as_fd(), files: Vec::new(), directories: Vec::new(), last: None };
    for node in nodes {
        let (relative, node) = node?;
        growth.add(&relative, &node)?;
    }
    growth.finish()?;
    // The top's mode comes last: until then nobody but us can enter, whatever the modes inside.
    give(ground.authority(), &top, &path, mode, owner)?;
    sync(&top, &path)?;
    Ok(top)
}

/// A tree in the making.
struct Growth<'a> {
    ground: &'a Ground,
    path: &'a Path,
    top: BorrowedFd<'a>,
    files: Vec<PathBuf>,
    directories: Vec<(PathBuf, u32, Identity)>,
    /// Nodes come directory by directory, so one handle saves most openings.
    last: Option<(PathBuf, OwnedFd)>,
}

impl Growth<'_> {
    fn add(&mut self, relative: &Path, node: &Node) -> Result<()> {
        let full = self.path.join(relative);
        let (parent, name) = split(relative)
            .ok_or_else(|| HostError::Unsafe { path: full.clone(), why: "not a plain relative path".to_owned() })?;
        let (authority, top) = (self.ground.authority(), self.top);
        let directory = match parent {
            Some(parent) => self.open(parent)?,
            None => top,
        };
        match node {
            Node::File { bytes, mode, owner } => {
                let mut file = sys("write", &full, || create(directory, name))?;
                fill(authority, &mut file, &full, bytes, *mode, *owner)?;
                self.files.push(relative.to_owned());
            }
            Node::Link(text) => sys("make", &full, || rustix::fs::symlinkat(text, directory, name))?,
            Node::Directory { mode, owner } => {
                sys("make", &full, || rustix::fs::mkdirat(directory, name, Mode::RWXU))?;
                self.directories.push((relative.to_owned(), *mode, *owner));
            }
        }
        Ok(())
    }

    fn open(&mut self, parent: &Path) -> Result<BorrowedFd<'_>> {
        if self.last.as_ref().is_none_or(|(path, _)| path != parent) {
            let handle = open_below(self.top, parent, OFlags::DIRECTORY, &self.path.join(parent))?;
            self.last = Some((parent.to_owned(), handle));
        }
        Ok(self.last.as_ref().map_or(self.top, |(_, handle)| handle.as_fd()))
    }

    /// Gives the directories their modes (a read-only one could not have been filled before) and syncs, children first.
    fn finish(&mut self) -> Result<()> {
        let one_by_one = self.files.len() + self.directories.len() <= SYNCED_ONE_BY_ONE;
        for file in self.files.iter().filter(|_| one_by_one) {
            let full = self.path.join(file);
            sync(open_below(self.top, file, OFlags::empty(), &full)?, &full)?;
        }
        for (relative, mode, owner) in self.directories.iter().rev() {
            let full = self.path.join(relative);
            let handle = open_below(self.top, relative, OFlags::DIRECTORY, &full)?;
            give(self.ground.authority(), &handle, &full, *mode, *owner)?;
            if one_by_one {
                sync(&handle, &full)?;
            }
        }
        if one_by_one { Ok(()) } else { sys("sync", self.path, || rustix::fs::syncfs(self.top)) }
    }
}

/// A plain relative path's parent (`None`: the top) and name.
fn split(relative: &Path) -> Option<(Option<&Path>, &OsStr)> {
    let plain = relative.components().all(|component| matches!(component, Component::Normal(_)));
    let name = relative.file_name().filter(|_| plain)?;
    Some((relative.parent().filter(|parent| !parent.as_os_str().is_empty()), name))
}

fn open_below(top: BorrowedFd<'_>, relative: &Path, kind: OFlags, full: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | kind;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    sys("open", full, || rustix::fs::openat2(top, relative, flags, Mode::empty(), resolve))
}

/// Removes the tree at `path`. It first gets a hidden name, so that a half of it is never taken for the whole.
pub(super) fn remove(ground: &Ground, path: &Path) -> Result<()> {
    let Some(spot) = ground.find(path)? else { return Ok(()) };
    let spot = spot.ours()?;
    sweep(spot.directory(), spot.parent(), Sweep::Of(spot.name()))?;
    match spot.stat()? {
        None => return Ok(()),
        Some(stat) if !is_directory(&stat) => return Err(HostError::at("remove", path)(Errno::NOTDIR.into())),
        Some(_) => {}
    }
    let aside = with_temporary(spot.name(), Purpose::Gone, |name| {
        rustix::fs::renameat_with(spot.directory(), spot.name(), spot.directory(), name, RenameFlags::NOREPLACE)
    });
    let (aside, ()) = aside.map_err(|errno| HostError::at("remove", path)(errno.into()))?;
    spot.sync()?;
    remove_entry(spot.directory(), &aside, &spot.parent().join(&aside))
}

/// Removes whatever `name` is: by handles, through no link, into no other file system.
pub(super) fn remove_entry(directory: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<()> {
    remove_below(directory, name, path, 0)
}

fn remove_below(directory: BorrowedFd<'_>, name: &OsStr, path: &Path, depth: usize) -> Result<()> {
    let Some(stat) = stat_in(directory, name, path)? else { return Ok(()) };
    if !is_directory(&stat) {
        return unlink(directory, name, path, AtFlags::empty());
    }
    if depth > DEEPEST {
        let why = format!("nested deeper than {DEEPEST} directories; look into it and remove it by hand");
        return Err(HostError::Unsafe { path: path.to_owned(), why });
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let handle = sys("open", path, || rustix::fs::openat2(directory, name, flags, Mode::empty(), resolve))?;
    for child in names(handle.as_fd(), path)? {
        remove_below(handle.as_fd(), &child, &path.join(&child), depth + 1)?;
    }
    unlink(directory, name, path, AtFlags::REMOVEDIR)
}

fn unlink(directory: BorrowedFd<'_>, name: &OsStr, path: &Path, flags: AtFlags) -> Result<()> {
    match rustix::io::retry_on_intr(|| rustix::fs::unlinkat(directory, name, flags)) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(HostError::at("remove", path)(errno.into())),
    }
}
