//! What happens while it happens; the command line prints it, tests collect it.

use std::fmt;
use std::time::Duration;

use super::Phase;
use crate::model::{EnvName, GenerationNumber};

/// Something that a person watching would want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// An environment begins to move.
    Begin {
        /// Which.
        env: &'a EnvName,
        /// What serves now; `None`: nothing.
        from: Option<&'a str>,
        /// Where it goes.
        to: &'a str,
        /// The new generation.
        generation: GenerationNumber,
    },
    /// A phase takes a while from here on.
    Working {
        /// Which.
        phase: Phase,
        /// At what.
        what: &'a str,
    },
    /// A phase has ended well.
    Done {
        /// Which.
        phase: Phase,
        /// What came out.
        what: &'a str,
        /// How long it took.
        took: Duration,
    },
    /// A phase has ended badly.
    Failed {
        /// Which.
        phase: Phase,
        /// What was seen.
        what: &'a str,
        /// How long it took.
        took: Duration,
    },
    /// Something was put right.
    Repaired {
        /// Which environment.
        env: &'a EnvName,
        /// What was wrong.
        what: &'a str,
    },
    /// Something worth a line.
    Note {
        /// The line.
        text: &'a str,
    },
    /// Any of these, of one environment.
    Of {
        /// Which.
        env: &'a EnvName,
        /// No other one is moved by the same pass.
        alone: bool,
        /// What.
        event: &'a Event<'a>,
    },
}

/// Who is told.
pub trait Report {
    /// Called as it happens.
    fn event(&self, event: &Event<'_>);
}

/// Says of which environment its events are.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// Who is told.
    pub report: &'a dyn Report,
    /// Which.
    pub env: &'a EnvName,
    /// No other one is moved by the same pass.
    pub alone: bool,
}

impl fmt::Debug for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("About").field("env", self.env).finish_non_exhaustive()
    }
}

impl Report for About<'_> {
    fn event(&self, event: &Event<'_>) {
        self.report.event(&Event::Of { env: self.env, alone: self.alone, event });
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy)]
pub struct Quiet;

impl Report for Quiet {
    fn event(&self, _: &Event<'_>) {}
}
