//! What stays on the host after a release, and after one that was refused; all else of ours is collected.
//!
//! Nothing is remembered between two collections: each looks at what is there, and takes what no kept generation needs. One
//! that was killed is finished by the next, and that is the next pass's: the journal stays open until it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::sweep::Home;
use super::{Context, Event, Failure, Intent, Phase, read, statics};
use crate::desired::{Generation, Wanted};
use crate::model::{EnvName, GenerationNumber, Slot};
use crate::policy::{FailureClass, HoldKind};

type Numbers = BTreeSet<GenerationNumber>;

/// Collects after an attempt at `wanted`. What it built stays when the attempt held, or the same is to be tried again.
/// Whatever goes wrong here is told, and left to the next time.
pub fn after(cx: &Context<'_>, wanted: &Wanted, stays: bool) {
    if let Err(failure) = prune(cx, wanted, stays) {
        cx.report.event(&Event::Note { text: &format!("old releases stay for now: {failure}") });
    }
}

/// Collects what nobody needs of the environment that `wanted` describes.
pub fn prune(cx: &Context<'_>, wanted: &Wanted, stays: bool) -> Result<(), Failure> {
    let inventory = Inventory::read(cx, &wanted.env.name)?;
    let keep = inventory.active().map_or(wanted, |active| &active.wanted).env.keep_releases as usize;
    let kept = inventory.kept(keep);
    inventory.trees(cx, wanted, stays, &kept)?;
    let home = Home::of(cx, wanted)?;
    statics::collect(cx, &wanted.env.name, &home, &kept, &inventory.refused)?;
    inventory.records(cx, &wanted.env.name, &kept, keep)
}

/// The generations that stay: those in use, and of those that held the newest `keep`, with and without what was gone back from.
/// One that never held takes no good one's place, and one to which nobody is led back none of those to which they are.
fn kept(numbers: &Numbers, refused: &Numbers, left: &Numbers, in_use: &Numbers, keep: usize) -> Numbers {
    let held = || numbers.iter().rev().filter(|number| !refused.contains(number));
    let good = held().filter(|number| !left.contains(number)).take(keep);
    held().take(keep).chain(good).chain(in_use.intersection(numbers)).copied().collect()
}

/// What the host holds of one environment.
struct Inventory {
    generations: BTreeMap<GenerationNumber, Generation>,
    /// Attempts that never held, also those of which only the number is left.
    refused: Numbers,
    /// Those whose content was gone back from.
    left: Numbers,
    /// What is active, what either slot holds, and what a hold is pinned to.
    in_use: Numbers,
    active: GenerationNumber,
}

impl Inventory {
    fn read(cx: &Context<'_>, name: &EnvName) -> Result<Self, Failure> {
        let fail = Failure::on_host(Phase::Verify);
        let files = cx.host.files();
        let names = files.list(&cx.layout.env_generations(name)).map_err(&fail)?;
        let active = read::number_behind(files, &cx.layout.active_link(name)).map_err(&fail)?.unwrap_or(0);
        let mut in_use = Numbers::from([active]);
        for slot in Slot::BOTH {
            in_use.extend(read::number_behind(files, &cx.layout.slot_link(name, slot)).map_err(&fail)?);
        }
        let standing = read::standing(cx, name)?;
        // Where an order comes to nothing, what stood before it stands again.
        let before = Intent::find(cx, name)?.and_then(|open| open.before).unwrap_or_default();
        in_use.extend(standing.holds().chain(before.holds()).filter_map(|hold| pinned(&hold.kind)));
        let mut generations = BTreeMap::new();
        for number in numbers(&names, "").filter(|&number| number > 0) {
            match read::read_generation(cx, name, number)? {
                Some(generation) => drop(generations.insert(number, generation)),
                None if in_use.contains(&number) => return Err(unreadable(name, number)),
                None => {}
            }
        }
        let is_left = |(_, generation): &(_, &Generation)| standing.left.contains(&generation.wanted.digest);
        let left = generations.iter().filter(is_left).map(|(number, _)| *number).collect();
        Ok(Self { generations, refused: numbers(&names, ".refused").collect(), left, in_use, active })
    }

    fn kept(&self, keep: usize) -> Numbers {
        kept(&self.generations.keys().copied().collect(), &self.refused, &self.left, &self.in_use, keep)
    }

    fn active(&self) -> Option<&Generation> {
        self.generations.get(&self.active)
    }

