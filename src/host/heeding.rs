//! A machine whose clock heeds one more wish, or none.

use std::time::Duration;

use super::{Clock, Files, Front, Host, Kernel, Probe, Processes, Services, Users};
use crate::model::{Boot, Capabilities};

/// A machine for one transaction: all of it is the machine's own, but whether the transaction should end is asked elsewhere.
#[derive(Clone, Copy)]
pub struct Heeding<'a> {
    host: &'a dyn Host,
    wish: &'a dyn Fn() -> bool,
}

impl<'a> Heeding<'a> {
    /// `host`, with a clock that is cancelled when `wish` says so, and only then.
    pub fn new(host: &'a dyn Host, wish: &'a dyn Fn() -> bool) -> Self {
        Self { host, wish }
    }

    /// `host` for what must be brought to its end: nobody's wish counts.
    pub fn nobody(host: &'a dyn Host) -> Self {
        Self { host, wish: &|| false }
    }
}

impl std::fmt::Debug for Heeding<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heeding").finish_non_exhaustive()
    }
}

impl Clock for Heeding<'_> {
    fn now(&self) -> jiff::Timestamp {
        self.host.clock().now()
    }

    fn monotonic(&self) -> Duration {
        self.host.clock().monotonic()
    }

    fn boot(&self) -> Boot {
        self.host.clock().boot()
    }

    fn sleep(&self, time: Duration) {
        self.host.clock().sleep(time);
    }

    fn cancelled(&self) -> bool {
        (self.wish)()
    }
}

impl Host for Heeding<'_> {
    fn capabilities(&self) -> &Capabilities {
        self.host.capabilities()
    }

    fn files(&self) -> &dyn Files {
        self.host.files()
    }

    fn services(&self) -> &dyn Services {
        self.host.services()
    }

    fn front(&self) -> &dyn Front {
        self.host.front()
    }

    fn probe(&self) -> &dyn Probe {
        self.host.probe()
    }

    fn processes(&self) -> &dyn Processes {
        self.host.processes()
    }

    fn users(&self) -> &dyn Users {
        self.host.users()
    }

    fn kernel(&self) -> &dyn Kernel {
        self.host.kernel()
    }

    fn clock(&self) -> &dyn Clock {
        self
    }
}
