//! Whole directories: made aside and renamed into place, renamed aside and removed.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

use super::disk::{Answer, Disk, Onto, Open};
use super::ground::{Ground, Spot};
use super::handle::{ALONE, about_in, first_mode, give, open_directory, sync, sys};
use super::later::SYNCED_ONE_BY_ONE;
use super::leftover::{Purpose, Sweep, hold, sweep, with_temporary};
use super::stage::fill;
use super::{HostError, Node, Result};
use crate::model::Identity;

/// Deeper trees are not of our making.
const DEEPEST: usize = 256;

/// The nodes of a tree, relative and parents first.
pub(super) type Nodes<'a> = &'a mut dyn Iterator<Item = Result<(PathBuf, Node)>>;

/// Makes the tree aside, syncs it, and renames it to `path`, where nothing may be.
pub(super) fn make<D: Disk>(
    ground: &Ground<D>,
    path: &Path,
    mode: u32,
    owner: Identity,
    nodes: Nodes<'_>,
) -> Result<()> {
    let (disk, spot) = (ground.disk(), ground.spot(path)?.ours()?);
    sweep(disk, spot.directory(), spot.parent(), Sweep::Of(spot.name()))?;
    if spot.about()?.is_some() {
        return Err(HostError::at("make", path)(Errno::EXIST.into()));
    }
    let created = with_temporary(spot.name(), Purpose::New, |name| disk.make_directory(spot.directory(), name, ALONE));
    let (name, ()) = created.map_err(|errno| HostError::at("make", path)(errno.into()))?;
    let done = grow(ground, &spot, &name, nodes, mode, owner).and_then(|_held| settle(&spot, &name));
    if done.is_err() {
        // The failure above is what is told; what stays behind is swept next time.
        drop(remove_entry(disk, spot.directory(), &name, &spot.parent().join(&name)));
    }
    done
}

fn settle<D: Disk>(spot: &Spot<D>, name: &OsStr) -> Result<()> {
    let (from, to) = ((spot.directory(), name), (spot.directory(), spot.name()));
    sys("make", &spot.path(), || spot.disk().rename(from, to, Onto::Nothing))?;
    spot.sync_name()
}

fn grow<D: Disk>(
    ground: &Ground<D>,
    spot: &Spot<D>,
    name: &OsStr,
    nodes: Nodes<'_>,
    mode: u32,
    owner: Identity,
) -> Result<D::Handle> {
    let (disk, path) = (ground.disk(), spot.path());
    let top = open_directory(disk, spot.directory(), name);
    let top = top.map_err(|errno| HostError::at("open", &path)(errno.into()))?;
    hold(disk, &top);
    let (files, directories) = (Vec::new(), Vec::new());
    let mut growth = Growth { ground, path: &path, top: &top, files, directories, last: None };
    for node in nodes {
        let (relative, node) = node?;
        growth.add(&relative, &node)?;
    }
    growth.finish(mode, owner)?;
    Ok(top)
}

/// A tree in the making.
struct Growth<'a, D: Disk> {
    ground: &'a Ground<D>,
    path: &'a Path,
    top: &'a D::Handle,
    files: Vec<PathBuf>,
    directories: Vec<(PathBuf, u32, Identity)>,
    /// Nodes come directory by directory, so one handle saves most openings.
    last: Option<(PathBuf, D::Handle)>,
}

