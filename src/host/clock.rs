//! Time, and the wish to stop.
#![expect(clippy::disallowed_methods, reason = "the one clock that the others are handed")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::SignedDuration;

use super::Clock;
use crate::model::Boot;

/// Another one after each boot (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The first process of this machine, or of this container.
const INIT: &str = "/proc/1/stat";
/// Of the kernel's boot, in hundredths of a second (`proc_pid_stat(5)`): its place after the name.
const START: usize = 19;
/// No kernel takes longer to its first process. A container's is younger, and what it has of the kernel's name may outlast it.
const KERNEL: SignedDuration = SignedDuration::from_mins(1);

/// The machine's clock. Clones share the origin and the wish to stop.
#[derive(Debug, Clone)]
pub struct RealClock {
    origin: Instant,
    boot: Arc<OnceLock<Begun>>,
    cancel: Arc<AtomicBool>,
}

/// What this boot is called, and how long after the kernel's it began.
#[derive(Debug, Clone)]
struct Begun {
    id: String,
    late: SignedDuration,
}

impl Begun {
    fn read() -> Self {
        let id = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
        Self::of(id.trim(), &std::fs::read_to_string(INIT).unwrap_or_default())
    }

    fn of(id: &str, init: &str) -> Self {
        let start = init.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(START)?.parse().ok());
        let late = SignedDuration::from_millis(start.unwrap_or(0_i64).saturating_mul(10));
        if late < KERNEL {
            return Self { id: id.to_owned(), late: SignedDuration::ZERO };
        }
        Self { id: format!("{id}+{}", late.as_secs()), late }
    }
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
        let begun = self.boot.get_or_init(Begun::read);
        let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let up = SignedDuration::new(up.tv_sec, i32::try_from(up.tv_nsec).unwrap_or_default());
        Boot::new(&begun.id, self.now().checked_sub(up - begun.late).unwrap_or_default())
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
    fn a_container_boots_by_itself() {
        let stat = |start: &str| format!("1 (a ) b) S 0 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 {start} 174 3 184");
        let begun = |start| {
            let Begun { id, late } = Begun::of("5a9a", &stat(start));
            (id, late.as_secs())
        };
        assert_eq!(begun("31"), ("5a9a".to_owned(), 0));
        assert_eq!(begun("720050"), ("5a9a+7200".to_owned(), 7200));
        assert_eq!(Begun::of("5a9a", "").id, "5a9a", "nobody may look");
        let boot = RealClock::new(Arc::default()).boot();
        assert!(boot.began < jiff::Timestamp::now() && !boot.id.is_empty(), "{boot:?}");
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
