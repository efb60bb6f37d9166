//! System calls on handles: tried again when a signal interrupts them, and with the path in what they fail with.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::{Authority, HostError, Result};
use crate::model::Identity;

/// Runs a system call again when a signal interrupted it, and names what it was about.
pub(super) fn sys<T>(action: &'static str, path: &Path, call: impl FnMut() -> rustix::io::Result<T>) -> Result<T> {
    rustix::io::retry_on_intr(call).map_err(|errno| HostError::at(action, path)(errno.into()))
}

/// Opens the directory `name` in `directory`, not through a link and not in another directory.
pub(super) fn open_directory(directory: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    rustix::io::retry_on_intr(|| {
        rustix::fs::openat2(
            directory,
            name,
            // Not with O_NOFOLLOW: a link would be ENOTDIR, as a file is, instead of ELOOP.
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        )
    })
}

/// Gives what `handle` holds this owner (where we can) and this mode.
pub(super) fn give(authority: Authority, handle: impl AsFd, path: &Path, mode: u32, owner: Identity) -> Result<()> {
    // The owner first: chown(2) clears the set-id bits.
    if let Some(owner) = authority.give(owner) {
        let (uid, gid) = (rustix::fs::Uid::from_raw(owner.uid), rustix::fs::Gid::from_raw(owner.gid));
        sys("change the owner of", path, || rustix::fs::fchown(handle.as_fd(), Some(uid), Some(gid)))?;
    }
    sys("change the mode of", path, || rustix::fs::fchmod(handle.as_fd(), Mode::from_raw_mode(mode)))
}

/// Makes what happened in a directory, or to a file, outlive a power cut.
pub(super) fn sync(handle: impl AsFd, path: &Path) -> Result<()> {
    sys("sync", path, || rustix::fs::fsync(handle.as_fd()))
}

/// What `name` is in `directory`, by `lstat`; `path` is for the message.
pub(super) fn stat_in(directory: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<Option<Stat>> {
    let found =
        rustix::io::retry_on_intr(|| rustix::fs::statat(directory, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW));
    match found {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(HostError::at("look at", path)(errno.into())),
    }
}

/// Makes a directory that only we can enter, or opens the one that is there.
pub(super) fn make_directory_in(directory: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<OwnedFd> {
    let opened = match open_directory(directory, name) {
        // Opened first: what is there already costs no change.
        Err(Errno::NOENT) => match rustix::io::retry_on_intr(|| rustix::fs::mkdirat(directory, name, Mode::RWXU)) {
            Ok(()) | Err(Errno::EXIST) => open_directory(directory, name),
            Err(errno) => return Err(HostError::at("make", path)(errno.into())),
        },
        opened => opened,
    };
    opened.map_err(|errno| HostError::at("open", path)(errno.into()))
}

/// Whether a `stat` is of a directory.
pub(super) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}
