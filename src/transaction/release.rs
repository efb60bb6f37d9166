//! The transaction: from the active generation to another one, or back.

use std::time::Duration;

use super::build::Build;
use super::verdict::{self, End, Verdict};
use super::{
    Context, Event, Failure, FailureKind, Intent, Phase, account, back, commit, ground, migrate, prune, recover,
    retire, room, slot, stage, validate,
};
use crate::desired::{Generation, Wanted, Why};
use crate::host::{HostError, Together};
use crate::model::{GenerationNumber, Identity, Node, Slot};
use crate::observed::Installed;
use crate::policy::{FailureClass, Standing};

/// So long nginx may be away, as when its package is upgraded, before the rest is left to the next pass.
const AWAY: Duration = Duration::from_secs(30);
/// Longest log of a build that is kept whole.
const LOG_LIMIT: u64 = 16 * 1024 * 1024;

/// Where to go.
#[derive(Debug, Clone, PartialEq)]
pub enum Going {
    /// To what is wanted, in a new generation.
    Forward {
        /// What is wanted.
        wanted: Box<Wanted>,
        /// Why.
        why: Why,
    },
    /// To a generation that is on the host, in the slot that does not serve.
    Back(Box<Generation>),
}

/// What came of it.
#[derive(Debug)]
#[must_use]
pub enum Released {
    /// The candidate serves.
    Kept {
        /// It.
        generation: Box<Generation>,
        /// From the candidate's start to the commit.
        took: Duration,
    },
    /// It does not; what served before serves on. Users have seen the candidate only if `seen`.
    Refused {
        /// The number of the attempt.
        number: GenerationNumber,
        /// Why.
        failure: Box<Failure>,
        /// Whether it had been switched to.
        seen: bool,
    },
    /// The journal stays open, and the next pass ends it: the candidate serves as soon as the web server is back, or could not be
    /// gone back from.
    Open(Box<Failure>),
}

/// Moves one environment. Its lock is held and nothing is left of an earlier transaction.
pub fn go(cx: &Context<'_>, installed: &Installed, going: &Going) -> Released {
    travel(cx, installed, going, None)
}

/// The same by an order, after which the environment stands as `order.after` says: from the beginning, so that no pass moves it
/// again once it is there. Where the order is not carried out, `order.before` stands again, whoever ends it.
pub fn go_by_order(cx: &Context<'_>, installed: &Installed, going: &Going, order: &Ordered) -> Released {
    travel(cx, installed, going, Some(order))
}

/// What an order changes beside what serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Ordered {
    /// The environment's record as it is.
    pub before: Standing,
    /// As it is to be.
    pub after: Standing,
    /// The release that it leaves, switched to and not judged yet.
    pub met: Option<Intent>,
}

fn travel(cx: &Context<'_>, installed: &Installed, going: &Going, order: Option<&Ordered>) -> Released {
    let generation = match going {
        Going::Forward { wanted, why } => numbered(cx, installed, wanted, why.clone()),
        Going::Back(generation) => (**generation).clone(),
    };
    let intent = Intent {
        asked: is_asked(going),
        before: order.map(|order| order.before.clone()),
        met: order.and_then(|order| order.met.clone()).map(Box::new),
        ..intent(cx, installed, &generation)
    };
    let refused = |undone: Result<Failure, Failure>, seen| match undone {
        Ok(failure) => Released::Refused { number: generation.number, failure: Box::new(failure), seen },
        Err(failure) => Released::Open(Box::new(failure)),
    };
    announce(cx, installed, &generation);
    if let Err(failure) = intent.open(cx) {
        return refused(Ok(unopened(cx, intent, &generation, failure)), false);
    }
    let started = cx.host.clock().monotonic();
    let ordered = order.map_or(Ok(()), |order| super::write_standing(cx, &generation.name, &order.after));
    if let Err(error) = ordered {
        return refused(undo(cx, intent, &generation, Failure::host(Phase::Recover, &error)), false);
    }
    if let Err(failure) = candidate(cx, installed, going, &generation) {
        let failure = room::blamed(cx, &generation.wanted, failure);
        return refused(undo(cx, intent, &generation, failure), false);
    }
    match commit_and_verify(cx, &generation) {
        Ok(()) => settle(cx, &intent, &generation, installed),
        // Users have it, and nothing is wrong with it: taking it away again would be the agent's stop, not the release's fault.
        Err(failure) if failure.kind == FailureKind::Cancelled && failure.phase == Phase::Verify => {
            cx.report.event(&Event::Note { text: "stopped on request after the switch; the next pass finishes this" });
        }
        // What served before would be cut off as well.
        Err(failure) if failure.kind == FailureKind::CutOff => return Released::Open(Box::new(failure)),
        Err(failure) => {
            let seen = failure.kind != FailureKind::Cancelled;
            return refused(undo(cx, intent, &generation, failure), seen);
        }
    }
    Released::Kept { generation: Box::new(generation), took: cx.host.clock().monotonic().saturating_sub(started) }
}

