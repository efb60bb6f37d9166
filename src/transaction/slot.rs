//! A slot: pointed at a generation while it is stopped, started, judged, and put back.

use std::path::Path;
use std::time::Duration;

use super::{Context, Event, Failure, FailureKind, Phase, blame, ground, unit};
use crate::desired::Generation;
use crate::health::{Check, Outcome, Verdict, Watcher};
use crate::host::{HostError, Request, SlotId, Target};
use crate::manifest::{Expect, Health};
use crate::model::{Activity, EnvName, Found, GenerationNumber, Identity, Manager, Node, Slot, Span};
use crate::policy::FailureClass;

/// So long a slot may take until it says that it is up.
pub(super) const START: Duration = Duration::from_secs(90);
/// So long a candidate that nobody saw may take to end.
const UNSEEN: Duration = Duration::from_secs(2);
/// Lines of a slot's log that a failure shows.
const TAIL: usize = 60;
/// Characters of a body that a failure shows.
const BODY: usize = 200;

/// Points the (stopped) slot at the generation and gives it the generation's unit.
pub fn point(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    // It vouches for the unit, so that it is there first: a unit without it would be somebody else's.
    link(cx, generation)?;
    give_unit(cx, generation)
}

fn link(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    let target = format!("../../generations/{}/{}", generation.name.flat(), generation.number);
    let link = cx.layout.slot_link(&generation.name, generation.slot);
    cx.host.files().keep(&link, &Node::Link(target.into())).map_err(Failure::on_host(Phase::Start))
}

fn give_unit(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Start);
    let together = cx.host.files().together();
    unit::write(cx, generation)?;
    together.finish().map_err(&fail)?;
    cx.host.services().refresh(&[id(&generation.name, generation.slot)]).map_err(&fail)
}

/// Removes a slot's unit, its flag and its link.
fn clear(cx: &Context<'_>, name: &EnvName, slot: Slot) -> Result<(), HostError> {
    let files = cx.host.files();
    match cx.facts.manager {
        Manager::Systemd => {
            files.remove(&cx.layout.wants_link(name, slot))?;
            files.remove(&cx.layout.unit_file(name, slot))?;
        }
        Manager::Supervisor => files.remove(&cx.layout.program_file(name, slot))?,
    }
    files.remove(&cx.layout.run_flag(name, slot))?;
    cx.host.services().forget(&id(name, slot))?;
    files.remove(&cx.layout.slot_link(name, slot))
}

/// Stops a slot and takes its flag: from now on it does not come back by itself.
pub fn retire(cx: &Context<'_>, name: &EnvName, slot: Slot) -> Result<(), HostError> {
    cx.host.services().stop(&id(name, slot))?;
    cx.host.files().remove(&cx.layout.run_flag(name, slot))
}

/// Stops a candidate that no visitor was led to. It has nobody to answer, so that one that hangs delays neither the verdict nor
/// the next commit for as long as a stop may take.
pub fn end_unseen(cx: &Context<'_>, name: &EnvName, slot: Slot) -> Result<(), Failure> {
    cx.host.services().stop_within(&id(name, slot), UNSEEN).map_err(Failure::on_host(Phase::Start))
}

/// Stops the candidate and gives its slot back what it held before. The link goes back last: as long as it leads to the candidate,
/// whoever comes after a kill begins again.
pub fn put_back(cx: &Context<'_>, name: &EnvName, slot: Slot, before: Option<GenerationNumber>) -> Result<(), Failure> {
    retire(cx, name, slot).map_err(Failure::on_host(Phase::Start))?;
    let earlier = match before {
        Some(number) => super::read::read_generation(cx, name, number)?.filter(|generation| generation.slot == slot),
        None => None,
    };
    match earlier {
        Some(generation) => give_unit(cx, &generation).and_then(|()| link(cx, &generation)),
        None => clear(cx, name, slot).map_err(Failure::on_host(Phase::Start)),
    }
}

/// What has been started.
#[derive(Debug, Clone, Copy)]
pub struct Started {
    /// Its main process.
    pub pid: u32,
    /// What is left of the deadline for it to become healthy, one request's timeout at least: one that never says that it is up has
    /// had all the rest.
    pub left: Duration,
}

