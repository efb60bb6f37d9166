//! What this process may do to owners.

#![expect(clippy::disallowed_methods, reason = "this is where it is asked who we are")]

use std::path::Path;

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

    /// What a host over `root` can do with it; nobody but this function knows.
    pub fn capabilities(self, root: &Root) -> Capabilities {
        match self {
            Self::Machine => of_kernel(Path::new("/proc/net")),
            Self::Own(_) if root.is_system() => Capabilities::without(Capability::OF_ROOT, NotHere::NotRoot),
            Self::Own(_) => Capabilities::without(Capability::OF_ROOT, NotHere::Directory),
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

/// Of root, with this kernel. By the tables that it has, not by a socket: what one may open is another question for an agent that
/// is confined than for a person's shell, and the two would render a vhost in turns.
fn of_kernel(tables: &Path) -> Capabilities {
    let has = |table: &str| tables.join(table).try_exists().unwrap_or(true);
    let all = Capabilities::default();
    if has("tcp") && !has("if_inet6") { all.and_without(Capability::Ipv6, NotHere::Kernel) } else { all }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_lacks_what_it_has_no_table_of() {
        let tables = tempfile::tempdir().unwrap();
        let has = || of_kernel(tables.path()).has(Capability::Ipv6);
        assert!(has(), "without any table nothing is known");
        std::fs::write(tables.path().join("tcp"), "").unwrap();
        assert!(!has());
        std::fs::write(tables.path().join("if_inet6"), "").unwrap();
        assert!(has());
    }
}
