//! Ends what a killed program left: forward when it had committed, back when it had not.

use std::path::PathBuf;

use super::verdict::{self, End};
use super::{Context, Event, Failure, FailureKind, Intent, JournalError, Phase, commit, read, retire, slot};
use crate::desired::{Generation, Wanted};
use crate::host::Heeding;
use crate::model::{EnvName, Found, GenerationNumber, Identity, Node};
use crate::observed::Installed;
use crate::policy::FailureClass;

/// What recovery found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Recovered {
    /// Nothing was under way, or a repair.
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
    let fail = Failure::on_host(Phase::Recover);
    sync_left(cx)?;
    let services = read::services_of(cx, name).map_err(&fail)?;
    let installed = read::installed(cx, name, &services)?;
    if !intent.moves() {
        repaired(cx, &intent, &installed)?;
        return Ok(Recovered::Clean);
    }
    let committed = installed.active == Some(intent.to) && intent.to > 0 && intent.failed.is_none();
    let recovered = match &installed.generation {
        Some(generation) if committed => finish(cx, intent, generation, &installed)?,
        _ => undo(cx, &intent)?,
    };
    cx.report.event(&Event::Note { text: &format!("{name}: an interrupted release was {}", words(&recovered)) });
    Ok(recovered)
}

/// A killed program syncs nothing more: what it changed is seen, and would be lost in a power cut after somebody has built on it.
pub fn sync_left(cx: &Context<'_>) -> Result<(), Failure> {
    for place in [cx.layout.config(), cx.layout.state()] {
        cx.host.files().sync_all(&place).map_err(Failure::on_host(Phase::Recover))?;
    }
    Ok(())
}

fn words(recovered: &Recovered) -> &'static str {
    match recovered {
        Recovered::Clean => "not found",
        Recovered::Finished(_) => "finished",
        Recovered::Undone(_) => "undone",
    }
}

/// A repair comes to its end; what else is not as it should be is the pass's.
fn repaired(cx: &Context<'_>, intent: &Intent, installed: &Installed) -> Result<(), Failure> {
    if let Some(generation) = &installed.generation {
        super::repair::finish(cx, generation, &installed.drift)?;
        sweep_trees(cx, generation);
    }
    sweep_own(cx, &intent.env);
    intent.close(cx).map_err(Failure::on_host(Phase::Recover))
}

/// The commit had happened: the effects again, and the same verdict that the release would have got.
fn finish(
    cx: &Context<'_>,
    intent: Intent,
    generation: &Generation,
    installed: &Installed,
) -> Result<Recovered, Failure> {
    super::repair::files(cx, generation, &installed.drift)?;
    match resume(cx, generation).and_then(|()| commit::verify(cx, generation)) {
        Ok(()) => {
            retire::after_release(cx, generation, installed);
            sweep_trees(cx, generation);
            close(cx, &intent, End::Kept)?;
            Ok(Recovered::Finished(intent.to))
        }
        // Nothing is wrong with it: the next pass goes on here.
        Err(failure) if failure.kind == FailureKind::Cancelled => Err(failure),
        Err(failure) => undo(cx, &noted(cx, intent, &generation.wanted, &failure)),
    }
}

/// The intent with its failure; where the disk does not take it, the failure still counts for as long as we live.
pub fn noted(cx: &Context<'_>, intent: Intent, wanted: &Wanted, failure: &Failure) -> Intent {
    let (intent, written) = intent.failing(cx, wanted, failure);
    if let Err(error) = written {
        let text = format!("why it failed is not in the journal: {}", super::chain(&error));
        cx.report.event(&Event::Note { text: &text });
    }
    intent
}

