//! The transactions that are swept.

use std::ffi::OsString;

use portreeve::agent::Outcome;
use portreeve::desired::Generation;
use portreeve::model::{Digest, GenerationNumber};
use portreeve::policy::{FailureClass, HoldKind, Standing};
use portreeve::transaction::FailureKind;

use crate::host::booted;
use crate::judge::Scenario;
use crate::machine::State;
use crate::oracle::{Judgement, active_number, at_rest, serving};
use crate::program::{Wish, pass, rollback};
use crate::site::{Release, Stage, bare, layout, name, paths};
use crate::step::Behaviour;

/// A good end; of a bad release also that it was refused for its own fault.
fn settled(outcome: Outcome) -> Result<(), String> {
    match outcome {
        Outcome::Released { .. } | Outcome::Removed(_) | Outcome::Repaired | Outcome::Unchanged => Ok(()),
        Outcome::NotReleased { failure, .. } if failure.kind == FailureKind::Class(FailureClass::Release) => Ok(()),
        Outcome::Failed(failure) | Outcome::NotReleased { failure, .. } => {
            Err(format!("{failure}; {}", failure.help.clone().unwrap_or_default()))
        }
        Outcome::Left(left) => Err(format!("{left:?}")),
    }
}

/// A machine on which these have been released, one after the other.
pub fn after(releases: &[Release]) -> State {
    let stage = Stage::new(bare());
    for next in releases {
        settled(pass(&stage, &Wish::Release(next.clone()))).expect("it is released");
    }
    let mut state = stage.state();
    let served = at_rest(&state).expect("it is at rest");
    assert_eq!(served.as_deref(), releases.last().map(|release| release.code.release.as_str()));
    state.storage.sync_all();
    state.storage.collect();
    state
}

#[expect(clippy::unnecessary_wraps, reason = "one of several judges")]
fn nothing(_: &State, _: &Wish) -> Judgement<()> {
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "one of several judges")]
fn all_needed(_: &State) -> Judgement<()> {
    Ok(())
}

/// Holds and quarantine, by the file.
pub fn standing(state: &State) -> Standing {
    let bytes = state.storage.read(&layout().standing(&name()));
    bytes.map(|bytes| Standing::parse(&bytes, &booted(state)).expect("a whole record")).unwrap_or_default()
}

/// What failed is not tried again.
fn quarantined(state: &State, wish: &Wish) -> Judgement<()> {
    let Wish::Release(release) = wish else { return Ok(()) };
    let digest: Digest = release.wanted().digest;
    if standing(state).quarantined(digest).is_some() { Ok(()) } else { Err("it is not in quarantine".to_owned()) }
}

/// Whoever closes a journal has made durable what came of it: what was asked for serves, or is in quarantine. Of what was refused
/// only a mark is left.
fn concluded(state: &State, wish: &Wish) -> Judgement<()> {
    let (storage, layout) = (&state.storage, layout());
    let Wish::Release(release) = wish else { return Ok(()) };
    let generations = layout.env_generations(&name());
    let number = |name: &OsString| name.to_str()?.split('.').next()?.parse::<u64>().ok();
    let Some(newest) = storage.names(&generations).iter().filter_map(number).max() else { return Ok(()) };
    if storage.exists(&layout.refused_mark(&name(), newest)) {
        return quarantined(state, wish);
    }
    let asked = is_of(state, newest, release);
    if !asked || active_number(state) == Some(newest) {
        return Ok(());
    }
    Err(format!("generation {newest} was kept and does not serve"))
}

/// Whether this generation is of that release, as it is wanted.
fn is_of(state: &State, number: GenerationNumber, release: &Release) -> bool {
    let record = state.storage.read(&layout().generation(&name(), number).join(Generation::FILE));
    let generation = record.and_then(|record| Generation::parse(&record).ok());
    generation.is_some_and(|generation| generation.wanted.digest == release.wanted().digest)
}

/// What is wanted serves, and not only something of the same title.
fn arrived(state: &State, wish: &Wish) -> Judgement<()> {
    let Wish::Release(release) = wish else { return Ok(()) };
    match active_number(state) {
        Some(number) if is_of(state, number, release) => Ok(()),
        number => Err(format!("generation {number:?} serves, which is not what is wanted")),
    }
}

/// Of the first generation nothing is left.
fn first_gone(state: &State) -> Judgement<()> {
    let wanted = pruned_after("v1").wanted();
    let (paths, storage) = (paths(), &state.storage);
    let own = [paths.release(&wanted.release), paths.static_of(&wanted.release, &wanted.digest)];
    let there = own.into_iter().chain([layout().generation(&name(), 1)]).find(|path| storage.exists(path));
    there.map_or(Ok(()), |path| Err(format!("{} is kept, which nobody needs", path.display())))
}

/// What serves is what the hold says, and without a hold what the repository says.
fn as_held(state: &State, wish: &Wish) -> Judgement<()> {
    let number = active_number(state);
    let pinned = standing(state).hold.and_then(|hold| match hold.kind {
        HoldKind::RolledBack { pinned, .. } => Some(pinned),
        _ => None,
    });
    let serves = serving(state)?;
    let wanted = matches!(wish, Wish::Release(release) if serves.as_ref() == Some(&release.code.release));
    match pinned {
        Some(pinned) if number == Some(pinned) => Ok(()),
        None if wanted => Ok(()),
        pinned => Err(format!("generation {number:?} serves, the hold says {pinned:?}")),
    }
}

