//! Time, and the wish to stop.
#![expect(clippy::disallowed_methods, reason = "the one clock that the others are handed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Clock;

/// How late a sleeper may notice that it is cancelled.
const STEP: Duration = Duration::from_millis(50);

/// The machine's clock. Clones share the origin and the wish to stop.
#[derive(Debug, Clone)]
pub struct RealClock {
    origin: Instant,
    cancel: Arc<AtomicBool>,
}

impl RealClock {
    /// A clock whose sleeps end once `cancel` is set, by a signal handler or by another thread.
    pub fn new(cancel: Arc<AtomicBool>) -> Self {
        Self { origin: Instant::now(), cancel }
    }
}

impl Clock for RealClock {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn sleep(&self, time: Duration) {
        let begun = Instant::now();
        while !self.cancelled() {
            let left = time.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(STEP));
        }
    }

    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_takes_its_time() {
        let clock = RealClock::new(Arc::default());
        let before = clock.monotonic();
        clock.sleep(Duration::from_millis(70));
        assert!(clock.monotonic() >= before + Duration::from_millis(70));
    }

    #[test]
    fn a_cancelled_sleeper_wakes() {
        let cancel = Arc::new(AtomicBool::new(false));
        let clock = RealClock::new(Arc::clone(&cancel));
        let sleeper = std::thread::spawn({
            let clock = clock.clone();
            move || clock.sleep(Duration::from_hours(1))
        });
        cancel.store(true, Ordering::Relaxed);
        sleeper.join().unwrap();
        assert!(clock.cancelled());
        assert!(clock.monotonic() < Duration::from_mins(1));
    }
}
