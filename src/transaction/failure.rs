//! Why a transaction did not reach its end.

use std::fmt;

use super::migrate::Applied;
use crate::emit::EmitError;
use crate::host::HostError;
use crate::model::Newer;
use crate::policy::FailureClass;
pub use crate::policy::Phase;

/// What kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Counts against the release, the host or the network.
    Class(FailureClass),
    /// Somebody asked us to stop; nothing failed.
    Cancelled,
    /// The same, for the sake of somebody who wants something else of the environment: an order, or newer content.
    GaveWay,
    /// The web server is away, by no fault of the release, which serves again as soon as it is back: nothing is undone.
    CutOff,
}

/// Why a transaction did not reach its end: a sentence, and what a person needs to see of the evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// Where.
    pub phase: Phase,
    /// One sentence: `health answered 500, expected 200`.
    pub cause: String,
    /// The head of the body that was answered instead.
    pub body: Option<String>,
    /// The tail of the real log, oldest line first.
    pub log: Vec<String>,
    /// What to do about it, when it is known.
    pub help: Option<String>,
    /// What became of the database's schema before it failed; `None`: nothing.
    pub schema: Option<Box<Applied>>,
}

impl Failure {
    /// A failure of this class.
    pub fn new(class: FailureClass, phase: Phase, cause: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Class(class),
            phase,
            cause: cause.into(),
            body: None,
            log: Vec::new(),
            help: None,
            schema: None,
        }
    }

    /// The release's own fault.
    pub fn release(phase: Phase, cause: impl Into<String>) -> Self {
        Self::new(FailureClass::Release, phase, cause)
    }

    /// The host's fault; the release is not quarantined.
    pub fn host(phase: Phase, error: &HostError) -> Self {
        Self::new(FailureClass::Host, phase, chain(error))
    }

    /// For `map_err` on calls of the host.
    pub fn on_host(phase: Phase) -> impl Fn(HostError) -> Self {
        move |error| Self::host(phase, &error)
    }

    /// What is said of whatever was asked to stop.
    pub const ON_REQUEST: &str = "stopped on request";

    /// Asked to stop.
    pub fn cancelled(phase: Phase) -> Self {
        Self { kind: FailureKind::Cancelled, ..Self::release(phase, Self::ON_REQUEST) }
    }

    /// With the tail of a log.
    #[must_use]
    pub fn with_log(self, log: Vec<String>) -> Self {
        Self { log, ..self }
    }

    /// With a cure.
    #[must_use]
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl From<Newer> for Failure {
    fn from(newer: Newer) -> Self {
        Self::new(FailureClass::Host, Phase::Recover, newer.to_string())
    }
}

impl From<EmitError> for Failure {
    fn from(error: EmitError) -> Self {
        Self::release(Phase::Build, chain(&error))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl std::error::Error for Failure {}

/// An error and its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
