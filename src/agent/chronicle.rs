//! The history's writer, and what generations, holds and quarantine still say when it is lost.

use std::path::Path;

use crate::desired::{Generation, Wanted, Why};
use crate::history::{Event, EventKind, History, HistoryError, Listed, Writer};
use crate::model::{Digest, EnvName, GenerationNumber, Identity};
use crate::plan::{self, EnvPlan};
use crate::policy::{Backoff, Hold, HoldKind, Phase, Quarantined, Standing};
use crate::transaction::{self, Context, Event as Said, Failure, FailureKind, Recovered, Watch, chain};

use super::{Outcome, read_standing};

/// Of a release that users had for a moment, and of one that they never saw.
const ROLLED_BACK: &str = "rolled back";
const NOT_RELEASED: &str = "not released";

/// Writes what happened.
pub(super) fn write(cx: &Context<'_>, event: &Event) {
    write_next(cx, &Writer::default(), event);
}

/// The same among other events. A history that can't be written never fails anything: that is said, and so is that it began anew.
pub(super) fn write_next(cx: &Context<'_>, history: &Writer, event: &Event) {
    // Its directory may be lost; what follows says when it can't be made.
    cx.host.files().make_directory(&cx.layout.state(), 0o700, Identity::ROOT).ok();
    let said = match history.record(&cx.layout.history(), event, &|| remains(cx)) {
        Ok(said) => said,
        Err(error) => Some(format!("the history was not written: {}", chain(&error))),
    };
    if let Some(text) = said {
        cx.report.event(&Said::Note { text: &text });
    }
}

/// Writes what became of a plan; `before`: the standing that it had.
pub(super) fn tell(cx: &Context<'_>, history: &Writer, plan: &EnvPlan, outcome: &Outcome, before: &Standing) {
    let is_known = || {
        let before = before.retry.as_ref().filter(|retry| plan.goes_to() == Some(retry.digest));
        waits_on(before, read_standing(cx, &plan.name).unwrap_or_default().retry.as_ref())
    };
    if let Some(event) = happened(cx, plan, outcome)
        && !(event.kind == EventKind::NotReleased && is_known())
    {
        write_next(cx, history, &event);
    }
}

/// Whether it waits for what it waited for before, numbers aside: a night of such tries is one event.
fn waits_on(before: Option<&Backoff>, after: Option<&Backoff>) -> bool {
    let what =
        |backoff: &Backoff| (backoff.digest, backoff.phase, backoff.cause.replace(|c: char| c.is_ascii_digit(), ""));
    before.is_some() && before.map(what) == after.map(what)
}

/// What the history says of it.
fn happened(cx: &Context<'_>, plan: &EnvPlan, outcome: &Outcome) -> Option<Event> {
    let event = |kind, summary: String| Event::new(cx.host.clock().now(), Some(plan.name.clone()), kind, summary);
    let wants = plan.wants.as_ref();
    let about = |event: Event, generation| Event {
        generation: Some(generation),
        release: wants.map(|wanted| wanted.release.clone()),
        rev: wants.map(|wanted| wanted.title()),
        deploy_commit: wants.map(|wanted| wanted.deploy_commit.clone()),
        ..event
    };
    Some(match outcome {
        Outcome::Released { title, generation, took, .. } => {
            let event = about(event(EventKind::Released, format!("released {title}")), *generation);
            let serves = plan.serves.as_ref().map(|generation| &generation.wanted);
            let why = serves.zip(wants).map(|(serves, wanted)| reason(serves, wanted));
            Event { took: Some(*took), why, ..event }
        }
        // A cancelled attempt is not a failed one; whoever cancelled it is in the history himself.
        Outcome::NotReleased { failure, .. } if failure.kind == FailureKind::Cancelled => return None,
        Outcome::NotReleased { title, generation, failure, seen, .. } => {
            let (kind, words) = refused(*seen);
            let event = about(event(kind, format!("{title} {words}: {}", failure.cause)), *generation);
            Event { why: Some(failure.cause.clone()), ..event }
        }
        Outcome::Repaired => {
            event(EventKind::Repaired, plan.repairs.first().map_or_else(|| "started".to_owned(), ToString::to_string))
        }
        Outcome::Removed(words) => event(EventKind::Removed, words.clone()),
        Outcome::Unchanged | Outcome::Failed(_) | Outcome::Left(_) => return None,
    })
}

/// Why it was released, by what differed from what served.
fn reason(serves: &Wanted, wanted: &Wanted) -> String {
    let differences = plan::differences(serves, wanted);
    if differences.is_empty() {
        "this version of portreeve writes other files".to_owned()
    } else {
        differences.join("; ")
    }
}

/// Ends what a killed program left, and tells the history what that meant.
pub(super) fn recover(cx: &Context<'_>, name: &EnvName, watch: Watch) -> Result<(), Failure> {
    let recovered = transaction::recover(cx, name, watch)?;
    ended(cx, name, &recovered);
    Ok(())
}

