//! Ends what a killed program left: forward when it had committed, back when it had not.

use std::path::PathBuf;
use std::time::Duration;

use super::back::{back, by_links};
use super::verdict::{self, End};
use super::{
    Context, Event, Failure, FailureKind, Intent, JournalError, Phase, commit, read, remove, retire, slot, unit,
};
use crate::desired::{Generation, Wanted};
use crate::host::{HostError, Makers};
use crate::manifest::Health;
use crate::model::{Digest, EnvLayout, EnvName, Found, GenerationNumber, Span};
use crate::observed::{Installed, Removed};
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
    /// It was being taken off the host, and is gone.
    Removed(Removed),
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        let failure = Self::new(FailureClass::Host, Phase::Recover, super::failure::chain(&error));
        match error.cure() {
            Some(cure) => failure.with_help(cure),
            None => failure,
        }
    }
}

/// How long what had been switched to is watched before it is taken for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// As long as a release's own bake.
    Bake,
    /// Until one good answer: whoever ends the transaction is about to do something else with the environment. If each of them baked
    /// it anew, none would ever come to that.
    Glance,
}

/// Ends the transaction that a killed program left open, if it did.
pub fn recover(cx: &Context<'_>, name: &EnvName, watch: Watch) -> Result<Recovered, Failure> {
    let Some(intent) = Intent::find(cx, name)? else { return Ok(Recovered::Clean) };
    let fail = Failure::on_host(Phase::Recover);
    sync_left(cx)?;
    let services = read::services_of(cx, name).map_err(&fail)?;
    let installed = read::installed(cx, name, &services)?;
    if !intent.moves() {
        return repaired(cx, &intent, &installed).or_else(|failure| unfinished(cx, name, failure));
    }
    let removes = intent.removes();
    let committed = installed.active == Some(intent.to) && intent.to > 0 && intent.failed.is_none();
    let recovered = match &installed.generation {
        Some(generation) if committed => finish(cx, intent, generation, &installed, watch)?,
        None if committed && !is_whole(cx, name, intent.from)? => keep(cx, &intent)?,
        _ if removes && installed.active == Some(0) => Recovered::Removed(remove::finish(cx, &intent)?),
        _ => undo(cx, &intent)?,
    };
    let what = if removes { "removal" } else { "release" };
    cx.report.event(&Event::Note { text: &format!("{name}: an interrupted {what} was {}", words(&recovered)) });
    match recovered {
        // The order came to nothing, and what it was to leave is to be judged.
        Recovered::Undone(_) if Intent::find(cx, name)?.is_some() => recover(cx, name, watch),
        recovered => Ok(recovered),
    }
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
        Recovered::Finished(_) | Recovered::Removed(_) => "finished",
        Recovered::Undone(_) => "undone",
    }
}

/// Whether there is a generation to go back to that something is known of.
fn is_whole(cx: &Context<'_>, name: &EnvName, number: GenerationNumber) -> Result<bool, Failure> {
    Ok(number > 0 && read::read_generation(cx, name, number)?.is_some())
}

/// The commit had happened, its record is damaged since, and nothing better is known: what serves stays, and the next pass
/// releases what is wanted beside it.
fn keep(cx: &Context<'_>, intent: &Intent) -> Result<Recovered, Failure> {
    by_links(cx, intent, intent.to, intent.slot)?;
    close(cx, intent, End::Kept)?;
    Ok(Recovered::Finished(intent.to))
}

/// A repair comes to its end; what else is not as it should be is the pass's. Where nothing is to be put right, by an order that came
/// after it, it stays open until that ends.
fn repaired(cx: &Context<'_>, intent: &Intent, installed: &Installed) -> Result<Recovered, Failure> {
    let standing = read::standing(cx, &intent.env)?;
    if !standing.decide(Digest::nothing(), cx.host.clock().now()).corrects_drift() {
        return Ok(Recovered::Clean);
    }
    if let Some(generation) = &installed.generation {
        super::repair::finish(cx, generation, &installed.drift)?;
        sweep_trees(cx, generation);
    }
    sweep_own(cx, &intent.env);
    intent.close(cx).map_err(Failure::on_host(Phase::Recover))?;
    Ok(Recovered::Clean)
}

/// Nothing moves by a repair, so nobody has to wait for its end: who reads what was put right is told at the next pass.
fn unfinished(cx: &Context<'_>, name: &EnvName, failure: Failure) -> Result<Recovered, Failure> {
    if failure.kind == FailureKind::Cancelled {
        return Err(failure);
    }
    let text = format!("{name}: a repair is not at its end, and is taken up at the next pass: {failure}");
    cx.report.event(&Event::Note { text: &text });
    Ok(Recovered::Clean)
}

/// The commit had happened: the effects again, and the same verdict that the release would have got.
fn finish(
    cx: &Context<'_>,
    intent: Intent,
    generation: &Generation,
    installed: &Installed,
    watch: Watch,
) -> Result<Recovered, Failure> {
    super::repair::files(cx, generation, &installed.drift);
    let verified = led_to(cx, generation)
        .and_then(|()| resume(cx, generation))
        .and_then(|()| commit::verify(cx, generation, &watched(generation, watch), Duration::ZERO));
    // Whoever has something else to do with it does not wait for an nginx that is away.
    let verified = verified.or_else(|failure| match failure.kind {
        FailureKind::CutOff if watch == Watch::Glance => Ok(()),
        _ => Err(failure),
    });
    match verified {
        Ok(()) => {
            retire::after_release(cx, generation, installed);
            sweep_trees(cx, generation);
            close(cx, &intent, End::Kept)?;
            Ok(Recovered::Finished(intent.to))
        }
        // Nothing is wrong with it: the next pass goes on here.
        Err(failure) if matches!(failure.kind, FailureKind::Cancelled | FailureKind::CutOff) => Err(failure),
        Err(failure) => undo(cx, &noted(cx, intent, &generation.wanted, &failure)),
    }
}

