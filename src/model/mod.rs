//! Words that the rest of the program is written in: names, ports, slots, digests and paths.
//!
//! Each type is parsed once, at the border, and never checked again. Nothing here touches the machine.

mod address;
mod boot;
mod capability;
mod digest;
mod duration;
mod env_layout;
mod identity;
mod layout;
mod manager;
mod moment;
mod name;
mod node;
mod port;
mod record;
mod repo_address;
mod root;
mod service;
mod slot;
mod variable;

pub use address::{AddressError, MailAddress, SecretUrl};
pub use boot::Boot;
pub use capability::{Capabilities, Capability, NotHere};
pub use digest::{CommitId, Digest, ReleaseId};
pub use duration::{Span, SpanError};
pub use env_layout::EnvLayout;
pub use identity::Identity;
pub use layout::Layout;
pub use manager::Manager;
pub use moment::{ago, moment};
pub use name::{Domain, EnvName, EnvironmentName, NameError, ProjectName, UserName};
pub use node::{Found, Node};
pub use port::{PortError, PortRange};
pub use record::{Newer, unless_newer};
pub use repo_address::{Address, AddressError as RepoAddressError, LocalPaths, Transport};
pub use root::Root;
pub use service::{Activity, Service, SlotId};
pub use slot::{NoSlot, Slot};
pub use variable::is_ours;

/// The number of a generation. 0 is *absent*: nothing of the environment is on the host.
pub type GenerationNumber = u64;
