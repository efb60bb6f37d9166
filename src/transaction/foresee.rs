//! What a release would make of an environment, found out with the functions that make it; nothing is written.

use std::collections::BTreeMap;

use super::{Context, Failure, Phase, ground, read, render, stage};
use crate::desired::{Generation, Listed, Wanted, Why};
use crate::model::{Digest, Found, GenerationNumber, Slot};
use crate::observed::Installed;

/// What [`go`](super::go) would do first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// The generation that would be made.
    pub number: GenerationNumber,
    /// The slot that would run it.
    pub slot: Slot,
    /// The virtual environment is built already.
    pub venv_ready: bool,
    /// Each rendered file, and whether it would differ from the active generation's. Empty for a first release.
    pub files: BTreeMap<String, bool>,
}

/// Looks ahead at a release of `wanted`.
pub fn foresee(cx: &Context<'_>, installed: &Installed, wanted: &Wanted) -> Result<Foreseen, Failure> {
    let (number, slot) = stage::next(installed);
    let complete = cx.paths(wanted).venvs().join(format!("{}.complete", wanted.venv));
    let found = cx.host.files().look(&complete).map_err(Failure::on_host(Phase::Build))?;
    let files = match &installed.generation {
        Some(active) => changed(cx, active, wanted)?,
        None => BTreeMap::new(),
    };
    Ok(Foreseen { number, slot, venv_ready: found != Found::Absent, files })
}

/// Rendered for the slot that serves: files name their slot, and only their content is of interest.
fn changed(cx: &Context<'_>, active: &Generation, wanted: &Wanted) -> Result<BTreeMap<String, bool>, Failure> {
    // Rendering would make a missing key, and looking ahead makes nothing.
    if ground::existing_secret(cx, &active.name).map_err(Failure::on_host(Phase::Build))?.is_none() {
        return Ok(BTreeMap::new());
    }
    let listing = read::listing(cx, active)?.unwrap_or_default();
    let next = Generation { wanted: wanted.clone(), why: Why::Push, ..active.clone() };
    let differs = |name: &str, bytes: &[u8]| match listing.0.get(name) {
        Some(Listed::File { sha256, .. }) => *sha256 != Digest::of(bytes),
        _ => true,
    };
    let rendered = render::files(cx, &next)?.into_iter();
    Ok(rendered
        .map(|file| (file.path.to_string_lossy().into_owned(), file.bytes))
        .map(|(name, bytes)| {
            let differs = differs(&name, &bytes);
            (name, differs)
        })
        .collect())
}
