//! What must be true of a machine on which a program was killed, or met an error: at once, and once passes have come by.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use portreeve::agent::Outcome;
use portreeve::model::Digest;
use portreeve::policy::FailureClass;
use portreeve::transaction::Intent;

use crate::images::power_cuts;
use crate::machine::{Flaw, State};
use crate::oracle::{Judgement, active_number, is_half_made, leftovers, serving, set_aside, settled};
use crate::program::{Wish, after_recovery, pass, recover};
use crate::scenarios::standing;
use crate::site::{Stage, layout, name};

/// What a program does. An error is in words that a person would see.
pub type Work = Box<dyn Fn(&Stage) -> Result<(), String> + Sync>;

/// A program's work on a machine, and what may be true after it.
pub struct Scenario {
    pub name: &'static str,
    /// The machine before.
    pub before: State,
    /// The work.
    pub work: Work,
    /// What the deploy repository asks for.
    pub wish: Wish,
    /// What may serve while nothing has put things right: titles, `None` for nothing.
    pub meanwhile: Vec<Option<&'static str>>,
    /// What may serve at rest.
    pub finally: Vec<Option<&'static str>>,
    /// What else must be true at rest.
    pub also: fn(&State, &Wish) -> Judgement<()>,
    /// What must be true as soon as the work has closed its journal, also after a power cut.
    pub closed: fn(&State, &Wish) -> Judgement<()>,
    /// What nobody needs is gone: at rest after kills, but not where a disk refused to take it away.
    pub pruned: fn(&State) -> Judgement<()>,
}

/// How a program ended. The fewer of its calls worked, the more it may leave of what nobody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Killed: the next one tidies up.
    Killed,
    /// A call of it failed: what it could not take away may stay.
    Refused,
    /// A call of it failed, and it could not know what comes back after a power cut; or it was the tidying up that failed.
    Untidy,
}

/// What is left of what was being built, and of what nobody needs any more.
#[derive(Debug, Clone)]
struct Left {
    half_made: Judgement<()>,
    spare: Judgement<()>,
}

impl Left {
    fn after(self, end: End) -> Judgement<()> {
        match end {
            End::Killed => self.half_made.and(self.spare),
            End::Refused => self.half_made,
            End::Untidy => Ok(()),
        }
    }
}

/// What was found out of machines in one scenario, by their [`key`]: they come up again and again.
#[derive(Debug, Default)]
pub struct Memory {
    /// As a program left them.
    left: Known<Left>,
    /// As a recovery left them.
    recovered: Known<Left>,
    /// As a killed program left them a moment ago.
    young: Known<()>,
}

#[derive(Debug)]
struct Known<T>(Mutex<HashMap<u64, Judgement<T>>>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Known<T> {
    fn once(&self, state: &State, judge: impl FnOnce() -> Judgement<T>) -> Judgement<T> {
        let key = key(state);
        let known = self.0.lock().expect("no panic").get(&key).cloned();
        known.unwrap_or_else(|| {
            let judged = judge();
            self.0.lock().expect("no panic").insert(key, judged.clone());
            judged
        })
    }
}

/// The same for machines that differ in nothing but time.
pub fn key(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.storage.fingerprint().hash(&mut hasher);
    state.services.key().hash(&mut hasher);
    state.front.hash(&mut hasher);
    hasher.finish()
}

/// Judges the machines of one scenario.
pub struct Judge<'a> {
    pub scenario: &'a Scenario,
    /// What the disk does wrong from now on.
    flaw: Flaw,
    memory: &'a Memory,
}

impl<'a> Judge<'a> {
    pub fn new(scenario: &'a Scenario, flaw: Flaw, memory: &'a Memory) -> Self {
        Self { scenario, flaw, memory }
    }

    pub fn stage(&self, state: &State) -> Stage {
        let stage = Stage::new(state.clone());
        stage.host.machine.flaw.set(self.flaw);
        stage
    }

    fn one_of(allowed: &[Option<&str>], found: Option<&str>) -> Judgement<()> {
        if allowed.contains(&found) { Ok(()) } else { Err(format!("{found:?} serves, not one of {allowed:?}")) }
    }

    /// The machine as it was found, and what a pass makes of it that comes by so much later.
    pub fn state(&self, state: &State, later: Duration, end: End) -> Judgement<()> {
        let state = State { clock: later, ..state.clone() };
        let judged = self.memory.left.once(&state, || {
            self.as_found(&state)?;
            self.converges(&state)
        });
        judged?.after(end)
    }

    fn as_found(&self, state: &State) -> Judgement<()> {
        Self::one_of(&self.scenario.meanwhile, serving(state)?.as_deref())
            .map_err(|why| format!("before recovery: {why}"))
    }

