//! Kills a program at each point of its work, loses what a disk may lose, and lets the next passes put things right.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use crate::images::{Image, extremes, images, power_cuts};
use crate::judge::{End, Judge, Memory, Owed, Scenario, key};
use crate::machine::{Flaw, Point, Refusal, State};
use crate::oracle::{Judgement, active_number};
use crate::program::recover;
use crate::site::{Stage, layout};
use crate::tally::Tally;

/// An hour goes by until somebody looks again.
const LATER: Duration = Duration::from_hours(1);

/// What a sweep is after: whatever is wrong, or what a flaw makes wrong.
#[derive(Debug, Clone, Copy)]
pub struct Hunt {
    pub flaw: Flaw,
    /// How that is told; one finding is enough.
    pub words: &'static str,
}

impl Hunt {
    /// A sound disk.
    pub const SOUND: Self = Self { flaw: Flaw::None, words: "" };
}

/// How far a hunt has come.
struct Trail {
    hunt: Hunt,
    caught: AtomicBool,
}

impl Trail {
    fn of(hunt: Hunt) -> Self {
        Self { hunt, caught: AtomicBool::new(false) }
    }

    /// One more point, unless enough is known.
    fn look(&self, look: impl FnOnce() -> Vec<String>) -> Vec<String> {
        if self.caught.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let wrong = look();
        let caught = self.hunt.flaw != Flaw::None && wrong.iter().any(|wrong| wrong.contains(self.hunt.words));
        self.caught.fetch_or(caught, Ordering::Relaxed);
        wrong
    }
}

/// Runs the work, and hands back every point at which it could have been killed.
fn points(scenario: &Scenario, flaw: Flaw) -> Vec<Point> {
    let stage = Stage::new(scenario.before.clone());
    stage.host.machine.flaw.set(flaw);
    stage.host.machine.watch();
    let done = (scenario.work)(&stage);
    let points = stage.host.machine.points();
    let as_meant = done.is_ok() && !points.is_empty();
    assert!(flaw != Flaw::None || as_meant, "{}: {done:?} after {} points", scenario.name, points.len());
    points
}

/// Kills at every point, and when all is done; loses what was not synced.
pub fn kills(scenario: &Scenario, hunt: Hunt, memory: &Memory) -> Tally {
    let judge = Judge::new(scenario, hunt.flaw, memory);
    let (points, trail) = (points(scenario, hunt.flaw), Trail::of(hunt));
    let done = points.last().map(|last| trail.look(|| judge.done(&last.state)));
    let mut tally = in_parallel(&points, |point| Tally {
        kills: point.count,
        half_applied: trail.look(|| killed(&judge, point)),
        ..Tally::default()
    });
    tally.half_applied.extend(done.unwrap_or_default());
    tally
}

fn killed(judge: &Judge<'_>, point: &Point) -> Vec<String> {
    let judge_it = |(image, state): Image| {
        let judged = judge.promised(&state).and_then(|()| judge.state(&state, LATER, End::Killed));
        judged.err().map(|why| format!("{}: killed {}; {image}: {why}", judge.scenario.name, point.what))
    };
    let hasty = judge
        .at_once(&point.state)
        .err()
        .map(|why| format!("{}: killed {}, and passes at once: {why}", judge.scenario.name, point.what));
    images(&point.state).filter_map(judge_it).chain(hasty).collect()
}

