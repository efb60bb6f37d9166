//! After a pass: what it saw is compared with what people were told, and they are told the difference.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::explain::next_try;
use super::{App, Left, Outcome, PassReport, Survey, Trouble, read_last_pass, read_standing, worst};
use crate::desired::Wanted;
use crate::host::{Found, HostError};
use crate::manifest::Notify;
use crate::model::{Boot, EnvName, Identity, Node};
use crate::notify::{Active, Failing, Memory, MemoryError, Seen, Sight, State, deliver};
use crate::plan::EnvPlan;
use crate::policy::{FailureClass, HoldKind, Standing};
use crate::transaction::lock::{Place, lock};
use crate::transaction::{self, Context, Failure, FailureKind, Quiet, chain};

/// What is on the disk of an environment's holds; `None`: it can't be read.
type Standings<'a> = dyn Fn(&EnvName) -> Option<Standing> + 'a;

/// No such record is larger.
const LIMIT: u64 = 16 * 1024 * 1024;

/// Tells whoever `[notify]` names what changed. `whole`: the pass was over all environments. Takes no longer than its bounded
/// attempts, never fails, and returns the lines about it that belong in the journal.
pub fn tell(app: &App, pass: Result<&PassReport, &Failure>, whole: bool) -> Vec<String> {
    let cx = app.context(&Quiet);
    let said = pass.ok().and_then(|pass| pass.survey.notify.as_ref());
    if said.is_some_and(Notify::is_empty) {
        return forget(&cx).err().map(|error| unwritten(&error)).into_iter().collect();
    }
    // An idle pass has not read the manifests: this is all that it costs where nobody is to be told.
    let is_absent = |path: PathBuf| matches!(cx.host.files().look(&path), Ok(Found::Absent));
    if said.is_none() && is_absent(cx.layout.notified()) && is_absent(meanwhile(&cx)) {
        return Vec::new();
    }
    // Whoever holds it tells the same, or sees the rest at its next pass.
    let Ok(_lock) = lock(&cx, Place::Notify, std::time::Duration::ZERO) else { return Vec::new() };
    // A later pass saw what is so now, and tells it.
    if pass.is_ok_and(|pass| read_last_pass(&cx).at.is_some_and(|at| at > pass.looked)) {
        return Vec::new();
    }
    let (memory, mut notes) = match read(&cx) {
        Ok((memory, note)) => (memory, Vec::from_iter(note)),
        Err(note) => return vec![note],
    };
    let notify = said.unwrap_or(&memory.notify);
    if notify.is_empty() {
        return notes;
    }
    let seen = seen(app, pass, whole);
    let next = memory.after(&seen, notify, &|name| active(&cx, name));
    // Durable before it is sent: a message that was sent twice is better than none.
    notes.extend(write(&cx, &memory, &next));
    let good = whole && pass.is_ok_and(is_good);
    let (after, said) = deliver(cx.host.post(), &next, seen.at, good);
    notes.extend(said);
    notes.extend(write(&cx, &next, &after));
    notes
}

/// What was told while the disk took nothing, until the next boot.
fn meanwhile(cx: &Context<'_>) -> PathBuf {
    cx.layout.runtime().join("notify.json")
}

/// A line for each way of telling people that does not work, for `status`.
pub fn mute(cx: &Context<'_>) -> Vec<String> {
    silent(read(cx))
}

fn silent(read: Result<(Memory, Option<String>), String>) -> Vec<String> {
    match read {
        Ok((memory, note)) => note.into_iter().chain(failing(&memory)).collect(),
        Err(note) => vec![note],
    }
}

fn failing(memory: &Memory) -> Vec<String> {
    let line = |(channel, failing, waiting): (_, &Failing, usize)| {
        let since = failing.since.strftime("%d %b %H:%M UTC");
        let waits = match waiting {
            0 => String::new(),
            1 => "; 1 message waits".to_owned(),
            several => format!("; {several} messages wait"),
        };
        format!("{channel} {} fails since {since}: {}{waits}", memory.address(channel), failing.cause)
    };
    memory.troubles().map(line).collect()
}

/// The memory, and a line when it had to begin anew; or why nobody can be told.
fn read(cx: &Context<'_>) -> Result<(Memory, Option<String>), String> {
    let read = |path: &PathBuf| cx.host.files().read(path, LIMIT).map_err(|error| unwritten(&error));
    let (meanwhile, path) = (meanwhile(cx), cx.layout.notified());
    match read(&meanwhile)? {
        Some(bytes) => remembered(&meanwhile, Some(bytes), &cx.boot()),
        None => remembered(&path, read(&path)?, &cx.boot()),
    }
}

