//! What wakes the agent before the schedule does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::agent::{App, PassReport, again, is_unread, next_end};

/// Told by passes, which may overlap; asked by the loop that begins them. Its times are monotonic: a clock that is set moves none.
#[derive(Debug, Default)]
pub struct Wake(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When to wake.
    at: Option<Duration>,
    /// So many passes in a row could not find out what is wanted.
    unread: u32,
}

impl Wake {
    /// A pass has ended.
    pub fn after(&self, app: &App, pass: &PassReport) {
        let unread = self.count(is_unread(pass));
        if let Some(wait) = again(app, pass, unread) {
            self.at(app.host.clock().monotonic() + wait);
        }
    }

    /// Somebody wants it to look.
    pub fn now(&self) {
        self.at(Duration::ZERO);
    }

    /// Whether it is time, once.
    pub fn has_come(&self, now: Duration) -> bool {
        self.state().at.take_if(|at| *at <= now).is_some()
    }

    fn count(&self, unread: bool) -> u32 {
        let mut state = self.state();
        state.unread = if unread { state.unread.saturating_add(1) } else { 0 };
        state.unread
    }

    /// The first of several counts.
    pub(super) fn at(&self, time: Duration) {
        let mut state = self.state();
        state.at = Some(state.at.map_or(time, |at| at.min(time)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ends of suspensions, also of those that somebody orders while the agent waits: each is to come when it was told to,
/// however far the schedule's passes are apart.
pub struct Ends<'a> {
    app: &'a App,
    /// The last pass looked no earlier.
    since: Duration,
    orders: Option<String>,
    /// Two orders may be given in less time than their directory's stamp tells apart.
    fresh: bool,
}

impl<'a> Ends<'a> {
    /// Of those that had not come at `since`, by the monotonic clock.
    pub fn after(app: &'a App, since: Duration) -> Self {
        Self { app, since, orders: None, fresh: true }
    }

    /// Sets `wake` for the next, where an order was given since the last look.
    pub fn look(&mut self, wake: &Wake) {
        let orders = self.app.host.files().stamp(&self.app.layout.policy()).ok();
        let changed = orders != self.orders;
        if (changed || self.fresh)
            && let Some(wait) = next_end(self.app, self.since)
        {
            wake.at(self.app.host.clock().monotonic() + wait);
        }
        (self.orders, self.fresh) = (orders, changed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_counts_and_wakes_once() {
        let (wake, at) = (Wake::default(), Duration::from_secs);
        assert!(!wake.has_come(at(1000)), "nothing waits");
        [20, 5, 180].map(at).into_iter().for_each(|time| wake.at(time));
        assert!(!wake.has_come(at(4)));
        assert!(wake.has_come(at(6)) && !wake.has_come(at(1000)));
    }

    #[test]
    fn passes_that_know_nothing_are_counted_until_one_does() {
        let wake = Wake::default();
        assert_eq!([true, true, false, true].map(|unread| wake.count(unread)), [1, 2, 0, 1]);
    }
}