/// Makes the sockets' directories, lets the slot run, and starts it.
pub fn start(cx: &Context<'_>, generation: &Generation) -> Result<Started, Failure> {
    let fail = Failure::on_host(Phase::Start);
    let (name, slot) = (&generation.name, generation.slot);
    // Whose group goes to the slot that serves is told to the nginx that runs, which has not been reloaded yet.
    let other = cx.layout.slot_runtime(name, slot.other());
    let is_there = cx.host.files().look(&other).map_err(&fail)? != Found::Absent;
    make(cx, generation, Some(&*other).filter(|_| is_there)).map_err(&fail)?;
    admit(cx, generation, slot)?;
    cx.host.files().raise_flag(&cx.layout.run_flag(name, slot)).map_err(&fail)?;
    let (deadline, begun) = (generation.wanted.env.health.deadline.duration(), cx.host.clock().monotonic());
    let prevented = |error: HostError| {
        let mut said = log(cx, name, slot);
        said.push(super::chain(&error));
        fail(error).with_log(said)
    };
    let service = cx.host.services().start(&id(name, slot), START.min(deadline)).map_err(prevented)?;
    if service.activity == Activity::Failed {
        let cause = "the processes ended while they were being started";
        return Err(blame::by_words(Phase::Start, cause.to_owned(), log(cx, name, slot)));
    }
    let took = cx.host.clock().monotonic().saturating_sub(begun);
    let left = deadline.saturating_sub(took).max(generation.wanted.env.health.timeout.duration());
    Ok(Started { pid: service.pid, left })
}

/// Makes the sockets' directories, and whatever else a boot takes away.
pub fn make_runtime(cx: &Context<'_>, generation: &Generation) -> Result<(), HostError> {
    make(cx, generation, None)
}

fn make(cx: &Context<'_>, generation: &Generation, except: Option<&Path>) -> Result<(), HostError> {
    cx.host.users().apply_tmpfiles(&cx.directory(generation).join("tmpfiles.conf"), except)
}

/// Opens the slot's directory to the workers that nginx.conf names: the generation may be from before it named them.
pub fn admit(cx: &Context<'_>, generation: &Generation, slot: Slot) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Start);
    let (files, directory) = (cx.host.files(), cx.layout.slot_runtime(&generation.name, slot));
    let owners = ground::owners(cx, &generation.wanted)?;
    let right = Identity { gid: owners.web_group, ..owners.app };
    match files.look(&directory).map_err(&fail)? {
        Found::Directory { owner, .. } if owner != right => {
            files.make_directory(&directory, 0o750, right).map_err(&fail)
        }
        _ => Ok(()),
    }
}

/// Whether a web server that gets into one slot's directory gets into the other's.
pub fn is_level(cx: &Context<'_>, name: &EnvName) -> Result<bool, HostError> {
    let look = |slot| cx.host.files().look(&cx.layout.slot_runtime(name, slot));
    let (one, other) = (look(Slot::A)?, look(Slot::B)?);
    Ok(one == other || one == Found::Absent || other == Found::Absent)
}

/// Ends all that runs, and keeps it from running again, over reboots too. Once more changes nothing.
pub fn stop(cx: &Context<'_>, name: &EnvName) -> Result<(), HostError> {
    let flag = Node::File { bytes: Vec::new(), mode: 0o644, owner: Identity::ROOT };
    let path = cx.layout.stopped_flag(name);
    if let Some(parent) = path.parent() {
        cx.host.files().make_directory(parent, 0o755, Identity::ROOT)?;
    }
    cx.host.files().keep(&path, &flag)?;
    Slot::BOTH.into_iter().try_for_each(|slot| cx.host.services().stop(&id(name, slot)))
}

/// Whether the generation's slot is up.
pub fn runs(cx: &Context<'_>, generation: &Generation) -> Result<bool, Failure> {
    let service = cx.host.services().service(&id(&generation.name, generation.slot));
    let service = service.map_err(Failure::on_host(Phase::Start))?;
    Ok(service.is_some_and(|service| service.activity == Activity::Active))
}

/// Asks the slot itself until it is healthy, for as long as it has `left`. What came out, in words.
pub fn healthy(cx: &Context<'_>, generation: &Generation, left: Duration) -> Result<String, Failure> {
    healthy_by(cx, generation, &Health { deadline: Span::of(left), ..generation.wanted.env.health.clone() })
}

/// A slot that stayed up has proven itself: one answer is enough, and going back does not wait for a second.
pub fn still_healthy(cx: &Context<'_>, generation: &Generation) -> Result<String, Failure> {
    healthy_by(cx, generation, &Health { passes: 1, ..generation.wanted.env.health.clone() })
}

fn healthy_by(cx: &Context<'_>, generation: &Generation, health: &Health) -> Result<String, Failure> {
    let slot = id(&generation.name, generation.slot);
    let check = Check { slot: Some(&slot), request: &direct(cx, generation), health };
    let verdict = watcher(cx).until_healthy(check).map_err(Failure::on_host(Phase::Health))?;
    judge(cx, generation, verdict, Phase::Health)
}

/// A request for the health path, as the primary domain.
pub fn request(generation: &Generation, target: Target, forwarded_https: bool) -> Request {
    let env = &generation.wanted.env;
    let host = env.domains.first().map_or_else(|| "localhost".to_owned(), ToString::to_string);
    let timeout = env.health.timeout.duration();
    Request { target, host: host.replace("*.", "www."), path: env.health.path.clone(), forwarded_https, timeout }
}

/// The same of the slot itself.
pub fn direct(cx: &Context<'_>, generation: &Generation) -> Request {
    let socket = Target::Socket(cx.layout.slot_socket(&generation.name, generation.slot));
    request(generation, socket, true)
}

