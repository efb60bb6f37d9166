//! Whether the disk has room for a release.

use std::path::{Path, PathBuf};

use super::blame::make_room;
use super::{Context, Failure, FailureKind, Phase, prune};
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
        Some((place, cause)) => {
            let cause = format!("{} has {cause}", place.display());
            Err(Failure::new(FailureClass::Host, Phase::Build, cause).with_help(make_room(there(cx, &place))))
        }
    }
}

/// The place, or what is there above it: a first release makes most of them.
fn there<'a>(cx: &Context<'_>, place: &'a Path) -> &'a Path {
    let is_there = |path: &&Path| cx.host.files().look(path).is_ok_and(|found| found != Found::Absent);
    place.ancestors().find(is_there).unwrap_or(place)
}

/// Where something is missing, and what, in words.
fn lacking(cx: &Context<'_>, wanted: &Wanted) -> Result<Option<(PathBuf, String)>, Failure> {
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
        return Ok(Some((place, lacking)));
    }
    Ok(None)
}

/// With less than this a disk is full for whoever writes more than a line.
const FULL: u64 = MB;

/// The failure as it is, unless a disk that the release is made on is full: then that is why, whatever programs made of it. Not
/// all of them say so: Python's `venv` keeps the words of its own children to itself.
pub fn blamed(cx: &Context<'_>, wanted: &Wanted, failure: Failure) -> Failure {
    let paths = cx.paths(wanted);
    let places = [paths.home(), paths.venvs(), paths.releases(), paths.data(), paths.backup_dir(), paths.log_dir()];
    let full = |place: &PathBuf| {
        let free = cx.host.files().free_space(place);
        free.is_ok_and(|free| free.bytes < FULL || free.inodes == Some(0))
    };
    match places.iter().find(|place| failure.kind == FailureKind::Class(FailureClass::Release) && full(place)) {
        Some(place) => Failure {
            kind: FailureKind::Class(FailureClass::Host),
            cause: format!("{} is full: {}", place.display(), failure.cause),
            help: Some(make_room(there(cx, place))),
            ..failure
        },
        None => failure,
    }
}
