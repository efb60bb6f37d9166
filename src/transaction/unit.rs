//! A slot's unit: the generation's own file, in the slot's place.

use std::path::PathBuf;

use super::{Context, Failure, Phase, ground};
use crate::desired::Generation;
use crate::model::{Manager, Node};
use crate::policy::FailureClass;

/// Puts it where the slot's manager reads it.
pub fn write(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    let keep = |(path, node): (PathBuf, Node)| cx.host.files().keep(&path, &node);
    nodes(cx, generation)?.into_iter().try_for_each(keep).map_err(Failure::on_host(Phase::Start))
}

fn nodes(cx: &Context<'_>, generation: &Generation) -> Result<Vec<(PathBuf, Node)>, Failure> {
    let (name, slot, layout) = (&generation.name, generation.slot, cx.layout);
    let lost = || {
        let cause = format!("generation {} of {name} has lost its unit", generation.number);
        Failure::new(FailureClass::Host, Phase::Start, cause)
    };
    let unit = cx.host.files().read(&cx.directory(generation).join("unit"), 1024 * 1024);
    let bytes = unit.map_err(Failure::on_host(Phase::Start))?.ok_or_else(lost)?;
    let node = Node::File { bytes, mode: 0o644, owner: ground::owners(cx, &generation.wanted)?.root };
    Ok(match cx.facts.manager {
        Manager::Systemd => {
            let wants = Node::Link(format!("../{}", layout.unit_name(name, slot)).into());
            vec![(layout.unit_file(name, slot), node), (layout.wants_link(name, slot), wants)]
        }
        Manager::Supervisor => vec![(layout.program_file(name, slot), node)],
    })
}
