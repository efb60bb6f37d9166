//! Puts right what changed under an active generation: fresh inodes with the bytes that it was made with.

use std::collections::{BTreeMap, BTreeSet};

use super::waits::Waits;
use super::{Context, Event, Failure, Intent, Phase, commit, ground, read, recover, render, slot};
use crate::desired::{Generation, Listed, Listing};
use crate::model::{Digest, Node};
use crate::observed::{Drift, Installed, Part};
use crate::policy::FailureClass;

/// Repairs the drift of one environment. The generation itself does not change. What can't be put right keeps nothing else from
/// it, and is not tried at each pass.
pub fn repair(cx: &Context<'_>, generation: &Generation, drift: &[Drift]) -> Result<(), Failure> {
    let waits = Waits::of(cx, generation, drift);
    waits.are_over()?;
    let repaired = put_all_right(cx, generation, drift);
    waits.remember(&repaired);
    // Of a killed one that had no room to write down that it began, no recovery knows.
    recover::sweep_runtime(cx, &generation.name);
    repaired
}

fn put_all_right(cx: &Context<'_>, generation: &Generation, drift: &[Drift]) -> Result<(), Failure> {
    let rendered = render::nodes(cx, generation, ground::owners(cx, &generation.wanted)?)?;
    let (able, unable): (Vec<_>, Vec<_>) =
        drift.iter().map(|drift| (drift, node(cx, generation, &rendered, drift))).partition(|(_, node)| node.is_ok());
    let unable = unable.into_iter().find_map(|(_, node)| node.err()).map_or(Ok(()), Err);
    if able.is_empty() {
        return unable;
    }
    // Once a file is right, nothing about it shows that who reads it has not been told: a successor has to know. Where there is
    // no room to write that down, the repair is worth more.
    let intent = Intent::to_repair(generation);
    let noted = intent.open(cx).is_ok();
    let mut parts = BTreeSet::new();
    let mut right = unable;
    // What a boot takes away is made by what the others say.
    let (runtime, lasting): (Vec<_>, Vec<_>) = able.into_iter().partition(|(drift, _)| is_runtime(cx, drift));
    for (drift, node) in lasting.into_iter().chain(runtime) {
        let made = if is_runtime(cx, drift) { slot::make_runtime(cx, generation) } else { Ok(()) };
        let made = made.map_err(Failure::on_host(Phase::Recover));
        match made.and(node).and_then(|node| put(cx, drift, &node)) {
            Ok(()) => {
                parts.insert(drift.expected.part);
                cx.report.event(&Event::Repaired { env: &generation.name, what: &drift.to_string() });
            }
            Err(failure) => right = right.and(Err(failure)),
        }
    }
    effects(cx, generation, &parts)?;
    if noted {
        intent.close(cx).map_err(Failure::on_host(Phase::Recover))?;
    }
    right
}

/// What a repair that was killed, or failed, may not have come to.
pub fn finish(cx: &Context<'_>, generation: &Generation, drift: &[Drift]) -> Result<(), Failure> {
    // What can't be put right is for the pass to tell, and for a new generation to end. Who reads what is right already has to be
    // told all the same: nothing else says that he has not been.
    put_files(cx, generation, drift).ok();
    effects(cx, generation, &BTreeSet::from([Part::Unit, Part::Vhost]))
}

/// Puts right what a killed program's successor builds on, before it looks whether that works: without the link that somebody
/// removed meanwhile nginx would never serve again what is put back. The slots' own files and the socket's link come in their
/// own time. What can't be put right is told: a journal that waits for it would never be closed, and without an end nothing
/// new can put it right.
pub fn files(cx: &Context<'_>, generation: &Generation, drift: &[Drift]) {
    if let Err(failure) = put_files(cx, generation, drift) {
        cx.report.event(&Event::Note { text: &format!("{}: {failure}", generation.name) });
    }
}

fn put_files(cx: &Context<'_>, generation: &Generation, drift: &[Drift]) -> Result<(), Failure> {
    let read_by_others = |part| matches!(part, Part::Vhost | Part::Logrotate | Part::Tmpfiles | Part::Settings);
    let drift: Vec<&Drift> = drift.iter().filter(|drift| read_by_others(drift.expected.part)).collect();
    if drift.is_empty() {
        return Ok(());
    }
    let nodes = render::nodes(cx, generation, ground::owners(cx, &generation.wanted)?)?;
    let right = |drift| node(cx, generation, &nodes, drift).and_then(|node| put(cx, drift, &node));
    // One that can't be put right keeps no other from it.
    drift.into_iter().map(right).fold(Ok(()), Result::and)
}

fn put(cx: &Context<'_>, drift: &Drift, node: &Node) -> Result<(), Failure> {
    cx.host.files().put(&drift.expected.path, node).map_err(Failure::on_host(Phase::Recover))
}

