//! What a machine may look like after a kill, and after a power cut.

use std::collections::BTreeSet;

use crate::host::boot;
use crate::machine::State;
use crate::site::layout;
use crate::storage::Id;

/// With so many inodes at risk, all combinations of them are tried.
const ALL_COMBINATIONS: usize = 4;

/// What befell a machine, and how it is then.
pub type Image = (String, State);

/// After a kill, and after power cuts.
pub fn images(point: &State) -> impl Iterator<Item = Image> {
    std::iter::once(("the program was killed".to_owned(), point.clone())).chain(power_cuts(point))
}

/// After a kill, and after the power cut that loses all that was not synced.
pub fn extremes(point: &State) -> impl Iterator<Item = Image> {
    let all: BTreeSet<Id> = point.storage.at_risk().into_iter().collect();
    [("the program was killed".to_owned(), point.clone()), power_cut(point, &all, all.len())].into_iter()
}

/// After power cuts: every mixture of up to four directories and files that were not synced; of more nothing, all, each alone and
/// all but each.
pub fn power_cuts(point: &State) -> impl Iterator<Item = Image> {
    let risk = point.storage.at_risk();
    mixtures(&risk).into_iter().map(move |lost| power_cut(point, &lost, risk.len()))
}

fn power_cut(point: &State, lost: &BTreeSet<Id>, of: usize) -> Image {
    let mut state = State { storage: point.storage.after_power_cut(lost), ..point.clone() };
    state.storage.collect();
    boot(&mut state, &layout());
    (format!("power cut, {} of {of} unsynced lost: {lost:?}", lost.len()), state)
}

fn mixtures(risk: &[Id]) -> Vec<BTreeSet<Id>> {
    if risk.len() <= ALL_COMBINATIONS {
        let chosen =
            |bits: usize| risk.iter().enumerate().filter(move |(at, _)| bits >> at & 1 == 1).map(|(_, id)| *id);
        return (0..1_usize << risk.len()).map(|bits| chosen(bits).collect()).collect();
    }
    let all: BTreeSet<Id> = risk.iter().copied().collect();
    let alone_kept = risk.iter().map(|id| all.iter().copied().filter(|other| other != id).collect());
    let alone_lost = risk.iter().map(|id| BTreeSet::from([*id]));
    [BTreeSet::new(), all.clone()].into_iter().chain(alone_lost).chain(alone_kept).collect()
}