fn undo(cx: &Context<'_>, intent: &Intent) -> Result<Recovered, Failure> {
    back(cx, intent)?;
    let attempt = read::read_generation(cx, &intent.env, intent.to)?;
    match &attempt {
        // First what has no name any more: the attempt's record, which leads there, goes with the rest.
        Some(attempt) => sweep_trees(cx, attempt),
        // It came to no record, and built where what serves was built.
        None => {
            read::read_generation(cx, &intent.env, intent.from)?.iter().for_each(|earlier| sweep_trees(cx, earlier));
        }
    }
    if let (Some(attempt), Some(failed)) = (&attempt, &intent.failed) {
        super::prune::after(cx, &attempt.wanted, failed.class != FailureClass::Release);
    }
    close(cx, intent, End::Undone)?;
    Ok(Recovered::Undone(intent.to))
}

/// The end: what is to be remembered, and only then the journal, so that a kill between them is made up for.
pub fn close(cx: &Context<'_>, intent: &Intent, end: End) -> Result<(), Failure> {
    verdict::remember(cx, intent, end)?;
    sweep_own(cx, &intent.env);
    intent.close(cx).map_err(Failure::on_host(Phase::Recover))
}

fn sweep_own(cx: &Context<'_>, env: &EnvName) {
    sweep(cx, &[cx.layout.env_generations(env), cx.layout.env_runtime(env), cx.layout.staging()]);
}

/// Removes what killed programs left half-made in the directories where releases are built.
pub fn sweep_trees(cx: &Context<'_>, generation: &Generation) {
    let paths = cx.paths(&generation.wanted);
    sweep(cx, &[paths.releases(), paths.venvs(), paths.static_releases(), paths.home()]);
}

/// Removes what killed programs left half-made where every file is made first.
pub fn tidy(cx: &Context<'_>) {
    sweep(cx, &[cx.layout.journal(), cx.layout.staging()]);
}

/// Hidden, and read by nobody: what can't be removed is only told.
fn sweep(cx: &Context<'_>, directories: &[PathBuf]) {
    for directory in directories {
        if let Err(error) = cx.host.files().sweep(directory) {
            cx.report.event(&Event::Note { text: &format!("a killed run's files stay: {}", super::chain(&error)) });
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
pub fn resume(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    wake(cx, generation)?;
    lead(cx, generation)
}

/// Visitors are led to it.
fn lead(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    commit::move_socket(cx, &generation.name, generation.slot)?;
    commit::front(cx, generation)
}

fn wake(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    slot::write_unit(cx, generation)?;
    let id = slot::id(&generation.name, generation.slot);
    cx.host.services().refresh(std::slice::from_ref(&id)).map_err(Failure::on_host(Phase::Recover))?;
    slot::start(cx, generation)?;
    slot::healthy(cx, generation).map(drop)
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
    let seen = installed.active == Some(intent.to) && intent.to > 0;
    if seen {
        commit::activate(cx, &intent.env, intent.from)?;
    }
    match &earlier {
        Some(generation) => {
            restore(cx, generation)?;
            if seen {
                retire::drain(cx, generation, intent.slot);
            }
        }
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

/// The generation that serves again: its slot may have died meanwhile, and traffic may have moved. If it is not well, or was
/// stopped, it is still what belongs there: a journal that waits for its health would keep everybody from putting that right.
fn restore(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    let installed = read::installed(cx, &generation.name, &std::collections::BTreeMap::new())?;
    super::repair::files(cx, generation, &installed.drift)?;
    match if slot::runs(cx, generation)? { Ok(()) } else { wake(cx, generation) } {
        Err(failure) if failure.kind == FailureKind::Class(FailureClass::Release) => {
            let title = generation.wanted.title();
            let text = format!("{}: {title} is back, and not well: {}", generation.name, failure.cause);
            cx.report.event(&Event::Note { text: &text });
        }
        awake => awake?,
    }
    lead(cx, generation)
}

fn lost(intent: &Intent) -> Failure {
    let cause = format!("generation {} of {}, to go back to, is gone or damaged", intent.from, intent.env);
    Failure::new(FailureClass::Host, Phase::Recover, cause)
        .with_help("nothing was moved; restore /etc/portreeve from a backup")
}
