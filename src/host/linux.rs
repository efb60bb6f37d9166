//! The kernel's file systems: a system call a method.

use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Stat, Uid};
use rustix::io::Errno;

use super::disk::{About, Answer, Disk, Kind, Onto, Open};
use super::umask;
use crate::model::Identity;

/// The disks of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Linux;

impl Disk for Linux {
    type Handle = OwnedFd;

    fn root(&self, path: &Path) -> std::io::Result<(PathBuf, OwnedFd)> {
        DirBuilder::new().recursive(true).mode(0o755).create(path)?;
        let real = path.canonicalize()?;
        let handle = open_base(&real)?;
        Ok((real, handle))
    }

    fn runtime(&self, path: &Path) -> std::io::Result<OwnedFd> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e),
            _ => open_base(path),
        }
    }

    fn again(&self, handle: &OwnedFd) -> Answer<OwnedFd> {
        rustix::io::fcntl_dupfd_cloexec(handle, 0)
    }

    fn open(&self, directory: &OwnedFd, below: &Path, what: Open) -> Answer<OwnedFd> {
        // Directories without O_NOFOLLOW: a link would be ENOTDIR, as a file is, instead of ELOOP.
        let (flags, mounts) = match what {
            Open::Directory => (OFlags::DIRECTORY, ResolveFlags::empty()),
            Open::DirectoryHere => (OFlags::DIRECTORY, ResolveFlags::NO_XDEV),
            // The open of a pipe would wait for its writer.
            Open::Any => (OFlags::NOFOLLOW | OFlags::NONBLOCK, ResolveFlags::empty()),
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | mounts;
        rustix::fs::openat2(directory, below, OFlags::RDONLY | OFlags::CLOEXEC | flags, Mode::empty(), resolve)
    }

    fn about(&self, handle: &OwnedFd) -> Answer<About> {
        rustix::fs::fstat(handle).map(|stat| about(&stat))
    }

    fn about_name(&self, directory: &OwnedFd, name: &OsStr) -> Answer<About> {
        rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| about(&stat))
    }

    fn names(&self, directory: &OwnedFd) -> Answer<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
        }
        Ok(names)
    }

    fn read_link(&self, directory: &OwnedFd, name: &OsStr) -> Answer<PathBuf> {
        let text = rustix::fs::readlinkat(directory, name, Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(text.into_bytes())))
    }

    fn try_lock(&self, handle: &OwnedFd) -> Answer<bool> {
        match rustix::fs::flock(handle, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => Ok(false),
            locked => locked.map(|()| true),
        }
    }

    fn make_directory(&self, directory: &OwnedFd, name: &OsStr, mode: u32) -> Answer<()> {
        umask::ours(|| rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(mode)))
    }

    fn create(&self, directory: &OwnedFd, name: &OsStr, mode: u32) -> Answer<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        umask::ours(|| rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(mode)))
    }

    fn touch(&self, directory: &OwnedFd, name: &OsStr) -> Answer<OwnedFd> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(directory, name, flags, Mode::RUSR)
    }

    fn make_link(&self, text: &Path, directory: &OwnedFd, name: &OsStr) -> Answer<()> {
        rustix::fs::symlinkat(text, directory, name)
    }

    fn write(&self, file: &OwnedFd, bytes: &[u8]) -> Answer<usize> {
        rustix::io::write(file, bytes)
    }

    fn change_owner(&self, handle: &OwnedFd, owner: Identity) -> Answer<()> {
        rustix::fs::fchown(handle, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
    }

    fn change_mode(&self, handle: &OwnedFd, mode: u32) -> Answer<()> {
        rustix::fs::fchmod(handle, Mode::from_raw_mode(mode))
    }

    fn rename(&self, from: (&OwnedFd, &OsStr), to: (&OwnedFd, &OsStr), onto: Onto) -> Answer<()> {
        match onto {
            Onto::Anything => rustix::fs::renameat(from.0, from.1, to.0, to.1),
            Onto::Nothing => rustix::fs::renameat_with(from.0, from.1, to.0, to.1, RenameFlags::NOREPLACE),
        }
    }

    fn remove(&self, directory: &OwnedFd, name: &OsStr) -> Answer<()> {
        rustix::fs::unlinkat(directory, name, AtFlags::empty())
    }

    fn remove_directory(&self, directory: &OwnedFd, name: &OsStr) -> Answer<()> {
        rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)
    }

    fn sync(&self, handle: &OwnedFd) -> Answer<()> {
        rustix::fs::fsync(handle)
    }

    fn sync_all(&self, handle: &OwnedFd) -> Answer<()> {
        rustix::fs::syncfs(handle)
    }
}

fn open_base(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?)
}

fn about(stat: &Stat) -> About {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    };
    About {
        kind,
        mode: stat.st_mode & 0o7777,
        owner: Identity { uid: stat.st_uid, gid: stat.st_gid },
        device: stat.st_dev,
        inode: stat.st_ino,
        changed: stat.st_ctime,
    }
}
