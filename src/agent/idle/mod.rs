//! A tick at which nothing happened: one look at each repository, beside it one check of every managed path and of the slots.
//! Nothing is parsed, rendered or written.
//!
//! A pass is a function of its inputs. When one leaves nothing to do, its inputs are remembered; while they are the same, so is
//! what it would decide. The record is a cache: without it, or at any doubt, there is a whole pass.

mod cache;
mod inputs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::outcome::{Left, Outcome};
use super::standing::ends;
use super::want::is_pinned;
use super::{App, PassReport, Survey};
use crate::desired::{Listed, Listing};
use crate::host::{Files, Service};
use crate::manifest::Environment;
use crate::model::{Boot, CommitId, Digest, EnvName, Found, Identity, Node, Slot, SlotId};
use crate::plan::{Action, EnvPlan, Plan};
use crate::source::{self, Address, Git, LocalPaths, Refs};
use crate::transaction::{self, Context, Failure};

use cache::{Check, Checks, Due, Head, Look, State};

/// No record is larger; that of a thousand environments has 2 MB.
const LIMIT: u64 = 64 * 1024 * 1024;

/// Between two looks at tags.
const BETWEEN_TAGS: SignedDuration = SignedDuration::from_hours(1);

/// What a glance found.
pub enum Glance {
    /// Everything is as it was when there was nothing to do.
    Converged(Box<PassReport>),
    /// A whole pass is needed.
    Whole {
        /// The inputs before it; `None` when it is not about the whole host.
        inputs: Option<Digest>,
        /// The deploy repository's tip, where it was looked at.
        tip: Option<source::Result<CommitId>>,
    },
}

/// Looks whether anything happened since the last pass.
pub fn glance(app: &App, cx: &Context<'_>, only: &BTreeSet<EnvName>) -> Glance {
    if !only.is_empty() {
        return Glance::Whole { inputs: None, tip: None };
    }
    let Ok(Some(record)) = cx.host.files().read(&cx.layout.pass_cache(), LIMIT) else {
        return Glance::Whole { inputs: inputs::inputs(app, cx).ok(), tip: None };
    };
    let Some((head, checks)) = cache::read(&record) else {
        return Glance::Whole { inputs: inputs::inputs(app, cx).ok(), tip: None };
    };
    // What takes longest goes on while the host is looked at.
    let remote = Remote::of(app);
    let remote = &remote;
    let (inputs, holds, tip, same) = std::thread::scope(|scope| {
        let tip = scope.spawn(|| remote.tip());
        let looks: Vec<_> = head.looks.iter().map(|look| scope.spawn(move || remote.is_same(look))).collect();
        let tags = tags_to_look_at(cx, &head);
        let tags: Vec<_> = tags.iter().map(|look| scope.spawn(move || !remote.has_moved(look))).collect();
        let inputs = inputs::inputs(app, cx).ok();
        let due = head.due.is_some_and(|due| cx.boot().by_now(head.boot.as_ref(), due) <= cx.host.clock().now());
        let holds = !due && inputs == Some(head.inputs) && is_as_it_was(cx, &head, checks);
        let same = looks.into_iter().chain(tags).all(|look| look.join().unwrap_or(false));
        (inputs, holds, tip.join().ok(), same)
    });
    if holds && same && matches!(&tip, Some(Ok(tip)) if *tip == head.tip) {
        Glance::Converged(Box::new(report(head, cx.host.clock().now())))
    } else {
        Glance::Whole { inputs, tip }
    }
}

/// The tags that are due for a look: once an hour, because they stay where they are, and because what was released by their
/// names serves on wherever they go. A clock that was set back makes them due.
fn tags_to_look_at<'h>(cx: &Context<'_>, head: &'h Head) -> &'h [Look] {
    if head.tags.is_empty() {
        return &[];
    }
    let now = cx.host.clock().now();
    let looked = cx.host.files().read(&cx.layout.tags_looked(), 64).ok().flatten();
    let looked = looked.and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<Timestamp>().ok());
    let age = looked.map(|looked| now.duration_since(looked));
    if age.is_some_and(|age| !age.is_negative() && age < BETWEEN_TAGS) {
        return &[];
    }
    looked_at_tags(cx, now);
    &head.tags
}