/// The watcher of this host.
pub fn watcher<'a>(cx: &Context<'a>) -> Watcher<'a> {
    Watcher { probe: cx.host.probe(), services: cx.host.services(), clock: cx.host.clock() }
}

/// A verdict as what came out, or as a failure with the evidence.
pub fn judge(cx: &Context<'_>, generation: &Generation, verdict: Verdict, phase: Phase) -> Result<String, Failure> {
    let path = &generation.wanted.env.health.path;
    match verdict {
        Verdict::Healthy { .. } => Ok(format!("GET {path}")),
        Verdict::Cancelled => Err(Failure::cancelled(phase)),
        Verdict::Unhealthy { last, tries, took } => {
            let log = log(cx, &generation.name, generation.slot);
            cx.report.event(&Event::Failed { phase, what: &format!("GET {path} -> {last}, {tries} tries"), took });
            Err(unhealthy(cx, generation, &last, phase, log))
        }
    }
}

/// Nothing is known of the release: it was never asked.
fn usurped(generation: &Generation, by: u32, phase: Phase) -> Failure {
    let (name, slot) = (&generation.name, generation.slot);
    let cause = format!("another process ({by}) answers on the socket of slot {slot}, not the one that was started");
    let help = format!("ps -fp {by} says what it is; stop it, then: portreeve retry {name}");
    Failure::new(FailureClass::Host, phase, cause).with_help(help)
}

/// Nothing in front of the slot answers, and nothing is wrong with it.
pub fn cut_off(cx: &Context<'_>, generation: &Generation, why: &str) -> Failure {
    let (title, slot) = (generation.wanted.title(), generation.slot);
    let cause = format!("visitors get nothing: nginx does not answer ({why}); {title} itself does, in slot {slot}");
    let cure = if cx.host.front().running().unwrap_or(false) { blame::FREE_NGINX } else { blame::START_NGINX };
    let failure = Failure::new(FailureClass::Host, Phase::Verify, cause);
    Failure { kind: FailureKind::CutOff, ..failure }.with_help(format!("{cure}; the next pass goes on from here"))
}

fn unhealthy(cx: &Context<'_>, generation: &Generation, last: &Outcome, phase: Phase, log: Vec<String>) -> Failure {
    let cause = match (last, generation.wanted.env.health.expect) {
        (Outcome::Answered(answer), expect) if expect.accepts(answer.status) => {
            format!("health answered {}, and not once more before its deadline", answer.status)
        }
        (Outcome::Answered(answer), Expect::Status(wanted)) => {
            format!("health answered {}, expected {wanted}", answer.status)
        }
        (Outcome::Answered(answer), Expect::Answer) => format!("health answered {}", answer.status),
        (Outcome::Usurped { by }, _) => return usurped(generation, *by, phase).with_log(log),
        (Outcome::CutOff(why), _) => return cut_off(cx, generation, why),
        (Outcome::Silent(why), _) => format!("health got no answer: {why}"),
        (Outcome::Exited(_), _) => {
            let why = exception(&log).map(|line| format!(": {line}")).unwrap_or_default();
            format!("the processes ended before they were healthy{why}")
        }
    };
    Failure { body: body(last), ..blame::by_words(phase, cause, log) }
}

/// The last exception that Python printed: `ModuleNotFoundError: No module named 'breda'`.
fn exception(log: &[String]) -> Option<&str> {
    let named = |line: &&String| {
        let kind = line.split(':').next().unwrap_or_default();
        let word = kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'_');
        word && (kind.ends_with("Error") || kind.ends_with("Exception"))
    };
    log.iter().rev().find(named).map(String::as_str)
}

/// The head of the body that came instead, in printable characters.
fn body(last: &Outcome) -> Option<String> {
    let Outcome::Answered(answer) = last else { return None };
    let text = String::from_utf8_lossy(&answer.body);
    let head: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(BODY).collect();
    (!head.trim().is_empty()).then(|| head.trim().to_owned())
}

/// The tail of what the slot's present attempt printed; a log that can't be read must not hide the failure itself.
pub fn log(cx: &Context<'_>, name: &EnvName, slot: Slot) -> Vec<String> {
    cx.host.services().output(&id(name, slot), TAIL).unwrap_or_default()
}

/// The slot's name for the service manager.
pub fn id(name: &EnvName, slot: Slot) -> SlotId {
    SlotId { env: name.clone(), slot }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exception_is_found_among_what_gunicorn_says() {
        let log = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
        let traceback = [
            "Traceback (most recent call last):",
            "    import breda",
            "a.b.SomeError: no: more",
            "[1] [INFO] Worker exiting",
        ];
        assert_eq!(exception(&log(&traceback)), Some("a.b.SomeError: no: more"));
        assert_eq!(exception(&log(&["[2026] [ERROR] SomeError: x", "  raise SomeError: y", "Error while: z"])), None);
    }
}