fn watched(generation: &Generation, watch: Watch) -> Health {
    let health = generation.wanted.env.health.clone();
    match watch {
        Watch::Bake => health,
        Watch::Glance => Health { bake: Span::secs(0), ..health },
    }
}

/// What runs waits for an nginx that does not, and nothing is issued again meanwhile: it serves as soon as that starts.
fn led_to(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    let runs = cx.host.front().running().map_err(Failure::on_host(Phase::Recover))?;
    if runs || !slot::runs(cx, generation)? {
        return Ok(());
    }
    commit::move_socket(cx, &generation.name, generation.slot)?;
    Err(slot::cut_off(cx, generation, "it is not running"))
}

/// The intent with its failure; where the disk does not take it, it counts for as long as we live.
pub fn noted(cx: &Context<'_>, intent: Intent, wanted: &Wanted, failure: &Failure) -> Intent {
    let (intent, written) = intent.failing(cx, wanted, failure);
    if let Err(error) = &written {
        let text = format!("why it failed is not in the journal: {}", super::chain(error));
        cx.report.event(&Event::Note { text: &text });
    }
    intent
}

/// Back to where it began.
pub fn undo(cx: &Context<'_>, intent: &Intent) -> Result<Recovered, Failure> {
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
    match verdict::remember(cx, intent, end) {
        // Judged anew by each pass until there is room, it would be taken away at its first bad moment.
        Err(failure) if end == End::Kept => {
            let text = format!("{}: that it works again is not in its record: {failure}", intent.env);
            cx.report.event(&Event::Note { text: &text });
        }
        remembered => remembered?,
    }
    sweep_own(cx, &intent.env);
    match (end, &intent.met) {
        (End::Undone, Some(met)) => met.open(cx),
        _ => intent.close(cx).map_err(Failure::on_host(Phase::Recover)),
    }
}

fn sweep_own(cx: &Context<'_>, env: &EnvName) {
    // Nothing is made there but under the environment's lock, which is ours.
    sweep(cx, &[cx.layout.env_generations(env), cx.layout.env_runtime(env)], Makers::Sweeper);
    sweep_shared(cx);
}

/// Removes what killed programs left half-made beside the sockets: what is below `/run` is made where it is to be.
pub fn sweep_runtime(cx: &Context<'_>, env: &EnvName) {
    sweep(cx, &[cx.layout.env_runtime(env)], Makers::Sweeper);
}

/// Removes what killed programs left half-made in the directories where releases are built, which may be a file system of
/// their own: what they removed there comes back otherwise after a power cut.
pub fn sweep_trees(cx: &Context<'_>, generation: &Generation) {
    let paths = cx.paths(&generation.wanted);
    if let Err(error) = cx.host.files().sync_all(&paths.home()) {
        stays(cx, &error);
    }
    sweep(cx, &places(&paths), Makers::Sweeper);
}

/// Where an environment's releases are built, and what leads to them.
pub fn places(paths: &EnvLayout) -> [PathBuf; 4] {
    [paths.releases(), paths.venvs(), paths.static_releases(), paths.home()]
}

/// Removes what killed programs left half-made in places that all environments share.
pub fn tidy(cx: &Context<'_>) {
    let layout = cx.layout;
    note_boot(cx);
    sweep_shared(cx);
    sweep(cx, &[layout.state(), layout.journal(), layout.attempts(), layout.runtime().to_owned()], Makers::Anybody);
}

/// Files are made in staging first; where our state is a file system of its own, beside it. Of who was deleted, half of his slots
/// is left, and how far he was is noted beside others' notes.
fn sweep_shared(cx: &Context<'_>) {
    sweep(cx, &[cx.layout.staging(), cx.layout.slots(), cx.layout.moving()], Makers::Anybody);
}

/// Before anything is recorded in this boot: all its records are to call it alike.
pub fn note_boot(cx: &Context<'_>) {
    if let Err(error) = cx.note_boot() {
        let text = format!("until the next pass, times follow a clock that is set: {}", super::chain(&error));
        cx.report.event(&Event::Note { text: &text });
    }
}

/// Hidden, and read by nobody: what can't be removed is only told.
fn sweep(cx: &Context<'_>, directories: &[PathBuf], makers: Makers) {
    for directory in directories {
        if let Err(error) = cx.host.files().sweep(directory, makers) {
            stays(cx, &error);
        }
    }
}

fn stays(cx: &Context<'_>, error: &HostError) {
    cx.report.event(&Event::Note { text: &format!("a killed run's files stay: {}", super::chain(error)) });
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
pub(super) fn lead(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    commit::move_socket(cx, &generation.name, generation.slot)?;
    commit::front(cx, generation)
}

/// Also what runs is started: only its restarts from now on count.
pub(super) fn wake(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    unit::write(cx, generation)?;
    let id = slot::id(&generation.name, generation.slot);
    cx.host.services().refresh(std::slice::from_ref(&id)).map_err(Failure::on_host(Phase::Recover))?;
    // It was healthy once: a host that is busy with its boot may take all the time for its start.
    slot::start(cx, generation)?;
    slot::healthy(cx, generation, generation.wanted.env.health.deadline.duration()).map(drop)
}
