//! The system calls that files are made of, one method each.
//!
//! What is written, in which order, and what is synced when is said once, above this trait, for the kernel's file systems and
//! for the tests' disk in memory, which loses power between any two calls.

use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::model::Identity;

/// What a call answers.
pub type Answer<T> = std::result::Result<T, Errno>;

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A socket, device or pipe.
    Other,
}

/// `fstat(2)`, as far as anybody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, `0o7777`.
    pub mode: u32,
    /// Whose it is.
    pub owner: Identity,
    /// Its file system.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// When it was changed last, in seconds since 1970.
    pub changed: i64,
}

/// What to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// A directory.
    Directory,
    /// A directory that is no mount point.
    DirectoryHere,
    /// Whatever it is, for reading and syncing.
    Any,
}

/// What a rename does to what is at its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onto {
    /// Takes its place.
    Anything,
    /// Fails with `EEXIST`.
    Nothing,
}

/// A disk, by handles. Names are one component; nothing follows a link. Signals interrupt it: callers try again.
pub trait Disk: Clone + Debug {
    /// An open file or directory.
    type Handle: Debug;

    /// Opens the root, which may be reached through links, and is made when it is missing. Its real path, too.
    fn root(&self, path: &Path) -> std::io::Result<(PathBuf, Self::Handle)>;
    /// Opens the runtime directory, made for us alone when it is missing.
    fn runtime(&self, path: &Path) -> std::io::Result<Self::Handle>;
    /// The same open directory once more.
    fn again(&self, handle: &Self::Handle) -> Answer<Self::Handle>;

    /// Opens a path below `directory`, through no link: `ELOOP` where one is on the way or at its end.
    fn open(&self, directory: &Self::Handle, below: &Path, what: Open) -> Answer<Self::Handle>;
    /// What a handle holds.
    fn about(&self, handle: &Self::Handle) -> Answer<About>;
    /// What a name is.
    fn about_name(&self, directory: &Self::Handle, name: &OsStr) -> Answer<About>;
    /// Names in a directory, but for `.` and `..`.
    fn names(&self, directory: &Self::Handle) -> Answer<Vec<OsString>>;
    /// A link's text.
    fn read_link(&self, directory: &Self::Handle, name: &OsStr) -> Answer<PathBuf>;
    /// Takes the handle's lock, which lasts until it is closed. False: another one has it.
    fn try_lock(&self, handle: &Self::Handle) -> Answer<bool>;

    /// Makes a directory of ours with this mode, which nobody but us may write in.
    fn make_directory(&self, directory: &Self::Handle, name: &OsStr, mode: u32) -> Answer<()>;
    /// Makes a file of ours with this mode, where nothing is.
    fn create(&self, directory: &Self::Handle, name: &OsStr, mode: u32) -> Answer<Self::Handle>;
    /// Opens a file, made when it is missing.
    fn touch(&self, directory: &Self::Handle, name: &OsStr) -> Answer<Self::Handle>;
    /// Makes a link where nothing is.
    fn make_link(&self, text: &Path, directory: &Self::Handle, name: &OsStr) -> Answer<()>;
    /// Appends bytes, as many as it says.
    fn write(&self, file: &Self::Handle, bytes: &[u8]) -> Answer<usize>;
    /// Gives it away.
    fn change_owner(&self, handle: &Self::Handle, owner: Identity) -> Answer<()>;
    /// Sets permission bits.
    fn change_mode(&self, handle: &Self::Handle, mode: u32) -> Answer<()>;
    /// Renames within this disk.
    fn rename(&self, from: (&Self::Handle, &OsStr), to: (&Self::Handle, &OsStr), onto: Onto) -> Answer<()>;
    /// Removes a file or link.
    fn remove(&self, directory: &Self::Handle, name: &OsStr) -> Answer<()>;
    /// Removes an empty directory.
    fn remove_directory(&self, directory: &Self::Handle, name: &OsStr) -> Answer<()>;
    /// Makes a file's content, or a directory's names, outlive a power cut.
    fn sync(&self, handle: &Self::Handle) -> Answer<()>;
    /// The same for all of the file system that the handle is on.
    fn sync_all(&self, handle: &Self::Handle) -> Answer<()>;
}
