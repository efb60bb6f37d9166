//! System calls on handles: tried again when a signal interrupts them, and with the path in what they fail with.

use std::ffi::OsStr;
use std::path::Path;

use rustix::io::Errno;

use super::disk::{About, Answer, Disk, Kind, Open};
use super::{Authority, HostError, Result};
use crate::model::Identity;

/// The mode of a directory that only we can enter.
pub(super) const ALONE: u32 = 0o700;

/// Runs a system call again when a signal interrupted it, and names what it was about.
pub(super) fn sys<T>(action: &'static str, path: &Path, call: impl FnMut() -> Answer<T>) -> Result<T> {
    rustix::io::retry_on_intr(call).map_err(|errno| HostError::at(action, path)(errno.into()))
}

/// Opens the directory `name` in `directory`, not through a link and not in another directory.
pub(super) fn open_directory<D: Disk>(disk: &D, directory: &D::Handle, name: &OsStr) -> Answer<D::Handle> {
    rustix::io::retry_on_intr(|| disk.open(directory, Path::new(name), Open::Directory))
}

/// Gives what `handle` holds this owner (where we can) and this mode, as far as it has others.
pub(super) fn give<D: Disk>(
    disk: &D,
    authority: Authority,
    handle: &D::Handle,
    path: &Path,
    mode: u32,
    owner: Identity,
) -> Result<()> {
    let about = sys("look at", path, || disk.about(handle))?;
    // The owner first: chown(2) clears the set-id bits.
    let owner = authority.give(owner).filter(|owner| *owner != about.owner);
    if let Some(owner) = owner {
        sys("change the owner of", path, || disk.change_owner(handle, owner))?;
    }
    if owner.is_some() || about.mode != mode {
        sys("change the mode of", path, || disk.change_mode(handle, mode))?;
    }
    Ok(())
}

/// Makes what happened in a directory, or to a file, outlive a power cut.
pub(super) fn sync<D: Disk>(disk: &D, handle: &D::Handle, path: &Path) -> Result<()> {
    sys("sync", path, || disk.sync(handle))
}

/// What `name` is in `directory`, by `lstat`; `path` is for the message.
pub(super) fn about_in<D: Disk>(disk: &D, directory: &D::Handle, name: &OsStr, path: &Path) -> Result<Option<About>> {
    match rustix::io::retry_on_intr(|| disk.about_name(directory, name)) {
        Ok(about) => Ok(Some(about)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(HostError::at("look at", path)(errno.into())),
    }
}

/// Makes a directory of ours with this mode, unless another thread did, and opens it.
pub(super) fn make_directory_in<D: Disk>(
    disk: &D,
    directory: &D::Handle,
    name: &OsStr,
    mode: u32,
    path: &Path,
) -> Result<D::Handle> {
    match rustix::io::retry_on_intr(|| disk.make_directory(directory, name, mode)) {
        Ok(()) | Err(Errno::EXIST) => {
            open_directory(disk, directory, name).map_err(|errno| HostError::at("open", path)(errno.into()))
        }
        Err(errno) => Err(HostError::at("make", path)(errno.into())),
    }
}

/// The mode that a file or directory is made with, when it is to have `mode` and `owner` in the end: nobody is let in who is not
/// meant to be.
pub(super) fn first_mode(authority: Authority, mode: u32, owner: Identity) -> u32 {
    if authority.give(owner).is_none_or(|owner| owner == Identity::ROOT) { mode } else { mode & 0o700 }
}

impl About {
    /// Whether it is a directory.
    pub(super) fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }
}