/// A pass that releases `next` on a machine that has `before`.
fn to(
    name: &'static str,
    before: &[Release],
    next: Release,
    meanwhile: &[Option<&'static str>],
    finally: Option<&'static str>,
) -> Scenario {
    let wish = Wish::Release(next);
    let work = wish.clone();
    let bad = matches!(&wish, Wish::Release(release) if release.code.behaviour != Behaviour::Well);
    Scenario {
        name,
        before: if before.is_empty() { bare() } else { after(before) },
        work: Box::new(move |stage| settled(pass(stage, &work))),
        wish,
        meanwhile: meanwhile.to_vec(),
        finally: vec![finally],
        also: if bad { quarantined } else { arrived },
        closed: concluded,
        pruned: all_needed,
    }
}

pub fn bad(title: &str, behaviour: Behaviour) -> Release {
    Release::new(&format!("{title}-{}", behaviour.word()), behaviour)
}

fn back(name: &'static str, warm: u64) -> Scenario {
    let v2 = Release { warm, ..Release::good("v2") };
    let both = vec![Some("v1"), Some("v2")];
    Scenario {
        name,
        before: after(&[Release::good("v1"), v2.clone()]),
        work: Box::new(|stage| rollback(stage).map(drop)),
        wish: Wish::Release(v2),
        meanwhile: both.clone(),
        finally: both,
        also: as_held,
        closed: nothing,
        pruned: all_needed,
    }
}

pub fn cold() -> Scenario {
    back("cold rollback", 0)
}

/// Longer than anything here takes.
const WARM: u64 = 1_000_000;

pub fn first() -> Scenario {
    to("first release", &[], Release::good("v1"), &[None, Some("v1")], Some("v1"))
}

pub fn second() -> Scenario {
    to("second release", &[Release::good("v1")], Release::good("v2"), &[Some("v1"), Some("v2")], Some("v2"))
}

pub fn failing() -> Scenario {
    to("failing release", &[Release::good("v1")], bad("v2", Behaviour::Fails), &[Some("v1")], Some("v1"))
}

/// No release but what either slot holds is kept.
fn pruned_after(title: &str) -> Release {
    Release { keep: 1, ..Release::good(title) }
}

fn pruning() -> Scenario {
    let before = ["v1", "v2"].map(pruned_after);
    let next = pruned_after("v3");
    let scenario = to("release that prunes", &before, next, &[Some("v2"), Some("v3")], Some("v3"));
    assert!(first_gone(&scenario.before).is_err(), "there is nothing to prune");
    Scenario { pruned: first_gone, ..scenario }
}

fn renewal() -> Scenario {
    let v1 = Release::good("v1");
    let next = Release { max_body: 2 << 20, ..v1.clone() };
    to("renewal of the configuration", &[v1], next, &[Some("v1")], Some("v1"))
}

/// Of what was built nothing is left.
fn all_gone(state: &State) -> Judgement<()> {
    let (paths, storage) = (paths(), &state.storage);
    let built = [paths.releases(), paths.venvs(), paths.static_releases()];
    let built = built.iter().flat_map(|directory| storage.names(directory));
    let generations = storage.names(&layout().env_generations(&name())).into_iter();
    let numbered = generations.filter(|name| name.to_string_lossy().parse::<u64>().is_ok_and(|number| number > 0));
    let there: Vec<OsString> = built.chain(numbered).collect();
    if there.is_empty() { Ok(()) } else { Err(format!("{there:?} is kept of what is gone")) }
}

fn removal() -> Scenario {
    let scenario = Scenario {
        name: "removal",
        before: after(&[Release::good("v1"), Release { warm: WARM, ..Release::good("v2") }]),
        work: Box::new(|stage| settled(pass(stage, &Wish::Removed))),
        wish: Wish::Removed,
        meanwhile: vec![Some("v2"), None],
        finally: vec![None],
        also: nothing,
        closed: nothing,
        pruned: all_gone,
    };
    assert!(all_gone(&scenario.before).is_err(), "there is nothing to take away");
    scenario
}

/// Its slot has held another generation.
fn dying() -> Scenario {
    let before = [Release::good("v1"), Release::good("v2")];
    to("dying release", &before, bad("v3", Behaviour::Dies), &[Some("v2")], Some("v2"))
}

fn seen() -> Scenario {
    let v2 = bad("v2", Behaviour::FailsInFront);
    to("release that fails in front", &[Release::good("v1")], v2, &[Some("v1"), Some("v2-fails-in-front")], Some("v1"))
}

fn failing_first() -> Scenario {
    to("failing first release", &[], bad("v1", Behaviour::Fails), &[None], None)
}

/// A name and what makes it.
pub type Named = (&'static str, fn() -> Scenario);

/// All of them.
pub const ALL: [Named; 11] = [
    ("first release", first),
    ("second release", second),
    ("release that prunes", pruning),
    ("renewal of the configuration", renewal),
    ("warm rollback", || back("warm rollback", WARM)),
    ("cold rollback", cold),
    ("removal", removal),
    ("failing release", failing),
    ("dying release", dying),
    ("release that fails in front", seen),
    ("failing first release", failing_first),
];
