//! What changes files: the order of the system calls, on any disk. Every change is durable when its call returns
//! or, while changes are gathered, at their end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::disk::{About, Disk, Kind, Onto, Open};
use super::ground::{Ground, foreign};
use super::handle::{first_mode, give, make_directory_in, open_directory, sys};
use super::later::Gathering;
use super::leftover::{Makers, Sweep, sweep};
use super::linux::Linux;
use super::tree::Nodes;
use super::{HostError, Node, Result, stage, tree};
use crate::model::{Identity, Layout};

/// The changing half of [`Files`](super::Files).
#[derive(Debug)]
pub struct Writer<D: Disk = Linux> {
    ground: Arc<Ground<D>>,
    staging: PathBuf,
}

impl<D: Disk> Clone for Writer<D> {
    fn clone(&self) -> Self {
        Self { ground: Arc::clone(&self.ground), staging: self.staging.clone() }
    }
}

impl<D: Disk> Writer<D> {
    /// Writes below `ground`, by way of `layout`'s staging directory.
    pub fn new(ground: Arc<Ground<D>>, layout: &Layout) -> Self {
        Self { ground, staging: layout.staging() }
    }

    /// Where it writes.
    pub fn ground(&self) -> &Ground<D> {
        &self.ground
    }

    /// See [`Files::sweep`](super::Files::sweep).
    pub fn sweep(&self, directory: &Path, makers: Makers) -> Result<()> {
        // As the parent of any name: judged, also where it is a link, or the runtime directory itself.
        let Some(spot) = self.ground.find(&directory.join("name"))? else { return Ok(()) };
        let spot = spot.ours()?;
        sweep(spot.disk(), spot.directory(), spot.parent(), Sweep::All(makers))
    }

    /// See [`Files::make_directory`](super::Files::make_directory).
    pub fn make_directory(&self, path: &Path, mode: u32, owner: Identity) -> Result<()> {
        if self.ground.is_base(path) {
            // Made when the ground was opened: a runtime directory in everybody's /tmp stays its owner's alone.
            return Ok(());
        }
        let (disk, spot) = (self.ground.disk(), self.ground.make_parents(path)?);
        let there = spot.about()?;
        if owner == Identity::ROOT
            && there.is_some_and(|about| about.kind == Kind::Link)
            && let Some(real) = self.ground.behind(path)?
        {
            return self.make_directory(&real, mode, owner);
        }
        let there = there.filter(About::is_directory);
        if there.is_some() && spot.is_shared() {
            // Its group could have put another of root's directories here: what is there is not changed.
            return Ok(());
        }
        let spot = if owner == Identity::ROOT { spot } else { spot.ours()? };
        let authority = self.ground.authority();
        if there.is_some_and(|about| about.mode == mode && about.owner == authority.give(owner).unwrap_or(about.owner))
        {
            return Ok(());
        }
        // A person's own directory is not taken from him.
        if let Some(uid) = there.map(|about| about.owner.uid)
            && ![0, authority.own().uid, owner.uid].contains(&uid)
        {
            return Err(foreign(path, uid));
        }
        let handle = if there.is_some() {
            sys("open", path, || open_directory(disk, spot.directory(), spot.name()))?
        } else {
            make_directory_in(disk, spot.directory(), spot.name(), first_mode(authority, mode, owner), path)?
        };
        give(disk, authority, &handle, path, mode, owner)?;
        spot.sync_here(handle)?;
        spot.sync_name()
    }

    /// See [`Files::together`](super::Files::together).
    pub fn together(&self) -> Gathering<'_, D> {
        self.ground.gather()
    }

    /// See [`Files::put`](super::Files::put).
    pub fn put(&self, path: &Path, node: &Node) -> Result<()> {
        stage::put(&self.ground, &self.staging, path, node)
    }

    /// See [`Files::rename`](super::Files::rename).
    pub fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let (source, target) = (self.ground.spot(from)?.ours()?, self.ground.spot(to)?.ours()?);
        sys("rename", from, || {
            let (from, to) = ((source.directory(), source.name()), (target.directory(), target.name()));
            self.ground.disk().rename(from, to, Onto::Anything)
        })?;
        target.sync()?;
        if source.parent() == target.parent() { Ok(()) } else { source.sync() }
    }

    /// See [`Files::remove`](super::Files::remove).
    pub fn remove(&self, path: &Path) -> Result<()> {
        let Some(spot) = self.ground.find(path)? else { return Ok(()) };
        let spot = spot.ours()?;
        match rustix::io::retry_on_intr(|| spot.disk().remove(spot.directory(), spot.name())) {
            Ok(()) => spot.sync(),
            Err(Errno::NOENT) => Ok(()),
            // Where nothing may be written, that is said before whether there is anything.
            Err(Errno::ROFS) if spot.about()?.is_none() => Ok(()),
            Err(errno) => Err(HostError::at("remove", path)(errno.into())),
        }
    }

    /// See [`Files::make_tree`](super::Files::make_tree).
    pub fn make_tree(&self, path: &Path, mode: u32, owner: Identity, nodes: Nodes<'_>) -> Result<()> {
        tree::make(&self.ground, path, mode, owner, nodes)
    }

    /// See [`Files::remove_tree`](super::Files::remove_tree).
    pub fn remove_tree(&self, path: &Path) -> Result<()> {
        tree::remove(&self.ground, path)
    }

    /// See [`Files::sync_all`](super::Files::sync_all).
    pub fn sync_all(&self, path: &Path) -> Result<()> {
        let Some(spot) = self.ground.find(path)? else { return Ok(()) };
        match rustix::io::retry_on_intr(|| spot.disk().open(spot.directory(), Path::new(spot.name()), Open::Any)) {
            Ok(handle) => self.ground.sync_all(&handle, path),
            Err(Errno::NOENT) => Ok(()),
            Err(Errno::LOOP) => self.ground.behind(path)?.map_or(Ok(()), |real| self.sync_all(&real)),
            Err(errno) => Err(HostError::at("open", path)(errno.into())),
        }
    }

    /// See [`Files::raise_flag`](super::Files::raise_flag).
    pub fn raise_flag(&self, path: &Path) -> Result<()> {
        let spot = self.ground.spot(path)?.ours()?;
        let file = sys("make", path, || spot.disk().touch(spot.directory(), spot.name()))?;
        sys("change the mode of", path, || spot.disk().change_mode(&file, 0o644))
    }
}
