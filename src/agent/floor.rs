//! The commits of the deploy repository below which environments never go back.
//!
//! Each generation holds the deploy commit that it was made for, which survives everything but the loss of what serves. But
//! many a commit changes nothing for an environment: which of those were followed is recorded beside, one file for the host,
//! that is written when the tip has moved. Without the record the generations' word counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::desired::Why;
use crate::host::{Files, HostError};
use crate::manifest::{Environment, Rev};
use crate::model::{CommitId, EnvName, Found, Identity, Layout, Newer, Node, unless_newer};
use crate::observed::Installed;
use crate::plan::Want;
use crate::source::{Ancestry, CommitInfo, Objects, Refusal};
use crate::transaction::lock::{Place, shared};
use crate::transaction::{self, Context, Failure, Phase};

/// A record of a thousand environments has 60 KB.
const LIMIT: u64 = 4 * 1024 * 1024;

/// The newest deploy commits that were followed: `/etc/portreeve/floors.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floors {
    format: u32,
    environments: BTreeMap<EnvName, CommitId>,
    /// By other names than their generations have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    renamed: BTreeMap<EnvName, Renamed>,
}

/// A revision that was named anew and led to what served already: no generation was made for it, and none has its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renamed {
    source: String,
    rev: Rev,
    commit: CommitId,
}

impl Renamed {
    /// Where what is wanted is what serves, by another name.
    pub fn of(want: &Want, installed: &Installed) -> Option<Self> {
        let (Want::Wanted(wanted), Some(serving)) = (want, &installed.generation) else { return None };
        let (named, before) = (&wanted.env, &serving.wanted.env);
        let same = (&named.rev, &named.source) == (&before.rev, &before.source);
        (!same && wanted.digest == serving.wanted.digest).then(|| Self {
            source: named.source.clone(),
            rev: named.rev.clone(),
            commit: wanted.commit.clone(),
        })
    }
}

impl Default for Floors {
    fn default() -> Self {
        Self { format: Self::FORMAT, environments: BTreeMap::new(), renamed: BTreeMap::new() }
    }
}

impl Floors {
    /// The version that this program writes.
    const FORMAT: u32 = 1;

    /// The record; one that is lost or damaged is none, and a newer one might forbid what this program would do.
    ///
    /// A file that can't be read now is neither: taken for none, it would be written over, and forbid nothing any more.
    pub fn read(cx: &Context<'_>) -> Result<Self, Failure> {
        Self::kept(cx.host.files(), cx.layout)
    }

    fn kept(files: &dyn Files, layout: &Layout) -> Result<Self, Failure> {
        let fail = Failure::on_host(Phase::Recover);
        for path in [layout.floors(), former(layout)] {
            let is_file = matches!(files.look(&path).map_err(&fail)?, Found::File { .. });
            let bytes = if is_file { files.read(&path, LIMIT).map_err(&fail)? } else { None };
            if let Some(bytes) = bytes {
                return Ok(Self::parse(&path, &bytes)?);
            }
        }
        Ok(Self::default())
    }

    fn keep(&self, files: &dyn Files, layout: &Layout) -> Result<(), HostError> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        // agent.toml may lie elsewhere.
        files.make_directory(&layout.config(), 0o755, Identity::ROOT)?;
        files.put(&layout.floors(), &Node::File { bytes, mode: 0o600, owner: Identity::ROOT })?;
        files.remove(&former(layout))
    }

    /// Reads a record; `path` is for the message.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Newer> {
        Ok(unless_newer(path, Self::FORMAT, bytes)?.unwrap_or_default())
    }

    /// The floor of an environment; `None`: it was never here.
    pub fn of(&self, cx: &Context<'_>, name: &EnvName) -> Result<Option<CommitId>, Failure> {
        match self.environments.get(name) {
            Some(floor) => Ok(Some(floor.clone())),
            None => from_generations(cx, name),
        }
    }

    /// Where the revision of `env` led when it was named so, if that is not for its generations to say.
    pub fn renamed(&self, env: &Environment) -> Option<CommitId> {
        let renamed = self.renamed.get(&env.name)?;
        (renamed.rev == env.rev && renamed.source == env.source).then(|| renamed.commit.clone())
    }

    /// With `tip` as the floor of those that followed it. One that another pass has put there since stays, unless `tip` `is_on` it:
    /// the other may have looked later.
    fn raised(mut self, followed: &[Followed], tip: &CommitId, is_on: impl Fn(&CommitId) -> bool) -> Self {
        for Followed { name, over, renamed } in followed {
            let now = self.environments.get(name);
            if now.is_none_or(|now| over.as_ref() == Some(now) || is_on(now)) {
                self.environments.insert(name.clone(), tip.clone());
                self.renamed.extend(renamed.clone().map(|renamed| (name.clone(), renamed)));
            }
        }
        self
    }
}