fn looked_at_tags(cx: &Context<'_>, now: Timestamp) {
    let node = Node::File { bytes: now.to_string().into_bytes(), mode: 0o600, owner: Identity::ROOT };
    // Without it they are looked at again at the next tick.
    cx.host.files().put(&cx.layout.tags_looked(), &node).ok();
}

fn report(head: Head, looked: Timestamp) -> PassReport {
    let outcome = |left: Option<Left>| left.map_or(Outcome::Unchanged, Outcome::Left);
    PassReport {
        survey: Survey {
            plan: Plan { tip: Some(head.tip), environments: Vec::new() },
            commit: None,
            manifests: None,
            trouble: None,
            ports: None,
            followed: Vec::new(),
            refs: BTreeMap::new(),
            notify: None,
        },
        outcomes: head.environments.into_iter().map(|(name, left)| (name, outcome(left))).collect(),
        looked,
    }
}

/// The parts of the host that a thread may have.
struct Remote<'a> {
    git: &'a Git,
    local: LocalPaths,
    repo: &'a str,
    branch: &'a str,
}

impl<'a> Remote<'a> {
    fn of(app: &'a App) -> Self {
        Self { git: &app.git, local: app.local, repo: &app.settings.repo, branch: &app.settings.branch }
    }

    fn tip(&self) -> source::Result<CommitId> {
        source::tip(&self.git.first(), &Address::parse(self.repo, self.local)?, self.branch)
    }

    fn is_same(&self, look: &Look) -> bool {
        self.refs(&look.address, &look.names) == Some(look.refs)
    }

    /// A server that can't be asked says nothing of its tags.
    fn has_moved(&self, look: &Look) -> bool {
        self.refs(&look.address, &look.names).is_some_and(|refs| refs != look.refs)
    }

    fn refs(&self, address: &str, names: &[String]) -> Option<Digest> {
        let address = Address::parse(address, self.local).ok()?;
        let asked: Vec<&str> = names.iter().map(String::as_str).collect();
        let refs = source::look(self.git, &address, &asked).ok()?;
        Some(digest(&refs, names))
    }
}

/// Of what these names stand for.
fn digest(refs: &Refs, names: &[String]) -> Digest {
    let found: Vec<_> = names.iter().map(|name| refs.get(name)).collect();
    Digest::of(format!("{found:?}").as_bytes())
}

/// Whether no transaction is open, and interpreters, slots and files are those of the record.
fn is_as_it_was(cx: &Context<'_>, head: &Head, checks: Checks<'_>) -> bool {
    let files = cx.host.files();
    let mut room = Vec::new();
    at_rest(cx)
        && inputs::interpreters(cx, &head.pythons).is_ok_and(|found| found == head.interpreters)
        && cx.host.services().services().is_ok_and(|found| inputs::services(&found) == head.services)
        && checks.all(|due| holds(files, due, &mut room))
}

fn holds(files: &dyn Files, due: &Due<'_>, room: &mut Vec<u8>) -> bool {
    match *due {
        Due::File { path, mode, owner, sha256 } => files.holds_file(path, mode, owner, sha256, room),
        Due::Link { path, target } => files.holds_link(path, target),
    }
    .unwrap_or(false)
}

fn at_rest(cx: &Context<'_>) -> bool {
    cx.host.files().list(&cx.layout.journal()).is_ok_and(|names| names.is_empty())
}

/// Lets the next pass be a whole one. What can't be removed is no record of ours, or no disk takes anything.
pub fn forget(cx: &Context<'_>) {
    cx.host.files().remove(&cx.layout.pass_cache()).ok();
}

