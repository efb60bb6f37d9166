//! Time, and the wish to stop.
#![expect(clippy::disallowed_methods, reason = "the one clock that the others are handed")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::Clock;
use crate::model::Boot;

/// Another one after each boot (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The machine's clock. Clones share the origin and the wish to stop.
#[derive(Debug, Clone)]
pub struct RealClock {
    origin: Instant,
    boot: Arc<OnceLock<String>>,
    cancel: Arc<AtomicBool>,
}

impl RealClock {
    /// A clock that is cancelled once `cancel` is set, by a signal handler or by another thread.
    pub fn new(cancel: Arc<AtomicBool>) -> Self {
        Self { origin: Instant::now(), boot: Arc::default(), cancel }
    }
}

impl Clock for RealClock {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn boot(&self) -> Boot {
        let id = self.boot.get_or_init(|| std::fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned());
        let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let up = jiff::SignedDuration::new(up.tv_sec, i32::try_from(up.tv_nsec).unwrap_or_default());
        Boot { id: id.clone(), began: self.now().checked_sub(up).unwrap_or_default() }
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
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
    fn the_wish_to_stop_is_everybodys_who_has_the_clock() {
        let cancel = Arc::new(AtomicBool::new(false));
        let clock = RealClock::new(Arc::clone(&cancel));
        assert!(!clock.clone().cancelled());
        cancel.store(true, Ordering::Relaxed);
        assert!(clock.cancelled());
    }
}