/// Where earlier versions kept the record.
fn former(layout: &Layout) -> PathBuf {
    layout.state().join("floors.json")
}

/// The deploy commit of the newest generation that a push made.
fn from_generations(cx: &Context<'_>, name: &EnvName) -> Result<Option<CommitId>, Failure> {
    let numbers = numbers(cx, name)?.into_iter();
    pushed(numbers.map(|number| {
        let generation = transaction::read_generation(cx, name, number)?;
        Ok(generation.map(|generation| (generation.why, generation.wanted.deploy_commit)))
    }))
}

/// What the newest generation that a push made says, of all of them, newest first: a rollback's or restart's is an older one's,
/// and counts where there is no other.
pub(super) fn pushed<T>(
    newest_first: impl IntoIterator<Item = Result<Option<(Why, T)>, Failure>>,
) -> Result<Option<T>, Failure> {
    let mut other = None;
    for generation in newest_first {
        match generation? {
            Some((Why::Push, said)) => return Ok(Some(said)),
            Some((Why::Rollback(_) | Why::Restart, said)) => other = other.or(Some(said)),
            None => {}
        }
    }
    Ok(other)
}

/// The numbers of an environment's generations, newest first.
pub(super) fn numbers(cx: &Context<'_>, name: &EnvName) -> Result<Vec<u64>, Failure> {
    let names = cx.host.files().list(&cx.layout.env_generations(name)).map_err(Failure::on_host(Phase::Recover))?;
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| name.parse().ok()).filter(|&number| number > 0).collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    Ok(numbers)
}

/// An environment for which the tip counts, and its floor when that was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The environment.
    pub name: EnvName,
    /// Over what it was followed; `None`: it was never here.
    pub over: Option<CommitId>,
    /// Its revision, where that has another name now.
    pub renamed: Option<Renamed>,
}

/// Raises the floor of those that followed `tip`. Nothing is written when it was the same. False: somebody has followed a later one
/// meanwhile, so that what this pass would do is old.
pub(super) fn raise(cx: &Context<'_>, followed: &[Followed], tip: &CommitId) -> Result<bool, Failure> {
    let _record = shared(cx, Place::Floors)?;
    let before = Floors::read(cx)?;
    let is_on = |floor: &CommitId| {
        let ancestry = Objects::open(&cx.layout.deploy_clone()).and_then(|clone| clone.ancestry(floor, tip));
        matches!(ancestry, Ok(Ancestry::Same | Ancestry::Descendant))
    };
    let after = before.clone().raised(followed, tip, is_on);
    let (files, on_host) = (cx.host.files(), Failure::on_host(Phase::Recover));
    if after != before || files.look(&former(cx.layout)).map_err(&on_host)? != Found::Absent {
        after.keep(files, cx.layout).map_err(&on_host)?;
    }
    Ok(followed.iter().all(|followed| after.environments.get(&followed.name) == Some(tip)))
}

