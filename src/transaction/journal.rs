//! One small record for each environment with a transaction under way: written before anything runs, removed at its end.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::verdict::Verdict;
use super::{Context, Failure, Phase};
use crate::desired::{Generation, Wanted};
use crate::host::HostError;
use crate::model::{Boot, Digest, EnvName, GenerationNumber, Identity, Node, Slot};
use crate::observed::Installed;
use crate::policy::Standing;

/// The first whose records of an environment say what was left.
const FORMAT_WITH_LEFT: u32 = 2;
/// The first whose records of an environment have digests that today's content can be compared with.
const FORMAT_OF_DIGESTS: u32 = 3;

/// Why a journal was not understood.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The host refused.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Written by a newer version.
    #[error("{}: format {found}, of a newer portreeve (this one knows {FORMAT}): install that version again", .path.display(), FORMAT = Intent::FORMAT)]
    Newer {
        /// The record.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Damaged, or of another environment.
    #[error("{}: not a journal that portreeve wrote", .0.display())]
    Foreign(PathBuf),
}

impl JournalError {
    /// What a person does about it, where the message does not say.
    pub fn cure(&self) -> Option<String> {
        let Self::Foreign(path) = self else { return None };
        let path = path.display();
        Some(format!(
            "it said how far a release was that did not come to its end; what serves serves on. Look with portreeve status, then \
             move it away: mv {path} /root; the next pass puts right what differs"
        ))
    }
}

/// What a transaction set out to do. `from` is the rollback target; it is recorded once and never again on resuming, or going back
/// would lead to the broken one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Version of this record.
    pub format: u32,
    /// The environment.
    pub env: EnvName,
    /// The generation that was active, and is gone back to. 0: absent.
    pub from: GenerationNumber,
    /// The generation to be active. 0: it is taken off the host.
    pub to: GenerationNumber,
    /// The slot of `to`; of a removal the one that does not serve.
    pub slot: Slot,
    /// What that slot's link led to before.
    pub slot_before: Option<GenerationNumber>,
    /// The content that is to serve.
    #[serde(default)]
    pub digest: Option<Digest>,
    /// When it began.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// By whose clock its times are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
    /// The repository asked for it: what becomes of it is remembered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asked: bool,
    /// Why it is being undone, from the moment that this is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Verdict>,
    /// The environment's record as it was before the order that this carries out; `None`: nobody gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Standing>,
    /// The release that the order met switched to and not judged yet: where the order is not carried out, it is taken up again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<Box<Self>>,
}

impl Intent {
    /// The version that this program writes.
    pub const FORMAT: u32 = 3;

    /// What changed under this generation is put right, and whoever reads it is told. Nothing moves.
    pub fn to_repair(generation: &Generation) -> Self {
        let number = generation.number;
        Self::between(&generation.name, number, number, generation.slot, Some(number))
    }

    /// To go from one generation to another, in this slot and from what it was before. What else there is to say is not said.
    pub fn between(
        env: &EnvName,
        from: GenerationNumber,
        to: GenerationNumber,
        slot: Slot,
        slot_before: Option<GenerationNumber>,
    ) -> Self {
        let (digest, at, boot, failed, before, met) = (None, None, None, None, None, None);
        let (format, env, asked) = (Self::FORMAT, env.clone(), false);
        Self { format, env, from, to, slot, slot_before, digest, at, boot, asked, failed, before, met }
    }

    /// An environment that serves is to be gone.
    pub fn to_remove(cx: &Context<'_>, installed: &Installed, from: GenerationNumber) -> Self {
        let serves = installed.generation.as_ref().map(|generation| generation.slot);
        let slot = serves.or(installed.damaged.as_ref().and_then(|damaged| damaged.slot)).unwrap_or(Slot::A).other();
        let to_go = Self::between(&installed.name, from, 0, slot, installed.slots.get(&slot).copied());
        Self { at: Some(cx.host.clock().now()), boot: Some(cx.boot()), ..to_go }
    }

    /// Whether the environment is to be gone.
    pub fn removes(&self) -> bool {
        self.moves() && self.to == 0
    }

    /// Whether `active` is to lead elsewhere.
    pub fn moves(&self) -> bool {
        self.from != self.to
    }

    /// Whether somebody may have been led to the candidate before now: it failed in front, or it is one that served and was kept.
    pub fn had_visitors(&self) -> bool {
        self.slot_before == Some(self.to) || self.failed.as_ref().is_some_and(|failed| failed.phase.is_in_front())
    }

