//! How many runs of git there may be at once. A server refuses more than a few that have not yet said who they are (sshd's
//! `MaxStartups`: ten), and each takes memory here.
#![expect(clippy::disallowed_methods, reason = "deadlines are monotonic, and this is where source/ waits")]

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// With one server.
const OF_SERVER: usize = 4;

/// With all servers together.
const IN_ALL: usize = 8;

/// The runs of this process, by server.
#[derive(Debug, Default)]
pub(super) struct Turns {
    under_way: Mutex<BTreeMap<String, usize>>,
    freed: Condvar,
}

/// Which others a run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// None: whatever applications' repositories are asked for, the deploy repository is heard.
    First,
    /// Those before it.
    InTurn,
}

/// A run's place among the others, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    server: &'a str,
    /// What is left of the run's deadline.
    pub left: Duration,
}

impl Turns {
    /// Waits for a turn with `server`; `None`: none came within the deadline.
    pub(super) fn take<'a>(&'a self, server: &'a str, rank: Rank, deadline: Duration) -> Option<Turn<'a>> {
        let begun = Instant::now();
        let waits = |under_way: &mut BTreeMap<String, usize>| rank == Rank::InTurn && !has_room(under_way, server);
        let waited = self.freed.wait_timeout_while(self.under_way(), deadline, waits);
        let (mut under_way, late) = waited.unwrap_or_else(PoisonError::into_inner);
        if late.timed_out() {
            return None;
        }
        *under_way.entry(server.to_owned()).or_default() += 1;
        Some(Turn { turns: self, server, left: deadline.saturating_sub(begun.elapsed()) })
    }

    fn under_way(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server that nobody is with is asked whatever the others do: those that stall hold up only their own.
fn has_room(under_way: &BTreeMap<String, usize>, server: &str) -> bool {
    let here = under_way.get(server).copied().unwrap_or_default();
    here == 0 || here < OF_SERVER && under_way.values().sum::<usize>() < IN_ALL
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(here) = self.turns.under_way().get_mut(self.server) {
            *here -= 1;
        }
        self.turns.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);
    const NOW: Duration = Duration::from_millis(1);

    fn take<'a>(turns: &'a Turns, server: &'a str, times: usize) -> Vec<Turn<'a>> {
        (0..times).map_while(|_| turns.take(server, Rank::InTurn, NOW)).collect()
    }

    #[test]
    fn four_of_a_server_and_eight_in_all() {
        let turns = Turns::default();
        let first = take(&turns, "one", 9);
        assert_eq!(first.len(), 4);
        let second = take(&turns, "two", 9);
        assert_eq!(second.len(), 4);
        assert_eq!(take(&turns, "three", 9).len(), 1, "two servers that stall do not stop a third");
        drop(first);
        assert_eq!(take(&turns, "three", 9).len(), 4);
    }

    #[test]
    fn the_deploy_repository_waits_for_nobody_and_counts() {
        let turns = Turns::default();
        let _one = turns.take("one", Rank::First, NOW).unwrap();
        let others = take(&turns, "one", 9);
        assert_eq!(others.len(), 3);
        assert!(turns.take("one", Rank::First, NOW).is_some());
    }

    #[test]
    fn whoever_waits_has_his_turn_and_never_are_there_more() {
        let (turns, now, most) = (Turns::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        let (turns, now, most) = (&turns, &now, &most);
        let (arrived, met) = channel();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                let arrived = arrived.clone();
                scope.spawn(move || {
                    let turn = turns.take("one", Rank::InTurn, LONG).expect("a turn");
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    let (go, wait) = channel::<()>();
                    arrived.send(go).unwrap();
                    wait.recv().unwrap_err();
                    now.fetch_sub(1, Ordering::SeqCst);
                    drop(turn);
                });
            }
            drop(arrived);
            // Each four that have met are let go together.
            for _ in 0..5 {
                drop((0..4).map(|_| met.recv().unwrap()).collect::<Vec<_>>());
            }
        });
        assert_eq!(most.load(Ordering::SeqCst), 4);
    }

    #[test]
    fn waiting_is_part_of_the_deadline() {
        let turns = Turns::default();
        let taken = take(&turns, "one", 4);
        assert!(turns.take("one", Rank::InTurn, Duration::from_millis(30)).is_none());
        drop(taken);
        assert!(turns.take("one", Rank::InTurn, LONG).is_some_and(|turn| turn.left <= LONG));
    }
}
