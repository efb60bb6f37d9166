//! Threads of which one runs at a time, in an order that a seed chooses: each of its schedules can be had again.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex};

thread_local! {
    /// Who this thread is; nobody outside of a schedule.
    static ACTOR: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Whose turn it is.
#[derive(Debug)]
pub struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    random: u64,
    alive: BTreeSet<usize>,
    running: usize,
    /// Changes of turn.
    switches: u64,
}

impl State {
    /// xorshift64*, by Marsaglia and Vigna.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    /// Bursts of several lengths, so that one actor gets far now and then while another stands still.
    fn choose(&mut self) {
        let stays = self.draw() % 8 < 5 && self.alive.contains(&self.running);
        if let (false, count @ 1..) = (stays, self.alive.len()) {
            let at = usize::try_from(self.draw()).unwrap_or_default() % count;
            let next = self.alive.iter().copied().nth(at).unwrap_or_default();
            self.switches += u64::from(next != self.running);
            self.running = next;
        }
    }
}

impl Turns {
    /// Turns in which nobody takes part yet.
    pub fn new() -> Self {
        let state = State { random: 1, alive: BTreeSet::new(), running: 0, switches: 0 };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Runs the actors to their ends by the seed's schedule. How often the turn went to another one.
    pub fn run(&self, seed: u64, actors: Vec<Box<dyn FnOnce() + Send + '_>>) -> u64 {
        {
            let mut state = self.state.lock().expect("nobody panicked");
            state.random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
            state.alive = (0..actors.len()).collect();
            state.switches = 0;
            state.running = usize::MAX;
            state.choose();
        }
        std::thread::scope(|scope| {
            for (number, actor) in actors.into_iter().enumerate() {
                scope.spawn(move || {
                    ACTOR.set(Some(number));
                    let _end = End(self, number);
                    self.wait(number);
                    actor();
                });
            }
        });
        self.state.lock().expect("nobody panicked").switches
    }

    /// A point at which another actor may go on instead.
    pub fn step(&self) {
        let Some(number) = ACTOR.get() else { return };
        self.state.lock().expect("nobody panicked").choose();
        self.changed.notify_all();
        self.wait(number);
    }

    fn wait(&self, number: usize) {
        let state = self.state.lock().expect("nobody panicked");
        drop(self.changed.wait_while(state, |state| state.running != number).expect("nobody panicked"));
    }
}

/// An actor that has ended, or panicked, keeps nobody waiting.
struct End<'a>(&'a Turns, usize);

impl Drop for End<'_> {
    fn drop(&mut self) {
        ACTOR.set(None);
        if let Ok(mut state) = self.0.state.lock() {
            state.alive.remove(&self.1);
            state.choose();
        }
        self.0.changed.notify_all();
    }
}