/// What was refused, and below it what to type.
pub(super) fn diverged(name: &EnvName, refusal: &Refusal, branch: &str, info: Option<&CommitInfo>) -> String {
    let who = info.map_or_else(
        || "unknown".to_owned(),
        |info| format!("{}, {}", info.author.escape_debug(), info.time.strftime("%d %b %H:%M UTC")),
    );
    let (floor, tip) = (refusal.floor.short(), refusal.tip.short());
    let fact = refusal.words(branch, &who);
    format!("{fact}\ngit log --oneline {floor}...{tip}\nportreeve accept {name} {}", refusal.tip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Parts, Scratch};
    use crate::model::Root;

    fn commit(digit: char) -> CommitId {
        CommitId::parse(&digit.to_string().repeat(40)).unwrap()
    }

    /// The floor after two passes over a history `1 <- 2 <- 3`, and `a` beside it: what each followed, and over what.
    fn after(passes: [(char, Option<char>); 2]) -> CommitId {
        let name = EnvName::parse("bakery/pro").unwrap();
        let pass = |floors: Floors, (tip, over): (char, Option<char>)| {
            let followed = [Followed { name: name.clone(), over: over.map(commit), renamed: None }];
            let is_on = |floor: &CommitId| tip.is_ascii_digit() && *floor <= commit(tip);
            floors.raised(&followed, &commit(tip), is_on)
        };
        passes.into_iter().fold(Floors::default(), pass).environments.remove(&name).unwrap()
    }

    #[test]
    fn a_slower_pass_lowers_no_floor() {
        assert_eq!(after([('3', Some('1')), ('2', Some('1'))]), commit('3'));
        assert_eq!(after([('2', Some('1')), ('3', Some('1'))]), commit('3'));
        assert_eq!(after([('3', None), ('2', None)]), commit('3'), "nor where it was new to both");
    }

    #[test]
    fn what_was_followed_over_this_very_floor_replaces_it() {
        assert_eq!(after([('3', None), ('a', Some('3'))]), commit('a'), "agreed to, or dev");
        assert_eq!(after([('3', None), ('2', Some('3'))]), commit('2'), "also where it goes back");
        assert_eq!(after([('3', None), ('a', Some('2'))]), commit('3'));
    }

    #[test]
    fn where_a_revision_led_is_known_by_the_name_that_it_was_followed_by() {
        let serving = crate::plan::wanted(&EnvName::parse("bakery/pro").unwrap());
        let named = |rev: &str| Environment { rev: Rev::Named(rev.to_owned()), ..serving.env.clone() };
        let renamed =
            Renamed { source: serving.env.source.clone(), rev: Rev::Named("v1.5.0".to_owned()), commit: commit('c') };
        let followed = |renamed| [Followed { name: serving.env.name.clone(), over: None, renamed }];
        let floors = Floors::default().raised(&followed(Some(renamed)), &commit('1'), |_| true);
        let floors = floors.raised(&followed(None), &commit('2'), |_| true);
        assert_eq!(floors.renamed(&named("v1.5.0")), Some(commit('c')));
        assert_eq!(floors.renamed(&named("v1.5.1")), None);
        let elsewhere = Environment { source: "https://git.example.org/other.git".to_owned(), ..named("v1.5.0") };
        assert_eq!(floors.renamed(&elsewhere), None);
    }

    fn floors_at(tip: char) -> Floors {
        let followed = Followed { name: EnvName::parse("bakery/pro").unwrap(), over: None, renamed: None };
        Floors::default().raised(&[followed], &commit(tip), |_| true)
    }

    #[test]
    fn what_was_followed_outlives_the_loss_of_state_and_comes_from_where_it_was_kept() {
        let dir = tempfile::tempdir().unwrap();
        let root = Scratch::open(&dir.path().join("h")).unwrap();
        let layout = Layout::new(Root::at(root.path()));
        let files = Parts::open(&layout, std::sync::Arc::default()).unwrap().files;
        let (before, after) = (floors_at('1'), floors_at('2'));
        root.make("var/lib/portreeve").unwrap();
        root.write("var/lib/portreeve/floors.json", serde_json::to_string(&before).unwrap()).unwrap();
        assert_eq!(Floors::kept(&files, &layout).unwrap(), before, "of an earlier version");

        after.keep(&files, &layout).unwrap();
        assert_eq!(files.list(&layout.state()).unwrap(), [""; 0], "nobody reads it there again");
        files.remove_tree(&layout.state()).unwrap();
        assert_eq!(Floors::kept(&files, &layout).unwrap(), after);

        root.write("etc/portreeve/floors.json", " ".repeat(usize::try_from(LIMIT).unwrap() + 1)).unwrap();
        let unread = Floors::kept(&files, &layout).unwrap_err();
        assert!(unread.cause.contains("floors.json"), "what can't be read is not taken for none: {unread}");
    }
}