fn remembered(path: &Path, bytes: Option<Vec<u8>>, boot: &Boot) -> Result<(Memory, Option<String>), String> {
    let named = |error: &MemoryError| format!("{}: {error}", path.display());
    match bytes.map(|bytes| Memory::parse(&bytes, boot)) {
        None => Ok((Memory::default(), None)),
        Some(Ok(memory)) => Ok((memory, None)),
        Some(Err(error @ MemoryError::Damaged(_))) => Ok((Memory::default(), Some(named(&error)))),
        Some(Err(error @ MemoryError::Newer { .. })) => Err(named(&error)),
    }
}

fn write(cx: &Context<'_>, before: &Memory, after: &Memory) -> Option<String> {
    if before == after {
        return None;
    }
    let node = Node::File { bytes: after.to_bytes(&cx.boot()), mode: 0o600, owner: Identity::ROOT };
    let (files, meanwhile) = (cx.host.files(), meanwhile(cx));
    let written = match files.put(&cx.layout.notified(), &node) {
        Ok(()) => files.remove(&meanwhile),
        // Else people would be told the same by each pass, for as long as the disk is full.
        Err(full) => files.put(&meanwhile, &node).and(Err(full)),
    };
    written.err().map(|error| unwritten(&error))
}

fn forget(cx: &Context<'_>) -> Result<(), HostError> {
    let files = cx.host.files();
    for path in [cx.layout.notified(), meanwhile(cx)] {
        if files.look(&path)? != Found::Absent {
            files.remove(&path)?;
        }
    }
    Ok(())
}

fn unwritten(error: &HostError) -> String {
    format!("what people were told is not remembered: {}", chain(error))
}

/// An order to stop it, a start that failed and a mask leave its link as it is: the service manager says whether it runs.
/// Where that can't be asked nothing is known against it.
fn active(cx: &Context<'_>, name: &EnvName) -> Option<Active> {
    let generation = transaction::serving(cx, name)?;
    let title = format!("{} (generation {})", generation.wanted.title(), generation.number);
    Some(Active { title, runs: transaction::runs(cx, &generation).unwrap_or(true) })
}

/// All as it is wanted, or as somebody ordered it.
fn is_good(pass: &PassReport) -> bool {
    pass.survey.trouble.is_none() && worst(pass.outcomes.values().map(Outcome::exit_code)) == 0
}

fn seen<'a>(app: &'a App, pass: Result<&PassReport, &Failure>, whole: bool) -> Seen<'a> {
    let at = app.host.clock().now();
    let standing = |name: &EnvName| read_standing(&app.context(&Quiet), name).ok();
    let (itself, environments) = match pass {
        Ok(pass) => (itself(pass.survey.trouble.as_ref()), environments(pass, &standing)),
        Err(failure) => (failed_pass(failure), BTreeMap::new()),
    };
    // A repository that can't be read names nothing, and nothing is gone because of it.
    let whole = whole && pass.is_ok_and(|pass| pass.survey.trouble.is_none());
    Seen { host: &app.name, at, whole, itself, environments }
}

fn itself(trouble: Option<&Trouble>) -> Sight {
    match trouble {
        None => Sight::ok(),
        Some(Trouble::Passing(words)) => Sight { passing: true, ..Sight::of(State::Stale, words) },
        Some(Trouble::Lasting(words)) => Sight::of(State::Blocked, words),
    }
}

/// Another program may have been in the way, for once.
fn failed_pass(failure: &Failure) -> Sight {
    let help = failure.help.clone();
    Sight { passing: true, help, ..Sight::of(State::Blocked, format!("the pass failed: {}", failure.cause)) }
}

fn environments(pass: &PassReport, standings: &Standings<'_>) -> BTreeMap<EnvName, Option<Sight>> {
    let sight = |name, outcome| sight(&pass.survey, name, outcome, standings);
    pass.outcomes.iter().map(|(name, outcome)| (name.clone(), sight(name, outcome))).collect()
}