    /// Trees and virtual environments, wherever a generation of this environment has them.
    fn trees(&self, cx: &Context<'_>, attempt: &Wanted, stays: bool, kept: &Numbers) -> Result<(), Failure> {
        let wanted = |number: &GenerationNumber| self.generations.get(number).map(|generation| &generation.wanted);
        let needed = kept.iter().filter_map(wanted).chain(stays.then_some(attempt));
        let needed: BTreeSet<PathBuf> = needed.flat_map(|wanted| built(cx, wanted)).collect();
        let mut swept = BTreeSet::new();
        for wanted in self.generations.values().map(|generation| &generation.wanted).chain([attempt]) {
            let home = Home::of(cx, wanted)?;
            if swept.insert(home.paths.home()) {
                home.sweep(cx, &needed)?;
            }
        }
        Ok(())
    }

    /// Generations, and what is written down beside them. Last: while they are there, they lead to their trees.
    fn records(&self, cx: &Context<'_>, name: &EnvName, kept: &Numbers, keep: usize) -> Result<(), Failure> {
        let fail = Failure::on_host(Phase::Verify);
        let files = cx.host.files();
        for &number in self.generations.keys().filter(|number| !kept.contains(number)) {
            files.remove_tree(&cx.layout.generation(name, number)).map_err(&fail)?;
        }
        // The newest numbers among them are not given away again, and their logs can be read.
        let told: Numbers = self.refused.iter().copied().rev().take(keep).collect();
        for &number in self.refused.iter().filter(|&number| !told.contains(number) && !kept.contains(number)) {
            files.remove(&cx.layout.refused_mark(name, number)).map_err(&fail)?;
        }
        let names = files.list(&cx.layout.env_generations(name)).map_err(&fail)?;
        // Who goes back asks what was migrated since then, and nobody can go back beyond the oldest.
        let oldest = kept.first().copied().unwrap_or(0);
        for number in numbers(&names, ".migrated").filter(|&number| number <= oldest) {
            files.remove(&cx.layout.migrated_note(name, number)).map_err(&fail)?;
        }
        let names = files.list(&cx.layout.attempts()).map_err(&fail)?;
        let prefix = format!("{}.", name.flat());
        let own: Vec<String> = names.iter().filter_map(|name| name.strip_prefix(&prefix).map(str::to_owned)).collect();
        for number in numbers(&own, ".log").filter(|number| !kept.contains(number) && !told.contains(number)) {
            files.remove(&cx.layout.attempt_log(name, number)).map_err(&fail)?;
        }
        Ok(())
    }
}

/// What a release is built into.
fn built(cx: &Context<'_>, wanted: &Wanted) -> [PathBuf; 3] {
    let (paths, release) = (cx.paths(wanted), &wanted.release);
    [paths.release(release), paths.venvs().join(&wanted.venv), paths.static_of(release, &wanted.digest)]
}

fn pinned(kind: &HoldKind) -> Option<GenerationNumber> {
    match kind {
        HoldKind::RolledBack { pinned, .. } => Some(*pinned),
        HoldKind::Suspended { .. } | HoldKind::Stopped => None,
    }
}

/// The numbers in names that end so.
fn numbers(names: &[String], suffix: &str) -> impl Iterator<Item = GenerationNumber> {
    names.iter().filter_map(move |name| name.strip_suffix(suffix)?.parse().ok())
}

fn unreadable(name: &EnvName, number: GenerationNumber) -> Failure {
    let cause = format!("generation {number} of {name} is in use and can't be read, so nobody knows what it needs");
    Failure::new(FailureClass::Host, Phase::Verify, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stays(last: u64, refused: &[u64], left: &[u64], in_use: &[u64], keep: usize) -> Vec<u64> {
        let set = |numbers: &[u64]| numbers.iter().copied().collect();
        kept(&(1..=last).collect(), &set(refused), &set(left), &set(in_use), keep).into_iter().collect()
    }

    #[test]
    fn the_last_that_held_stay_and_whatever_is_in_use() {
        assert_eq!(stays(9, &[], &[], &[9, 8], 3), [7, 8, 9]);
        assert_eq!(stays(9, &[9, 8, 6], &[], &[7, 5], 3), [4, 5, 7], "broken ones take no good one's place");
        assert_eq!(stays(9, &[], &[8, 6], &[9], 3), [5, 7, 8, 9], "nor those that were gone back from");
        assert_eq!(stays(9, &[], &[], &[2, 9], 2), [2, 8, 9], "a slot, or a hold's target, however old");
        assert_eq!(stays(3, &[3], &[], &[3, 2], 2), [1, 2, 3], "also one that never held");
        assert_eq!(stays(1, &[1], &[], &[0], 2), [] as [u64; 0], "of a first release that failed nothing");
    }
}
