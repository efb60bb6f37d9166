//! Holds and quarantine of one environment, on the disk.

use crate::host::HostError;
use crate::model::{EnvName, Identity, Node};
use crate::policy::Standing;
use crate::transaction::Context;

pub use crate::transaction::standing as read_standing;

/// Makes the record durable; an empty one is removed.
pub fn write_standing(cx: &Context<'_>, name: &EnvName, standing: &Standing) -> Result<(), HostError> {
    let files = cx.host.files();
    let path = cx.layout.standing(name);
    if *standing == Standing::default() {
        return files.remove(&path);
    }
    files.make_directory(&cx.layout.policy(), 0o700, Identity::ROOT)?;
    files.put(&path, &Node::File { bytes: standing.to_bytes(), mode: 0o600, owner: Identity::ROOT })
}
