//! One file or link, whole or not at all.
//!
//! Temporary names live in the staging directory, outside of what nginx, logrotate and systemd include; where that lies on
//! another file system (`/run`), they are hidden names beside the target.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::ground::{Ground, Spot};
use super::handle::{give, make_directory_in, sync, sys};
use super::leftover::{Purpose, discard, hold, with_temporary};
use super::{Authority, HostError, Node, Result};
use crate::model::Identity;

/// Puts `node` in the place of the file or link at `path`, by one rename.
pub(super) fn put(ground: &Ground, staging: &Path, path: &Path, node: &Node) -> Result<()> {
    let spot = ground.spot(path)?.ours()?;
    let Some(stage) = stage_beside(ground, staging, &spot)? else {
        return place(ground.authority(), spot.directory(), &spot, node);
    };
    match place(ground.authority(), stage.as_fd(), &spot, node) {
        // One number for two mounts of the same file system: bind mounts, overlays.
        Err(e) if e.errno() == Some(rustix::io::Errno::XDEV.raw_os_error()) => {
            place(ground.authority(), spot.directory(), &spot, node)
        }
        done => done,
    }
}

/// The staging directory (made when it is missing), if a rename from it to `spot` can work.
fn stage_beside(ground: &Ground, staging: &Path, spot: &Spot) -> Result<Option<OwnedFd>> {
    let place = ground.make_parents(staging)?.ours()?;
    let path = place.path();
    let stage = make_directory_in(place.directory(), place.name(), &path)?;
    let there = sys("look at", &path, || rustix::fs::fstat(&stage))?;
    let here = sys("look at", spot.parent(), || rustix::fs::fstat(spot.directory()))?;
    if there.st_uid != 0 && there.st_uid != ground.authority().own().uid || there.st_mode & 0o022 != 0 {
        let why = format!("others may write there: chown root:root {0} && chmod 700 {0}", path.display());
        return Err(HostError::Unsafe { path, why });
    }
    Ok((there.st_dev == here.st_dev).then_some(stage))
}

fn place(authority: Authority, stage: BorrowedFd<'_>, spot: &Spot, node: &Node) -> Result<()> {
    let path = spot.path();
    // Kept open until after the rename: it holds the lock that keeps sweepers away.
    let (name, _file) = match node {
        Node::File { bytes, mode, owner } => {
            let (name, file) = make_file(authority, stage, spot.name(), &path, bytes, *mode, *owner)?;
            (name, Some(file))
        }
        Node::Link(text) => (make_link(stage, spot.name(), &path, text)?, None),
        Node::Directory { .. } => {
            let why = "a directory is made, not put".to_owned();
            return Err(HostError::Unsafe { path, why });
        }
    };
    let renamed = sys("replace", &path, || rustix::fs::renameat(stage, &name, spot.directory(), spot.name()));
    if renamed.is_err() {
        discard(stage, &name);
    }
    renamed?;
    spot.sync_name()
}

fn make_file(
    authority: Authority,
    stage: BorrowedFd<'_>,
    target: &OsStr,
    path: &Path,
    bytes: &[u8],
    mode: u32,
    owner: Identity,
) -> Result<(OsString, File)> {
    let created = with_temporary(target, Purpose::New, |name| create(stage, name));
    let (name, mut file) = created.map_err(|errno| HostError::at("write", path)(errno.into()))?;
    hold(&file);
    let filled = fill(authority, &mut file, path, bytes, mode, owner).and_then(|()| sync(&file, path));
    if filled.is_err() {
        discard(stage, &name);
    }
    filled.map(|()| (name, file))
}

/// A new file that only we can open.
pub(super) fn create(directory: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

/// Writes a new file's content, then its owner, then its mode: nobody reads it before it is meant for him.
pub(super) fn fill(
    authority: Authority,
    file: &mut File,
    path: &Path,
    bytes: &[u8],
    mode: u32,
    owner: Identity,
) -> Result<()> {
    file.write_all(bytes).map_err(HostError::at("write", path))?;
    give(authority, &*file, path, mode, owner)
}

fn make_link(stage: BorrowedFd<'_>, target: &OsStr, path: &Path, text: &Path) -> Result<OsString> {
    with_temporary(target, Purpose::New, |name| rustix::fs::symlinkat(text, stage, name))
        .map(|(name, ())| name)
        .map_err(|errno| HostError::at("write", path)(errno.into()))
}
