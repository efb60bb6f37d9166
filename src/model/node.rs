//! What can be at a path.

use std::path::PathBuf;

use super::Identity;

/// What a path holds, by `lstat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Absent,
    /// A regular file.
    File {
        /// Permission bits, `0o7777`.
        mode: u32,
        /// Owner and group.
        owner: Identity,
        /// In bytes.
        size: u64,
    },
    /// A symbolic link, with its text.
    Link(PathBuf),
    /// A directory.
    Directory {
        /// Permission bits, `0o7777`.
        mode: u32,
        /// Owner and group.
        owner: Identity,
    },
    /// A socket, device or pipe.
    Other,
}

/// A file or link to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File {
        /// All of it.
        bytes: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// Owner and group.
        owner: Identity,
    },
    /// A symbolic link with this text.
    Link(PathBuf),
    /// A directory; its parents come before it.
    Directory {
        /// Permission bits.
        mode: u32,
        /// Owner and group.
        owner: Identity,
    },
}
