//! The machine's files.
//!
//! Looking is one system call and trusts nothing; writing goes through [`Writer`].
#![expect(clippy::disallowed_methods, reason = "this is where files are looked at")]

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags, StatVfs};
use rustix::io::Errno;

use super::ground::Ground;
use super::handle::sys;
use super::tree::Nodes;
use super::write::Writer;
use super::{
    Authority, Clock, Files, Found, FreeSpace, HostError, Lock, Makers, Node, RealClock, Result, Together, lock,
};
use crate::model::{Digest, Identity, Layout};

/// No file of ours is larger.
const LARGEST: usize = 8 * 1024 * 1024;

/// The real files. Clones share the handles of root and runtime directory and what is locked, and nothing else is kept.
#[derive(Debug, Clone)]
pub struct RealFiles {
    writer: Writer,
    clock: RealClock,
    locks: Arc<lock::Here>,
}

impl RealFiles {
    /// Files below `ground`, staged in `layout`'s staging directory.
    pub fn new(ground: Arc<Ground>, layout: &Layout, clock: RealClock) -> Self {
        Self { writer: Writer::new(ground, layout), clock, locks: Arc::default() }
    }

    /// What may be done to owners.
    pub fn authority(&self) -> Authority {
        self.writer.ground().authority()
    }
}

impl Files for RealFiles {
    fn look(&self, path: &Path) -> Result<Found> {
        let about = match path.symlink_metadata() {
            Err(e) if is_absent(&e) => return Ok(Found::Absent),
            about => about.map_err(HostError::at("look at", path))?,
        };
        let (mode, owner) = (about.mode() & 0o7777, Identity { uid: about.uid(), gid: about.gid() });
        let kind = about.file_type();
        if kind.is_symlink() {
            return read_link(path);
        }
        Ok(if kind.is_file() {
            Found::File { mode, owner, size: about.len() }
        } else if kind.is_dir() {
            Found::Directory { mode, owner }
        } else {
            Found::Other
        })
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        // O_NONBLOCK: the open of a pipe would wait for its writer.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
        match opened {
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) if e.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                Err(unsafe_to_read(path, "a symbolic link"))
            }
            opened => read_at_most(&opened.map_err(HostError::at("read", path))?, path, limit).map(Some),
        }
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(directory) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(HostError::at("list", directory))?,
        };
        let mut names = entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(HostError::at("list", directory))?;
        names.sort_unstable();
        Ok(names)
    }

    fn make_directory(&self, path: &Path, mode: u32, owner: Identity) -> Result<()> {
        self.writer.make_directory(path, mode, owner)
    }

    fn put(&self, path: &Path, node: &Node) -> Result<()> {
        self.writer.put(path, node)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.writer.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.writer.remove(path)
    }

    fn make_tree(&self, path: &Path, mode: u32, owner: Identity, nodes: Nodes<'_>) -> Result<()> {
        self.writer.make_tree(path, mode, owner, nodes)
    }

    fn remove_tree(&self, path: &Path) -> Result<()> {
        self.writer.remove_tree(path)
    }

    fn sweep(&self, directory: &Path, makers: Makers) -> Result<()> {
        self.writer.sweep(directory, makers)
    }

    fn raise_flag(&self, path: &Path) -> Result<()> {
        self.writer.raise_flag(path)
    }

    fn free_space(&self, path: &Path) -> Result<FreeSpace> {
        let about = path
            .ancestors()
            .map(|path| rustix::io::retry_on_intr(|| rustix::fs::statvfs(path)))
            .find(|about| !matches!(about, Err(Errno::NOENT)))
            .unwrap_or(Err(Errno::NOENT))
            .map_err(|errno| HostError::at("look at", path)(errno.into()))?;
        Ok(left(&about))
    }

    /// Fewer calls than a look and a read: open, stat, read, close.
    fn holds_file(&self, path: &Path, mode: u32, owner: Identity, sha256: Digest, room: &mut Vec<u8>) -> Result<bool> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty())) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(false),
            opened => opened.map_err(|errno| HostError::at("read", path)(errno.into()))?,
        };
        let about = sys("look at", path, || rustix::fs::fstat(&file))?;
        let is_as_told = FileType::from_raw_mode(about.st_mode) == FileType::RegularFile
            && (about.st_mode & 0o7777, about.st_uid, about.st_gid) == (mode, owner.uid, owner.gid);
        Ok(is_as_told && has_digest(&file, path, about.st_size, sha256, room)?)
    }

    fn holds_link(&self, path: &Path, target: &Path) -> Result<bool> {
        let mut text = [const { MaybeUninit::uninit() }; 4096];
        // No signal interrupts readlink(2).
        match rustix::fs::readlinkat_raw(rustix::fs::CWD, path, &mut text[..]) {
            Ok((found, _)) => Ok(*found == *target.as_os_str().as_bytes()),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL) => Ok(false),
            Err(errno) => Err(HostError::at("read", path)(errno.into())),
        }
    }

    /// By inode, size and both times; the second one no program can set.
    fn stamp(&self, path: &Path) -> Result<String> {
        match path.metadata() {
            Err(e) if is_absent(&e) => Ok(String::new()),
            about => {
                let about = about.map_err(HostError::at("look at", path))?;
                let times = (about.mtime(), about.mtime_nsec(), about.ctime(), about.ctime_nsec());
                Ok(format!("{}.{}.{}.{times:?}", about.dev(), about.ino(), about.len()))
            }
        }
    }

    fn together(&self) -> Box<dyn Together + '_> {
        Box::new(self.writer.together())
    }

    fn sync_all(&self, path: &Path) -> Result<()> {
        self.writer.sync_all(path)
    }

    fn lock_one_of(&self, paths: &[&Path], wait: Duration) -> Result<Box<dyn Lock>> {
        lock::take(&self.locks, self.writer.ground(), &self.clock as &dyn Clock, paths, wait)
    }

    fn holder(&self, path: &Path) -> Result<Option<String>> {
        lock::holder(path)
    }
}

