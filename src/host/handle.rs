//! System calls on handles: tried again when a signal interrupts them, and with the path in what they fail with.

use std::ffi::OsStr;
use std::path::Path;

use rustix::io::Errno;

use super::disk::{About, Answer, Disk, Kind, Open};
use super::{Authority, HostError, Result};
use crate::model::Identity;

/// Runs a system call again when a signal interrupted it, and names what it was about.
pub(super) fn sys<T>(action: &'static str, path: &Path, call: impl FnMut() -> Answer<T>) -> Result<T> {
    rustix::io::retry_on_intr(call).map_err(|errno| HostError::at(action, path)(errno.into()))
}

/// Opens the directory `name` in `directory`, not through a link and not in another directory.
pub(super) fn open_directory<D: Disk>(disk: &D, directory: &D::Handle, name: &OsStr) -> Answer<D::Handle> {
    rustix::io::retry_on_intr(|| disk.open(directory, Path::new(name), Open::Directory))
}

/// Gives what `handle` holds this owner (where we can) and this mode.
pub(super) fn give<D: Disk>(
    disk: &D,
    authority: Authority,
    handle: &D::Handle,
    path: &Path,
    mode: u32,
    owner: Identity,
) -> Result<()> {
    // The owner first: chown(2) clears the set-id bits.
    if let Some(owner) = authority.give(owner) {
        sys("change the owner of", path, || disk.change_owner(handle, owner))?;
    }
    sys("change the mode of", path, || disk.change_mode(handle, mode))
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

/// Makes a directory that only we can enter, or opens the one that is there.
pub(super) fn make_directory_in<D: Disk>(
    disk: &D,
    directory: &D::Handle,
    name: &OsStr,
    path: &Path,
) -> Result<D::Handle> {
    let opened = match open_directory(disk, directory, name) {
        // Opened first: what is there already costs no change.
        Err(Errno::NOENT) => match rustix::io::retry_on_intr(|| disk.make_directory(directory, name)) {
            Ok(()) | Err(Errno::EXIST) => open_directory(disk, directory, name),
            Err(errno) => return Err(HostError::at("make", path)(errno.into())),
        },
        opened => opened,
    };
    opened.map_err(|errno| HostError::at("open", path)(errno.into()))
}

impl About {
    /// Whether it is a directory.
    pub(super) fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }
}
