//! What service managers are asked about and what they answer.

use super::{EnvName, Slot};

/// One slot of one environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotId {
    /// The environment.
    pub env: EnvName,
    /// Its slot.
    pub slot: Slot,
}

/// What a service manager says of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Running.
    Active,
    /// Between two states: starting or stopping.
    Changing,
    /// Its processes ended, and its manager waits before it starts them again.
    Waiting,
    /// Gave up.
    Failed,
    /// Not running.
    Inactive,
}

/// A slot's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// Whether it runs.
    pub activity: Activity,
    /// The main process; 0 when there is none.
    pub pid: u32,
    /// Automatic restarts since it was last started by us.
    pub restarts: u32,
    /// The administrator forbade it (`systemctl mask`).
    pub masked: bool,
}

impl Service {
    /// Whether its processes run, or are being started or stopped. What only waits for its next try serves nobody.
    pub fn is_up(&self) -> bool {
        matches!(self.activity, Activity::Active | Activity::Changing)
    }

    /// Whether something of it runs, or will without anybody's doing.
    pub fn runs(&self) -> bool {
        self.is_up() || self.activity == Activity::Waiting
    }
}
