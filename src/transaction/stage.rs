//! Puts a generation beside the live one: nothing reads it yet.

use super::{Context, Failure, Phase, render};
use crate::desired::Generation;
use crate::model::{EnvName, Found, GenerationNumber, Manager, Node, Slot};
use crate::observed::Owners;
use crate::resource;

/// Stages a generation's directory: made whole elsewhere, then renamed to its number.
pub fn generation(cx: &Context<'_>, generation: &Generation, owners: Owners) -> Result<(), Failure> {
    let nodes = render::nodes(cx, generation, owners)?;
    let mut tree = render::tree(nodes, owners).into_iter().map(Ok);
    let directory = cx.directory(generation);
    cx.host.files().make_tree(&directory, 0o755, owners.root, &mut tree).map_err(Failure::on_host(Phase::Build))
}

/// Makes the environment *absent* before anything else of it is made: generation 0, `active` leading to it, and only then the
/// permanent links. A dangling link in sites-enabled would stop every site at nginx's next restart. Where something serves and
/// somebody removed its commit point, that is `from`, and is put back.
pub fn absent(cx: &Context<'_>, name: &EnvName, from: GenerationNumber, owners: Owners) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Build);
    let files = cx.host.files();
    // Whatever was removed comes back: another removal has a grace of its own.
    files.remove(&cx.layout.removed_note(name)).map_err(&fail)?;
    let zero = cx.layout.generation(name, 0);
    if files.look(&zero).map_err(&fail)? == Found::Absent {
        let nodes = resource::absent_files()
            .into_iter()
            .map(|file| (file.path.clone(), Node::File { bytes: file.bytes, mode: 0o644, owner: owners.root }));
        files.make_tree(&zero, 0o755, owners.root, &mut nodes.map(Ok)).map_err(&fail)?;
    }
    let active = cx.layout.active_link(name);
    if files.look(&active).map_err(&fail)? == Found::Absent {
        files.put(&active, &Node::Link(Context::active_target(name, from))).map_err(&fail)?;
    }
    Ok(())
}

/// The links that never change again, and the links for people.
pub fn permanent_links(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Build);
    let (layout, name, files) = (cx.layout, &generation.name, cx.host.files());
    let paths = cx.paths(&generation.wanted);
    let active = layout.active_link(name);
    let links = [
        (layout.nginx_link(name), active.join("nginx.conf")),
        (layout.logrotate_link(name), active.join("logrotate")),
        (layout.tmpfiles_link(name), active.join("tmpfiles.conf")),
        (paths.current(), active.join("release")),
        (paths.etc(), active),
        (paths.logs_link(), paths.log_dir()),
        (paths.backups_link(), paths.backup_dir()),
    ];
    for (path, target) in links {
        match files.look(&path).map_err(&fail)? {
            Found::Link(found) if found == target => {}
            Found::Absent => files.put(&path, &Node::Link(target)).map_err(&fail)?,
            _ => return Err(not_ours(&path)),
        }
    }
    units_are_ours(cx, name)
}

/// A slot has its link before it has its unit, so a unit without one is somebody else's.
fn units_are_ours(cx: &Context<'_>, name: &EnvName) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Build);
    let (layout, files) = (cx.layout, cx.host.files());
    for slot in Slot::BOTH {
        let unit = match cx.facts.manager {
            Manager::Systemd => layout.unit_file(name, slot),
            Manager::Supervisor => layout.program_file(name, slot),
        };
        let ours = files.look(&layout.slot_link(name, slot)).map_err(&fail)? != Found::Absent;
        if !ours && matches!(files.look(&unit).map_err(&fail)?, Found::File { .. }) {
            return Err(not_ours(&unit));
        }
    }
    Ok(())
}

/// A file that we never wrote is never overwritten.
fn not_ours(path: &std::path::Path) -> Failure {
    let cause = format!("{} is there already and is not ours", path.display());
    Failure::new(crate::policy::FailureClass::Host, Phase::Build, cause)
        .with_help(format!("portreeve adopt {}, which keeps a copy; or move it away", path.display()))
}

/// The next number, and the slot that is free.
pub fn next(installed: &crate::observed::Installed) -> (GenerationNumber, Slot) {
    let newest = installed.newest.max(installed.active.unwrap_or(0));
    (newest + 1, installed.serving_slot().map_or(Slot::A, Slot::other))
}
