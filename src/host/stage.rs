//! One file or link, whole or not at all.
//!
//! Temporary names live in the staging directory, outside of what nginx, logrotate and systemd include; where that lies on
//! another file system (`/run`), they are hidden names beside the target.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use rustix::io::Errno;

use super::disk::{Disk, Onto};
use super::ground::{Ground, Spot};
use super::handle::{ALONE, first_mode, give, make_directory_in, open_directory, sys};
use super::leftover::{Purpose, discard, hold, with_temporary};
use super::{Authority, HostError, Node, Result};
use crate::model::Identity;

/// Puts `node` in the place of the file or link at `path`, by one rename; a link where nothing is needs none.
pub(super) fn put<D: Disk>(ground: &Ground<D>, staging: &Path, path: &Path, node: &Node) -> Result<()> {
    let spot = ground.spot(path)?.ours()?;
    if let Node::Link(text) = node
        && appears(&spot, text)?
    {
        return spot.sync_name();
    }
    let Some(stage) = stage_beside(ground, staging, &spot)? else {
        return place(ground.authority(), spot.directory(), &spot, node);
    };
    match place(ground.authority(), &stage, &spot, node) {
        // One number for two mounts of the same file system: bind mounts, overlays.
        Err(e) if e.errno() == Some(Errno::XDEV.raw_os_error()) => {
            place(ground.authority(), spot.directory(), &spot, node)
        }
        done => done,
    }
}

/// Makes a link in one step, whole from its first moment. False: its name is taken.
fn appears<D: Disk>(spot: &Spot<D>, text: &Path) -> Result<bool> {
    match rustix::io::retry_on_intr(|| spot.disk().make_link(text, spot.directory(), spot.name())) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(HostError::at("make", spot.path())(errno.into())),
    }
}

/// The staging directory (made when it is missing), if a rename from it to `spot` can work.
fn stage_beside<D: Disk>(ground: &Ground<D>, staging: &Path, spot: &Spot<D>) -> Result<Option<D::Handle>> {
    let disk = ground.disk();
    let place = ground.make_parents(staging)?.ours()?;
    let path = place.path();
    let stage = match open_directory(disk, place.directory(), place.name()) {
        Err(Errno::NOENT) => make_directory_in(disk, place.directory(), place.name(), ALONE, &path)?,
        opened => opened.map_err(|errno| HostError::at("open", &path)(errno.into()))?,
    };
    let there = sys("look at", &path, || disk.about(&stage))?;
    if there.owner.uid != 0 && there.owner.uid != ground.authority().own().uid || there.mode & 0o022 != 0 {
        let why = format!("others may write there: chown root:root {0} && chmod 700 {0}", path.display());
        return Err(HostError::Unsafe { path, why });
    }
    Ok((there.device == spot.device()).then_some(stage))
}

fn place<D: Disk>(authority: Authority, stage: &D::Handle, spot: &Spot<D>, node: &Node) -> Result<()> {
    let (disk, path) = (spot.disk(), spot.path());
    // Kept open until after the rename: it holds the lock that keeps sweepers away.
    let (name, _file) = match node {
        Node::File { bytes, mode, owner } => {
            let (name, file) = make_file(authority, stage, spot, bytes, *mode, *owner)?;
            (name, Some(file))
        }
        Node::Link(text) => (make_link(stage, spot, text)?, None),
        Node::Directory { .. } => {
            let why = "a directory is made, not put".to_owned();
            return Err(HostError::Unsafe { path, why });
        }
    };
    let target = (spot.directory(), spot.name());
    let renamed = sys("replace", &path, || disk.rename((stage, &name), target, Onto::Anything));
    if renamed.is_err() {
        discard(disk, stage, &name);
    }
    renamed?;
    spot.sync_name()
}

fn make_file<D: Disk>(
    authority: Authority,
    stage: &D::Handle,
    spot: &Spot<D>,
    bytes: &[u8],
    mode: u32,
    owner: Identity,
) -> Result<(OsString, D::Handle)> {
    let (disk, path) = (spot.disk(), spot.path());
    let first = first_mode(authority, mode, owner);
    let created = with_temporary(spot.name(), Purpose::New, |name| disk.create(stage, name, first));
    let (name, file) = created.map_err(|errno| HostError::at("write", &path)(errno.into()))?;
    hold(disk, &file);
    let filled = fill(disk, authority, &file, &path, bytes, mode, owner).and_then(|()| spot.sync_content(&file));
    if filled.is_err() {
        discard(disk, stage, &name);
    }
    filled.map(|()| (name, file))
}

/// Writes a new file's content, then its owner, then its mode: nobody reads it before it is meant for him.
pub(super) fn fill<D: Disk>(
    disk: &D,
    authority: Authority,
    file: &D::Handle,
    path: &Path,
    bytes: &[u8],
    mode: u32,
    owner: Identity,
) -> Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let written = sys("write", path, || disk.write(file, rest))?;
        rest = rest.get(written..).unwrap_or_default();
    }
    give(disk, authority, file, path, mode, owner)
}

fn make_link<D: Disk>(stage: &D::Handle, spot: &Spot<D>, text: &Path) -> Result<OsString> {
    with_temporary(spot.name(), Purpose::New, |name: &OsStr| spot.disk().make_link(text, stage, name))
        .map(|(name, ())| name)
        .map_err(|errno| HostError::at("write", spot.path())(errno.into()))
}
