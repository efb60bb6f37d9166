//! What a transaction is handed.

use std::path::PathBuf;
use std::time::Duration;

use super::{Failure, Installer, Report};
use crate::desired::{Generation, Wanted};
use crate::host::{Host, HostError};
use crate::model::{Boot, EnvLayout, EnvName, Found, Identity, Layout, Manager, Node};

/// A name and a time take less.
const BOOT_LIMIT: u64 = 4 * 1024;

/// A file, link or directory on its way to the disk.
pub type Entry = crate::host::Result<(PathBuf, Node)>;

/// The application's committed files.
pub trait Trees {
    /// Hands the nodes of `wanted`'s commit to `take`, parents first, readable by `owner`'s group.
    fn each(
        &self,
        wanted: &Wanted,
        owner: Identity,
        take: &mut dyn FnMut(&mut dyn Iterator<Item = Entry>) -> Result<(), Failure>,
    ) -> Result<(), Failure>;
}

/// What is true of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Which service manager runs the slots.
    pub manager: Manager,
    /// The user that the web server's workers run as.
    pub web_user: String,
    /// Their group.
    pub web_group: String,
    /// The port of plain HTTP.
    pub http_port: u16,
    /// What Supervisor runs before a slot's program: this program, with its options.
    pub launcher: Vec<String>,
    /// How packages are installed.
    pub installer: Installer,
    /// Longest time for installing packages, or for any command of the application.
    pub build_deadline: Duration,
}

/// The host, its layout and its facts.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The machine.
    pub host: &'a dyn Host,
    /// Where things live on it.
    pub layout: &'a Layout,
    /// What is true of it.
    pub facts: &'a Facts,
    /// The applications' files.
    pub trees: &'a dyn Trees,
    /// Who is told.
    pub report: &'a dyn Report,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("layout", self.layout).field("facts", self.facts).finish_non_exhaustive()
    }
}

impl<'a> Context<'a> {
    /// The same on a machine that heeds other wishes.
    #[must_use]
    pub fn on<'b>(&self, host: &'b dyn Host) -> Context<'b>
    where
        'a: 'b,
    {
        Context { host, ..*self }
    }

    /// This boot of the host: for times that outlive a process.
    pub fn boot(&self) -> Boot {
        let boot = self.host.clock().boot();
        match self.first_of_boot(&boot) {
            Some(first) => boot.as_found(&first),
            None => boot,
        }
    }

    /// Notes how this boot was found, once, where a reboot loses it: a clock that is set later changes nothing that waits.
    pub fn note_boot(&self) -> Result<(), HostError> {
        let boot = self.host.clock().boot();
        if self.first_of_boot(&boot).is_some() {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&boot).unwrap_or_default();
        if self.host.files().look(self.layout.runtime())? == Found::Absent {
            self.host.files().make_directory(self.layout.runtime(), 0o755, self.host.users().own())?;
        }
        self.host.files().put(&self.layout.boot_note(), &Node::File { bytes, mode: 0o644, owner: Identity::ROOT })
    }

    /// The machine's own `/run` is empty after a boot, so that its note is of this one, whatever its name: a service with a `/proc`
    /// of its own (`ProtectProc=`) is told another name than its container is. Below another root a note outlives a boot.
    fn first_of_boot(&self, now: &Boot) -> Option<Boot> {
        let bytes = self.host.files().read(&self.layout.boot_note(), BOOT_LIMIT).ok().flatten()?;
        let first = serde_json::from_slice(&bytes).ok();
        first.filter(|first| self.layout.root().is_system() || now.is_same(first))
    }

    /// The directories of the environment that `wanted` describes.
    pub fn paths(&self, wanted: &Wanted) -> EnvLayout {
        self.layout.env(&wanted.env.name, &wanted.env.user, &wanted.env.base_dir)
    }

    /// A generation's directory.
    pub fn directory(&self, generation: &Generation) -> PathBuf {
        self.layout.generation(&generation.name, generation.number)
    }

    /// The text of the `active` link that leads to `number`.
    pub fn active_target(name: &EnvName, number: u64) -> PathBuf {
        PathBuf::from(format!("../generations/{}/{number}", name.flat()))
    }
}
