//! What the last pass saw, for `portreeve status`, which asks no network: `/run/portreeve/last-pass.json`. Gone after a reboot.
//!
//! An idle pass saw the same again, and only the time is new: it is written beside, so that this costs the same however many
//! environments there are.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Left, Outcome, PassReport};
use crate::model::{CommitId, Digest, EnvName, Identity, Node};
use crate::plan::{self, EnvPlan};
use crate::transaction::lock::{Place, shared};
use crate::transaction::{Context, Failure, FailureKind, Phase};

/// No such record is larger.
const LIMIT: u64 = 4 * 1024 * 1024;

/// The format that this program writes. A record of another one is none: it lasts no longer than the next pass. 2: digests of
/// content alone.
const FORMAT: u32 = 2;

/// The record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastPass {
    /// Version of this record.
    pub format: u32,
    /// When the last pass over all environments looked at the repository, or tried to.
    pub at: Option<Timestamp>,
    /// When the repository was read last.
    pub fetched: Option<Timestamp>,
    /// The deploy repository's tip then.
    pub tip: Option<CommitId>,
    /// Why it can't be read since.
    pub trouble: Option<String>,
    /// What was seen of each environment.
    pub environments: BTreeMap<EnvName, Seen>,
}

/// One environment in the last pass that concerned it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// What people call the release that was wanted when that was known last.
    pub wants: Option<String>,
    /// Its content.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// In which of its inputs it differed from what served: [`plan::differences`].
    #[serde(default)]
    pub changed: Vec<String>,
    /// Whether it was known in that very pass.
    #[serde(default)]
    pub current: bool,
    /// Why it was left as it is; `None` when it was not.
    pub left: Option<Left>,
}

/// Reads the record; none, or a damaged one, is an empty one.
pub fn read_last_pass(cx: &Context<'_>) -> LastPass {
    let read = |path: &Path| cx.host.files().read(path, LIMIT).ok().flatten();
    let last = read(&cx.layout.last_pass()).and_then(|bytes| LastPass::parse(&bytes)).unwrap_or_default();
    let look = read(&cx.layout.last_look()).and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok());
    until_now(last, look, cx.host.clock().now())
}

/// What there is of it until now: the clock was set back since a pass that is yet to come, and none after it would be news.
fn until_now(last: LastPass, look: Option<Timestamp>, now: Timestamp) -> LastPass {
    let last = LastPass { at: last.at.filter(|&at| at <= now), ..last };
    match look.filter(|&look| look <= now) {
        Some(look) => again(last, look),
        None => last,
    }
}

/// The same, seen again at `look`, unless a pass with more to say has been since.
fn again(last: LastPass, look: Timestamp) -> LastPass {
    if last.at.is_none_or(|at| at < look) {
        LastPass { at: Some(look), fetched: Some(look), trouble: None, ..last }
    } else {
        last
    }
}

/// What keeps an environment where it is, until a pass succeeds.
fn failed(failure: &Failure) -> Option<Left> {
    let cure = failure.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
    let words = format!("{}: {}{cure}", failure.phase, failure.cause);
    let stopped = matches!(failure.kind, FailureKind::Cancelled | FailureKind::GaveWay);
    (!stopped).then_some(Left::Blocked(words))
}

/// Adds a pass that looked at the repository at `looked`. `whole`: it was over all environments.
pub(super) fn remember(cx: &Context<'_>, report: &PassReport, looked: Timestamp, whole: bool) -> Result<(), Failure> {
    let _record = shared(cx, Place::LastPass)?;
    let next = read_last_pass(cx).after(report, looked, whole);
    let bytes = serde_json::to_vec(&next).unwrap_or_default();
    let node = Node::File { bytes, mode: 0o600, owner: Identity::ROOT };
    cx.host.files().put(&cx.layout.last_pass(), &node).map_err(Failure::on_host(Phase::Recover))?;
    super::troubles::remember(cx, &next)
}

/// An idle pass saw the same again, at the time that is returned. Only `status` wants to know, so that a failure here is no
/// matter.
pub(super) fn still(cx: &Context<'_>) -> Timestamp {
    let looked = cx.host.clock().now();
    let node = Node::File { bytes: looked.to_string().into_bytes(), mode: 0o600, owner: Identity::ROOT };
    cx.host.files().put(&cx.layout.last_look(), &node).ok();
    looked
}

impl Seen {
    /// What is not known in this pass is as it was known last.
    fn of(plan: &EnvPlan, left: Option<Left>, before: Option<&Self>) -> Self {
        let Some(wanted) = &plan.wants else {
            let unknown = Self { wants: None, digest: None, changed: Vec::new(), current: false, left: None };
            return Self { left, current: false, ..before.cloned().unwrap_or(unknown) };
        };
        let serving = plan.serves.as_ref().map(|serving| &serving.wanted);
        let changed = serving.map(|serving| plan::differences(serving, wanted)).unwrap_or_default();
        Self { wants: Some(wanted.title()), digest: Some(wanted.digest), changed, current: true, left }
    }
}

