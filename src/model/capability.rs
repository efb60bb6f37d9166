//! What a host can do beyond files and processes of our own. Rootless is no second product: it is the same host with some of
//! these missing, and whoever plans, renders or prints asks for the one that it needs, never for root.

use std::collections::BTreeMap;
use std::fmt;

/// Something that a host may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Users of their own for applications, and files and processes given to them.
    Identities,
    /// Settings of the kernel that are ours to change.
    Kernel,
    /// Any port, on all addresses.
    Ports,
    /// A service manager that starts what serves when the host boots.
    Boot,
    /// IPv6.
    Ipv6,
}

impl Capability {
    /// All that take root.
    pub const OF_ROOT: [Self; 4] = [Self::Identities, Self::Kernel, Self::Ports, Self::Boot];
}

/// Why a host lacks something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotHere {
    /// Portreeve does not run as root.
    NotRoot,
    /// The host is a directory (`--root`): what is around it belongs to others.
    Directory,
    /// Its kernel has none.
    Kernel,
}

impl fmt::Display for NotHere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRoot => "it takes root",
            Self::Directory => "this host is a directory",
            Self::Kernel => "the kernel has none",
        })
    }
}

/// What a host can do: everything but this.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    absent: BTreeMap<Capability, NotHere>,
}

impl Capabilities {
    /// A host that lacks these.
    pub fn without(lacks: impl IntoIterator<Item = Capability>, why: NotHere) -> Self {
        Self { absent: lacks.into_iter().map(|capability| (capability, why)).collect() }
    }

    /// The same without this too.
    #[must_use]
    pub fn and_without(mut self, capability: Capability, why: NotHere) -> Self {
        self.absent.insert(capability, why);
        self
    }

    /// Whether it can.
    pub fn has(&self, capability: Capability) -> bool {
        !self.absent.contains_key(&capability)
    }

    /// Why it can't.
    pub fn lacks(&self, capability: Capability) -> Option<NotHere> {
        self.absent.get(&capability).copied()
    }
}
