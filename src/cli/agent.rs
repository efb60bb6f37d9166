//! `portreeve agent`: passes on schedule, until told to stop, or until a new binary takes over.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sd_notify::NotifyState;

use super::args::Global;
use super::outcome::{Voice, tell_all, tell_one};
use super::reopened::Reopened;
use super::takeover::Installed;
use super::wake::{Ends, Wake};
use super::{Fault, printer, signals};
use crate::agent::{App, Outcome, Witness, pass_telling, schedule, tell};
use crate::host::Clock;
use crate::model::EnvName;
use crate::transaction::chain;

/// How late a signal is noticed between two passes.
const GLANCE: Duration = Duration::from_millis(500);

/// No wait is longer.
const DAY: Duration = Duration::from_hours(24);

/// Runs until SIGTERM or SIGINT; a pass that is under way ends at its next safe point. SIGHUP begins a pass.
pub fn run(global: &Global) -> Result<u8, Fault> {
    let wake = &Arc::new(Wake::default());
    let hung_up = Arc::clone(wake);
    let cancel = signals::cancelled_agent(|| notify(&[NotifyState::Watchdog]), move || hung_up.now())?;
    let mut host = Reopened::first(global, Arc::clone(&cancel))?;
    let mut installed = Installed::now(&host.now());
    notify(&[NotifyState::Ready]);
    // A pass that still has a release under way holds up no later one; all of them have ended when this does.
    std::thread::scope(|scope| {
        let mut passes = Vec::new();
        while !cancel.load(Ordering::SeqCst) {
            let app = host.now();
            let of_pass = Arc::clone(&app);
            let mut ends = Ends::after(&app, app.host.clock().monotonic());
            passes.push(scope.spawn(move || guarded(&of_pass, global, wake)));
            wait(app.host.clock(), wake, || ends.look(wake), |now| announced(&app, now));
            passes.retain(|pass| !pass.is_finished());
            if passes.is_empty() {
                installed.give_way(&app);
            }
        }
    });
    notify(&[NotifyState::Stopping]);
    Ok(0)
}

/// The next pass after `now`, which systemd is told of.
fn announced(app: &App, now: Timestamp) -> Timestamp {
    let offset = schedule::offset(&app.name, app.settings.jitter.duration());
    let next = app.settings.schedule.next_after(now, offset);
    let text = format!("next pass {}", next.strftime("%H:%M:%S UTC"));
    notify(&[NotifyState::Status(&text)]);
    next
}

/// Our own mistakes end one pass, not the agent.
fn guarded(app: &App, global: &Global, wake: &Wake) {
    if catch_unwind(AssertUnwindSafe(|| one(app, global, wake))).is_err() {
        printer::error(&Fault::blocked("portreeve itself failed in this pass; the next one comes; please report this"));
    }
}

fn one(app: &App, global: &Global, wake: &Wake) {
    let progress = printer::Progress::labelled(global);
    let told = Mutex::new(BTreeSet::new());
    let hear = |name: &EnvName, outcome: &Outcome| {
        // One at a time, so that nobody's lines stand among another's.
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        tell_one(app, name, outcome, Voice::Quiet);
        told.insert(name.clone());
    };
    let pass = pass_telling(app, &Witness::new(app, &progress), &BTreeSet::new(), &hear);
    let told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    let notes = tell(app, pass.as_ref(), true);
    match pass {
        Ok(mut report) => {
            wake.after(app, &report);
            report.outcomes.retain(|name, _| !told.contains(name));
            super::reconcile::mistakes(&report.survey, global);
            tell_all(app, &report, Voice::Quiet);
        }
        Err(failure) => printer::error(&super::reconcile::fault(&failure)),
    }
    for note in notes {
        printer::note(&note);
    }
}

/// By the wall clock, as the schedule is: when that is set back, until the schedule's next time by it. A clock must not stop the
/// agent, so that it never takes longer than it looked like when it began, nor than a day. Not so long where something wakes it,
/// for which `look` looks.
fn wait(clock: &dyn Clock, wake: &Wake, mut look: impl FnMut(), next_after: impl Fn(Timestamp) -> Timestamp) {
    let mut now = clock.now();
    let mut next = next_after(now);
    let longest = clock.monotonic() + until(now, next).min(DAY);
    look();
    while !clock.cancelled() && now < next && clock.monotonic() < longest && !wake.has_come(clock.monotonic()) {
        clock.sleep(until(now, next).min(GLANCE));
        let before = std::mem::replace(&mut now, clock.now());
        if now < before {
            next = next.min(next_after(now));
        }
        look();
    }
}