/// Remembers a pass that left nothing to do, or forgets the one before. Never fails a pass: the record is a cache.
/// `boot`: as it was known before the pass looked.
pub fn remember(cx: &Context<'_>, inputs: &Digest, boot: &Boot, pass: &PassReport) {
    let files = cx.host.files();
    let path = cx.layout.pass_cache();
    let before = files.read(&path, LIMIT).unwrap_or_default();
    let record = record(cx, *inputs, boot, pass);
    // A pass with nothing to do writes nothing, whatever made it a whole one.
    if record == before {
        return;
    }
    let written = match record {
        Some(bytes) => files.put(&path, &Node::File { bytes, mode: 0o600, owner: Identity::ROOT }),
        None => files.remove(&path),
    };
    if let Err(error) = written {
        let text = format!("the next pass will be a whole one: {}", transaction::chain(&error));
        cx.report.event(&transaction::Event::Note { text: &text });
    }
}

fn record(cx: &Context<'_>, inputs: Digest, boot: &Boot, pass: &PassReport) -> Option<Vec<u8>> {
    let survey = &pass.survey;
    let errors = survey.manifests.as_ref().is_some_and(|(_, found)| found.errors().next().is_some());
    let quiet = survey.trouble.is_none() && !errors && at_rest(cx);
    let tip = survey.plan.tip.clone().filter(|_| quiet)?;
    let environments = survey.plan.environments.iter().map(|plan| settled(plan, pass.outcomes.get(&plan.name)?));
    let environments = environments.collect::<Option<Vec<_>>>()?;
    let wanted: Vec<&Environment> =
        survey.plan.environments.iter().filter_map(|plan| Some(&plan.wants.as_ref()?.env)).collect();
    let pythons = pythons(&wanted);
    let services = cx.host.services().services().ok()?;
    let mut checks = Vec::new();
    for name in transaction::installed_names(cx).ok()? {
        if let Known::In(slot) = installed(cx, &name, &mut checks).ok()??
            && !rests(&survey.plan, &services, &name, slot)
        {
            return None;
        }
    }
    checks.sort_unstable();
    let due = due(cx, &survey.plan);
    let boot = match due {
        Some(_) => Some(unmoved(boot, cx.boot())?),
        None => None,
    };
    let (branches, tags) = looks(&wanted);
    // Of a repository that could not be asked whatever it answers next is news.
    let tags: Vec<Look> = tags.into_iter().filter_map(|look| seen(look, survey, Some(Digest::nothing()))).collect();
    if !tags.is_empty() {
        looked_at_tags(cx, cx.host.clock().now());
    }
    let head = Head {
        format: cache::FORMAT,
        inputs,
        tip,
        looks: branches.into_iter().map(|look| seen(look, survey, None)).collect::<Option<_>>()?,
        tags,
        due,
        boot,
        interpreters: inputs::interpreters(cx, &pythons).ok()?,
        pythons,
        services: inputs::services(&services),
        environments,
        checks: checks.len(),
    };
    cache::write(&head, &checks)
}

/// The boot `now`, by whose clock a time is that was reckoned since `before`; `None`: the clock was set between, and nobody knows by
/// which of the two it is.
fn unmoved(before: &Boot, now: Boot) -> Option<Boot> {
    Boot::is_same_moment(before.began, now.began).then_some(now)
}

/// What serves runs, unless it is stopped; and no other slot does: a warm one is stopped when its time has come. Somebody may have
/// stopped or started one since the pass looked.
fn rests(plan: &Plan, services: &BTreeMap<SlotId, Service>, name: &EnvName, slot: Slot) -> bool {
    let plan = plan.environments.iter().find(|plan| plan.name == *name);
    let stopped = plan.is_some_and(|plan| matches!(plan.action, Action::Stopped(_)));
    let service = |slot| services.get(&SlotId { env: name.clone(), slot });
    let runs = |slot| service(slot).is_some_and(Service::runs);
    let rests = if stopped { !runs(slot) } else { service(slot).is_some_and(Service::is_up) };
    rests && !runs(slot.other())
}

/// An environment that needs nothing until an input changes. What waits for a time to come is not settled.
fn settled(plan: &EnvPlan, outcome: &Outcome) -> Option<(EnvName, Option<Left>)> {
    let steady = matches!(plan.action, Action::Nothing | Action::Held(_) | Action::Stopped(_) | Action::Removed { .. });
    if !steady || !plan.repairs.is_empty() || !plan.respected.is_empty() {
        return None;
    }
    match outcome {
        Outcome::Unchanged => Some((plan.name.clone(), None)),
        Outcome::Left(left @ Left::Held(_)) => Some((plan.name.clone(), Some(left.clone()))),
        Outcome::Left(left @ Left::Diverged(_)) if plan.moved.is_some() => {
            Some((plan.name.clone(), Some(left.clone())))
        }
        _ => None,
    }
}

