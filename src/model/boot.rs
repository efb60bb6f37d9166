//! Clocks are set, and what was to end in two hours ends in two hours.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Less is what two looks at two clocks differ by.
const LEAST: SignedDuration = SignedDuration::from_secs(1);

/// A boot of the host, as a record notes it: when the clock is set, so is the time at which the host seems to have booted. Times
/// in a record of the same boot are right by that much.
///
/// After a reboot nobody knows what happened to the clock meanwhile. What a record of an earlier boot tells of is taken by the
/// clock as this boot found it, and happened before this boot began, whatever the record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The kernel's name for it (`/proc/sys/kernel/random/boot_id`, random(4)).
    pub id: String,
    /// When it began, by the clock of then.
    pub began: Timestamp,
    /// The same by the clock as the first pass of this boot found it, where one did.
    #[serde(skip)]
    found: Option<Timestamp>,
}

impl Boot {
    /// A boot with this name, which began then by the clock as it is set now.
    pub fn new(id: impl Into<String>, began: Timestamp) -> Self {
        Self { id: id.into(), began, found: None }
    }

    /// The same as the first pass of it has noted it, by the name that it had there.
    #[must_use]
    pub fn as_found(self, first: &Self) -> Self {
        Self { id: first.id.clone(), found: Some(first.began), ..self }
    }

    /// Whether it is this one.
    pub fn is_same(&self, then: &Self) -> bool {
        then.id == self.id && !then.id.is_empty()
    }

    /// Whether it is known to have been another one: a container's boot was called by its kernel's name alone once.
    pub fn is_later_than(&self, then: &Self) -> bool {
        let kernels = self.id.split_once('+').map(|(kernel, _)| kernel);
        then.id != self.id && kernels != Some(&then.id) && !then.id.is_empty() && !self.id.is_empty()
    }

    /// Whether two records may tell of one moment: times that were moved with a clock are as exact as two looks at it.
    pub fn is_same_moment(one: Timestamp, other: Timestamp) -> bool {
        one.duration_since(other).abs() < LEAST
    }

    /// When that was of which a record from `then` tells, by today's clock.
    pub fn by_now(&self, then: Option<&Self>, time: Timestamp) -> Timestamp {
        match then {
            Some(then) if self.is_same(then) => self.moved(then.began, time),
            Some(then) if self.is_later_than(then) => {
                let found = self.found.unwrap_or(self.began);
                self.moved(found, time.min(found))
            }
            _ => time,
        }
    }

    /// A time by the clock by which this boot began at `began`.
    fn moved(&self, began: Timestamp, time: Timestamp) -> Timestamp {
        let set = self.began.duration_since(began);
        if set.abs() < LEAST { time } else { time.checked_add(set).unwrap_or(time) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn a_time_moves_with_the_clock_of_its_boot() {
        let boot = |id: &str, began| Boot::new(id, at(began));
        let (then, until) = (boot("a", 1_000), at(9_000));
        let by = |now: &Boot| now.by_now(Some(&then), until);
        assert_eq!(by(&boot("a", 5_000)), at(13_000), "set forward");
        assert_eq!(by(&boot("a", 400)), at(8_400), "set back");
        assert_eq!(by(&Boot::new("a", at(1_000) + SignedDuration::from_millis(900))), until);
        assert_eq!(boot("a", 5_000).by_now(None, until), until, "an older record");
        assert_eq!(boot("", 5_000).by_now(Some(&boot("", 1_000)), until), until, "a kernel that gives it no name");
    }

    #[test]
    fn what_an_earlier_boot_tells_of_happened_before_this_one() {
        let then = Boot::new("a", at(1_000));
        let first = Boot::new("b", at(20_000));
        let by = |now: &Boot, time| now.by_now(Some(&then), at(time));
        assert_eq!((by(&first, 9_000), by(&first, 30_000)), (at(9_000), at(20_000)));
        let set = Boot::new("b", at(50_000));
        assert_eq!((by(&set, 9_000), by(&set, 60_000)), (at(9_000), at(50_000)), "nobody noted how it was found");
        let set = set.as_found(&first);
        assert_eq!((by(&set, 9_000), by(&set, 60_000)), (at(39_000), at(50_000)), "set since");
        let named = Boot::new("c", at(50_000)).as_found(&first);
        assert!(named.is_same(&first), "by whomever it was noted");
        let container = Boot::new("a+7200", at(8_200));
        assert_eq!(by(&container, 9_000), at(9_000), "noted in it when its boot was called as its kernel's");
        assert!(!container.is_later_than(&then) && container.is_later_than(&Boot::new("a+60", at(1_060))));
    }
}