    /// What was promised by the work itself, when that has closed the journal.
    pub fn promised(&self, state: &State) -> Judgement<()> {
        if !state.storage.names(&layout().journal()).is_empty() {
            return Ok(());
        }
        let promised = (self.scenario.closed)(state, &self.scenario.wish);
        promised.map_err(|why| format!("the journal is closed: {why}"))
    }

    /// What was done stays done: a power cut that follows takes nothing of it.
    pub fn done(&self, state: &State) -> Vec<String> {
        let cuts = power_cuts(state);
        cuts.filter_map(|(image, dark)| {
            let wrong = same_as(state, &dark).err()?;
            Some(format!("{}: done, then {image}: not durable: {wrong}", self.scenario.name))
        })
        .collect()
    }

    /// One pass puts everything right, and the next has nothing to do.
    fn converges(&self, state: &State) -> Judgement<Left> {
        let stage = self.stage(state);
        let owed = Owed::by(state);
        recover(&stage).map_err(|failure| format!("a recovery fails: {failure}"))?;
        let recovered = stage.state();
        owed.paid(&recovered)?;
        self.memory.recovered.once(&recovered, || self.goes_on(&stage))
    }

    /// Somebody comes by at once: what was half made then may be somebody else's still, and is nobody's by the next pass.
    pub fn at_once(&self, state: &State) -> Judgement<()> {
        if !state.storage.has_hidden(is_half_made) {
            return Ok(());
        }
        let passed = |mut state: State, young: bool| {
            state.storage.young = young;
            let stage = self.stage(&state);
            match pass(&stage, &self.scenario.wish) {
                Outcome::Failed(failure) => Err(format!("it fails: {failure}")),
                _ => Ok(stage.state()),
            }
        };
        let is_swept = |state: &State| leftovers(&state.storage);
        self.memory.young.once(state, || {
            let rest = passed(state.clone(), true)?;
            if is_swept(&rest).is_ok() { Ok(()) } else { is_swept(&passed(rest, false)?) }
        })
    }

    fn goes_on(&self, stage: &Stage) -> Judgement<Left> {
        let first = after_recovery(stage, self.scenario.wish.want());
        if let Outcome::Failed(failure) = &first {
            return Err(format!("a pass fails: {failure}"));
        }
        let rest = stage.state();
        self.rests(&rest).map_err(|why| format!("after a pass ({first:?}): {why}"))?;
        self.idles(&rest)?;
        let spare = set_aside(&rest.storage).and_then(|()| (self.scenario.pruned)(&rest));
        Ok(Left { half_made: leftovers(&rest.storage), spare })
    }

    fn rests(&self, state: &State) -> Judgement<()> {
        Self::one_of(&self.scenario.finally, settled(state)?.as_deref())?;
        (self.scenario.also)(state, &self.scenario.wish)
    }

    fn idles(&self, rest: &State) -> Judgement<()> {
        let stage = self.stage(rest);
        stage.host.machine.watch();
        let second = pass(&stage, &self.scenario.wish);
        if let Outcome::Failed(_) | Outcome::NotReleased { .. } = second {
            return Err(format!("the second pass fails: {second:?}"));
        }
        match stage.host.machine.points().first() {
            Some(point) => Err(format!("the second pass ({second:?}) does something: {}", point.what)),
            None => Ok(()),
        }
    }
}

/// The same serves under the same orders.
fn same_as(live: &State, dark: &State) -> Judgement<()> {
    let record = |state: &State| state.storage.read(&layout().standing(&name()));
    let tell = |state: &State| Ok::<_, String>((settled(state)?, active_number(state), record(state)));
    let (before, after) = (tell(live)?, tell(dark)?);
    if (&before.0, before.1) != (&after.0, after.1) {
        return Err(format!("{:?} serves, generation {:?}, and not {:?}, {:?}", after.0, after.1, before.0, before.1));
    }
    if before.2 == after.2 { Ok(()) } else { Err("the record of holds and quarantine is another".to_owned()) }
}

/// A release whose journal says that it failed by its own fault: whatever happens, it is remembered.
pub struct Owed(Option<Digest>);

impl Owed {
    pub fn by(state: &State) -> Self {
        Self(failed(state))
    }

    /// It is in quarantine, as long as nobody who comes by is told any more that something is under way.
    pub fn paid(&self, state: &State) -> Judgement<()> {
        let Some(digest) = self.0 else { return Ok(()) };
        let is_open = state.storage.exists(&journal());
        let paid = is_open || standing(state).quarantined(digest).is_some();
        if paid {
            Ok(())
        } else {
            Err("a recovery forgets that the release failed: it is not in quarantine".to_owned())
        }
    }
}

fn journal() -> PathBuf {
    layout().journal().join(format!("{}.json", name().flat()))
}

fn failed(state: &State) -> Option<Digest> {
    let intent = Intent::parse(&journal(), &state.storage.read(&journal())?).ok()?;
    intent.failed.filter(|verdict| verdict.class == FailureClass::Release && intent.asked)?;
    intent.digest
}