fn pythons(wanted: &[&Environment]) -> Vec<String> {
    let name = |env: &&Environment| {
        env.python.version.as_ref().map_or_else(|| "python3".to_owned(), |version| format!("python{version}"))
    };
    wanted.iter().map(name).collect::<BTreeSet<_>>().into_iter().collect()
}

/// When time alone gives a pass something to do: a grace is over, or a suspension that something else covers, or of which no plan
/// speaks.
fn due(cx: &Context<'_>, plan: &Plan) -> Option<Timestamp> {
    let graces = plan.environments.iter().filter_map(|plan| match plan.action {
        Action::Removed { until, .. } => until,
        _ => None,
    });
    graces.chain(ends(cx)).min()
}

/// A repository, and the refs in it that are to be looked at.
type ToLook = (String, Vec<String>);

/// With what the pass saw of them, or what stands for it where the repository could not be asked.
fn seen((address, names): ToLook, survey: &Survey, unseen: Option<Digest>) -> Option<Look> {
    let refs = survey.refs.get(&address).map(|refs| digest(refs, &names)).or(unseen)?;
    Some(Look { address, names, refs })
}

/// One look for each repository: at the branches that are followed, at every tick, and at the tags that were released, now and
/// then. A commit costs none.
fn looks(wanted: &[&Environment]) -> (Vec<ToLook>, Vec<ToLook>) {
    let (pinned, following): (Vec<&Environment>, Vec<&Environment>) =
        wanted.iter().copied().partition(|env| is_pinned(env));
    (by_repository(&following), by_repository(&pinned))
}

fn by_repository(wanted: &[&Environment]) -> Vec<ToLook> {
    let mut names: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for env in wanted {
        let refs = source::select::wanted_refs(&env.rev);
        if !refs.is_empty() {
            names.entry(&env.source).or_default().extend(refs);
        }
    }
    names.into_iter().map(|(address, names)| (address.to_owned(), names.into_iter().collect())).collect()
}

/// Where an environment is.
enum Known {
    /// Nowhere.
    Absent,
    /// In this slot.
    In(Slot),
}

/// Adds the checks of one environment. `None`: it can't be remembered.
fn installed(cx: &Context<'_>, name: &EnvName, checks: &mut Vec<Check>) -> Result<Option<Known>, Failure> {
    let link = cx.layout.active_link(name);
    let files = cx.host.files();
    let fail = Failure::on_host(transaction::Phase::Verify);
    let Found::Link(target) = files.look(&link).map_err(&fail)? else { return Ok(None) };
    let number = target.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
    let Some(number) = number else { return Ok(None) };
    checks.push(Check { path: link, state: State::Link(target) });
    if number == 0 {
        return Ok(Some(Known::Absent));
    }
    let Some(generation) = transaction::read_generation(cx, name, number)? else { return Ok(None) };
    let expected = transaction::expected(cx, &generation)?;
    checks.extend(expected.into_iter().map(|expected| Check { path: expected.path, state: expected.state.into() }));
    let listing = cx.directory(&generation).join(Listing::FILE);
    let Some(state) = as_found(files, &listing).map_err(&fail)? else { return Ok(None) };
    checks.push(Check { path: listing, state });
    Ok(Some(Known::In(generation.slot)))
}

/// A file as it is now.
fn as_found(files: &dyn Files, path: &Path) -> crate::host::Result<Option<State>> {
    let Found::File { mode, owner, .. } = files.look(path)? else { return Ok(None) };
    let Some(bytes) = files.read(path, LIMIT)? else { return Ok(None) };
    Ok(Some(Listed::File { sha256: Digest::of(&bytes), mode, owner }.into()))
}

#[cfg(test)]
mod tests;
