//! Ports: the kernel is told which it must not hand out.

use crate::host::HostError;
use crate::model::{Identity, Node, PortRange};
use crate::policy::FailureClass;
use crate::resource;
use crate::transaction::lock::{Place, shared};
use crate::transaction::{self, Context, Event, Failure, Phase};

use super::Survey;

/// Keeps the kernel from handing out the ports that are asked for, and those of what serves, whatever is asked: at once, and after a
/// reboot by sysctl.d. Other people's entries stay. After a release or a removal the same gives back what does not serve any more.
/// A kernel that takes no orders, as in many containers, never will: that is told by each whole pass, and makes none.
pub(super) fn ports(cx: &Context<'_>, survey: &Survey) {
    let Some(asked) = &survey.ports else { return };
    let reserved = serving(cx).map_err(Failure::on_host(Phase::Validate)).and_then(|mut blocks| {
        blocks.extend(asked);
        let _host = shared(cx, Place::Host)?;
        reserve(cx, &blocks)
    });
    if let Err(failure) = reserved {
        cx.report.event(&Event::Note { text: &format!("ports are not reserved in the kernel: {failure}") });
    }
}

fn serving(cx: &Context<'_>) -> Result<Vec<PortRange>, HostError> {
    let installed = transaction::installed_names(cx)?;
    let serving = installed.iter().filter_map(|name| transaction::serving(cx, name));
    Ok(serving.map(|generation| generation.wanted.env.ports).collect())
}

fn reserve(cx: &Context<'_>, blocks: &[PortRange]) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Validate);
    let (kernel, files) = (cx.host.kernel(), cx.host.files());
    let path = cx.layout.sysctl_d().join("60-portreeve.conf");
    let file = files.read(&path, 1024 * 1024).map_err(&fail)?;
    let before = resource::host::blocks(&String::from_utf8_lossy(file.as_deref().unwrap_or_default()));
    let present = kernel.reserved_ports().map_err(&fail)?;
    let (first, last) = kernel.ephemeral_ports().map_err(&fail)?;
    let wanted = resource::host::reserved_ports(&present, &before, blocks, (first, last));
    let wanted = wanted.map_err(|error| {
        let cause = format!("the kernel's present value `{present}` can't be read: {error}");
        Failure::new(FailureClass::Host, Phase::Validate, cause)
    })?;
    let ephemeral = PortRange { first, last };
    let mut ours: Vec<_> = blocks.iter().copied().filter(|block| block.overlaps(ephemeral)).collect();
    ours.sort_by_key(|block| (block.first, block.last));
    ours.dedup();
    let bytes = resource::host::sysctl(&wanted, &ours).into_bytes();
    if ours.is_empty() {
        files.remove(&path).map_err(&fail)?;
    } else if file.as_ref() != Some(&bytes) {
        files.put(&path, &Node::File { bytes, mode: 0o644, owner: Identity::ROOT }).map_err(&fail)?;
    }
    if present == wanted { Ok(()) } else { kernel.reserve_ports(&wanted).map_err(&fail) }
}