/// Nothing has begun; where not even that can be recorded, why not still can: it waits like any other fault of the host.
fn unopened(cx: &Context<'_>, intent: Intent, generation: &Generation, failure: Failure) -> Failure {
    let intent = Intent { failed: Verdict::of(cx, &generation.wanted, &failure), ..intent };
    if let Err(error) = verdict::remember(cx, &intent, End::Undone) {
        cx.report.event(&Event::Note { text: &format!("why it failed is not remembered: {error}") });
    }
    failure
}

fn settle(cx: &Context<'_>, intent: &Intent, generation: &Generation, installed: &Installed) {
    retire::after_release(cx, generation, installed);
    recover::sweep_trees(cx, generation);
    if let Err(error) = recover::close(cx, intent, End::Kept) {
        cx.report.event(&Event::Note { text: &format!("the journal stays open until the next pass: {error}") });
    }
}

fn numbered(cx: &Context<'_>, installed: &Installed, wanted: &Wanted, why: Why) -> Generation {
    let (number, slot) = stage::next(installed);
    let (format, name, at) = (Generation::FORMAT, wanted.env.name.clone(), cx.host.clock().now());
    let boot = Some(cx.boot());
    Generation { format, name, number, slot, at, boot, why, wanted: wanted.clone() }
}

fn intent(cx: &Context<'_>, installed: &Installed, generation: &Generation) -> Intent {
    let (from, slot) = (installed.active.unwrap_or(0), generation.slot);
    let to_go = Intent::between(&generation.name, from, generation.number, slot, installed.slots.get(&slot).copied());
    let digest = Some(generation.wanted.digest);
    Intent { digest, at: Some(cx.host.clock().now()), boot: Some(cx.boot()), ..to_go }
}

/// Only of what the repository asks for the fate is remembered, not of what a person does.
fn is_asked(going: &Going) -> bool {
    match going {
        Going::Forward { why, .. } => *why == Why::Push,
        Going::Back(_) => false,
    }
}

fn announce(cx: &Context<'_>, installed: &Installed, generation: &Generation) {
    let from = installed.title();
    let to = generation.wanted.title();
    cx.report.event(&Event::Begin {
        env: &generation.name,
        from: from.as_deref(),
        to: &to,
        generation: generation.number,
    });
}

/// A phase with its duration told at its end.
fn phase<T>(
    cx: &Context<'_>,
    phase: Phase,
    work: impl FnOnce() -> Result<T, Failure>,
    say: impl FnOnce(&T) -> String,
) -> Result<T, Failure> {
    if cx.host.clock().cancelled() {
        return Err(Failure::cancelled(phase));
    }
    cx.report.event(&Event::Working { phase, what: "" });
    let begin = cx.host.clock().monotonic();
    let result = work()?;
    let took = cx.host.clock().monotonic().saturating_sub(begin);
    cx.report.event(&Event::Done { phase, what: &say(&result), took });
    Ok(result)
}

/// Everything up to a healthy candidate; nothing live is changed.
fn candidate(cx: &Context<'_>, installed: &Installed, going: &Going, generation: &Generation) -> Result<(), Failure> {
    // The slot may run what was left before, which is another generation than the one to go back to.
    let holds_it = installed.slots.get(&generation.slot) == Some(&generation.number);
    let warm = matches!(going, Going::Back(_)) && holds_it && installed.warm_slot() == Some(generation.slot);
    if warm {
        // It runs; but it may have been restarted while it was warm, and only its restarts from now on count.
        slot::start(cx, generation)?;
        return phase(cx, Phase::Health, || slot::still_healthy(cx, generation), String::clone).map(|_| ());
    }
    match going {
        Going::Forward { .. } => prepare(cx, installed, generation)?,
        Going::Back(_) => phase(cx, Phase::Validate, || validate::front(cx, generation), |()| "nginx".to_owned())?,
    }
    if installed.runs(generation.slot) {
        // It was left by the release before this one, which may have been a moment ago.
        retire::drain(cx, generation, generation.slot);
    }
    let say = |started: &slot::Started| format!("slot {}, pid {}", generation.slot, started.pid);
    let started = phase(cx, Phase::Start, || start(cx, generation), say)?;
    phase(cx, Phase::Health, || slot::healthy(cx, generation, started.left), String::clone).map(|_| ())
}

fn start(cx: &Context<'_>, generation: &Generation) -> Result<slot::Started, Failure> {
    slot::retire(cx, &generation.name, generation.slot).map_err(Failure::on_host(Phase::Start))?;
    slot::point(cx, generation)?;
    slot::start(cx, generation)
}

fn prepare(cx: &Context<'_>, installed: &Installed, generation: &Generation) -> Result<(), Failure> {
    let wanted = &generation.wanted;
    let together = cx.host.files().together();
    ground::ensure_includes(cx)?;
    account::ensure_ours(cx, installed, wanted)?;
    ground::ensure_user(cx, wanted)?;
    let owners = ground::owners(cx, wanted)?;
    ground::ensure_directories(cx, wanted, owners)?;
    room::ensure(cx, wanted)?;
    let build = Build::new(cx, wanted, owners, cx.layout.attempt_log(&generation.name, generation.number));
    phase(
        cx,
        Phase::Build,
        || assemble(cx, &build, installed.active.unwrap_or(0), generation, owners, together),
        |venv| match venv {
            true => "venv built".to_owned(),
            false => "venv reused".to_owned(),
        },
    )?;
    phase(cx, Phase::Validate, || accept(cx, &build, generation), |()| "settings, nginx, logrotate".to_owned())?;
    phase(cx, Phase::Migrate, || migrate::migrate(cx, &build, installed, generation), String::clone).map(|_| ())
}

