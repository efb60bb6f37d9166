//! A tick at which nothing happened: one look at each repository, beside it one check of every managed path and of the slots.
//! Nothing is parsed, rendered or written.
//!
//! A pass is a function of its inputs. When one leaves nothing to do, its inputs are remembered; while they are the same, so is
//! what it would decide. The record is a cache: without it, or at any doubt, there is a whole pass.

mod cache;
mod inputs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;

use super::outcome::{Left, Outcome};
use super::{App, PassReport, Survey};
use crate::desired::{Listed, Listing};
use crate::host::Files;
use crate::manifest::{Environment, Policy, Rev};
use crate::model::{CommitId, Digest, EnvName, Found, Identity, Node, Slot, SlotId};
use crate::plan::{Action, EnvPlan, Plan};
use crate::source::{self, Address, Git, LocalPaths};
use crate::transaction::{self, Context, Failure};

use cache::{Check, Checks, Due, Head, Look, State};

/// No record is larger; that of a thousand environments has 2 MB.
const LIMIT: u64 = 64 * 1024 * 1024;

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
        let inputs = inputs::inputs(app, cx).ok();
        let holds = inputs == Some(head.inputs) && is_as_it_was(cx, &head, checks);
        let same = looks.into_iter().all(|look| look.join().unwrap_or(false));
        (inputs, holds, tip.join().ok(), same)
    });
    if holds && same && matches!(&tip, Some(Ok(tip)) if *tip == head.tip) {
        Glance::Converged(Box::new(report(head, cx.host.clock().now())))
    } else {
        Glance::Whole { inputs, tip }
    }
}

fn report(head: Head, looked: Timestamp) -> PassReport {
    let outcome = |held: Option<String>| held.map_or(Outcome::Unchanged, |words| Outcome::Left(Left::Held(words)));
    PassReport {
        survey: Survey {
            plan: Plan { tip: Some(head.tip), environments: Vec::new() },
            commit: None,
            manifests: None,
            trouble: None,
            ports: Vec::new(),
            notify: None,
        },
        outcomes: head.environments.into_iter().map(|(name, held)| (name, outcome(held))).collect(),
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
        source::tip(self.git, &Address::parse(self.repo, self.local)?, self.branch)
    }

    fn is_same(&self, look: &Look) -> bool {
        self.refs(&look.address, &look.names) == Some(look.refs)
    }

    fn refs(&self, address: &str, names: &[String]) -> Option<Digest> {
        let address = Address::parse(address, self.local).ok()?;
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let refs = source::look(self.git, &address, &names).ok()?;
        Some(Digest::of(format!("{refs:?}").as_bytes()))
    }
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

/// Remembers a pass that left nothing to do, or forgets the one before. Never fails a pass: the record is a cache.
pub fn remember(app: &App, cx: &Context<'_>, inputs: &Digest, pass: &PassReport) {
    let files = cx.host.files();
    let path = cx.layout.pass_cache();
    let before = files.read(&path, LIMIT).unwrap_or_default();
    let record = record(app, cx, *inputs, pass);
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

fn record(app: &App, cx: &Context<'_>, inputs: Digest, pass: &PassReport) -> Option<Vec<u8>> {
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
    let runs: BTreeSet<_> =
        services.iter().filter(|(_, service)| inputs::runs(service)).map(|(slot, _)| slot).collect();
    let mut checks = Vec::new();
    for name in transaction::installed_names(cx).ok()? {
        // A warm slot is stopped when its time has come.
        if let Known::In(slot) = installed(cx, &name, &mut checks).ok()??
            && runs.contains(&SlotId { env: name, slot: slot.other() })
        {
            return None;
        }
    }
    checks.sort_unstable();
    let head = Head {
        format: cache::FORMAT,
        inputs,
        tip,
        looks: looks(app, &wanted)?,
        interpreters: inputs::interpreters(cx, &pythons).ok()?,
        pythons,
        services: inputs::services(&services),
        environments,
        checks: checks.len(),
    };
    cache::write(&head, &checks)
}

/// An environment that needs nothing until an input changes. What waits for a time to come is not settled.
fn settled(plan: &EnvPlan, outcome: &Outcome) -> Option<(EnvName, Option<String>)> {
    let steady = matches!(plan.action, Action::Nothing | Action::Held(_) | Action::Stopped(_));
    if !steady || !plan.repairs.is_empty() || !plan.respected.is_empty() {
        return None;
    }
    match outcome {
        Outcome::Unchanged => Some((plan.name.clone(), None)),
        Outcome::Left(Left::Held(words)) => Some((plan.name.clone(), Some(words.clone()))),
        _ => None,
    }
}

fn pythons(wanted: &[&Environment]) -> Vec<String> {
    let name = |env: &&Environment| {
        env.python.version.as_ref().map_or_else(|| "python3".to_owned(), |version| format!("python{version}"))
    };
    wanted.iter().map(name).collect::<BTreeSet<_>>().into_iter().collect()
}

/// One look for each repository of which a branch is followed; a commit or a tag costs none.
fn looks(app: &App, wanted: &[&Environment]) -> Option<Vec<Look>> {
    let mut names: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for env in wanted {
        let follows = env.policy != Policy::Pro && matches!(env.rev, Rev::Branch(_) | Rev::Named(_));
        if follows {
            names.entry(&env.source).or_default().extend(source::select::wanted_refs(&env.rev));
        }
    }
    let remote = Remote::of(app);
    let look = |(address, names): (&str, BTreeSet<String>)| {
        let names: Vec<String> = names.into_iter().collect();
        Some(Look { address: address.to_owned(), refs: remote.refs(address, &names)?, names })
    };
    names.into_iter().map(look).collect()
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
