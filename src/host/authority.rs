//! What this process may do to owners.

#![expect(clippy::disallowed_methods, reason = "this is where it is asked who we are")]

use crate::model::{Capabilities, Capability, Identity, NotHere, Root};

/// Whether files and processes can be given to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// Root on a whole machine.
    Machine,
    /// Everything is our own: without privileges, or below `--root`.
    Own(Identity),
}

impl Authority {
    /// That of this process over `root`. Below `--root` even root keeps everything: a toy host has no users of its own.
    pub fn of(root: &Root) -> Self {
        let own = Identity { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
        if own.uid == 0 && root.is_system() { Self::Machine } else { Self::Own(own) }
    }

    /// What a host over `root` can do with it. It is all or nothing yet; nobody but this function knows.
    pub fn capabilities(self, root: &Root) -> Capabilities {
        match self {
            Self::Machine => Capabilities::default(),
            Self::Own(_) if root.is_system() => Capabilities::without(Capability::ALL, NotHere::NotRoot),
            Self::Own(_) => Capabilities::without(Capability::ALL, NotHere::Directory),
        }
    }

    /// Whose our own files are.
    pub fn own(self) -> Identity {
        match self {
            Self::Machine => Identity::ROOT,
            Self::Own(own) => own,
        }
    }

    /// The owner that can really be given where `wanted` is asked for; `None`: leave what the kernel gave.
    pub fn give(self, wanted: Identity) -> Option<Identity> {
        match self {
            Self::Machine => Some(wanted),
            Self::Own(_) => None,
        }
    }
}
