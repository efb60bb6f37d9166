//! A person agrees to a rewritten deploy branch, for one environment.

use std::collections::BTreeSet;

use super::floor::{self, Floors};
use super::{Given, Left, OrderError, read_last_pass};
use crate::desired::Wanted;
use crate::manifest::Policy;
use crate::model::{CommitId, EnvName};
use crate::policy::Accepted;
use crate::source::{Ancestry, Objects};
use crate::transaction::{Context, chain, read_generation};

/// What is agreed to, and the sentence about it. Only the tip that the last pass refused can be let through: agreeing to any other
/// would change nothing.
pub fn accepted(
    cx: &Context<'_>,
    name: &EnvName,
    serving: Option<&Wanted>,
    given: &Given,
    words: &str,
) -> Result<(Accepted, String), OrderError> {
    if serving.is_some_and(|wanted| wanted.env.policy == Policy::Dev) {
        return Err(OrderError::Refused(format!("{name} follows a rewritten branch by itself")));
    }
    // What the last pass refused: the deploy repository's tip, or that of the branch that the environment follows.
    if let Some(commit) = refused(cx, name, words) {
        let said = format!("{} is accepted", commit.short());
        return Ok((agreed(cx, name, given, commit)?, said));
    }
    let clone = Objects::open(&cx.layout.deploy_clone());
    let clone =
        clone.map_err(|error| OrderError::Refused(format!("{}; portreeve reconcile reads it", chain(&error))))?;
    let commit = named(&clone, words)?;
    // Often what serves was made for an older one.
    let floor = Floors::read(cx)?.of(cx, name)?;
    let applied = floor.or_else(|| serving.map(|wanted| wanted.deploy_commit.clone()));
    let applied = applied.ok_or_else(|| OrderError::Refused(format!("{name} has followed nothing yet")))?;
    let ancestry = clone.ancestry(&applied, &commit).map_err(|error| OrderError::Refused(chain(&error)))?;
    let (to, from) = (commit.short(), applied.short());
    if matches!(ancestry, Ancestry::Same | Ancestry::Descendant) {
        return Err(OrderError::Refused(format!("{name} is not diverged: {to} contains {from}, which is applied")));
    }
    if let Some(tip) = read_last_pass(cx).tip.filter(|tip| *tip != commit) {
        let tip = tip.short();
        return Err(OrderError::Refused(format!(
            "the branch leads to {tip}, not to {to}; portreeve accept {name} {tip}"
        )));
    }
    let said = format!("{to} is accepted in place of {from}");
    Ok((agreed(cx, name, given, commit)?, said))
}

/// In place of all that was followed so far, of the deploy repository and of the application's.
fn agreed(cx: &Context<'_>, name: &EnvName, given: &Given, commit: CommitId) -> Result<Accepted, OrderError> {
    let mut over: BTreeSet<CommitId> = Floors::read(cx)?.of(cx, name)?.into_iter().collect();
    for number in floor::numbers(cx, name)? {
        let wanted = read_generation(cx, name, number)?.map(|generation| generation.wanted);
        over.extend(wanted.into_iter().flat_map(|wanted| [wanted.commit, wanted.deploy_commit]));
    }
    Ok(Accepted { commit, over, by: given.by.clone(), at: cx.host.clock().now() })
}

/// The commit that the last pass said how to accept, where that is meant.
fn refused(cx: &Context<'_>, name: &EnvName, words: &str) -> Option<CommitId> {
    let Some(Left::Diverged(said)) = read_last_pass(cx).environments.remove(name)?.left else { return None };
    let command = format!("portreeve accept {name} ");
    let commit = CommitId::parse(said.lines().find_map(|line| line.strip_prefix(&command))?).ok()?;
    (words.len() >= 7 && commit.as_str().starts_with(&words.to_ascii_lowercase())).then_some(commit)
}

/// The commit of the clone with this id, or the one that begins so.
fn named(clone: &Objects, words: &str) -> Result<CommitId, OrderError> {
    let digits = words.to_ascii_lowercase();
    if !CommitId::may_begin(&digits) {
        return Err(OrderError::Refused(format!("`{words}` is no commit's id: 7 to 40 hexadecimal digits")));
    }
    let found = clone.rev(&digits).ok().filter(|commit| commit.as_str().starts_with(&digits));
    let unknown =
        || format!("{words} names no commit that this host has seen, or several; portreeve reconcile fetches");
    found.ok_or_else(|| OrderError::Refused(unknown()))
}