/// Kills at every point, and then the recovery at each of its own, or lets that call of it fail. The flaw is the recovery's.
pub fn pairs(scenario: &Scenario, hunt: Hunt, memory: &Memory) -> Tally {
    let (judge, trail) = (Judge::new(scenario, hunt.flaw, memory), Trail::of(hunt));
    let known: Mutex<HashMap<(u64, bool), Recovery>> = Mutex::default();
    in_parallel(&points(scenario, Flaw::None), |point| {
        let mut tally = Tally::default();
        for (at, (image, mut state)) in extremes(&point.state).enumerate() {
            state.clock = LATER;
            // After a power cut recovery's calls are the same as after a kill, or fewer.
            let finely = at == 0;
            let key = (key(&state), finely);
            let again = known.lock().expect("no panic").get(&key).copied();
            let recovery = again.unwrap_or_else(|| {
                let mut recovery = Recovery::default();
                let told = |why: String| format!("{}: killed {}; {image}: {why}", scenario.name, point.what);
                let wrong = trail.look(|| second_blows(&judge, finely, &state, &mut recovery));
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
#[derive(Debug, Clone, Copy, Default)]
struct Recovery {
    kills: usize,
    errors: usize,
}

/// What is wrong after a kill at any point of the recovery; `finely` also after mixed losses where a name has just come or gone, for
/// which directory was synced shows there, and after a failure of any call of it, with one error each by turns.
fn second_blows(judge: &Judge<'_>, finely: bool, state: &State, recovery: &mut Recovery) -> Vec<String> {
    let stage = judge.stage(state);
    stage.host.machine.watch();
    drop(recover(&stage));
    let points = stage.host.machine.points();
    let errors = if finely { stage.host.machine.calls() } else { 0 };
    *recovery = Recovery { kills: points.iter().map(|point| point.count).sum(), errors };
    let owed = Owed::by(state);
    let mut wrong: Vec<String> =
        points.iter().flat_map(|point| killed_again(judge, &owed, point, finely && point.changed_a_name())).collect();
    let refusals = (0..errors).map(|call| Refusal { call, errno: by_turns(call) });
    wrong.extend(refusals.filter_map(|refusal| refused_recovery(judge, state, refusal).err()));
    wrong
}

fn killed_again(judge: &Judge<'_>, owed: &Owed, point: &Point, mixed: bool) -> Vec<String> {
    let judge_it = |(image, state): Image| {
        let judged = owed.paid(&state).and_then(|()| judge.state(&state, LATER * 2, End::Killed));
        judged.err().map(|why| format!("recovery killed {}; {image}: {why}", point.what))
    };
    let state = &point.state;
    let hasty = judge
        .at_once(&point.state)
        .err()
        .map(|why| format!("recovery killed {}, and passes at once: {why}", point.what));
    if mixed {
        images(state).filter_map(judge_it).chain(hasty).collect()
    } else {
        extremes(state).filter_map(judge_it).chain(hasty).collect()
    }
}

fn refused_recovery(judge: &Judge<'_>, state: &State, refusal: Refusal) -> Judgement<()> {
    let (stage, owed) = (judge.stage(state), Owed::by(state));
    stage.host.machine.refusal.set(Some(refusal));
    let done = recover(&stage);
    stage.host.machine.refusal.set(None);
    let what = stage.host.machine.refused.borrow().clone().unwrap_or_default();
    let told = |why: String| format!("{} in recovery at {what}: {why}", refusal.errno);
    if let Err(failure) = &done {
        names_a_path(&failure.cause).map_err(told)?;
    }
    let state = stage.state();
    owed.paid(&state).and_then(|()| judge.state(&state, LATER * 2, End::Untidy)).map_err(told)?;
    // What else fails is either told or of no account: the work's own errors are followed by a power cut whatever failed.
    if what.starts_with("fsync") || what.starts_with("syncfs") {
        return dark(judge, &state, LATER * 2).map_err(told);
    }
    Ok(())
}

/// What an error costs that was passed over is seen once the power is cut.
fn dark(judge: &Judge<'_>, state: &State, later: Duration) -> Judgement<()> {
    power_cuts(state).try_for_each(|(image, dark)| {
        judge.state(&dark, later, End::Untidy).map_err(|why| format!("then {image}: {why}"))
    })
}

/// What a disk answers when it is full, broken, protected, or when the program has too many files open; when the kernel has no
/// memory, and when a signal came in between.
pub const ERRNOS: [Errno; 7] =
    [Errno::NOSPC, Errno::IO, Errno::ROFS, Errno::MFILE, Errno::DQUOT, Errno::NOMEM, Errno::INTR];

fn by_turns(call: usize) -> Errno {
    ERRNOS[call % ERRNOS.len()]
}

/// Lets every changing call fail once with each error; after one of these, by turns, the power is cut as well.
pub fn errors(scenario: &Scenario, hunt: Hunt, memory: &Memory) -> Tally {
    let judge = Judge::new(scenario, hunt.flaw, memory);
    let calls = {
        let stage = judge.stage(&scenario.before);
        (scenario.work)(&stage).expect("it works on a sound disk");
        stage.host.machine.calls()
    };
    let refusals: Vec<Refusal> = (0..calls).flat_map(|call| ERRNOS.map(|errno| Refusal { call, errno })).collect();
    let trail = Trail::of(hunt);
    in_parallel(&refusals, |refusal| {
        let half_applied = trail.look(|| refused(&judge, *refusal).err().into_iter().collect());
        Tally { errors: 1, half_applied, ..Tally::default() }
    })
}

fn refused(judge: &Judge<'_>, refusal: Refusal) -> Judgement<()> {
    let scenario = judge.scenario;
    let stage = judge.stage(&scenario.before);
    stage.host.machine.refusal.set(Some(refusal));
    let done = (scenario.work)(&stage);
    stage.host.machine.refusal.set(None);
    let what = stage.host.machine.refused.borrow().clone().unwrap_or_default();
    let told = |why: String| format!("{}: {} at {what}: {why} ({done:?})", scenario.name, refusal.errno);
    if let Err(words) = &done {
        names_a_path(words).map_err(told)?;
        if refusal.errno == Errno::INTR {
            return Err(told("nothing was refused, and it was not asked again".to_owned()));
        }
    }
    let state = stage.state();
    // What fails by the host's fault is not remembered.
    if done.is_ok() {
        judge.promised(&state).map_err(told)?;
    }
    let active = active_number(&state).filter(|&number| number > 0);
    let moved = active.is_some() && active != active_number(&scenario.before);
    if done.is_err() && moved && state.storage.names(&layout().journal()).is_empty() {
        return Err(told("it is said to have failed, and is what is active".to_owned()));
    }
    judge.state(&state, LATER, End::Refused).map_err(told)?;
    if refusal.errno == by_turns(refusal.call) { dark(judge, &state, LATER).map_err(told) } else { Ok(()) }
}

fn names_a_path(words: &str) -> Judgement<()> {
    let names_it = words.contains(layout().root().path().to_string_lossy().as_ref());
    if names_it { Ok(()) } else { Err(format!("the message names no path: {words}")) }
}

/// On both cores.
fn in_parallel<T: Sync>(items: &[T], work: impl Fn(&T) -> Tally + Sync) -> Tally {
    const THREADS: usize = 2;
    let (work, at) = (&work, AtomicUsize::new(0));
    let next = || items.get(at.fetch_add(1, Ordering::Relaxed));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut tally = Tally::default();
                    std::iter::from_fn(next).for_each(|item| tally.add(work(item)));
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
