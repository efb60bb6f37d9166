//! When a candidate is healthy. Pure: what was seen comes in, what to do next goes out.

use std::time::Duration;

/// The pause after the first failure and between passes.
const SHORT: Duration = Duration::from_millis(100);
/// The longest pause.
const LONG: Duration = Duration::from_secs(1);

/// What follows a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Try again after this pause.
    Again(Duration),
    /// As many passes in a row as were wanted.
    Healthy,
    /// Not before the deadline.
    OutOfTime,
}

/// Passes in a row, before a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streak {
    wanted: u32,
    deadline: Duration,
    passes: u32,
    failures: u32,
    tries: u32,
}

impl Streak {
    /// `wanted` passes in a row (at least one) within `deadline`, counted from the first try.
    pub fn new(wanted: u32, deadline: Duration) -> Self {
        Self { wanted: wanted.max(1), deadline, passes: 0, failures: 0, tries: 0 }
    }

    /// How many tries there were.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// How long the next try may take when `elapsed` has gone by; the rest of the deadline at most.
    pub fn patience(&self, timeout: Duration, elapsed: Duration) -> Duration {
        timeout.min(self.deadline.saturating_sub(elapsed)).max(Duration::from_millis(1))
    }

    /// Counts a try that ended `elapsed` after the first one's begin.
    pub fn count(&mut self, passed: bool, elapsed: Duration) -> Step {
        self.tries += 1;
        self.passes = if passed { self.passes + 1 } else { 0 };
        self.failures = if passed { 0 } else { self.failures + 1 };
        if self.passes >= self.wanted {
            return Step::Healthy;
        }
        let pause = self.pause();
        if elapsed + pause >= self.deadline { Step::OutOfTime } else { Step::Again(pause) }
    }

    /// A program that boots is asked often at first, one that stays silent once a second.
    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(8);
        (SHORT * 2_u32.pow(doublings)).min(LONG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn passes_must_come_in_a_row() {
        let mut streak = Streak::new(2, MINUTE);
        let mut count = |passed| streak.count(passed, Duration::ZERO);
        assert_eq!(count(true), Step::Again(SHORT));
        assert_eq!(count(false), Step::Again(SHORT));
        assert_eq!(count(true), Step::Again(SHORT));
        assert_eq!(count(true), Step::Healthy);
        assert_eq!(streak.tries(), 4);
        assert_eq!(Streak::new(0, MINUTE).count(false, Duration::ZERO), Step::Again(SHORT), "no pass is no health");
    }

    #[test]
    fn pauses_grow_to_a_second() {
        let mut streak = Streak::new(1, MINUTE);
        let pauses: Vec<u128> = (0..6)
            .map(|_| match streak.count(false, Duration::ZERO) {
                Step::Again(pause) => pause.as_millis(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn a_pause_beyond_the_deadline_is_not_taken() {
        let mut streak = Streak::new(2, MINUTE);
        assert_eq!(streak.count(true, MINUTE.saturating_sub(SHORT)), Step::OutOfTime);
        assert_eq!(streak.count(true, MINUTE), Step::Healthy, "what was seen counts, however late");
        assert_eq!(streak.patience(Duration::from_secs(5), MINUTE.saturating_sub(SHORT)), SHORT);
        assert_eq!(streak.patience(Duration::from_secs(5), Duration::ZERO), Duration::from_secs(5));
    }
}
