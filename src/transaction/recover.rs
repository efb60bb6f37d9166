//! Ends what a killed program left: forward when it had committed, back when it had not.

use super::{Context, Event, Failure, FailureKind, Intent, JournalError, Phase, commit, read, slot};
use crate::host::Heeding;
use crate::model::{EnvName, Found, GenerationNumber, Identity, Node};
use crate::observed::Installed;
use crate::policy::FailureClass;

/// What recovery found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Recovered {
    /// Nothing was under way.
    Clean,
    /// The commit had happened; its effects were issued again.
    Finished(GenerationNumber),
    /// It had not happened, or did not hold; what served before serves on.
    Undone(GenerationNumber),
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        Self::new(FailureClass::Host, Phase::Recover, super::failure::chain(&error))
    }
}

/// Ends the transaction that a killed program left open, if it did.
pub fn recover(cx: &Context<'_>, name: &EnvName) -> Result<Recovered, Failure> {
    let Some(intent) = Intent::find(cx, name)? else { return Ok(Recovered::Clean) };
    let services = read::services_of(cx, name).map_err(Failure::on_host(Phase::Recover))?;
    let installed = read::installed(cx, name, &services)?;
    let recovered = if installed.active == Some(intent.to) && intent.to > 0 {
        finish(cx, &intent, &installed)?
    } else {
        back(cx, &intent)?;
        Recovered::Undone(intent.to)
    };
    intent.close(cx).map_err(Failure::on_host(Phase::Recover))?;
    cx.report.event(&Event::Note { text: &format!("{name}: an interrupted release was {}", words(&recovered)) });
    Ok(recovered)
}

fn words(recovered: &Recovered) -> &'static str {
    match recovered {
        Recovered::Clean => "not found",
        Recovered::Finished(_) => "finished",
        Recovered::Undone(_) => "undone",
    }
}

/// The commit had happened: the effects again, and the same verdict that the release would have got.
fn finish(cx: &Context<'_>, intent: &Intent, installed: &Installed) -> Result<Recovered, Failure> {
    let Some(generation) = &installed.generation else {
        back(cx, intent)?;
        return Ok(Recovered::Undone(intent.to));
    };
    match resume(cx, generation) {
        Ok(()) => {
            super::retire::after_release(cx, generation, installed);
            Ok(Recovered::Finished(intent.to))
        }
        // Nothing is known of it yet; the journal stays open.
        Err(failure) if failure.kind == FailureKind::Cancelled => Err(failure),
        Err(_) => {
            back(cx, intent)?;
            Ok(Recovered::Undone(intent.to))
        }
    }
}

/// Whether a transaction is open whose generation serves already. Somebody who is about to leave it need not wait for its
/// verdict.
pub fn committed(cx: &Context<'_>, name: &EnvName) -> Result<bool, Failure> {
    let Some(intent) = Intent::find(cx, name)? else { return Ok(false) };
    let target = Found::Link(Context::active_target(name, intent.to));
    let active = cx.host.files().look(&cx.layout.active_link(name)).map_err(Failure::on_host(Phase::Recover))?;
    Ok(intent.to > intent.from && active == target)
}

/// Issues the effects of an active generation again. Each of them does nothing where it is true already.
pub fn resume(cx: &Context<'_>, generation: &crate::desired::Generation) -> Result<(), Failure> {
    slot::write_unit(cx, generation)?;
    let id = slot::id(&generation.name, generation.slot);
    cx.host.services().refresh(std::slice::from_ref(&id)).map_err(Failure::on_host(Phase::Recover))?;
    slot::start(cx, generation)?;
    slot::healthy(cx, generation)?;
    commit::move_socket(cx, &generation.name, generation.slot)?;
    commit::front(cx, generation)
}

/// Goes back to where the transaction began: `active`, the socket, the effects, and only then the candidate's processes, which
/// may still be answering. The same for a failed check, a crash, and a release that was stopped on request; going back is not
/// stopped by anybody.
pub fn back(cx: &Context<'_>, intent: &Intent) -> Result<(), Failure> {
    let host = Heeding::nobody(cx.host);
    let cx = &cx.on(&host);
    let installed = read::installed(cx, &intent.env, &std::collections::BTreeMap::new())?;
    let earlier = match intent.from {
        0 => None,
        number => Some(read::read_generation(cx, &intent.env, number)?.ok_or_else(|| lost(intent))?),
    };
    if installed.active == Some(intent.to) && intent.to > 0 {
        commit::activate(cx, &intent.env, intent.from)?;
    }
    match &earlier {
        Some(generation) => restore(cx, generation)?,
        None => cx.host.files().remove(&cx.layout.web_socket(&intent.env)).map_err(Failure::on_host(Phase::Recover))?,
    }
    let held = installed.slots.get(&intent.slot).copied();
    let untouched = held == intent.slot_before && held != Some(intent.to);
    // A candidate that never reached its slot leaves it as it was: a warm one is what a rollback goes to at once.
    if !untouched {
        slot::put_back(cx, &intent.env, intent.slot, intent.slot_before)?;
    }
    if intent.to > intent.from {
        refuse(cx, intent)?;
    }
    // The environment is absent again: nginx forgets its vhost.
    if earlier.is_none() { commit::reload(cx) } else { Ok(()) }
}

/// Marks a generation that never held: nobody can go back to it, and it takes no good one's place among those that are kept.
/// One that failed before it was staged is marked too: its number has a log, and is not given to another.
fn refuse(cx: &Context<'_>, intent: &Intent) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Recover);
    let mark = cx.layout.refused_mark(&intent.env, intent.to);
    let node = Node::File { bytes: Vec::new(), mode: 0o644, owner: Identity::ROOT };
    let files = cx.host.files();
    match files.look(&cx.layout.env_generations(&intent.env)).map_err(&fail)? {
        Found::Absent => Ok(()),
        _ => files.put(&mark, &node).map_err(&fail),
    }
}

/// The generation that serves again: its slot may have died meanwhile, and traffic may have moved.
fn restore(cx: &Context<'_>, generation: &crate::desired::Generation) -> Result<(), Failure> {
    let id = slot::id(&generation.name, generation.slot);
    let running = cx.host.services().service(&id).map_err(Failure::on_host(Phase::Recover))?;
    let runs = running.is_some_and(|service| service.activity == crate::model::Activity::Active);
    if !runs {
        return resume(cx, generation);
    }
    commit::move_socket(cx, &generation.name, generation.slot)?;
    commit::front(cx, generation)
}

fn lost(intent: &Intent) -> Failure {
    let cause = format!("generation {} of {}, to go back to, is gone or damaged", intent.from, intent.env);
    Failure::new(FailureClass::Host, Phase::Recover, cause)
        .with_help("nothing was moved; restore /etc/portreeve from a backup")
}