/// What must be there.
fn node(
    cx: &Context<'_>,
    generation: &Generation,
    nodes: &BTreeMap<String, Node>,
    drift: &Drift,
) -> Result<Node, Failure> {
    let expected = &drift.expected;
    Ok(match &expected.state {
        Listed::Link(target) => Node::Link(target.clone()),
        Listed::File { sha256, mode, owner } => {
            let bytes = match original(nodes, expected, *sha256) {
                None if expected.path.ends_with(Listing::FILE) => {
                    read::listing_again(cx, generation)?.map(|listing| listing.to_bytes())
                }
                original => original,
            };
            // Only its mode or owner may be another.
            let found = || cx.host.files().read(&expected.path, read::LIMIT).ok().flatten();
            let bytes = bytes.or_else(|| found().filter(|bytes| Digest::of(bytes) == *sha256));
            let bytes = bytes.ok_or_else(|| unknown(generation, drift))?;
            Node::File { bytes, mode: *mode, owner: *owner }
        }
    })
}

/// Where systemd is not PID 1 nobody reads tmpfiles.d at a boot.
fn is_runtime(cx: &Context<'_>, drift: &Drift) -> bool {
    drift.expected.path.starts_with(cx.layout.runtime())
}

/// The bytes with this digest among what the renderers make. A newer program may render other bytes: then it must be released.
fn original(
    nodes: &BTreeMap<String, Node>,
    expected: &crate::observed::Expectation,
    sha256: Digest,
) -> Option<Vec<u8>> {
    let unit = (expected.part == Part::Unit).then_some("unit");
    let name = unit.or_else(|| expected.path.file_name().and_then(|name| name.to_str()))?;
    match nodes.get(name)? {
        Node::File { bytes, .. } if Digest::of(bytes) == sha256 => Some(bytes.clone()),
        _ => None,
    }
}

fn unknown(generation: &Generation, drift: &Drift) -> Failure {
    let cause = format!("{drift}, and its bytes can't be made again by this version");
    Failure::new(FailureClass::Host, Phase::Recover, cause)
        .with_help(format!("portreeve restart {} makes a new generation", generation.name))
}

fn effects(cx: &Context<'_>, generation: &Generation, parts: &BTreeSet<Part>) -> Result<(), Failure> {
    if parts.contains(&Part::Unit) {
        let id = slot::id(&generation.name, generation.slot);
        cx.host.services().refresh(&[id]).map_err(Failure::on_host(Phase::Recover))?;
    }
    if parts.contains(&Part::Vhost) {
        reload(cx, generation)?;
    }
    Ok(())
}

/// nginx may have read the changed file, whatever its token says: always reload after a repair, then verify.
fn reload(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    commit::reload(cx)?;
    commit::front(cx, generation)
}

/// Starts the serving slot that somebody, or something, stopped.
pub fn start(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    let runs = slot::runs(cx, generation)?;
    super::recover::resume(cx, generation)?;
    if runs {
        return Ok(());
    }
    let (slot, name) = (generation.slot, &generation.name);
    let by_hand = format!("slot {slot} was not running and was started; portreeve stop {name} keeps it stopped");
    cx.report.event(&Event::Repaired { env: &generation.name, what: &by_hand });
    Ok(())
}

/// Starts what serves where a release was to take its place, and could not even begin, as on a full disk.
pub fn stay_up(cx: &Context<'_>, installed: &Installed) {
    let Some(generation) = installed.generation.as_ref().filter(|_| !installed.kept_down) else { return };
    // A way back that came to no end is for the next pass to go.
    if !matches!(Intent::find(cx, &generation.name), Ok(None)) {
        return;
    }
    let up = slot::runs(cx, generation).and_then(|runs| if runs { Ok(()) } else { start(cx, generation) });
    if let Err(failure) = up {
        cx.report.event(&Event::Note { text: &format!("{}: {failure}", generation.name) });
    }
}

/// Whether the renderers of this version make other files of the same record: then an update of this program is released too.
pub fn renders_differently(cx: &Context<'_>, generation: &Generation) -> Result<bool, Failure> {
    let owners = ground::owners(cx, &generation.wanted)?;
    let Some(listing) = read::listing(cx, generation)? else {
        return Ok(read::listing_again(cx, generation)?.is_none());
    };
    let nodes = render::nodes(cx, generation, owners)?;
    let same = |(name, node): (&String, &Node)| match (node, listing.0.get(name)) {
        (Node::File { bytes, .. }, Some(Listed::File { sha256, .. })) => Digest::of(bytes) == *sha256,
        (Node::Link(target), Some(Listed::Link(listed))) => target == listed,
        _ => false,
    };
    Ok(!nodes.iter().filter(|(name, _)| name.as_str() != Generation::FILE).all(same))
}