/// `None`: nothing can be said of it now.
fn sight(survey: &Survey, name: &EnvName, outcome: &Outcome, standings: &Standings<'_>) -> Option<Sight> {
    let plan = survey.plan.environments.iter().find(|plan| plan.name == *name);
    let wanted = plan.and_then(|plan: &EnvPlan| plan.wants.as_ref());
    let content = || wanted.map(|wanted| wanted.digest.to_string());
    let sight = match outcome {
        Outcome::Unchanged | Outcome::Repaired | Outcome::Released { left: None, .. } => Sight::ok(),
        Outcome::Removed(words) => Sight::of(State::Removed, words),
        Outcome::NotReleased { generation, failure, seen, title, .. } => {
            let saw = if *seen { format!("users saw {title} for a moment; ") } else { String::new() };
            let about = content();
            Sight { about, attempt: Some(*generation), ..failed(failure, &saw)? }
        }
        Outcome::Failed(failure) => failed(failure, "")?,
        Outcome::Left(Left::Quarantined(words)) | Outcome::Released { left: Some(Left::Quarantined(words)), .. } => {
            quarantined(words, wanted.map(|it| &**it), standings(name).as_ref())
        }
        Outcome::Left(Left::Held(words)) => held(words, &|| standings(name))?,
        Outcome::Left(left) | Outcome::Released { left: Some(left), .. } => left_as_it_is(survey, left, content())?,
    };
    let tried = wanted.filter(|_| sight.state == State::Blocked);
    let next = tried.and_then(|wanted| again(&standings(name)?, wanted));
    Some(Sight { wants: wanted.map(|wanted| wanted.title()), next, ..sight })
}

/// When what failed is tried again, as `why` says it.
fn again(standing: &Standing, wanted: &Wanted) -> Option<String> {
    standing.retry.as_ref().filter(|backoff| backoff.digest == wanted.digest).map(next_try)
}

fn failed(failure: &Failure, saw: &str) -> Option<Sight> {
    let (state, passing) = match failure.kind {
        FailureKind::Cancelled | FailureKind::GaveWay => return None,
        FailureKind::Class(FailureClass::Release) => (State::Quarantined, false),
        FailureKind::Class(FailureClass::Host) | FailureKind::CutOff => (State::Blocked, false),
        FailureKind::Class(FailureClass::Transient) => (State::Blocked, true),
    };
    let cause = format!("{saw}{}: {}", failure.phase, failure.cause);
    Some(Sight { passing, help: failure.help.clone(), ..Sight::of(state, cause) })
}

/// What failed before: a pass that came by later may be the first to tell it.
fn quarantined(words: &str, wanted: Option<&Wanted>, standing: Option<&Standing>) -> Sight {
    let failed = standing.zip(wanted).and_then(|(standing, wanted)| standing.quarantined(wanted.digest));
    let saw = failed.filter(|failed| failed.phase.is_in_front()).map_or("", |_| "users saw it for a moment; ");
    Sight {
        about: wanted.map(|wanted| wanted.digest.to_string()),
        attempt: failed.and_then(|failed| failed.generation),
        ..Sight::of(State::Quarantined, format!("{saw}{words}"))
    }
}

/// What is so of the whole repository is told once, of the host.
fn left_as_it_is(survey: &Survey, left: &Left, content: Option<String>) -> Option<Sight> {
    let everywhere = |words: &str| survey.trouble.as_ref().is_some_and(|trouble| trouble.words() == words);
    Some(match left {
        Left::Stale(words) | Left::Blocked(words) if everywhere(words) => return None,
        Left::Waiting(words) | Left::Hindered(words) => {
            Sight { about: content, passing: true, ..Sight::of(State::Blocked, words) }
        }
        Left::Blocked(words) => Sight { about: content, ..Sight::of(State::Blocked, words) },
        Left::Diverged(words) => Sight { about: Some(words.clone()), ..Sight::of(State::Diverged, words) },
        Left::Held(_) | Left::Quarantined(_) | Left::Busy(_) | Left::Overtaken => return None,
        Left::Stale(words) => Sight { passing: true, ..Sight::of(State::Stale, words) },
    })
}

/// `stopped by anna, …`: which order, and its words; or since when it is no longer this host's. An order that ended since says
/// nothing.
fn held(words: &str, standing: &dyn Fn() -> Option<Standing>) -> Option<Sight> {
    if let Some(since) = words.strip_prefix("removed ") {
        return Some(Sight::of(State::Removed, since));
    }
    let orders = [("held ", State::Held), ("suspended ", State::Suspended), ("stopped ", State::Stopped)];
    let (state, by) = orders.iter().find_map(|(word, state)| Some((*state, words.strip_prefix(word)?)))?;
    Some(Sight { about: Some(order(&standing()?, state)?), ..Sight::of(state, by) })
}

/// By whom, to which generation, and why. Its times are written another way on another day, and move with the clock.
fn order(standing: &Standing, state: State) -> Option<String> {
    let hold = standing.holds().find(|hold| state == ordered(&hold.kind))?;
    let reason = hold.reason.as_ref().map(|reason| format!(": \"{reason}\"")).unwrap_or_default();
    let pinned = match hold.kind {
        HoldKind::RolledBack { pinned, .. } => format!(" to {pinned}"),
        HoldKind::Suspended { .. } | HoldKind::Stopped => String::new(),
    };
    Some(format!("by {}{pinned}{reason}", hold.by))
}