impl LastPass {
    /// Reads a record; `None` for anything that this program did not write.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|last: &Self| last.format == FORMAT)
    }

    fn after(self, report: &PassReport, looked: Timestamp, whole: bool) -> Self {
        // A pass with a long release ends after others that looked later: of what it saw, only what it did is news.
        let late = self.at.is_some_and(|at| at > looked);
        let plans = report.survey.plan.environments.iter();
        let old = |plan: &EnvPlan| {
            late && matches!(report.outcomes.get(&plan.name), Some(Outcome::Left(_) | Outcome::Failed(_)))
        };
        let news = plans.filter(|plan| !old(plan));
        let seen = news.map(|plan| {
            let left = match report.outcomes.get(&plan.name) {
                Some(outcome) if outcome.left().is_some() => outcome.left().cloned(),
                Some(Outcome::Removed(words)) => Some(Left::Held(words.clone())),
                Some(Outcome::Failed(failure)) => failed(failure),
                // Otherwise the environment's own record says so.
                Some(Outcome::NotReleased { failure, .. }) if failure.phase == Phase::Recover => failed(failure),
                _ => None,
            };
            (plan.name.clone(), Seen::of(plan, left, self.environments.get(&plan.name)))
        });
        let seen: Vec<_> = seen.collect();
        if late {
            let mut environments = self.environments;
            environments.extend(seen);
            return Self { environments, ..self };
        }
        let mut environments = if whole { BTreeMap::new() } else { self.environments };
        environments.extend(seen);
        let tip = report.survey.plan.tip.clone();
        Self {
            format: FORMAT,
            at: if whole { Some(looked) } else { self.at },
            fetched: if tip.is_some() { Some(looked) } else { self.fetched },
            tip: tip.or(self.tip),
            trouble: report.survey.trouble.as_ref().map(|trouble| trouble.words().to_owned()),
            environments,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::agent::Survey;
    use crate::plan::{Action, EnvPlan, Plan};
    use crate::policy::FailureClass;

    fn name(text: &str) -> EnvName {
        EnvName::parse(text).unwrap()
    }

    /// A pass over two environments.
    pub fn report(dev: Outcome, pro: Outcome) -> PassReport {
        let plan = |text| EnvPlan {
            name: name(text),
            serves: None,
            wants: None,
            action: Action::Nothing,
            repairs: Vec::new(),
            respected: Vec::new(),
            stays: None,
            moved: None,
            retires: None,
            settles: false,
            stops: false,
        };
        let plan = Plan { tip: None, environments: vec![plan("bakery/dev"), plan("bakery/pro")] };
        let (commit, manifests, trouble, notify) = (None, None, None, None);
        let (ports, followed, refs) = (None, Vec::new(), BTreeMap::new());
        let survey = Survey { plan, commit, manifests, trouble, ports, followed, refs, notify };
        let outcomes = BTreeMap::from([(name("bakery/dev"), dev), (name("bakery/pro"), pro)]);
        PassReport { survey, outcomes, looked: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn a_pass_that_ends_late_tells_only_what_it_did() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let left = |record: &LastPass, text| record.environments[&name(text)].left.clone();
        let busy = Outcome::Left(Left::Busy("portreeve agent".to_owned()));
        let second = LastPass::default().after(&report(busy, Outcome::Unchanged), at(120), true);
        assert!(left(&second, "bakery/dev").is_some());
        // The first one looked before, and has released dev ever since.
        let stale = Outcome::Left(Left::Stale("no answer".to_owned()));
        let both = second.after(&report(Outcome::Repaired, stale), at(60), true);
        assert_eq!(both.at, Some(at(120)));
        assert_eq!((left(&both, "bakery/dev"), left(&both, "bakery/pro")), (None, None));
    }

    #[test]
    fn what_failed_stands_there_until_a_pass_succeeds() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let left = |record: &LastPass, text| record.environments[&name(text)].left.clone();
        let full = Failure::new(FailureClass::Host, Phase::Recover, "the disk is full").with_help("make room");
        let unopened = Outcome::NotReleased {
            title: "v2".to_owned(),
            generation: 2,
            failure: Box::new(full.clone()),
            seen: false,
            serves: None,
        };
        let first = LastPass::default().after(&report(Outcome::Failed(Box::new(full)), unopened), at(60), true);
        let words = Some(Left::Blocked("recover: the disk is full; make room".to_owned()));
        assert_eq!((left(&first, "bakery/dev"), left(&first, "bakery/pro")), (words.clone(), words));
        let cancelled = || Outcome::Failed(Box::new(Failure::cancelled(Phase::Recover)));
        let second = first.after(&report(Outcome::Unchanged, cancelled()), at(120), true);
        assert_eq!((left(&second, "bakery/dev"), left(&second, "bakery/pro")), (None, None));
    }

    #[test]
    fn the_later_of_two_looks_counts() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let trouble = Some("no network".to_owned());
        let last = LastPass { at: at(5), fetched: at(3), trouble: trouble.clone(), ..LastPass::default() };
        let later = again(last.clone(), at(7).unwrap());
        assert_eq!((later.at, later.fetched, later.trouble), (at(7), at(7), None));
        assert_eq!(again(last.clone(), at(4).unwrap()), last);
    }

    #[test]
    fn a_pass_that_is_yet_to_come_was_seen_by_another_clock() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let last = LastPass { at: Some(at(100)), ..LastPass::default() };
        let seen = |look: Option<i64>, now| until_now(last.clone(), look.map(at), at(now)).at.map(Timestamp::as_second);
        assert_eq!(seen(None, 100), Some(100));
        assert_eq!(seen(Some(120), 130), Some(120));
        assert_eq!(seen(Some(120), 110), Some(100), "the clock was set back since the look");
        assert_eq!(seen(Some(120), 50), None, "and since the pass: the next one is news");
        assert_eq!(seen(Some(40), 50), Some(40));
    }
}