fn assemble(
    cx: &Context<'_>,
    build: &Build<'_>,
    from: GenerationNumber,
    generation: &Generation,
    owners: crate::observed::Owners,
    together: Box<dyn Together + '_>,
) -> Result<bool, Failure> {
    let (files, fail) = (cx.host.files(), Failure::on_host(Phase::Build));
    build.tree()?;
    let rebuilt = build.venv()?;
    stage::absent(cx, &generation.name, from, owners)?;
    // Before anything leads to it.
    together.finish().map_err(&fail)?;
    let together = files.together();
    stage::permanent_links(cx, generation)?;
    stage::generation(cx, generation, owners)?;
    build.django(generation)?;
    together.finish().map_err(&fail)?;
    Ok(rebuilt)
}

fn accept(cx: &Context<'_>, build: &Build<'_>, generation: &Generation) -> Result<(), Failure> {
    validate::application(cx, build, generation)?;
    validate::logrotate(cx, generation)?;
    validate::front(cx, generation)
}

fn commit_and_verify(cx: &Context<'_>, generation: &Generation) -> Result<(), Failure> {
    phase(cx, Phase::Switch, || commit::switch(cx, generation), |()| "one rename".to_owned())?;
    commit::front(cx, generation)?;
    let verify = || commit::verify(cx, generation, &generation.wanted.env.health, AWAY);
    phase(cx, Phase::Verify, verify, |()| "answers through nginx".to_owned())
}

/// Goes back to where the transaction began. Why it failed; the error is that it could not be gone back from.
fn undo(cx: &Context<'_>, intent: Intent, generation: &Generation, failure: Failure) -> Result<Failure, Failure> {
    let intent = recover::noted(cx, intent, &generation.wanted, &failure);
    if let Err(error) = keep_words(cx, &intent, &failure) {
        cx.report.event(&Event::Note { text: &format!("the log of this attempt is not whole: {error}") });
    }
    let failure = with_schema(cx, &intent, failure);
    let gone_back = back::back(cx, &intent).and_then(|()| {
        tidy(cx, generation, &failure);
        recover::close(cx, &intent, End::Undone)
    });
    match gone_back {
        Ok(()) => Ok(failure),
        Err(second) => Err(stuck(generation, failure, second)),
    }
}

/// Both are told: the first is the release's to mend, the second keeps it where it is.
fn stuck(generation: &Generation, first: Failure, second: Failure) -> Failure {
    let title = generation.wanted.title();
    let cause = format!("{title} failed ({}), and going back failed as well: {}", first.cause, second.cause);
    let kind = FailureKind::Class(FailureClass::Host);
    Failure { kind, phase: Phase::Recover, cause, help: second.help.or(first.help.clone()), ..first }
}

/// Going back leaves the schema as the attempt made it, and whoever is told of the failure must be told of that.
fn with_schema(cx: &Context<'_>, intent: &Intent, failure: Failure) -> Failure {
    if intent.to < intent.from {
        return failure;
    }
    match migrate::applied(cx, &intent.env, intent.to) {
        Ok(schema) => Failure { schema: schema.map(Box::new), ..failure },
        Err(unread) => failure.with_help(format!("whether the database was migrated can't be found out: {unread}")),
    }
}

/// Takes away what was built, unless the same is to be tried again: then it need not be built a second time.
fn tidy(cx: &Context<'_>, generation: &Generation, failure: &Failure) {
    match failure.kind {
        // Somebody waits for the environment.
        FailureKind::Cancelled | FailureKind::GaveWay | FailureKind::CutOff => {}
        FailureKind::Class(class) => {
            prune::after(cx, &generation.wanted, class != FailureClass::Release);
            recover::sweep_trees(cx, generation);
        }
    }
}

/// Adds what the candidate's processes said to the attempt's log, which holds what its build said: the journal forgets, and its
/// slot gets another tenant.
fn keep_words(cx: &Context<'_>, intent: &Intent, failure: &Failure) -> Result<(), HostError> {
    if !failure.phase.is_of_processes() || failure.log.is_empty() {
        return Ok(());
    }
    let path = cx.layout.attempt_log(&intent.env, intent.to);
    let mut bytes = cx.host.files().read(&path, LOG_LIMIT)?.unwrap_or_default();
    bytes.extend(failure.log.join("\n").into_bytes());
    bytes.push(b'\n');
    cx.host.files().put(&path, &Node::File { bytes, mode: 0o640, owner: Identity::ROOT })
}

/// The generation that a rollback can go to as it is: its slot is the one that does not serve.
pub fn fits(installed: &Installed, target: &Generation) -> bool {
    installed.serving_slot().map_or(Slot::A, Slot::other) == target.slot
}