/// What users have left: releases are built as one, and what is reserved for root (5 % on ext4) is root's only.
fn left(about: &StatVfs) -> FreeSpace {
    let bytes = about.f_bavail.saturating_mul(about.f_frsize);
    FreeSpace { bytes, inodes: (about.f_files > 0).then_some(about.f_favail) }
}

/// Whether the file's bytes are those of the digest. A size that changes meanwhile is another content.
fn has_digest(file: &OwnedFd, path: &Path, size: i64, sha256: Digest, room: &mut Vec<u8>) -> Result<bool> {
    let Ok(size) = usize::try_from(size) else { return Ok(false) };
    if size > LARGEST {
        return Ok(false);
    }
    // One more byte than it had shows a file that grew.
    room.resize(size + 1, 0);
    let mut filled = 0;
    while filled <= size {
        match sys("read", path, || rustix::io::read(file, &mut room[filled..]))? {
            0 => break,
            read => filled += read,
        }
        if filled == size {
            break;
        }
    }
    Ok(filled == size && Digest::of(&room[..size]) == sha256)
}

/// A file in the place of a parent directory: below it there is nothing either.
fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn read_link(path: &Path) -> Result<Found> {
    match std::fs::read_link(path) {
        Ok(text) => Ok(Found::Link(text)),
        Err(e) if is_absent(&e) => Ok(Found::Absent),
        Err(e) => Err(HostError::at("read", path)(e)),
    }
}

fn unsafe_to_read(path: &Path, what: &str) -> HostError {
    HostError::Unsafe { path: path.to_owned(), why: format!("{what} where a file should be; it is not read") }
}

fn read_at_most(file: &File, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let about = file.metadata().map_err(HostError::at("look at", path))?;
    if !about.is_file() {
        return Err(unsafe_to_read(path, "something else"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(about.len().min(limit)).unwrap_or_default() + 1);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(HostError::at("read", path))?;
    if bytes.len() as u64 > limit {
        let why = format!("larger than {limit} bytes; it is not read");
        return Err(HostError::Unsafe { path: path.to_owned(), why });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
