//! Since when something is wrong, over reboots: `/var/lib/portreeve/troubles.json`.
//!
//! Written when something begins or ends to be wrong, never while it lasts, and not at all while nothing is.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LastPass, Left};
use crate::model::{EnvName, Identity, Newer, Node, unless_newer};
use crate::transaction::{Context, Failure, Phase};

/// No such record is larger.
const LIMIT: u64 = 4 * 1024 * 1024;

/// What is wrong, since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Troubles {
    format: u32,
    /// The deploy repository can't be used.
    pub repo: Option<Unread>,
    /// Environments that are not as they should be: in which state, since when.
    pub environments: BTreeMap<EnvName, (String, Timestamp)>,
}

/// A deploy repository that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// The first attempt that failed.
    pub since: Timestamp,
    /// The last fetch that worked, where that is known.
    pub fetched: Option<Timestamp>,
}

impl Default for Troubles {
    fn default() -> Self {
        Self { format: Self::FORMAT, repo: None, environments: BTreeMap::new() }
    }
}

/// Reads the record; none, or one that can't be read, says nothing.
pub fn read_troubles(cx: &Context<'_>) -> Troubles {
    read(cx).unwrap_or_default()
}

fn read(cx: &Context<'_>) -> Result<Troubles, Newer> {
    let path = cx.layout.troubles();
    let bytes = cx.host.files().read(&path, LIMIT).ok().flatten();
    bytes.map_or_else(|| Ok(Troubles::default()), |bytes| Troubles::parse(&path, &bytes))
}

/// Brings the record to what the last pass saw.
pub(super) fn remember(cx: &Context<'_>, last: &LastPass) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Recover);
    let before = read(cx)?;
    let after = before.after(last, cx.host.clock().now());
    let files = cx.host.files();
    if after == before {
        return Ok(());
    }
    if after == Troubles::default() {
        return files.remove(&cx.layout.troubles()).map_err(fail);
    }
    let bytes = serde_json::to_vec(&after).unwrap_or_default();
    files.put(&cx.layout.troubles(), &Node::File { bytes, mode: 0o600, owner: Identity::ROOT }).map_err(fail)
}

impl Troubles {
    /// The version that this program writes.
    const FORMAT: u32 = 1;

    /// Reads a record, where one that is damaged says nothing; `path` is for the message.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Newer> {
        Ok(unless_newer(path, Self::FORMAT, bytes)?.unwrap_or_default())
    }

    /// Since when an environment has been in this state.
    pub fn since(&self, name: &EnvName, left: &Left) -> Option<Timestamp> {
        self.environments.get(name).filter(|(state, _)| Some(state.as_str()) == word(left)).map(|(_, since)| *since)
    }

    /// What lasts keeps its time.
    fn after(&self, last: &LastPass, now: Timestamp) -> Self {
        let began = || Unread { since: now, fetched: last.fetched };
        let ill = last.environments.iter().filter_map(|(name, seen)| {
            let left = seen.left.as_ref()?;
            Some((name.clone(), (word(left)?.to_owned(), self.since(name, left).unwrap_or(now))))
        });
        Self {
            format: Self::FORMAT,
            repo: last.trouble.as_ref().map(|_| self.repo.clone().unwrap_or_else(began)),
            environments: ill.collect(),
        }
    }
}

/// Of a state whose age is not recorded elsewhere: orders and failures have a time of their own.
fn word(left: &Left) -> Option<&'static str> {
    match left {
        Left::Blocked(_) => Some("blocked"),
        Left::Diverged(_) => Some("diverged"),
        Left::Stale(_) => Some("stale"),
        Left::Held(_)
        | Left::Quarantined(_)
        | Left::Waiting(_)
        | Left::Hindered(_)
        | Left::Busy(_)
        | Left::Overtaken => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Seen;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn pass(trouble: Option<&str>, left: Option<Left>) -> LastPass {
        let seen = Seen { wants: None, digest: None, changed: Vec::new(), current: false, left };
        let environments = BTreeMap::from([(EnvName::parse("bakery/pro").unwrap(), seen)]);
        LastPass { trouble: trouble.map(str::to_owned), fetched: Some(at(5)), environments, ..LastPass::default() }
    }

    #[test]
    fn an_age_is_that_of_the_first_pass_that_saw_it() {
        let name = EnvName::parse("bakery/pro").unwrap();
        let stale = |words: &str| Left::Stale(words.to_owned());
        let first = Troubles::default().after(&pass(Some("no network"), Some(stale("no network"))), at(10));
        let later = first.after(&pass(Some("timed out"), Some(stale("timed out"))), at(20));
        assert_eq!(later, first, "nothing is written while it lasts, whatever its words");
        assert_eq!(later.since(&name, &stale("")), Some(at(10)));
        assert_eq!(later.repo, Some(Unread { since: at(10), fetched: Some(at(5)) }));
        let other = later.after(&pass(None, Some(Left::Diverged("rewritten".to_owned()))), at(30));
        assert_eq!((other.since(&name, &stale("")), other.repo.clone()), (None, None));
        assert_eq!(other.since(&name, &Left::Diverged(String::new())), Some(at(30)));
        assert_eq!(other.after(&pass(None, None), at(40)), Troubles::default());
    }
}
