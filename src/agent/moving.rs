//! A release that is under way, as other processes see it: who, since when, and how far.

use std::cell::RefCell;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::host::{Host, HostError};
use crate::model::{EnvName, GenerationNumber, Identity, Layout, Node};
use crate::policy::Phase;
use crate::transaction::{Context, Event, Intent, Report};

/// No such record is larger.
const LIMIT: u64 = 64 * 1024;

/// A release that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// Tells another report, and notes for other processes how far each release is: in `/run`, of use only while the environment's
/// lock is held, so nobody has to take it away.
pub struct Witness<'a> {
    host: &'a dyn Host,
    layout: &'a Layout,
    told: &'a dyn Report,
    moving: RefCell<Option<(EnvName, Moving)>>,
}

impl std::fmt::Debug for Witness<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").field("moving", &self.moving).finish_non_exhaustive()
    }
}

impl<'a> Witness<'a> {
    /// A witness that tells `told`.
    pub fn new(app: &'a super::App, told: &'a dyn Report) -> Self {
        Self { host: &*app.host, layout: &app.layout, told, moving: RefCell::new(None) }
    }

    fn begin(&self, env: &EnvName, to: &str, generation: GenerationNumber) {
        let since = Some(self.host.clock().now());
        let moving = Moving { generation, to: Some(to.to_owned()), since, phase: None, by: String::new() };
        self.note((env.clone(), moving));
    }

    fn reach(&self, phase: Phase) {
        let before = self.moving.borrow().clone();
        if let Some((env, moving)) = before.filter(|(_, moving)| moving.phase != Some(phase)) {
            self.note((env, Moving { phase: Some(phase), ..moving }));
        }
    }

    /// Only `status` and `why` want to know, so that a failure here is no matter.
    fn note(&self, noted: (EnvName, Moving)) {
        let path = path(self.layout, &noted.0);
        if let (Some(parent), Ok(bytes)) = (path.parent(), serde_json::to_vec(&noted.1)) {
            let files = self.host.files();
            let node = Node::File { bytes, mode: 0o600, owner: Identity::ROOT };
            files.make_directory(parent, 0o700, Identity::ROOT).and_then(|()| files.put(&path, &node)).ok();
        }
        *self.moving.borrow_mut() = Some(noted);
    }
}

impl Report for Witness<'_> {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Begin { env, to, generation, .. } => self.begin(env, to, *generation),
            Event::Working { phase, .. } | Event::Done { phase, .. } | Event::Failed { phase, .. } => {
                self.reach(*phase)
            }
            Event::Repaired { .. } | Event::Note { .. } => {}
        }
        self.told.event(event);
    }
}

fn path(layout: &Layout, env: &EnvName) -> std::path::PathBuf {
    layout.runtime().join("moving").join(format!("{}.json", env.flat()))
}

/// The release of `env` that another process is at, if one is: a journal that is open while somebody holds the lock. One that
/// nobody holds is a dead process's, and the next pass ends it.
pub fn moving(cx: &Context<'_>, env: &EnvName) -> Option<Moving> {
    let intent = Intent::find(cx, env).ok().flatten()?;
    let lock = cx.layout.locks().join(format!("{}.lock", env.flat()));
    let Err(HostError::Locked { holder: by, .. }) = cx.host.files().lock(&lock, Duration::ZERO, "portreeve status")
    else {
        return None;
    };
    let noted = cx.host.files().read(&path(cx.layout, env), LIMIT).ok().flatten();
    let noted = noted.and_then(|bytes| serde_json::from_slice::<Moving>(&bytes).ok());
    let noted = noted.filter(|noted| noted.generation == intent.to);
    let unknown = Moving { generation: intent.to, to: None, since: None, phase: None, by: String::new() };
    Some(Moving { by, ..noted.unwrap_or(unknown) })
}