impl<D: Disk> Growth<'_, D> {
    fn add(&mut self, relative: &Path, node: &Node) -> Result<()> {
        let full = self.path.join(relative);
        let (parent, name) = split(relative)
            .ok_or_else(|| HostError::Unsafe { path: full.clone(), why: "not a plain relative path".to_owned() })?;
        let (disk, authority, top) = (self.ground.disk(), self.ground.authority(), self.top);
        let directory = match parent {
            Some(parent) => self.open(parent)?,
            None => top,
        };
        match node {
            Node::File { bytes, mode, owner } => {
                let first = first_mode(authority, *mode, *owner);
                let file = sys("write", &full, || disk.create(directory, name, first))?;
                fill(disk, authority, &file, &full, bytes, *mode, *owner)?;
                self.files.push(relative.to_owned());
            }
            Node::Link(text) => sys("make", &full, || disk.make_link(text, directory, name))?,
            Node::Directory { mode, owner } => {
                sys("make", &full, || disk.make_directory(directory, name, ALONE))?;
                self.directories.push((relative.to_owned(), *mode, *owner));
            }
        }
        Ok(())
    }

    fn open(&mut self, parent: &Path) -> Result<&D::Handle> {
        if self.last.as_ref().is_none_or(|(path, _)| path != parent) {
            let handle = self.open_below(parent, Open::Directory)?;
            self.last = Some((parent.to_owned(), handle));
        }
        Ok(self.last.as_ref().map_or(self.top, |(_, handle)| handle))
    }

    fn open_below(&self, relative: &Path, what: Open) -> Result<D::Handle> {
        sys("open", &self.path.join(relative), || self.ground.disk().open(self.top, relative, what))
    }

    /// Gives the directories their modes (a read-only one could not have been filled before), the top's last: until then nobody
    /// but us can enter, whatever the modes inside. Then all of it outlives a power cut.
    fn finish(&self, mode: u32, owner: Identity) -> Result<()> {
        let (disk, authority) = (self.ground.disk(), self.ground.authority());
        for (relative, mode, owner) in self.directories.iter().rev() {
            let handle = self.open_below(relative, Open::Directory)?;
            give(disk, authority, &handle, &self.path.join(relative), *mode, *owner)?;
        }
        give(disk, authority, self.top, self.path, mode, owner)?;
        if self.files.len() + self.directories.len() > SYNCED_ONE_BY_ONE {
            return self.ground.sync_all(self.top, self.path);
        }
        for below in self.files.iter().chain(self.directories.iter().map(|(directory, ..)| directory)) {
            sync(disk, &self.open_below(below, Open::Any)?, &self.path.join(below))?;
        }
        sync(disk, self.top, self.path)
    }
}

/// A plain relative path's parent (`None`: the top) and name.
fn split(relative: &Path) -> Option<(Option<&Path>, &OsStr)> {
    let plain = relative.components().all(|component| matches!(component, Component::Normal(_)));
    let name = relative.file_name().filter(|_| plain)?;
    Some((relative.parent().filter(|parent| !parent.as_os_str().is_empty()), name))
}

/// Removes the tree at `path`. It first gets a hidden name, so that a half of it is never taken for the whole.
pub(super) fn remove<D: Disk>(ground: &Ground<D>, path: &Path) -> Result<()> {
    let Some(spot) = ground.find(path)? else { return Ok(()) };
    let (disk, spot) = (ground.disk(), spot.ours()?);
    sweep(disk, spot.directory(), spot.parent(), Sweep::Of(spot.name()))?;
    match spot.about()? {
        None => return Ok(()),
        Some(about) if !about.is_directory() => return Err(HostError::at("remove", path)(Errno::NOTDIR.into())),
        Some(_) => {}
    }
    let aside = with_temporary(spot.name(), Purpose::Gone, |name| {
        disk.rename((spot.directory(), spot.name()), (spot.directory(), name), Onto::Nothing)
    });
    let (aside, ()) = aside.map_err(|errno| HostError::at("remove", path)(errno.into()))?;
    spot.sync()?;
    remove_entry(disk, spot.directory(), &aside, &spot.parent().join(&aside))?;
    // Or a power cut brings the hidden name back, and nobody looks for it again.
    spot.sync()
}

/// Removes whatever `name` is: by handles, through no link, into no other file system.
pub(super) fn remove_entry<D: Disk>(disk: &D, directory: &D::Handle, name: &OsStr, path: &Path) -> Result<()> {
    remove_below(disk, directory, name, path, 0)
}

fn remove_below<D: Disk>(disk: &D, directory: &D::Handle, name: &OsStr, path: &Path, depth: usize) -> Result<()> {
    let Some(about) = about_in(disk, directory, name, path)? else { return Ok(()) };
    if !about.is_directory() {
        return gone(path, || disk.remove(directory, name));
    }
    if depth > DEEPEST {
        let why = format!("nested deeper than {DEEPEST} directories; look into it and remove it by hand");
        return Err(HostError::Unsafe { path: path.to_owned(), why });
    }
    let handle = sys("open", path, || disk.open(directory, Path::new(name), Open::DirectoryHere))?;
    for child in sys("list", path, || disk.names(&handle))? {
        remove_below(disk, &handle, &child, &path.join(&child), depth + 1)?;
    }
    gone(path, || disk.remove_directory(directory, name))
}

fn gone(path: &Path, remove: impl FnMut() -> Answer<()>) -> Result<()> {
    match rustix::io::retry_on_intr(remove) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(HostError::at("remove", path)(errno.into())),
    }
}
