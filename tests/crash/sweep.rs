//! Kills a program at each point of its work, loses what a disk may lose, and lets the next passes put things right.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portreeve::agent::Outcome;
use rustix::io::Errno;

use crate::host::boot;
use crate::machine::{Flaw, Point, Refusal, State};
use crate::oracle::{Judgement, leftovers, serving, settled};
use crate::program::{Wish, after_recovery, pass, recover};
use crate::site::{Stage, layout};
use crate::storage::Id;
use crate::tally::Tally;

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
}

/// With so many inodes at risk, all combinations of them are tried.
const ALL_COMBINATIONS: usize = 4;

/// An hour goes by until somebody looks again.
const LATER: Duration = Duration::from_hours(1);

/// What a machine may look like after a kill, and after a power cut.
fn images(point: &State, losses: Losses) -> Vec<(String, State)> {
    let mut images = vec![("the program was killed".to_owned(), point.clone())];
    let risk = point.storage.at_risk();
    let losses: Vec<BTreeSet<Id>> = if losses == Losses::All {
        vec![risk.iter().copied().collect()]
    } else if risk.len() <= ALL_COMBINATIONS {
        (0..1_usize << risk.len())
            .map(|bits| risk.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, id)| *id).collect())
            .collect()
    } else {
        let all: BTreeSet<Id> = risk.iter().copied().collect();
        let alone_kept = risk.iter().map(|id| all.iter().copied().filter(|other| other != id).collect());
        let alone_lost = risk.iter().map(|id| BTreeSet::from([*id]));
        [BTreeSet::new(), all.clone()].into_iter().chain(alone_lost).chain(alone_kept).collect()
    };
    for lost in losses {
        let mut state = State { storage: point.storage.after_power_cut(&lost), ..point.clone() };
        state.storage.collect();
        boot(&mut state, &layout());
        let of = risk.len();
        images.push((format!("power cut, {} of {of} unsynced lost: {lost:?}", lost.len()), state));
    }
    images
}

/// How finely power cuts are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Losses {
    /// Each directory and file on its own.
    Mixed,
    /// Everything that was not synced is lost.
    All,
}

fn key(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.storage.fingerprint().hash(&mut hasher);
    state.services.key().hash(&mut hasher);
    state.front.hash(&mut hasher);
    hasher.finish()
}

/// Judges machines once, however often they come up.
struct Judge<'a> {
    scenario: &'a Scenario,
    flaw: Flaw,
    /// What was being built when a program was killed is gone at rest.
    tidy: bool,
    known: Known<()>,
    recovered: &'a Recovered,
}

/// What was judged of machines, by their [`key`].
#[derive(Debug, Default)]
pub struct Known<T>(Mutex<HashMap<u64, Judgement<T>>>);

/// What becomes of machines on which a recovery has ended: most of them are the same. What is left of what was being built.
pub type Recovered = Known<Option<String>>;

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

impl<'a> Judge<'a> {
    fn new(scenario: &'a Scenario, flaw: Flaw, recovered: &'a Recovered) -> Self {
        Self { scenario, flaw, tidy: true, known: Known::default(), recovered }
    }

    /// Of a recovery that was itself kept from tidying up: what it left is hidden, and read by nobody.
    fn of_untidy(scenario: &'a Scenario, recovered: &'a Recovered) -> Self {
        Self { tidy: false, ..Self::new(scenario, Flaw::None, recovered) }
    }

    fn stage(&self, state: &State) -> Stage {
        let stage = Stage::new(state.clone());
        stage.host.machine.flaw.set(self.flaw);
        stage
    }

    fn one_of(allowed: &[Option<&str>], found: Option<&str>) -> Judgement<()> {
        if allowed.contains(&found) { Ok(()) } else { Err(format!("{found:?} serves, not one of {allowed:?}")) }
    }

    /// The machine as it was found, and then what passes make of it.
    fn state(&self, state: &State) -> Judgement<()> {
        Self::one_of(&self.scenario.meanwhile, serving(state)?.as_deref())
            .map_err(|why| format!("before recovery: {why}"))?;
        self.converges(state)
    }

    /// The same, when it was the work itself that closed the journal.
    fn work(&self, state: &State) -> Judgement<()> {
        if state.storage.names(&layout().journal()).is_empty() {
            let promised = (self.scenario.closed)(state, &self.scenario.wish);
            promised.map_err(|why| format!("the journal is closed: {why}"))?;
        }
        self.state(state)
    }

