//! What is remembered of a transaction after its end: the content that failed, or that it works again.
//!
//! The journal carries a failure from the moment it is known, and is closed only when the environment's record says the same.
//! So a program that is killed in between leaves both to the next one, and no failed content is ever tried again by accident.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Context, Failure, FailureKind, Intent, Phase, read};
use crate::desired::Wanted;
use crate::host::HostError;
use crate::model::{Digest, EnvName, GenerationNumber, Identity, Node};
use crate::policy::{self, FailureClass, Standing};

/// Why a transaction is being undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whose fault it is.
    pub class: FailureClass,
    /// Where it failed.
    pub phase: Phase,
    /// Why.
    pub cause: String,
    /// The line of its log that says most.
    pub evidence: Option<String>,
    /// What to do about it, where that is known.
    pub help: Option<String>,
    /// What the host was like, where that is its fault.
    pub host: Option<Digest>,
    /// When.
    pub at: jiff::Timestamp,
}

impl Verdict {
    /// A failure that is remembered; somebody's wish to stop is none.
    pub fn of(cx: &Context<'_>, wanted: &Wanted, failure: &Failure) -> Option<Self> {
        let FailureKind::Class(class) = failure.kind else { return None };
        Some(Self {
            class,
            phase: failure.phase,
            cause: failure.cause.clone(),
            evidence: policy::telling(&failure.log),
            help: failure.help.clone(),
            host: (class == FailureClass::Host).then(|| host_print(cx, wanted)),
            at: cx.host.clock().now(),
        })
    }

    fn failure(self, digest: Digest, generation: Option<GenerationNumber>) -> policy::Failure {
        let Self { class, phase, cause, evidence, help, host, .. } = self;
        policy::Failure { class, phase, digest, generation, cause, evidence, help, host }
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// What it went to serves.
    Kept,
    /// What was before serves.
    Undone,
}

/// Makes the environment's record say how it ended. Once more changes nothing.
pub fn remember(cx: &Context<'_>, intent: &Intent, end: End) -> Result<(), Failure> {
    if let (End::Undone, Some(before)) = (end, &intent.before) {
        return replace(cx, &intent.env, &read::standing(cx, &intent.env)?, before);
    }
    let Some(digest) = intent.digest.filter(|_| intent.asked) else { return Ok(()) };
    let standing = read::standing(cx, &intent.env)?;
    let next = match (end, &intent.failed) {
        (End::Kept, _) => standing.after_success(digest),
        (End::Undone, Some(verdict)) if !counts(&standing, digest, verdict) => {
            standing.after_failure(verdict.clone().failure(digest, Some(intent.to)), verdict.at)
        }
        (End::Undone, _) => return Ok(()),
    };
    replace(cx, &intent.env, &standing, &next)
}

fn replace(cx: &Context<'_>, name: &EnvName, standing: &Standing, next: &Standing) -> Result<(), Failure> {
    if next == standing {
        return Ok(());
    }
    write_standing(cx, name, next).map_err(Failure::on_host(Phase::Recover))
}

/// Whether the record counts this failure already.
fn counts(standing: &Standing, digest: Digest, verdict: &Verdict) -> bool {
    let waits = standing.retry.as_ref().is_some_and(|retry| {
        retry.digest == digest && verdict.at.checked_add(policy::backoff(retry.failures)).ok() == Some(retry.next)
    });
    waits || standing.quarantined(digest).is_some_and(|entry| entry.at == verdict.at)
}

/// Makes an environment's record durable; an empty one is removed.
pub fn write_standing(cx: &Context<'_>, name: &EnvName, standing: &Standing) -> Result<(), HostError> {
    let files = cx.host.files();
    let path = cx.layout.standing(name);
    if *standing == Standing::default() {
        return files.remove(&path);
    }
    files.make_directory(&cx.layout.policy(), 0o700, Identity::ROOT)?;
    files.put(&path, &Node::File { bytes: standing.to_bytes(), mode: 0o600, owner: Identity::ROOT })
}

/// Of what the host is like, as far as releases fail by it: room on its disks, users, the web server and its configuration.
pub fn host_print(cx: &Context<'_>, wanted: &Wanted) -> Digest {
    let files = cx.host.files();
    let layout = cx.layout;
    let places = [layout.state(), layout.config(), cx.paths(wanted).home()];
    let room = places.iter().map(|place| match files.free_space(place) {
        Ok(free) => format!("{} {:?}", step(free.bytes), free.inodes.map(step)),
        Err(error) => super::chain(&error),
    });
    let mut stamped = vec![PathBuf::from("/etc/passwd"), PathBuf::from("/etc/group"), layout.nginx_conf()];
    for directory in [layout.nginx_sites(), layout.nginx_conf_d()] {
        let names = files.list(&directory).unwrap_or_default().into_iter();
        stamped.extend(names.map(|name| directory.join(name)));
    }
    let stamps = stamped.iter().map(|path| format!("{} {}", path.display(), files.stamp(path).unwrap_or_default()));
    let front = format!("{:?}", cx.host.front().running().ok());
    let all: Vec<String> = room.chain(stamps).chain([front]).collect();
    Digest::of(all.join("\n").as_bytes())
}

/// Free room in steps of a factor of 1.4: what others write meanwhile is no change, and what makes a release fit mostly is.
fn step(free: u64) -> u32 {
    u128::from(free.max(1)).pow(2).ilog2()
}