    /// Reads a record; `path` is for the message.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, JournalError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let foreign = |_| JournalError::Foreign(path.to_owned());
        let head: Head = serde_json::from_slice(bytes).map_err(foreign)?;
        if head.format > Self::FORMAT {
            return Err(JournalError::Newer { path: path.to_owned(), found: head.format });
        }
        let intent: Self = serde_json::from_slice(bytes).map_err(foreign)?;
        let before = intent.before.map(|before| match head.format {
            ..FORMAT_WITH_LEFT => before.with_left().until_resumed(),
            FORMAT_WITH_LEFT..FORMAT_OF_DIGESTS => before.until_resumed(),
            _ => before,
        });
        Ok(Self { format: Self::FORMAT, before, ..intent })
    }

    /// The same with its times by the clock as it is set `now`.
    fn by(mut self, now: Boot) -> Self {
        let set = |time| now.by_now(self.boot.as_ref(), time);
        self.at = self.at.map(set);
        self.failed = self.failed.map(|failed| Verdict { at: set(failed.at), ..failed });
        self.before = self.before.map(|before| before.by(set));
        self.met = self.met.map(|met| Box::new(met.by(now.clone())));
        self.boot = Some(now);
        self
    }

    fn path(cx: &Context<'_>, env: &EnvName) -> std::path::PathBuf {
        env.record_in(&cx.layout.journal())
    }

    /// The link that `active` was, while the transaction is open: to rename it back takes no room on a disk. It lies on the
    /// file system of `active`, which the journal need not.
    pub fn way_back(&self, cx: &Context<'_>) -> PathBuf {
        cx.layout.staging().join(format!("{}.back", self.env.flat()))
    }

    /// Makes the intent durable, and the way back.
    pub fn open(&self, cx: &Context<'_>) -> Result<(), Failure> {
        let files = cx.host.files();
        let together = files.together();
        let made = files.make_directory(&cx.layout.journal(), 0o700, Identity::ROOT);
        made.and_then(|()| self.write(cx))
            .and_then(|()| self.make_way_back(cx))
            .and_then(|()| together.finish())
            .map_err(Failure::on_host(Phase::Recover))
    }

    fn make_way_back(&self, cx: &Context<'_>) -> Result<(), HostError> {
        if !self.moves() {
            return Ok(());
        }
        cx.host.files().put(&self.way_back(cx), &Node::Link(Context::active_target(&self.env, self.from)))
    }

    /// Makes it durable that the transaction is undone, and why: whoever ends it goes back, whatever is active.
    /// The record as it is meant to be, also where the disk does not take it.
    pub fn failing(self, cx: &Context<'_>, wanted: &Wanted, failure: &Failure) -> (Self, Result<(), HostError>) {
        let (this, failed) = (self.by(cx.boot()), Verdict::of(cx, wanted, failure));
        if failed.is_none() {
            return (this, Ok(()));
        }
        let next = Self { failed, ..this };
        let written = next.write(cx);
        (next, written)
    }

    fn write(&self, cx: &Context<'_>) -> Result<(), HostError> {
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        let node = Node::File { bytes, mode: 0o600, owner: Identity::ROOT };
        cx.host.files().put(&Self::path(cx, &self.env), &node)
    }

    /// Ends the transaction, however it went.
    pub fn close(&self, cx: &Context<'_>) -> Result<(), HostError> {
        let files = cx.host.files();
        let together = files.together();
        if self.moves() {
            files.remove(&self.way_back(cx))?;
        }
        files.remove(&Self::path(cx, &self.env))?;
        together.finish()
    }

    /// The open intent of an environment, if there is one.
    pub fn find(cx: &Context<'_>, env: &EnvName) -> Result<Option<Self>, JournalError> {
        let path = Self::path(cx, env);
        let Some(bytes) = cx.host.files().read(&path, super::read::LIMIT)? else { return Ok(None) };
        let intent = Self::parse(&path, &bytes)?;
        if intent.env == *env { Ok(Some(intent.by(cx.boot()))) } else { Err(JournalError::Foreign(path)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::HoldKind;

    #[test]
    fn whoever_finds_a_journal_that_was_cut_is_told_what_to_do_about_it() {
        let path = Path::new("/var/lib/portreeve/journal/bakery_pro.json");
        let help = |bytes: &[u8]| Failure::from(Intent::parse(path, bytes).unwrap_err()).help;
        let cure = help(br#"{"format":2,"env":"bakery"#).unwrap_or_default();
        assert!(cure.contains("serves on") && cure.contains("portreeve status"), "{cure}");
        assert!(cure.contains("mv /var/lib/portreeve/journal/bakery_pro.json /root"), "{cure}");
        assert_eq!(help(br#"{"format":7,"shape":"unknown here"}"#), None, "its cure is the newer version");
    }

    #[test]
    fn what_stands_again_after_an_order_has_moved_with_the_clock() {
        let boot = |began| Boot::new("one", Timestamp::from_second(began).unwrap());
        let text = r#"{"format":1,"env":"bakery/pro","from":1,"to":2,"slot":"b","slot_before":null,"at":"1970-01-01T00:01:00Z",
            "boot":{"id":"one","began":"1970-01-01T00:00:00Z"},
            "failed":{"class":"host","phase":"start","cause":"no room","at":"1970-01-01T00:02:00Z"},
            "before":{"hold":{"kind":{"suspended":{"until":"1970-01-01T02:00:00Z"}},"by":"anna","since":"1970-01-01T00:00:30Z"}}}"#;
        let intent = Intent::parse(Path::new("/journal"), text.as_bytes()).unwrap().by(boot(1_000_000));
        let second = |time: Timestamp| time.as_second() - 1_000_000;
        assert_eq!(intent.at.map(second), Some(60));
        let hold = intent.before.as_ref().and_then(|before| before.hold.clone()).unwrap();
        assert_eq!(second(hold.since), 30);
        assert_eq!(intent.failed.as_ref().map(|failed| second(failed.at)), Some(120));
        let HoldKind::Suspended { until: Some(until) } = hold.kind else { panic!("{hold:?}") };
        assert_eq!(second(until), 7_200);
        assert_eq!(intent.clone().by(boot(1_000_000)), intent, "once");
    }
}
