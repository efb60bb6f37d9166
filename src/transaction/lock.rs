//! Who may work on what: locks that the kernel drops with their holder, kept by this program's threads and by all its
//! processes alike.
//!
//! An environment's lock is held for its whole transaction, the host's only around effects that all environments share. Whoever
//! wants a running release of an environment to give way stands in its doorway (a lock of its own) until he has the
//! environment's lock: the release looks there at each of its safe points. When he dies, so does his wish. A pass that wants
//! newer content stands in a doorway of its own, which people's orders don't heed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Context, Event, Failure, Phase};
use crate::host::{HostError, Lock};
use crate::model::EnvName;
use crate::policy::FailureClass;

/// Nobody is told of a wait shorter than this.
const MOMENT: Duration = Duration::from_millis(150);

/// Nor of one shorter than this for what is only ever held for seconds: a reload, or a fetch with its own deadline.
const SECONDS: Duration = Duration::from_secs(5);

/// The longest wait for that.
const SHARED: Duration = Duration::from_secs(30);

/// What can be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// One environment, for its transaction.
    Environment(&'a EnvName),
    /// The place of whoever asks for the environment's lock and does not want to wait for a release.
    Doorway(&'a EnvName),
    /// The same place of a pass that asks for the sake of newer content: a release gives way to it, and a person's order does not.
    Newer(&'a EnvName),
    /// Our mirror of a git repository.
    Mirror {
        /// Where it is.
        clone: &'a Path,
        /// Of what, for people.
        of: &'a str,
    },
    /// The commits that were followed.
    Floors,
    /// What all environments share: nginx, reserved ports.
    Host,
    /// What the last pass saw.
    LastPass,
    /// What people were told.
    Notify,
    /// A place to build at. Those for pro are its own.
    Build {
        /// For pro.
        pro: bool,
        /// From 0.
        number: u32,
    },
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it: command, pid, since when.
    #[error("{holder} is at work on {place}")]
    Busy {
        /// The environment, or what else.
        place: String,
        /// Who.
        holder: String,
    },
    /// The machine refused.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        let busy = matches!(error, LockError::Busy { .. });
        let failure = Self::new(FailureClass::Host, Phase::Recover, super::chain(&error));
        if busy { failure.with_help("it goes on by itself; --wait 5m waits longer for it") } else { failure }
    }
}

impl Place<'_> {
    fn path(self, cx: &Context<'_>) -> PathBuf {
        let name = match self {
            Self::Environment(name) => name.flat(),
            Self::Doorway(name) => format!("{}.next", name.flat()),
            Self::Newer(name) => format!("{}.newer", name.flat()),
            Self::Mirror { clone, .. } => format!("fetch-{}", clone.file_stem().unwrap_or_default().display()),
            Self::Floors => "floors".to_owned(),
            Self::Host => "host".to_owned(),
            Self::LastPass => "last-pass".to_owned(),
            Self::Notify => "notify".to_owned(),
            Self::Build { pro: true, number } => format!("build-pro-{number}"),
            Self::Build { pro: false, number } => format!("build-{number}"),
        };
        cx.layout.locks().join(format!("{name}.lock"))
    }

    fn words(self) -> String {
        match self {
            Self::Environment(name) | Self::Doorway(name) | Self::Newer(name) => name.to_string(),
            Self::Mirror { of, .. } => format!("the mirror of {of}"),
            Self::Floors => "the record of what was followed".to_owned(),
            Self::Host => "nginx or the ports".to_owned(),
            Self::LastPass => "the record of the last pass".to_owned(),
            Self::Notify => "telling people".to_owned(),
            Self::Build { .. } => "a build".to_owned(),
        }
    }
}

/// Takes a lock, waiting at most so long; whoever waits is told for whom.
pub fn lock(cx: &Context<'_>, place: Place<'_>, wait: Duration) -> Result<Box<dyn Lock>, LockError> {
    lock_telling(cx, place, MOMENT, wait)
}

/// The same for what is held for seconds only.
pub fn shared(cx: &Context<'_>, place: Place<'_>) -> Result<Box<dyn Lock>, Failure> {
    Ok(lock_telling(cx, place, SECONDS, SHARED)?)
}

/// The same for a mirror, or for as long as was said: a fetch has its own deadline, which may be minutes. The agent, which waits for
/// no environment, waits here like everybody.
pub fn mirror(cx: &Context<'_>, place: Place<'_>, wait: Option<Duration>) -> Result<Box<dyn Lock>, LockError> {
    lock_telling(cx, place, SECONDS, wait.filter(|wait| !wait.is_zero()).unwrap_or(SHARED))
}

fn lock_telling(
    cx: &Context<'_>,
    place: Place<'_>,
    silent: Duration,
    wait: Duration,
) -> Result<Box<dyn Lock>, LockError> {
    let path = place.path(cx);
    let files = cx.host.files();
    let taken = match files.lock(&path, silent) {
        Err(HostError::Locked { holder, .. }) if wait > silent => {
            let text = format!("waiting: {holder} is at work on {}", place.words());
            cx.report.event(&Event::Note { text: &text });
            files.lock(&path, wait.saturating_sub(silent))
        }
        taken => taken,
    };
    taken.map_err(|error| match error {
        HostError::Locked { holder, .. } => LockError::Busy { place: place.words(), holder },
        error => LockError::Host(error),
    })
}

/// Waits for a place to build at: as many as there are processors, two at least, so that a host whose environments all change
/// at once still serves. A build of another environment keeps no pro waiting, however long it takes.
pub fn build(cx: &Context<'_>, pro: bool) -> Result<Box<dyn Lock>, Failure> {
    let places = cx.host.kernel().processors().max(2);
    let places: Vec<PathBuf> = (0..places).map(|number| Place::Build { pro, number }.path(cx)).collect();
    let places: Vec<&Path> = places.iter().map(PathBuf::as_path).collect();
    loop {
        match cx.host.files().lock_one_of(&places, MOMENT) {
            Err(HostError::Locked { .. }) if cx.host.clock().cancelled() => {
                return Err(Failure::cancelled(Phase::Build));
            }
            Err(HostError::Locked { .. }) => {}
            taken => return taken.map_err(Failure::on_host(Phase::Build)),
        }
        cx.report.event(&Event::Working { phase: Phase::Build, what: "waiting for other builds" });
    }
}

/// Takes an environment's lock for an order that a running release gives way to.
pub fn lock_before_others(cx: &Context<'_>, name: &EnvName, wait: Duration) -> Result<Box<dyn Lock>, LockError> {
    let clock = cx.host.clock();
    let until = clock.monotonic() + wait;
    let _wish = lock(cx, Place::Doorway(name), wait)?;
    lock(cx, Place::Environment(name), until.saturating_sub(clock.monotonic()))
}

/// Who holds it now.
pub fn holder(cx: &Context<'_>, place: Place<'_>) -> Option<String> {
    cx.host.files().holder(&place.path(cx)).ok().flatten()
}
