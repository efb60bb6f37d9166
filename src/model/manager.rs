//! The two service managers.

use serde::{Deserialize, Serialize};

/// What starts and watches an environment's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// systemd, over D-Bus.
    Systemd,
    /// Supervisor, over its XML-RPC socket.
    Supervisor,
}