/// What the end of a transaction that was cut short means, unless the history knows that already.
fn ended(cx: &Context<'_>, name: &EnvName, recovered: &Recovered) {
    let (number, kept) = match recovered {
        Recovered::Clean => return,
        Recovered::Finished(number) => (*number, true),
        Recovered::Undone(number) => (*number, false),
        Recovered::Removed(removed) => {
            let words = format!("taken off this host; {}", removed.stays());
            return write(cx, &Event::new(cx.host.clock().now(), Some(name.clone()), EventKind::Removed, words));
        }
    };
    let standing = read_standing(cx, name).unwrap_or_default();
    // What was gone back to by a rollback that is undone is no failure of its own.
    let failed = |kind: EventKind| matches!(kind, EventKind::NotReleased | EventKind::RolledBack);
    let told = of_generation(cx, name, number, &standing).filter(|event| kept != failed(event.kind));
    let Some(event) = told else { return };
    let latest = past(cx, Some(name), 1).ok().and_then(|(events, _)| events.into_iter().next());
    let latest = latest.filter(|latest| latest.generation == Some(number)).map(|latest| latest.kind);
    let kind = match latest {
        Some(EventKind::Released | EventKind::Restarted) if kept => return,
        Some(latest) if failed(latest) => return,
        Some(_) if !kept => EventKind::RolledBack,
        _ => event.kind,
    };
    let said = |kind| refused(kind == EventKind::RolledBack).1;
    let summary = event.summary.replacen(said(event.kind), said(kind), 1);
    write(cx, &Event { at: cx.host.clock().now(), kind, summary, ..event });
}

/// The latest `limit` events, newest first, and a line about where they are from, if that is not the history itself.
pub fn past(cx: &Context<'_>, env: Option<&EnvName>, limit: u32) -> Result<(Vec<Event>, Option<String>), HistoryError> {
    let path = cx.layout.history();
    let opened = History::open_to_read(&path).and_then(|history| match history {
        Some(history) => history.list(env, limit).map(Some),
        None => Ok(None),
    });
    let why = match opened {
        Ok(Some(Listed { events, unread })) => return Ok((events, skipped(&path, unread))),
        Ok(None) => "is not there".to_owned(),
        Err(HistoryError::Damaged { source, .. }) => format!("is damaged ({source})"),
        Err(error) => return Err(error),
    };
    let known = remains(cx).into_iter().rev().filter(|event| env.is_none() || event.env.as_ref() == env);
    let events: Vec<Event> = known.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect();
    let note = format!("{} {why}: this is what the host still knows without it", path.display());
    let lost = !events.is_empty() || path.exists();
    Ok((events, lost.then_some(note)))
}

fn skipped(path: &Path, unread: usize) -> Option<String> {
    let what = if unread == 1 { "1 event is" } else { &format!("{unread} events are") };
    let left = || format!("{}: {what} left out, which this version of portreeve can't read", path.display());
    (unread > 0).then(left)
}

/// What this host knows without its history, oldest first.
fn remains(cx: &Context<'_>) -> Vec<Event> {
    let names = cx.host.files().list(&cx.layout.generations()).unwrap_or_default();
    let names = names.iter().filter_map(|name| EnvName::parse_flat(name).ok());
    let mut events: Vec<Event> = names.flat_map(|name| of_environment(cx, &name)).collect();
    events.sort_by_key(|event| event.at);
    events
}

fn of_environment(cx: &Context<'_>, name: &EnvName) -> Vec<Event> {
    let standing = read_standing(cx, name).unwrap_or_default();
    let names = cx.host.files().list(&cx.layout.env_generations(name)).unwrap_or_default();
    let numbers = names.iter().filter_map(|name| name.parse().ok()).filter(|&number: &GenerationNumber| number > 0);
    let mut events: Vec<Event> = numbers.filter_map(|number| of_generation(cx, name, number, &standing)).collect();
    let gone =
        standing.quarantine.iter().filter(|failed| !events.iter().any(|event| event.generation == failed.generation));
    let gone: Vec<Event> = gone.map(|failed| not_released(name, failed)).collect();
    events.extend(gone);
    events.extend(standing.holds().map(|hold| held(name, hold)));
    events
}