fn until(now: Timestamp, next: Timestamp) -> Duration {
    Duration::try_from(next.duration_since(now)).unwrap_or_default()
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        printer::note(&format!("systemd was not told: {}", chain(&error)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Boot;
    use std::cell::Cell;

    use jiff::SignedDuration;

    /// A clock that is set, once, when it has been slept by for so long.
    struct Reset {
        now: Cell<Timestamp>,
        slept: Cell<Duration>,
        at: Duration,
        by: SignedDuration,
    }

    impl Clock for Reset {
        fn now(&self) -> Timestamp {
            self.now.get()
        }

        fn monotonic(&self) -> Duration {
            self.slept.get()
        }

        fn boot(&self) -> Boot {
            Boot::new("", Timestamp::UNIX_EPOCH)
        }

        fn sleep(&self, time: Duration) {
            let before = self.slept.replace(self.slept.get() + time);
            self.now.set(self.now.get() + time);
            if before <= self.at && self.at < self.slept.get() {
                self.now.set(self.now.get() + self.by);
            }
        }

        fn cancelled(&self) -> bool {
            false
        }
    }

    /// How long the agent waits for `schedule` at 12:00:30 by a clock that is set after `at` seconds.
    fn waited(schedule: &str, at: u64, by: SignedDuration) -> u64 {
        waited_with(&Wake::default(), schedule, at, by)
    }

    fn waited_with(wake: &Wake, schedule: &str, at: u64, by: SignedDuration) -> u64 {
        let (now, at) = ("2026-11-21T12:00:30Z".parse().unwrap(), Duration::from_secs(at));
        let clock = Reset { now: Cell::new(now), slept: Cell::default(), at, by };
        let schedule = schedule::Schedule::parse(schedule).unwrap();
        wait(&clock, wake, || (), |now| schedule.next_after(now, Duration::ZERO));
        clock.monotonic().as_secs()
    }

    #[test]
    fn a_clock_that_is_set_back_stops_no_agent() {
        let hours = SignedDuration::from_hours;
        assert_eq!(waited("*/2 * * * *", 0, hours(0)), 90);
        for back in [hours(1), hours(24 * 3650), SignedDuration::from_secs(100)] {
            assert!(waited("*/2 * * * *", 0, -back) <= 90, "{back}");
        }
        assert!(waited("*/2 * * * *", 30, hours(1)) <= 31, "set on, it is time at once");
    }

    #[test]
    fn what_waits_wakes_it_before_the_schedule_once_and_whatever_the_clock_says() {
        let (wake, hours) = (Wake::default(), SignedDuration::from_hours);
        for clock in [0, 24 * 3650, -24 * 3650] {
            wake.at(Duration::from_secs(5));
            let waited = || waited_with(&wake, "0 0 1 1 *", 3, hours(clock));
            assert!(waited() <= 5, "set by {clock} hours");
        }
        let waited = waited_with(&Wake::default(), "0 * * * *", 0, hours(0));
        assert_eq!(waited, 3600 - 30, "where nothing waits the schedule counts");
    }

    #[test]
    fn an_order_that_is_given_while_it_waits_wakes_it_when_it_ends() {
        let (now, at) = ("2026-11-21T12:00:30Z".parse().unwrap(), Duration::MAX);
        let clock = Reset { now: Cell::new(now), slept: Cell::default(), at, by: SignedDuration::ZERO };
        let (wake, mut looks) = (Wake::default(), 0);
        let mut look = || {
            looks += 1;
            if looks == 10 {
                wake.at(Duration::from_secs(20));
            }
        };
        let schedule = schedule::Schedule::parse("0 3 * * *").unwrap();
        wait(&clock, &wake, &mut look, |now| schedule.next_after(now, Duration::ZERO));
        assert_eq!(clock.monotonic(), Duration::from_secs(20));
    }

    #[test]
    fn what_status_promises_by_a_clock_that_was_set_back_is_kept() {
        // At 13:00:30, 20 hours before the pass that was waited for, it is 08:00:30 again.
        assert_eq!(waited("0 9 * * *", 3600, SignedDuration::from_hours(-5)), 3600 + 3600 - 30);
    }
}
