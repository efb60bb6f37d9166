//! The machine that this program runs on.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{
    Authority, Clock, Files, Front, Ground, Host, Kernel, Post, Probe, Processes, RealClock, RealFiles, RealKernel,
    RealPost, RealProcesses, RealUsers, Result, Services, Users,
};
use crate::model::{Capabilities, Layout};

/// What every machine has, whatever its service manager: files, processes, users, kernel, clock.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Its files.
    pub files: RealFiles,
    /// Its processes.
    pub processes: RealProcesses,
    /// Its users.
    pub users: RealUsers,
    /// Its kernel.
    pub kernel: RealKernel,
    /// Its clock.
    pub clock: RealClock,
    /// What it can do.
    pub capabilities: Capabilities,
}

impl Parts {
    /// The parts of the machine below `layout`'s root, which is made when it is missing. `cancel` ends waits.
    pub fn open(layout: &Layout, cancel: Arc<AtomicBool>) -> Result<Self> {
        Self::with_authority(layout, Authority::of(layout.root()), cancel)
    }

    /// The same with another authority than that of this process: tests give files away below a directory.
    pub(super) fn with_authority(layout: &Layout, authority: Authority, cancel: Arc<AtomicBool>) -> Result<Self> {
        let ground = Arc::new(Ground::open(layout, authority)?);
        let clock = RealClock::new(cancel);
        let files = RealFiles::new(Arc::clone(&ground), layout, clock.clone());
        let processes = RealProcesses::new(ground);
        let users = RealUsers::new(files.clone(), processes.clone());
        let capabilities = authority.capabilities(layout.root());
        Ok(Self { files, processes, users, kernel: RealKernel::new(authority), clock, capabilities })
    }
}

/// A real machine.
pub struct Machine {
    parts: Parts,
    services: Box<dyn Services + Send + Sync>,
    front: Box<dyn Front + Send + Sync>,
    probe: Box<dyn Probe + Send + Sync>,
    processes: Box<dyn Processes + Send + Sync>,
    post: RealPost,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl Machine {
    /// A machine with this service manager, web server and HTTP client.
    pub fn new(
        parts: Parts,
        services: Box<dyn Services + Send + Sync>,
        front: Box<dyn Front + Send + Sync>,
        probe: Box<dyn Probe + Send + Sync>,
    ) -> Self {
        let processes = Box::new(parts.processes.clone());
        Self { parts, services, front, probe, processes, post: RealPost::new() }
    }

    /// The same with other programs on it.
    #[must_use]
    pub fn with_processes(self, processes: Box<dyn Processes + Send + Sync>) -> Self {
        Self { processes, ..self }
    }

    /// The parts, for what asks more of them than [`Host`] does.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }
}

impl Host for Machine {
    fn capabilities(&self) -> &Capabilities {
        &self.parts.capabilities
    }

    fn files(&self) -> &dyn Files {
        &self.parts.files
    }

    fn services(&self) -> &dyn Services {
        self.services.as_ref()
    }

    fn front(&self) -> &dyn Front {
        self.front.as_ref()
    }

    fn probe(&self) -> &dyn Probe {
        self.probe.as_ref()
    }

    fn processes(&self) -> &dyn Processes {
        self.processes.as_ref()
    }

    fn users(&self) -> &dyn Users {
        &self.parts.users
    }

    fn kernel(&self) -> &dyn Kernel {
        &self.parts.kernel
    }

    fn clock(&self) -> &dyn Clock {
        &self.parts.clock
    }

    fn post(&self) -> &dyn Post {
        &self.post
    }
}
