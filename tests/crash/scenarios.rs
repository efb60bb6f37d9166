//! The transactions that are swept.

use portreeve::agent::Outcome;

use crate::machine::State;
use crate::oracle::{Judgement, at_rest};
use crate::program::{Wish, pass};
use crate::site::{Release, Stage, bare};
use crate::sweep::Scenario;

fn release(stage: &Stage, release: &Release) -> Result<(), String> {
    settled(pass(stage, &Wish::Release(release.clone())))
}

fn settled(outcome: Outcome) -> Result<(), String> {
    match outcome {
        Outcome::Released { .. } | Outcome::Removed | Outcome::Repaired | Outcome::Unchanged => Ok(()),
        Outcome::Failed(failure) | Outcome::NotReleased { failure, .. } => Err(failure.to_string()),
        Outcome::Left(left) => Err(format!("{left:?}")),
    }
}

/// A machine on which these have been released, one after the other.
fn after(releases: &[Release]) -> State {
    let stage = Stage::new(bare());
    for next in releases {
        release(&stage, next).expect("it is released");
    }
    let state = stage.state();
    let served = at_rest(&state).expect("it is at rest");
    assert_eq!(served.as_deref(), releases.last().map(|release| release.code.release.as_str()));
    let mut state = state;
    state.storage.sync_all();
    state.storage.collect();
    state
}

fn nothing(_: &State) -> Judgement<()> {
    Ok(())
}

fn to(
    name: &'static str,
    before: &[Release],
    next: Release,
    meanwhile: Vec<Option<&'static str>>,
    finally: &'static str,
) -> Scenario {
    let wish = next.clone();
    Scenario {
        name,
        before: if before.is_empty() { bare() } else { after(before) },
        work: Box::new(move |stage| release(stage, &next)),
        wish: Wish::Release(wish),
        meanwhile,
        finally: vec![Some(finally)],
        also: nothing,
    }
}

pub fn all() -> Vec<Scenario> {
    let (v1, v2) = (Release::good("v1"), Release::good("v2"));
    vec![
        to("first release", &[], v1.clone(), vec![None, Some("v1")], "v1"),
        to("second release", &[v1.clone()], v2.clone(), vec![Some("v1"), Some("v2")], "v2"),
    ]
}