/// `None`: nothing can be said of it.
fn of_generation(cx: &Context<'_>, name: &EnvName, number: GenerationNumber, standing: &Standing) -> Option<Event> {
    let generation = transaction::read_generation(cx, name, number).ok()??;
    let title = generation.wanted.title();
    let event = if transaction::was_refused(cx, name, number).ok()? {
        let failed = standing.quarantine.iter().find(|failed| failed.generation == Some(number));
        let waits = standing.retry.as_ref().filter(|waits| is_of(waits, generation.wanted.digest, generation.at));
        let cut_short = || {
            let summary = format!("{title} {NOT_RELEASED}: its pass was cut short");
            Event::new(generation.at, Some(name.clone()), EventKind::NotReleased, summary)
        };
        let waiting = || waits.map(|waits| not_kept(name, waits.phase, &waits.cause, generation.at));
        failed.map(|failed| not_released(name, failed)).or_else(waiting).unwrap_or_else(cut_short)
    } else {
        released(&generation, &title)
    };
    Some(Event {
        generation: Some(number),
        release: Some(generation.wanted.release.clone()),
        rev: Some(title),
        deploy_commit: Some(generation.wanted.deploy_commit.clone()),
        ..event
    })
}

/// Whether it is the attempt made `at` that failed, and none before it of the same content.
fn is_of(waits: &Backoff, digest: Digest, at: jiff::Timestamp) -> bool {
    waits.digest == digest && waits.failed_at().is_some_and(|failed| failed >= at)
}

fn released(generation: &Generation, title: &str) -> Event {
    let (kind, summary) = match &generation.why {
        Why::Push => (EventKind::Released, format!("released {title}")),
        Why::Rollback(number) => (EventKind::Released, format!("released {title} again, as in generation {number}")),
        Why::Restart => (EventKind::Restarted, format!("new processes of {title}")),
    };
    Event::new(generation.at, Some(generation.name.clone()), kind, summary)
}

/// What is said of a release that was refused; `seen`: users had it for a moment.
fn refused(seen: bool) -> (EventKind, &'static str) {
    if seen { (EventKind::RolledBack, ROLLED_BACK) } else { (EventKind::NotReleased, NOT_RELEASED) }
}

fn not_released(name: &EnvName, failed: &Quarantined) -> Event {
    Event { generation: failed.generation, ..not_kept(name, failed.phase, &failed.cause, failed.at) }
}

fn not_kept(name: &EnvName, phase: Phase, cause: &str, at: jiff::Timestamp) -> Event {
    let (kind, words) = refused(phase.is_in_front());
    let summary = format!("{words}: {phase}: {cause}");
    Event { why: Some(cause.to_owned()), ..Event::new(at, Some(name.clone()), kind, summary) }
}

fn held(name: &EnvName, hold: &Hold) -> Event {
    let (kind, summary) = match &hold.kind {
        HoldKind::RolledBack { pinned, .. } => (EventKind::Held, format!("rolled back to generation {pinned}")),
        HoldKind::Suspended { .. } => (EventKind::Held, "suspended".to_owned()),
        HoldKind::Stopped => (EventKind::Stopped, "stopped".to_owned()),
    };
    Event {
        by: Some(hold.by.clone()),
        why: hold.reason.clone(),
        ..Event::new(hold.since, Some(name.clone()), kind, summary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::explain::tests::wanted;

    #[test]
    fn what_users_had_was_rolled_back_and_nothing_else() {
        let said = |phase| {
            let (digest, cause) = (crate::model::Digest::nothing(), "answered 500".to_owned());
            let at = jiff::Timestamp::UNIX_EPOCH;
            let failed = Quarantined { digest, generation: Some(2), phase, cause, evidence: None, help: None, at };
            let event = not_released(&EnvName::parse("bakery/pro").unwrap(), &failed);
            (event.kind, event.summary)
        };
        assert_eq!(said(Phase::Bake), (EventKind::RolledBack, "rolled back: bake: answered 500".to_owned()));
        assert_eq!(said(Phase::Health), (EventKind::NotReleased, "not released: health: answered 500".to_owned()));
    }

    #[test]
    fn an_attempt_that_was_cut_short_is_not_told_by_the_failure_of_one_before() {
        let (digest, failed) = (Digest::of(b"v2"), jiff::Timestamp::from_second(100).unwrap());
        let (class, phase) = (crate::policy::FailureClass::Host, Phase::Verify);
        let (cause, next) =
            ("nginx dropped its reload".to_owned(), failed.checked_add(crate::policy::backoff(3)).unwrap());
        let waits = Backoff { digest, failures: 3, seen: 1, next, class, phase, cause, help: None, host: None };
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        assert!(is_of(&waits, digest, at(90)));
        assert!(!is_of(&waits, digest, at(101)) && !is_of(&waits, Digest::of(b"v3"), at(90)));
    }

    #[test]
    fn why_it_was_released_is_told_by_what_differed() {
        let (before, after) = (wanted("v1", 'a', '8'), wanted("v2", 'b', '8'));
        assert_eq!(reason(&before, &after), "rev v1 -> v2");
        let (mut env, given) = (after.env.clone(), after.commit.clone());
        env.health.path = "/up".to_owned();
        let other = Wanted { env, commit: given, digest: crate::model::Digest::nothing(), ..after };
        assert_eq!(reason(&before, &other), "rev v1 -> v2; health path");
        assert_eq!(reason(&before, &before), "this version of portreeve writes other files");
    }
}
