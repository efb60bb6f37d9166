//! The agent's host, opened again when what it was opened from has changed: what is wanted must not depend on who asks. Otherwise
//! the agent and a command would each release what the other has just replaced.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::args::Global;
use super::{Fault, open, printer};
use crate::agent::{App, Surroundings};

/// A host that is looked at again before each pass.
pub struct Reopened<'a> {
    global: &'a Global,
    /// Once for all: a binary that is replaced leaves us no name of our own.
    surroundings: Surroundings,
    app: Arc<App>,
    /// Why it can't be opened again, once that was said.
    said: Option<String>,
}

impl<'a> Reopened<'a> {
    /// Opened for the first time.
    pub fn first(global: &'a Global, cancel: Arc<AtomicBool>) -> Result<Self, Fault> {
        // An environment that somebody is at work on has its turn at a later pass.
        let surroundings = open::surroundings(Some(Duration::ZERO), cancel);
        let app = Arc::new(open::app_in(global, &surroundings)?);
        Ok(Self { global, surroundings, app, said: None })
    }

    /// As it is now. One that can't be opened, as with a mistake in agent.toml, stays what it was: passes go on.
    pub fn now(&mut self) -> Arc<App> {
        if self.app.is_outdated() {
            match open::app_in(self.global, &self.surroundings) {
                Ok(app) => (self.app, self.said) = (Arc::new(app), None),
                Err(fault) => self.stays(&fault),
            }
        }
        Arc::clone(&self.app)
    }

    fn stays(&mut self, fault: &Fault) {
        if self.said.as_ref() != Some(&fault.message) {
            printer::error(fault);
            printer::note("until that is mended the agent goes on with what it read before");
            self.said = Some(fault.message.clone());
        }
    }
}
