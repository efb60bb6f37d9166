//! Clocks are set, and what was to end in two hours ends in two hours.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Less is what two looks at two clocks differ by.
const LEAST: SignedDuration = SignedDuration::from_secs(1);

/// A boot of the host, as a record notes it: when the clock is set, so is the time at which the host seems to have booted. Times
/// in a record of the same boot are right by that much. After a reboot nobody knows what happened to the clock, and it counts; a
/// record of an earlier boot that is written again takes part in what happens to the clock in this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// The kernel's name for it (`/proc/sys/kernel/random/boot_id`, random(4)).
    pub id: String,
    /// When it began, by the clock of then.
    pub began: Timestamp,
}

impl Boot {
    /// By how much the clock was set since `then`.
    pub fn set_since(&self, then: Option<&Self>) -> SignedDuration {
        let same = then.filter(|then| then.id == self.id && !then.id.is_empty());
        let set = same.map_or(SignedDuration::ZERO, |then| self.began.duration_since(then.began));
        if set.abs() < LEAST { SignedDuration::ZERO } else { set }
    }

    /// Whether two records may tell of one moment: times that were moved with a clock are as exact as two looks at it.
    pub fn is_same_moment(one: Timestamp, other: Timestamp) -> bool {
        one.duration_since(other).abs() < LEAST
    }

    /// A time of a record from `then`, by today's clock.
    pub fn by_now(&self, then: Option<&Self>, time: Timestamp) -> Timestamp {
        time.checked_add(self.set_since(then)).unwrap_or(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_moves_with_the_clock_of_its_boot() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let boot = |id: &str, began| Boot { id: id.to_owned(), began: at(began) };
        let (then, until) = (boot("a", 1_000), at(9_000));
        let by = |now: &Boot| now.by_now(Some(&then), until);
        assert_eq!(by(&boot("a", 5_000)), at(13_000), "set forward");
        assert_eq!(by(&boot("a", 400)), at(8_400), "set back");
        assert_eq!(by(&Boot { began: at(1_000) + SignedDuration::from_millis(900), ..then.clone() }), until);
        assert_eq!(by(&boot("b", 5_000)), until, "another boot says nothing of this one's clock");
        assert_eq!(boot("a", 5_000).by_now(None, until), until, "an older record");
        assert_eq!(boot("", 5_000).by_now(Some(&boot("", 1_000)), until), until, "a kernel that gives it no name");
    }
}
