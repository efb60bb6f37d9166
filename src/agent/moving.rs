//! A release that is under way, as other processes see it: who, since when, and how far.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::App;
use crate::model::{EnvName, GenerationNumber, Identity, Node};
use crate::policy::Phase;
use crate::transaction::lock::{self, Place};
use crate::transaction::{Context, Event, Intent, Report};

/// No such record is larger.
const LIMIT: u64 = 64 * 1024;

/// A release that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moving {
    /// The generation to be active.
    pub generation: GenerationNumber,
    /// What people call its release; `None`: the process that moves it does not tell.
    pub to: Option<String>,
    /// When it began.
    pub since: Option<Timestamp>,
    /// How far it is.
    pub phase: Option<Phase>,
    /// Who moves it.
    pub by: String,
}

/// What a release says of itself while it is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Noted {
    generation: GenerationNumber,
    to: String,
    phase: Option<Phase>,
}

/// Tells another report, and notes for other processes how far each release is: in `/run`, of use only while the environment's
/// lock is held, so nobody has to take it away.
pub struct Witness<'a> {
    app: &'a App,
    told: &'a (dyn Report + Sync),
    noted: Mutex<BTreeMap<EnvName, Noted>>,
}

impl std::fmt::Debug for Witness<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").field("noted", &self.noted).finish_non_exhaustive()
    }
}

impl<'a> Witness<'a> {
    /// A witness that tells `told`.
    pub fn new(app: &'a App, told: &'a (dyn Report + Sync)) -> Self {
        Self { app, told, noted: Mutex::new(BTreeMap::new()) }
    }

    fn see(&self, env: Option<&EnvName>, event: &Event<'_>) {
        match event {
            Event::Of { env, event, .. } => self.see(Some(env), event),
            Event::Begin { env, to, generation, .. } => {
                self.note(env, Noted { generation: *generation, to: (*to).to_owned(), phase: None });
            }
            Event::Working { phase, .. } | Event::Done { phase, .. } | Event::Failed { phase, .. } => {
                self.reach(env, *phase);
            }
            Event::Repaired { .. } | Event::Note { .. } => {}
        }
    }

    /// An order moves one environment, and does not say of each event which.
    fn reach(&self, env: Option<&EnvName>, phase: Phase) {
        let found = {
            let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
            let found = noted.iter().find(|(name, _)| env.is_none_or(|env| env == *name));
            found.map(|(name, noted)| (name.clone(), noted.clone()))
        };
        if let Some((env, noted)) = found.filter(|(_, noted)| noted.phase != Some(phase)) {
            self.note(&env, Noted { phase: Some(phase), ..noted });
        }
    }

    /// Only `status` and `why` want to know, so that a failure here is no matter.
    fn note(&self, env: &EnvName, noted: Noted) {
        let (directory, files) = (self.app.layout.moving(), self.app.host.files());
        if let Ok(bytes) = serde_json::to_vec(&noted) {
            let node = Node::File { bytes, mode: 0o600, owner: Identity::ROOT };
            let made = files.make_directory(&directory, 0o700, Identity::ROOT);
            made.and_then(|()| files.put(&env.record_in(&directory), &node)).ok();
        }
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).insert(env.clone(), noted);
    }
}

impl Report for Witness<'_> {
    fn event(&self, event: &Event<'_>) {
        self.see(None, event);
        self.told.event(event);
    }
}

/// The release of `env` that a process is at, if one is: a journal that is open while somebody holds the lock. One that nobody
/// holds is a dead process's, and the next pass ends it.
pub fn moving(cx: &Context<'_>, env: &EnvName) -> Option<Moving> {
    let by = lock::holder(cx, Place::Environment(env))?;
    let intent = Intent::find(cx, env).ok().flatten().filter(|intent| intent.moves() && !intent.removes())?;
    let Intent { to: generation, at: since, .. } = intent;
    let noted = cx.host.files().read(&env.record_in(&cx.layout.moving()), LIMIT).ok().flatten();
    let noted = noted.and_then(|bytes| serde_json::from_slice::<Noted>(&bytes).ok());
    let noted = noted.filter(|noted| noted.generation == generation);
    let (to, phase) = noted.map_or((None, None), |noted| (Some(noted.to), noted.phase));
    Some(Moving { generation, to, since, phase, by })
}