    /// One pass puts everything right, and the next has nothing to do.
    fn converges(&self, state: &State) -> Judgement<()> {
        let stage = self.stage(state);
        recover(&stage).map_err(|failure| format!("a recovery fails: {failure}"))?;
        match self.recovered.once(&stage.state(), || self.goes_on(&stage))? {
            Some(left) if self.tidy => Err(left),
            _ => Ok(()),
        }
    }

    /// What is left of what was being built.
    fn goes_on(&self, stage: &Stage) -> Judgement<Option<String>> {
        let first = after_recovery(stage, self.scenario.wish.want());
        if let Outcome::Failed(failure) = &first {
            return Err(format!("a pass fails: {failure}"));
        }
        let rest = stage.state();
        self.rests(&rest).map_err(|why| format!("after a pass ({first:?}): {why}"))?;
        let stage = self.stage(&rest);
        stage.host.machine.watch();
        let second = pass(&stage, &self.scenario.wish);
        match stage.host.machine.points().first() {
            Some(point) => Err(format!("the second pass ({second:?}) does something: {}", point.what)),
            None => Ok(leftovers(&rest.storage).err()),
        }
    }

    fn rests(&self, state: &State) -> Judgement<()> {
        Self::one_of(&self.scenario.finally, settled(state)?.as_deref())?;
        (self.scenario.also)(state, &self.scenario.wish)
    }
}

/// Runs the work, and hands back every point at which it could have been killed.
fn points(scenario: &Scenario, flaw: Flaw) -> Vec<Point> {
    let stage = Stage::new(scenario.before.clone());
    stage.host.machine.flaw.set(flaw);
    stage.host.machine.watch();
    let done = (scenario.work)(&stage);
    assert!(flaw != Flaw::None || done.is_ok(), "{}: {done:?}", scenario.name);
    stage.host.machine.points()
}

/// Kills at every point, and loses every mixture of what was not synced. A flawed disk has been found out after one finding.
pub fn kills(scenario: &Scenario, flaw: Flaw, recovered: &Recovered) -> Tally {
    let judge = Judge::new(scenario, flaw, recovered);
    let seen = AtomicBool::new(false);
    in_parallel(&points(scenario, flaw), |point| {
        let mut tally = Tally { kills: point.count, ..Tally::default() };
        if flaw != Flaw::None && seen.load(Ordering::Relaxed) {
            return tally;
        }
        for (image, mut state) in images(&point.state, Losses::Mixed) {
            state.clock = LATER;
            let told = |why: String| format!("{}: killed {}; {image}: {why}", scenario.name, point.what);
            tally.half_applied.extend(judge.known.once(&state, || judge.work(&state)).err().map(told));
        }
        seen.fetch_or(!tally.half_applied.is_empty(), Ordering::Relaxed);
        tally
    })
}

/// Kills at every point, and then the recovery at each of its own, or lets that call of it fail.
pub fn pairs(scenario: &Scenario, recovered: &Recovered) -> Tally {
    let (judge, untidy) = (Judge::new(scenario, Flaw::None, recovered), Judge::of_untidy(scenario, recovered));
    let known: Mutex<HashMap<(u64, bool), Recovery>> = Mutex::default();
    in_parallel(&points(scenario, Flaw::None), |point| {
        let mut tally = Tally::default();
        for (at, (image, mut state)) in images(&point.state, Losses::All).into_iter().enumerate() {
            state.clock = LATER;
            // After a power cut recovery's calls are the same as after a kill, or fewer.
            let refused = (at == 0).then_some(&untidy);
            let key = (key(&state), at == 0);
            let again = known.lock().expect("no panic").get(&key).copied();
            let recovery = again.unwrap_or_else(|| {
                let (recovery, wrong) = second_blows(&judge, refused, &state);
                let told = |why: String| format!("{}: killed {}; {image}: {why}", scenario.name, point.what);
                tally.half_applied.extend(wrong.into_iter().map(told));
                known.lock().expect("no panic").insert(key, recovery);
                recovery
            });
            tally.pairs += recovery.kills * point.count;
            tally.errors += recovery.errors * usize::from(again.is_none());
        }
        tally
    })
}

/// How many blows a recovery was struck.
#[derive(Debug, Clone, Copy)]
struct Recovery {
    kills: usize,
    errors: usize,
}

