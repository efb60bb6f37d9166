//! Whether the disk has room for a release.

use super::blame::MAKE_ROOM;
use super::{Context, Failure, Phase, prune};
use crate::desired::Wanted;
use crate::model::Found;
use crate::policy::FailureClass;

const MB: u64 = 1024 * 1024;
/// A release with a new virtual environment takes so much, as a rule: Django and some friends with their bytecode.
const FOR_VENV: u64 = 300 * MB;
/// A release that reuses one.
const FOR_TREE: u64 = 50 * MB;
/// Files of a virtual environment and a tree.
const INODES: u64 = 20_000;

/// Refuses to begin a build that would fill the disk: then nothing is half-written. What nobody needs goes first.
pub fn ensure(cx: &Context<'_>, wanted: &Wanted) -> Result<(), Failure> {
    if lacking(cx, wanted)?.is_some() {
        prune::after(cx, wanted, true);
    }
    match lacking(cx, wanted)? {
        None => Ok(()),
        Some(cause) => Err(Failure::new(FailureClass::Host, Phase::Build, cause).with_help(MAKE_ROOM)),
    }
}

/// What is missing, in words.
fn lacking(cx: &Context<'_>, wanted: &Wanted) -> Result<Option<String>, Failure> {
    let fail = Failure::on_host(Phase::Build);
    let paths = cx.paths(wanted);
    let complete = paths.venvs().join(format!("{}.complete", wanted.venv));
    let reused = cx.host.files().look(&complete).map_err(&fail)? != Found::Absent;
    let needed = if reused { FOR_TREE } else { FOR_VENV };
    for place in [paths.home(), cx.layout.state()] {
        let free = cx.host.files().free_space(&place).map_err(&fail)?;
        let lacking = if free.bytes < needed {
            format!("{} MB free; this release needs about {} MB", free.bytes / MB, needed / MB)
        } else if let Some(inodes) = free.inodes.filter(|&inodes| inodes < INODES) {
            format!("room for {inodes} more files; this release needs about {INODES}")
        } else {
            continue;
        };
        return Ok(Some(format!("{} has {lacking}", place.display())));
    }
    Ok(None)
}
