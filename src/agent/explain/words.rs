//! What each rule means to a person: the cause, what happens next by itself and when, and what to type.

use jiff::Timestamp;

use super::held::held;
use super::rule::Rule;
use super::{Answered, Facts, State};
use crate::agent::{Moving, NextPass};
use crate::desired::Wanted;
use crate::model::{ago, moment};
use crate::observed::Damaged;
use crate::policy::{Backoff, FailureClass, Hold, HoldKind, LONGEST_WAIT, Quarantined};

/// All that is said of a rule.
pub struct Said {
    pub state: State,
    pub class: Option<FailureClass>,
    pub needs_you: bool,
    pub detail: String,
    pub rule: Vec<String>,
    pub next: String,
    pub retry_at: Option<Timestamp>,
    pub you: Vec<String>,
}

impl Said {
    pub(super) fn new(state: State, rule: impl Into<String>, next: impl Into<String>) -> Self {
        let (detail, rule, next) = (String::new(), vec![rule.into()], next.into());
        Self { state, class: None, needs_you: false, detail, rule, next, retry_at: None, you: Vec::new() }
    }

    /// With the words of a table.
    pub(super) fn in_short(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    pub(super) fn you<const N: usize>(self, lines: [String; N]) -> Self {
        Self { you: lines.into(), ..self }
    }

    /// It stays so until a person does something.
    pub(super) fn needs_you(self) -> Self {
        Self { needs_you: true, ..self }
    }
}

/// What is said of the rule.
pub fn said(facts: &Facts<'_>, rule: &Rule<'_>) -> Said {
    match rule {
        Rule::Unreadable(words) => unreadable(words),
        Rule::Releasing(moving) => releasing(facts, moving),
        Rule::Stopped(hold) => stopped(facts, hold),
        Rule::Suspended(hold) => suspended(facts, hold),
        Rule::Respected(words) => respected(words),
        Rule::Down => down(facts),
        Rule::Diverged(words) => diverged(facts, words),
        Rule::Held(hold) => held(facts, hold),
        Rule::Quarantined(entry) => quarantined(facts, entry),
        Rule::Waiting(backoff) => waiting(facts, backoff),
        Rule::Blocked(words) => blocked(facts, words),
        Rule::Stale(words) => stale(facts, words),
        Rule::Pending => pending(facts),
        Rule::Drifted(drift) => drifted(facts, drift),
        Rule::Removed(words) => removed(words),
        Rule::Fine => fine(facts),
    }
}

/// What the present answer means for users; nothing when all is well.
pub fn users(facts: &Facts<'_>, rule: &Rule<'_>) -> String {
    match facts.answer {
        _ if facts.serving().is_none() && matches!(rule, Rule::Unreadable(_)) => {
            "what serves is not touched".to_owned()
        }
        _ if facts.installed.damaged.is_some() => {
            "whether it answers was not asked: its domains are in a damaged record".to_owned()
        }
        _ if facts.serving().is_none() => "nothing of it serves yet".to_owned(),
        _ if facts.answers_well() && *rule == Rule::Fine => String::new(),
        _ if facts.answers_well() => "users are not affected".to_owned(),
        Some(Answered::Status { status, .. }) => format!("users get {status}"),
        Some(Answered::Silent(why)) => format!("users get no answer: {why}"),
        None => "nobody answers for a domain of it".to_owned(),
    }
}

/// The differences between what serves and what is wanted; for a first release there is nothing to compare with.
pub fn changed(facts: &Facts<'_>) -> Vec<String> {
    let serving = facts.serving().map(|generation| &generation.wanted);
    let differing = facts.seen().filter(|seen| seen.digest != serving.map(|wanted| wanted.digest));
    let Some(seen) = differing else { return Vec::new() };
    match (serving.map(Wanted::title), &seen.wants) {
        (Some(from), Some(to)) if !compares(&seen.changed, &from, to) => {
            let first = if from == *to { format!("other content of {to}") } else { format!("rev {from} -> {to}") };
            vec![first, "the rest is not known before a pass has read the repository".to_owned()]
        }
        _ => seen.changed.clone(),
    }
}

/// Whether the last pass compared these two: what serves may be another since, after a rollback.
fn compares(changed: &[String], from: &str, to: &str) -> bool {
    match changed.iter().find(|change| change.starts_with("rev ")) {
        Some(rev) => *rev == format!("rev {from} -> {to}"),
        None => from == to && !changed.is_empty(),
    }
}

/// Beside whatever else keeps it where it is.
pub fn damaged(damaged: &Damaged) -> String {
    format!("{damaged}: it serves on; drift is not corrected before the next release, which makes a new one")
}

fn unreadable(words: &str) -> Said {
    let (cause, cure) = cause_and_cure(words);
    Said::new(State::Blocked, format!("blocked: {cause}"), "it is left as it is until the record can be read")
        .in_short(cause)
        .you([cure.to_owned()])
        .needs_you()
}

fn releasing(facts: &Facts<'_>, moving: &Moving) -> Said {
    let name = &facts.installed.name;
    let to = moving.to.clone().unwrap_or_else(|| "a release".to_owned());
    let phase = moving.phase.map(|phase| format!(", now at {phase}")).unwrap_or_default();
    let age = moving.since.map(|since| ago(facts.now.duration_since(since)));
    let since = moving.since.map(|since| format!(" since {}", since.strftime("%H:%M:%S UTC"))).unwrap_or_default();
    let for_so_long = age.as_ref().map(|age| format!(" ({age})")).unwrap_or_default();
    let rule = format!("releasing: {to} (generation {}){since}{for_so_long}{phase}", moving.generation);
    let next = match facts.serving() {
        Some(_) => format!("{to} serves once it is healthy; until then, and if it is not, {}", facts.title()),
        None => format!("{to} serves once it is healthy"),
    };
    let detail = format!("{to}{phase}{}", age.map(|age| format!(", for {age}")).unwrap_or_default());
    let mut said = Said::new(State::Releasing, rule, next).in_short(detail);
    said.rule.push(format!("by {}", moving.by));
    said.you([format!("portreeve wait {name}")])
}

fn stopped(facts: &Facts<'_>, hold: &Hold) -> Said {
    let by = by(hold, facts.now);
    Said::new(State::Stopped, format!("stopped: {by}"), "stays stopped, over reboots and pushes")
        .in_short(by)
        .you([format!("portreeve start {}", facts.installed.name)])
}

fn suspended(facts: &Facts<'_>, hold: &Hold) -> Said {
    let until = match hold.kind {
        HoldKind::Suspended { until } => until,
        HoldKind::RolledBack { .. } | HoldKind::Stopped => None,
    };
    let end = until.map(|until| format!("until {}, ", moment(until, facts.now))).unwrap_or_default();
    let next = match until {
        Some(until) => format!(
            "{} (in {}) it goes on by itself; until then nothing is changed, not even drift",
            moment(until, facts.now),
            ago(until.duration_since(facts.now))
        ),
        None => "nothing is changed, not even drift, until somebody resumes it".to_owned(),
    };
    let short = format!("{end}by {}{}", hold.by, reason(hold));
    let said = Said::new(State::Suspended, format!("suspended: {end}{}", by(hold, facts.now)), next).in_short(short);
    Said { retry_at: until, ..said }.you([format!("portreeve resume {}", facts.installed.name)])
}

fn respected(words: &str) -> Said {
    let (cause, cure) = cause_and_cure(words);
    Said::new(State::Blocked, format!("blocked: {cause}"), "left as it is: somebody said so to the init system")
        .in_short(cause)
        .you([cure.to_owned()])
        .needs_you()
}

fn down(facts: &Facts<'_>) -> Said {
    let name = &facts.installed.name;
    let slot = facts.serving().map(|generation| format!("slot {} does", generation.slot)).unwrap_or_default();
    Said::new(
        State::Blocked,
        format!("blocked: {slot} not run"),
        format!("started by the next pass, {}", facts.next_pass),
    )
    .in_short("not running; the next pass starts it")
    .you([format!("portreeve logs {name}"), format!("portreeve start {name}, which does not wait for the pass")])
    .needs_you()
}

/// The pass says what is so in its first line, and below it what to type.
fn diverged(facts: &Facts<'_>, words: &str) -> Said {
    let (fact, you) = words.split_once('\n').unwrap_or((words, ""));
    let said = Said::new(State::Diverged, format!("diverged: {fact}"), "refused at every pass; what serves, serves on");
    let unsaid = || vec![format!("portreeve accept {} COMMIT", facts.installed.name)];
    let you: Vec<String> = you.lines().map(str::to_owned).collect();
    Said { you: if you.is_empty() { unsaid() } else { you }, ..said.in_short(fact).needs_you() }
}

fn removed(words: &str) -> Said {
    let you = ["name it in this host's file again, and it starts at once".to_owned()];
    Said::new(State::Stopped, words, "nothing more than that").in_short(words).you(you)
}

/// With how long it has been so, where that is not known by other records.
pub fn aged(facts: &Facts<'_>, rule: &Rule<'_>, detail: String) -> String {
    match (rule, facts.since) {
        (Rule::Diverged(_) | Rule::Blocked(_) | Rule::Stale(_), Some(since)) => {
            format!("for {}: {detail}", ago(facts.now.duration_since(since)))
        }
        _ => detail,
    }
}

fn quarantined(facts: &Facts<'_>, entry: &Quarantined) -> Said {
    let name = &facts.installed.name;
    let what = entry.generation.map_or_else(|| "it".to_owned(), |number| format!("generation {number}"));
    let age = ago(facts.now.duration_since(entry.at));
    let rule = format!("quarantined: {what} failed {} at {} ({age} ago)", entry.phase, moment(entry.at, facts.now));
    let drift = if facts.serving().is_some() { "; drift is still corrected" } else { "" };
    let mut said = Said::new(State::Quarantined, rule, format!("not tried again until its content changes{drift}"))
        .in_short(format!("{}: {}, {age} ago", entry.phase, entry.cause));
    let evidence = entry.evidence.as_ref().map(|line| format!("; log: {line}")).unwrap_or_default();
    said.rule.push(format!("{}{evidence}", entry.cause));
    said.class = Some(FailureClass::Release);
    said.you.extend(entry.help.clone());
    said.you.extend(entry.generation.map(|number| format!("portreeve logs {name} --release {number}")));
    said.you.push(format!("push a fix, or, if the cause lay outside: portreeve retry {name}"));
    said.needs_you()
}

/// When what failed is tried again, and why then.
pub fn next_try(backoff: &Backoff) -> String {
    let at = backoff.due().map(|due| due.strftime("%H:%M:%S UTC"));
    let times = if backoff.failures == 1 { "once".to_owned() } else { format!("{} times", backoff.failures) };
    let tried = format!("failed {times}; waits double up to {}", ago(LONGEST_WAIT));
    match (&at, backoff.class) {
        (None, _) => format!(
            "tried again when users, disks, nginx or its files, or who holds a port have changed (failed {times}; visitors may see each try)"
        ),
        (Some(at), FailureClass::Host) => {
            format!("tried again when the host has changed, or by the first pass after {at} ({tried})")
        }
        (Some(at), FailureClass::Transient | FailureClass::Release) => {
            format!("tried again by the first pass after {at} ({tried})")
        }
    }
}

fn waiting(facts: &Facts<'_>, backoff: &Backoff) -> Said {
    let name = &facts.installed.name;
    let at = backoff.due().map(|due| due.strftime("%H:%M:%S UTC"));
    let rule = format!("blocked: {}", backoff.cause);
    let again = at.map(|at| format!(", again {at}")).unwrap_or_default();
    let whose = if backoff.class == FailureClass::Host { "host" } else { "network" };
    let short = format!("{whose}, {}: {}{again}", backoff.phase, backoff.cause);
    let mut said = Said::new(State::Blocked, rule, next_try(backoff)).in_short(short);
    said.rule.push(format!("at {}; the {whose}'s fault, so the release is not quarantined", backoff.phase));
    said.you.extend(backoff.help.clone());
    said.you.push(format!("portreeve retry {name}, which does not wait"));
    let needs_you = backoff.class == FailureClass::Host;
    Said { class: Some(backoff.class), retry_at: backoff.due(), needs_you, ..said }
}

fn blocked(facts: &Facts<'_>, words: &str) -> Said {
    let (cause, cure) = cause_and_cure(words);
    let next = format!("looked at again by each pass ({}), and goes on once this is put right", facts.next_pass);
    Said::new(State::Blocked, format!("blocked: {cause}"), next).in_short(cause).you([cure.to_owned()]).needs_you()
}

fn stale(facts: &Facts<'_>, words: &str) -> Said {
    let (cause, _) = cause_and_cure(words);
    let next = format!(
        "tried again by each pass ({}), by the agent within {}; newer pushes are unknown here",
        facts.next_pass,
        ago(LONGEST_WAIT)
    );
    let said = Said::new(State::Stale, format!("stale: {cause}{}", unknown_since(facts)), next)
        .in_short(cause)
        .you(["nothing for users; rollback and restart work without git".to_owned()])
        .needs_you();
    Said { class: Some(FailureClass::Transient), ..said }
}

/// A deploy repository that is well was read by the same pass, and says nothing of an application's.
fn unknown_since(facts: &Facts<'_>) -> String {
    let age = |at: Timestamp| ago(facts.now.duration_since(at));
    match (&facts.last.trouble, facts.last.fetched, facts.since) {
        (Some(_), Some(fetched), _) => format!("; last read {} ago", age(fetched)),
        (_, _, Some(since)) => format!("; not read for {}", age(since)),
        _ => String::new(),
    }
}

fn pending(facts: &Facts<'_>) -> Said {
    let wants = facts.seen().and_then(|seen| seen.wants.clone()).unwrap_or_default();
    let next = format!("released by the next pass, {}", facts.next_pass);
    Said::new(State::Ok, format!("ok: nothing keeps it from {wants}"), next)
        .in_short(format!("{wants} at the next pass"))
        .you([format!("portreeve reconcile {}, which does not wait for the pass", facts.installed.name)])
}

fn drifted(facts: &Facts<'_>, drift: &[String]) -> Said {
    let mut said = Said::new(
        State::Ok,
        format!("ok, but {}", drift[0]),
        format!("put right by the next pass, {}", facts.next_pass),
    );
    said.rule.extend(drift[1..].iter().cloned());
    said.in_short(format!("{}; the next pass repairs it", drift.join(", ")))
        .you([format!("portreeve reconcile {}, which does not wait for the pass", facts.installed.name)])
}

/// What is said after a boot, until a pass has looked.
const UNSEEN: &str = "ok: nothing is known against it; no pass has looked at the repository since the host started";

/// What serves is what is wanted, as far as that is known; whether it works is another matter.
pub(super) fn fine(facts: &Facts<'_>) -> Said {
    let name = &facts.installed.name;
    let current = facts.seen().is_some_and(|seen| seen.current);
    let unwatched = |rule: String| (rule, "systemctl status portreeve");
    let (rule, you) = match facts.next_pass {
        NextPass::Missed(_) | NextPass::NoneSinceBoot(_) if current => unwatched(format!(
            "ok: what serves is what the repository wanted{}; nobody has looked since",
            facts.last.fetched.map(|at| format!(" {} ago", ago(facts.now.duration_since(at)))).unwrap_or_default()
        )),
        NextPass::Missed(age) => {
            unwatched(format!("ok: nothing is known against it; nobody has looked for {}", ago(age)))
        }
        NextPass::At(_) if current => ("ok: what serves is what the repository wants".to_owned(), "nothing"),
        NextPass::At(_) => (UNSEEN.to_owned(), "nothing"),
        NextPass::NoneSinceBoot(_) => unwatched(UNSEEN.to_owned()),
    };
    let said = Said::new(State::Ok, rule, format!("looked at by each pass ({})", facts.next_pass));
    if facts.answers_well() {
        return said.you([you.to_owned()]);
    }
    let users = users(facts, &Rule::Fine);
    said.in_short(users).you([format!("portreeve logs {name}"), format!("portreeve restart {name}")]).needs_you()
}

/// `by anna, 2h ago: "cart broken"`
pub(super) fn by(hold: &Hold, now: Timestamp) -> String {
    format!("by {}, {} ago{}", hold.by, since(hold, now), reason(hold))
}

pub(super) fn since(hold: &Hold, now: Timestamp) -> String {
    ago(now.duration_since(hold.since))
}

pub(super) fn reason(hold: &Hold) -> String {
    hold.reason.as_ref().map(|reason| format!(": \"{reason}\"")).unwrap_or_default()
}

/// A message that a person must act on says the cause, then, after a semicolon, the cure.
fn cause_and_cure(words: &str) -> (&str, &str) {
    let line = words.lines().next().unwrap_or_default();
    line.split_once("; ").unwrap_or((line, "correct it; portreeve plan says what is so then"))
}
