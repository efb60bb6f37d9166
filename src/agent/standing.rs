//! Holds and quarantine of one environment, on the disk.

use crate::host::HostError;
use crate::model::{EnvName, Identity, Layout, Node};
use crate::policy::{FailureClass, Standing};
use crate::transaction::{Context, Failure, Phase, chain};

fn path(layout: &Layout, name: &EnvName) -> std::path::PathBuf {
    layout.policy().join(format!("{}.json", name.flat()))
}

/// The environment's record; none is a clean one. One that can't be read keeps the environment as it is.
pub fn read_standing(cx: &Context<'_>, name: &EnvName) -> Result<Standing, Failure> {
    let path = path(cx.layout, name);
    let bytes = cx.host.files().read(&path, 4 * 1024 * 1024).map_err(Failure::on_host(Phase::Recover))?;
    let Some(bytes) = bytes else { return Ok(Standing::default()) };
    Standing::parse(&bytes).map_err(|error| {
        Failure::new(FailureClass::Host, Phase::Recover, format!("{}: {}", path.display(), chain(&error)))
    })
}

/// Makes the record durable; an empty one is removed.
pub fn write_standing(cx: &Context<'_>, name: &EnvName, standing: &Standing) -> Result<(), HostError> {
    let files = cx.host.files();
    let path = path(cx.layout, name);
    if *standing == Standing::default() {
        return files.remove(&path);
    }
    files.make_directory(&cx.layout.policy(), 0o700, Identity::ROOT)?;
    files.put(&path, &Node::File { bytes: standing.to_bytes(), mode: 0o600, owner: Identity::ROOT })
}