fn ordered(kind: &HoldKind) -> State {
    match kind {
        HoldKind::RolledBack { .. } => State::Held,
        HoldKind::Suspended { .. } => State::Suspended,
        HoldKind::Stopped => State::Stopped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::last::tests::report;
    use std::collections::BTreeSet;

    use crate::model::{Digest, SecretUrl};
    use crate::policy::{self, Hold};

    fn dev() -> EnvName {
        EnvName::parse("bakery/dev").unwrap()
    }

    /// What people are told of bakery/dev over these passes; `None`: it is on the host no longer.
    fn told(passes: impl IntoIterator<Item = Option<Outcome>>) -> Vec<String> {
        told_under(passes.into_iter().map(|outcome| (outcome, Standing::default())))
    }

    /// The same, with what an operator ordered.
    fn told_under(passes: impl IntoIterator<Item = (Option<Outcome>, Standing)>) -> Vec<String> {
        let webhook = SecretUrl::parse("https://chat.example.org/hook").ok();
        let notify = Notify { webhook, ..Notify::default() };
        let mut memory = Memory::default();
        for (outcome, standing) in passes {
            let mut pass = report(outcome.clone().unwrap_or(Outcome::Unchanged), Outcome::Unchanged);
            pass.outcomes.retain(|name, _| outcome.is_some() || *name != dev());
            let environments = environments(&pass, &|_| Some(standing.clone()));
            let seen = Seen { host: "web1", at: pass.looked, whole: true, itself: Sight::ok(), environments };
            memory = memory.after(&seen, &notify, &|_| None);
        }
        memory.outbox.iter().map(|letter| format!("{} <- {}", letter.message.state, letter.message.was)).collect()
    }

    fn left(words: &str) -> Outcome {
        Outcome::Left(Left::Held(words.to_owned()))
    }

    fn hold(kind: HoldKind, by: &str, reason: Option<&str>) -> Hold {
        let (by, reason) = (by.to_owned(), reason.map(str::to_owned));
        Hold { kind, by, reason, since: jiff::Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn a_removal_is_told_once_from_the_first_pass_to_the_end_of_its_grace() {
        let well = || Some(Outcome::Unchanged);
        let off = || Some(Outcome::Removed("taken off this host; /srv/data stay".to_owned()));
        let deleted = || Some(Outcome::Removed("deleted from this host".to_owned()));
        let waits = || Some(left("removed 20 Nov 18:00 UTC; its files go 21 Nov 18:00 UTC; /srv/data stay"));
        assert_eq!(told([well(), off(), waits(), waits(), deleted(), None, None]), ["removed <- ok"]);
        assert_eq!(told([deleted(), None]), ["removed <- ok"], "without a grace");
        assert_eq!(told([off(), waits(), well()]), ["removed <- ok", "ok <- removed"], "it comes back");
    }

    /// What keeps an environment where it is is told when it begins, whatever else a pass does about it.
    #[test]
    fn a_tag_that_has_moved_is_told_once_whatever_is_released_meanwhile() {
        let moved = || Left::Diverged("v1 has moved".to_owned());
        let (title, took) = ("v1".to_owned(), std::time::Duration::ZERO);
        let released = |left| Some(Outcome::Released { title: title.clone(), generation: 2, took, left });
        let stays = || Some(Outcome::Left(moved()));
        assert_eq!(told([stays(), released(Some(moved())), stays()]), ["diverged <- ok"]);
        assert_eq!(told([released(Some(moved())), stays()]), ["diverged <- ok"]);
        assert_eq!(released(Some(moved())).map(|outcome| outcome.exit_code()), Some(4));
        assert_eq!(told([stays(), released(None)]), ["diverged <- ok", "ok <- diverged"]);
    }

    /// The pass that released it was overtaken by another, which tells it.
    #[test]
    fn what_users_saw_is_told_by_whoever_comes_later() {
        let wanted = crate::agent::explain::tests::wanted("v2", 'b', '8');
        let told = |phase| {
            let (class, digest, generation) = (FailureClass::Release, wanted.digest, Some(2));
            let cause = "GET /healthz answered 500".to_owned();
            let failed =
                policy::Failure { class, phase, digest, generation, cause, evidence: None, help: None, host: None };
            let standing = Standing::default().after_failure(failed, jiff::Timestamp::UNIX_EPOCH);
            let sight = quarantined("v2 failed", Some(&wanted), Some(&standing));
            (sight.cause, sight.attempt)
        };
        assert_eq!(told(policy::Phase::Bake), ("users saw it for a moment; v2 failed".to_owned(), Some(2)));
        assert_eq!(told(policy::Phase::Health), ("v2 failed".to_owned(), Some(2)));
    }

    #[test]
    fn when_it_is_tried_again_is_told_as_why_tells_it() {
        let wanted = crate::agent::explain::tests::wanted("v2", 'b', '8');
        let (class, phase, digest) = (FailureClass::Host, policy::Phase::Switch, wanted.digest);
        let (cause, generation) = ("nginx goes on as before".to_owned(), Some(2));
        let failed =
            policy::Failure { class, phase, digest, generation, cause, evidence: None, help: None, host: None };
        let at = jiff::Timestamp::UNIX_EPOCH;
        let failure = Box::new(Failure::new(class, transaction::Phase::Switch, "nginx goes on as before"));
        let next = |standing: &Standing| {
            let (title, failure) = ("v2".to_owned(), failure.clone());
            let refused = Outcome::NotReleased { title, generation: 2, failure, seen: true, serves: None };
            let mut pass = report(refused, Outcome::Unchanged);
            pass.survey.plan.environments[0].wants = Some(Box::new(wanted.clone()));
            environments(&pass, &|_| Some(standing.clone())).remove(&dev()).unwrap().unwrap().next
        };
        let once = Standing::default().after_failure(failed.clone(), at);
        assert!(next(&once).unwrap().starts_with("tried again when the host has changed, or by the first pass after "));
        let thrice = (0..2).fold(once, |it, _| it.after_failure(failed.clone(), at));
        assert!(next(&thrice).unwrap().starts_with("tried again when users, disks, nginx or its files"), "not by time");
        assert_eq!(next(&Standing::default()), None);
    }

    #[test]
    fn an_order_is_told_once_however_its_times_are_written() {
        let suspended =
            |by, reason| Standing::default().suspended(hold(HoldKind::Suspended { until: None }, by, reason));
        let anna = || suspended("anna", Some("look"));
        let at = |words, standing| (Some(left(words)), standing);
        let orders = [
            at("suspended until 06:00 UTC, by anna, 20 Nov 18:00 UTC: \"look\"", anna()),
            at("suspended until 21 Nov 06:00 UTC, by anna, 20 Nov 18:00 UTC: \"look\"", anna()),
            at("suspended until 21 Nov 07:00 UTC, by anna, 20 Nov 19:00 UTC: \"look\"", anna()),
        ];
        assert_eq!(told_under(orders), ["suspended <- ok"]);
        let back = |pinned| {
            let (excludes, until) = (BTreeSet::new(), policy::Until::Change);
            let kind = HoldKind::RolledBack { pinned, excludes, until, left: None };
            at(
                "held by anna, 20 Nov 18:00 UTC",
                Standing::default().rolled_back(hold(kind, "anna", None), Digest::nothing()),
            )
        };
        assert_eq!(
            told_under([back(2), back(2), back(1)]),
            ["held <- ok", "held <- held"],
            "users get another release"
        );
        let stopped = anna().stopped(hold(HoldKind::Stopped, "marco", None));
        let others = [
            at("suspended by anna, 20 Nov 18:00 UTC: \"look\"", anna()),
            at("suspended by anna, 20 Nov 18:00 UTC", suspended("anna", None)),
            at("suspended by marco, 20 Nov 18:00 UTC", suspended("marco", None)),
            at("stopped by marco, 20 Nov 18:00 UTC", stopped),
            at("stopped by marco, 20 Nov 18:00 UTC", anna()),
        ];
        let expected = ["suspended <- ok", "suspended <- suspended", "suspended <- suspended", "stopped <- suspended"];
        assert_eq!(told_under(others), expected, "an order that ended since is for the next pass to tell");
    }

    #[test]
    fn a_record_that_tells_nobody_is_shown() {
        let path = Path::new("/var/lib/portreeve/notify.json");
        let boot = Boot::new("", jiff::Timestamp::UNIX_EPOCH);
        let shown = |bytes: Option<&str>| silent(remembered(path, bytes.map(|text| text.as_bytes().to_vec()), &boot));
        let newer = shown(Some(r#"{"format": 99}"#));
        assert!(newer[0].starts_with("/var/lib/portreeve/notify.json: format 99, of a newer portreeve"), "{newer:?}");
        assert!(shown(Some("{"))[0].contains("damaged"));
        assert_eq!(shown(None), [""; 0]);
    }
}
