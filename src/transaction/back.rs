//! Back to where a transaction began: the same for a failed check, a crash, a stop on request, and a rollback that did not hold.

use std::collections::BTreeMap;
use std::path::Path;

use super::recover::{lead, wake};
use super::{Context, Event, Failure, FailureKind, Intent, Phase, commit, read, retire, slot};
use crate::desired::Generation;
use crate::host::{Heeding, HostError};
use crate::model::{Activity, EnvName, Found, GenerationNumber, Identity, Node, Slot};
use crate::policy::FailureClass;

/// What is gone back to.
enum Earlier {
    /// Nothing of it served.
    Absent,
    /// A generation.
    Whole(Box<Generation>),
    /// One whose record can't be read: no more is put back than what its links say.
    Damaged(Slot),
}

impl Earlier {
    fn of(cx: &Context<'_>, intent: &Intent) -> Result<Self, Failure> {
        if intent.from == 0 {
            return Ok(Self::Absent);
        }
        let record = read::read_generation(cx, &intent.env, intent.from)?;
        // A candidate never has the slot that serves.
        Ok(record.map_or_else(|| Self::Damaged(intent.slot.other()), |generation| Self::Whole(Box::new(generation))))
    }
}

/// `active`, the socket, the effects, and only then the candidate's processes, which may still be answering. Going back is not
/// stopped by anybody.
pub fn back(cx: &Context<'_>, intent: &Intent) -> Result<(), Failure> {
    let host = Heeding::nobody(cx.host);
    let cx = &cx.on(&host);
    let installed = read::installed(cx, &intent.env, &BTreeMap::new())?;
    let earlier = Earlier::of(cx, intent)?;
    let seen = installed.active == Some(intent.to) && intent.moves();
    if seen {
        commit::deactivate(cx, intent)?;
    }
    serve_again(cx, intent, &earlier)?;
    if seen {
        drain(cx, intent, &earlier)?;
    }
    let held = installed.slots.get(&intent.slot).copied();
    let untouched = held == intent.slot_before && held != Some(intent.to);
    // A candidate that never reached its slot leaves it as it was: a warm one is what a rollback goes to at once.
    if !untouched {
        if !seen && !intent.had_visitors() {
            slot::end_unseen(cx, &intent.env, intent.slot)?;
        }
        slot::put_back(cx, &intent.env, intent.slot, intent.slot_before)?;
    }
    if intent.to > intent.from {
        refuse(cx, intent)?;
    }
    match earlier {
        Earlier::Absent => forget_vhost(cx, intent),
        Earlier::Whole(_) | Earlier::Damaged(_) => Ok(()),
    }
}

/// nginx forgets the attempt's vhost, if there was one. What others wrote may keep it from a reload, and nobody from going back:
/// the next reload reads that there is none.
fn forget_vhost(cx: &Context<'_>, intent: &Intent) -> Result<(), Failure> {
    let attempt = read::read_generation(cx, &intent.env, intent.to)?;
    if let Some(Err(failure)) = attempt.map(|_| commit::reload(cx)) {
        let text = format!("{}: nginx goes on with the vhost that it has: {failure}", intent.env);
        cx.report.event(&Event::Note { text: &text });
    }
    Ok(())
}

fn serve_again(cx: &Context<'_>, intent: &Intent, earlier: &Earlier) -> Result<(), Failure> {
    match earlier {
        Earlier::Absent => {
            cx.host.files().remove(&cx.layout.web_socket(&intent.env)).map_err(Failure::on_host(Phase::Recover))
        }
        Earlier::Whole(generation) => restore(cx, generation),
        Earlier::Damaged(slot) => by_links(cx, intent, intent.from, *slot),
    }
}

/// Whoever came to the candidate is answered before it goes; it is asked as whichever of the two says its name.
fn drain(cx: &Context<'_>, intent: &Intent, earlier: &Earlier) -> Result<(), Failure> {
    match earlier {
        Earlier::Absent => {}
        Earlier::Whole(generation) => retire::drain(cx, generation, intent.slot),
        Earlier::Damaged(_) => {
            let attempt = read::read_generation(cx, &intent.env, intent.to)?;
            if let Some(attempt) = attempt {
                retire::drain(cx, &attempt, intent.slot);
            }
        }
    }
    Ok(())
}

/// A generation whose record can't be read serves: its slot runs, visitors are led to it, nginx reads its vhost. Neither its unit
/// nor its files can be held against anything; what does not work is told, for a journal that waits for it would keep everybody
/// from putting it right.
pub fn by_links(cx: &Context<'_>, intent: &Intent, number: GenerationNumber, slot: Slot) -> Result<(), Failure> {
    let name = &intent.env;
    let tell = |text: &str| cx.report.event(&Event::Note { text });
    tell(&format!("{name}: the record of generation {number} can't be read; it serves by its links, from slot {slot}"));
    if let Err(error) = wake_by_link(cx, name, slot) {
        tell(&format!("{name}: slot {slot} was not started: {}", super::chain(&error)));
    }
    commit::move_socket(cx, name, slot)?;
    if let Err(failure) = front(cx, intent, number) {
        tell(&format!("{name}: nginx goes on with the vhost that it has: {failure}"));
    }
    Ok(())
}

/// A reload ends idle connections, so there is none without need: an attempt that was never staged was never switched to.
fn front(cx: &Context<'_>, intent: &Intent, number: GenerationNumber) -> Result<(), Failure> {
    if let Some(attempt) = read::read_generation(cx, &intent.env, intent.to)? {
        return commit::front_of(cx, &attempt, number);
    }
    match cx
        .host
        .files()
        .look(&cx.layout.generation(&intent.env, intent.to))
        .map_err(Failure::on_host(Phase::Recover))?
    {
        Found::Absent => Ok(()),
        _ => commit::reload(cx),
    }
}

fn wake_by_link(cx: &Context<'_>, name: &EnvName, slot: Slot) -> Result<(), HostError> {
    let id = slot::id(name, slot);
    let services = cx.host.services();
    if services.service(&id)?.is_some_and(|service| service.activity == Activity::Active) {
        return Ok(());
    }
    cx.host.files().raise_flag(&cx.layout.run_flag(name, slot))?;
    services.start(&id, slot::START).map(drop)
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
        _ => files.keep(&mark, &node).map_err(&fail),
    }
}

/// The generation that serves again: its slot may have died meanwhile, and traffic may have moved. If it is not well, or was
/// stopped, it is still what belongs there: a journal that waits for its health would keep everybody from putting that right.
fn restore(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    let installed = read::installed(cx, &generation.name, &BTreeMap::new())?;
    super::repair::files(cx, generation, &installed.drift);
    match if slot::runs(cx, generation)? { Ok(()) } else { wake(cx, generation) } {
        // Whoever is to blame for what its processes said: a full disk stops them as well.
        Err(failure) if failure.kind == FailureKind::Class(FailureClass::Release) || !failure.log.is_empty() => {
            let title = generation.wanted.title();
            let text = format!("{}: {title} is back, and not well: {}", generation.name, failure.cause);
            cx.report.event(&Event::Note { text: &text });
        }
        awake => awake?,
    }
    let (link, socket) = (cx.layout.web_socket(&generation.name), format!("{}/s", generation.slot));
    let stayed = cx.host.files().holds_link(&link, Path::new(&socket)).map_err(Failure::on_host(Phase::Recover))?;
    // Visitors who were never led away are not to notice that a candidate was tried.
    if stayed { commit::front_of(cx, generation, generation.number) } else { lead(cx, generation) }
}
