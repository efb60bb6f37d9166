//! A repair that did not come to its end waits like any other failure of the host's: what can't be put right now mostly can't be at
//! the next pass either, and each try is written down first.
//!
//! The record is below `/run`: a boot is reason enough to try again.

use std::path::PathBuf;

use super::{Context, Failure, FailureKind, Phase, host_print, read};
use crate::desired::Generation;
use crate::host::HostError;
use crate::model::{Digest, EnvName, Found, Identity, Node};
use crate::observed::Drift;
use crate::policy::{self, FailureClass, Ruling, Standing};

/// How long the repair of this drift waits.
pub struct Waits<'a> {
    cx: &'a Context<'a>,
    generation: &'a Generation,
    path: PathBuf,
    /// Of what is to be put right, as it is now.
    drift: Digest,
    standing: Standing,
}

impl<'a> Waits<'a> {
    /// Reads the record; none, or one that can't be read, is no wait.
    pub fn of(cx: &'a Context<'a>, generation: &'a Generation, drift: &[Drift]) -> Self {
        let path = path(cx, &generation.name);
        let record = cx.host.files().read(&path, read::LIMIT).ok().flatten();
        let standing = record.and_then(|bytes| Standing::parse(&bytes, &cx.boot()).ok());
        Self { cx, generation, path, drift: fingerprint(cx, generation, drift), standing: standing.unwrap_or_default() }
    }

    /// Fails as the last try did while it waits for its time or its host.
    pub fn are_over(&self) -> Result<(), Failure> {
        if self.standing == Standing::default() {
            return Ok(());
        }
        let now = self.cx.host.clock().now();
        let standing = self.standing.on(host_print(self.cx, &self.generation.wanted));
        let Ruling::Wait(backoff) = standing.decide(self.drift, now) else { return Ok(()) };
        let failure = Failure::new(FailureClass::Host, Phase::Recover, &backoff.cause);
        Err(Failure { help: backoff.help.clone(), ..failure })
    }

    /// Remembers how it went. Without the record it is tried again.
    pub fn remember(&self, repaired: &Result<(), Failure>) {
        let files = self.cx.host.files();
        let written = match repaired {
            Err(failure) if failure.kind != FailureKind::Cancelled => {
                let bytes = self.after(failure).to_bytes(&self.cx.boot());
                files.put(&self.path, &Node::File { bytes, mode: 0o600, owner: Identity::ROOT })
            }
            _ if self.standing == Standing::default() => Ok(()),
            _ => files.remove(&self.path),
        };
        written.ok();
    }

    fn after(&self, failure: &Failure) -> Standing {
        let failure = policy::Failure {
            class: FailureClass::Host,
            phase: Phase::Recover,
            digest: self.drift,
            generation: None,
            cause: failure.cause.clone(),
            evidence: None,
            help: failure.help.clone(),
            host: Some(host_print(self.cx, &self.generation.wanted)),
        };
        self.standing.after_failure(failure, self.cx.host.clock().now())
    }
}

/// A person wants it tried again, now. Whether anything waited.
pub fn forget_repairs(cx: &Context<'_>, name: &EnvName) -> Result<bool, HostError> {
    let path = path(cx, name);
    let waited = cx.host.files().look(&path)? != Found::Absent;
    if waited { cx.host.files().remove(&path).map(|()| true) } else { Ok(false) }
}

/// Where it is remembered.
pub fn path(cx: &Context<'_>, name: &EnvName) -> PathBuf {
    cx.layout.env_runtime(name).join("repair.json")
}

fn fingerprint(cx: &Context<'_>, generation: &Generation, drift: &[Drift]) -> Digest {
    let one = |drift: &Drift| {
        let stamp = cx.host.files().stamp(&drift.expected.path).unwrap_or_default();
        format!("{drift} {stamp}")
    };
    let all: Vec<String> = drift.iter().map(one).collect();
    Digest::of(format!("{} {}", generation.number, all.join("\n")).as_bytes())
}