/// What is wrong after a kill at any point of the recovery, and after a failure of any call of it, with one error each by turns,
/// if somebody is to judge that.
fn second_blows(judge: &Judge<'_>, untidy: Option<&Judge<'_>>, state: &State) -> (Recovery, Vec<String>) {
    let stage = judge.stage(state);
    stage.host.machine.watch();
    drop(recover(&stage));
    let (kills, mut wrong) = second_kills(judge, stage.host.machine.points());
    let errors = untidy.map_or(0, |_| stage.host.machine.calls());
    let refusals = (0..errors).map(|call| Refusal { call, errno: ERRNOS[call % ERRNOS.len()] });
    let refused = |refusal| refused_recovery(untidy?, state, refusal).err();
    wrong.extend(refusals.filter_map(refused));
    (Recovery { kills, errors }, wrong)
}

fn refused_recovery(judge: &Judge<'_>, state: &State, refusal: Refusal) -> Judgement<()> {
    let stage = judge.stage(state);
    stage.host.machine.refusal.set(Some(refusal));
    drop(recover(&stage));
    stage.host.machine.refusal.set(None);
    let what = stage.host.machine.refused.borrow().clone().unwrap_or_default();
    let mut state = stage.state();
    state.clock = LATER * 2;
    let told = |why: String| format!("{} in recovery at {what}: {why}", refusal.errno);
    judge.known.once(&state, || judge.state(&state)).map_err(told)
}

fn second_kills(judge: &Judge<'_>, points: Vec<Point>) -> (usize, Vec<String>) {
    let (mut count, mut wrong) = (0, Vec::new());
    for point in points {
        count += point.count;
        for (image, mut state) in images(&point.state, Losses::All) {
            state.clock = LATER * 2;
            let told = |why: String| format!("recovery killed {}; {image}: {why}", point.what);
            wrong.extend(judge.known.once(&state, || judge.state(&state)).err().map(told));
        }
    }
    (count, wrong)
}

/// What a disk answers when it is full, broken, protected, or when the program has too many files open; when the kernel has no
/// memory, and when a signal came in between.
pub const ERRNOS: [Errno; 7] =
    [Errno::NOSPC, Errno::IO, Errno::ROFS, Errno::MFILE, Errno::DQUOT, Errno::NOMEM, Errno::INTR];

/// Lets every changing call fail once with each error.
pub fn errors(scenario: &Scenario, recovered: &Recovered) -> Tally {
    let calls = {
        let stage = Stage::new(scenario.before.clone());
        (scenario.work)(&stage).expect("it works on a sound disk");
        stage.host.machine.calls()
    };
    let refusals: Vec<Refusal> = (0..calls).flat_map(|call| ERRNOS.map(|errno| Refusal { call, errno })).collect();
    let judge = Judge::new(scenario, Flaw::None, recovered);
    in_parallel(&refusals, |refusal| {
        let wrong = refused(&judge, *refusal).err();
        Tally { errors: 1, half_applied: wrong.into_iter().collect(), ..Tally::default() }
    })
}

fn refused(judge: &Judge<'_>, refusal: Refusal) -> Judgement<()> {
    let scenario = judge.scenario;
    let stage = Stage::new(scenario.before.clone());
    stage.host.machine.refusal.set(Some(refusal));
    let done = (scenario.work)(&stage);
    stage.host.machine.refusal.set(None);
    let what = stage.host.machine.refused.borrow().clone().unwrap_or_default();
    let told = |why: String| format!("{}: {} at {what}: {why} ({done:?})", scenario.name, refusal.errno);
    let mut state = stage.state();
    Judge::one_of(&scenario.meanwhile, serving(&state).map_err(told)?.as_deref()).map_err(told)?;
    if let Err(words) = &done {
        let names_it = words.contains(layout().root().path().to_string_lossy().as_ref());
        if !names_it {
            return Err(told("the message names no path".to_owned()));
        }
    }
    state.clock = LATER;
    judge.known.once(&state, || judge.converges(&state)).map_err(told)
}

/// On both cores.
fn in_parallel<T: Sync>(items: &[T], work: impl Fn(&T) -> Tally + Sync) -> Tally {
    const THREADS: usize = 2;
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                scope.spawn(move || {
                    let mut tally = Tally::default();
                    items.iter().skip(thread).step_by(THREADS).for_each(|item| tally.add(work(item)));
                    tally
                })
            })
            .collect();
        let mut all = Tally::default();
        for thread in threads {
            all.add(thread.join().expect("no panic"));
        }
        all
    })
}
