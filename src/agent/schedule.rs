//! When the next pass begins: five cron fields in UTC, and a host's own offset within the jitter.
//!
//! The `cron` crate wants seconds first, counts Sunday as 1, joins the two kinds of day by *and*, and takes schedules that
//! never come; what people write is crontab(5), so the difference is translated here, or refused.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use jiff::{SignedDuration, Timestamp};

use crate::model::Digest;

const DAY_NAMES: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// Why a schedule was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not five fields.
    #[error("a schedule has five fields (minute, hour, day, month, weekday), like `*/2 * * * *`; this has {0}")]
    Fields(usize),
    /// A day of the month and a weekday: cron programs disagree on what that means.
    #[error("a schedule restricts the day of the month or the weekday, not both: make one of them `*`")]
    BothDays,
    /// The weekday is none.
    #[error("`{0}` is no weekday: write 0-7 (0 and 7 are Sunday), or sun to sat")]
    Weekday(String),
    /// One of the other fields is wrong.
    #[error("`{0}` is no {1}")]
    Field(String, &'static str),
    /// A date that no year has.
    #[error("this schedule never comes: no month that it names has that day")]
    Never,
}

/// A schedule, known to come.
#[derive(Debug, Clone)]
pub struct Schedule {
    text: String,
    cron: cron::Schedule,
}

impl Schedule {
    /// Parses five cron fields, meant in UTC.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(ScheduleError::Fields(fields.len()));
        };
        if day != "*" && weekday != "*" {
            return Err(ScheduleError::BothDays);
        }
        check_field(minute, "minute (0-59)", |f| format!("0 {f} * * * *"))?;
        check_field(hour, "hour (0-23)", |f| format!("0 0 {f} * * *"))?;
        check_field(day, "day of the month (1-31)", |f| format!("0 0 0 {f} * *"))?;
        check_field(month, "month (1-12, or jan to dec)", |f| format!("0 0 0 1 {f} *"))?;
        let days = weekdays(weekday)?;
        let cron = compile(&format!("0 {minute} {hour} {day} {month} {days}")).ok_or(ScheduleError::Never)?;
        // The reference is any date: a schedule that comes at all comes again before 2100, leap days included.
        cron.after(&DateTime::<Utc>::UNIX_EPOCH).next().ok_or(ScheduleError::Never)?;
        Ok(Self { text: fields.join(" "), cron })
    }

    /// The first time after `now` that is `offset` (of [`offset`]) later than the schedule says.
    /// After the year 2100, of which the calendar used knows nothing: in an hour.
    pub fn next_after(&self, now: Timestamp, offset: Duration) -> Timestamp {
        let offset = SignedDuration::try_from(offset).unwrap_or(SignedDuration::ZERO);
        let scheduled = now.checked_sub(offset).ok().and_then(|from| self.scheduled_after(from));
        let next = scheduled.and_then(|time| time.checked_add(offset).ok());
        next.or_else(|| now.checked_add(SignedDuration::from_hours(1)).ok()).unwrap_or(Timestamp::MAX)
    }

    fn scheduled_after(&self, from: Timestamp) -> Option<Timestamp> {
        let from = DateTime::from_timestamp(from.as_second(), 0)?;
        let next = self.cron.after(&from).next()?;
        Timestamp::from_second(next.timestamp()).ok()
    }
}

impl Default for Schedule {
    /// Every two minutes.
    fn default() -> Self {
        Self::parse("*/2 * * * *").unwrap_or_else(|_| unreachable!("a test parses it"))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Schedule {}

/// A host's own delay, below `jitter`: always the same for the same `host_id`, so that a fleet's hosts spread and one
/// host's passes stay evenly spaced.
pub fn offset(host_id: &str, jitter: Duration) -> Duration {
    let hash = Digest::of(host_id.as_bytes()).short(16);
    let hash = u64::from_str_radix(&hash, 16).unwrap_or_default();
    let millis = u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(hash.checked_rem(millis).unwrap_or(0))
}

fn compile(expression: &str) -> Option<cron::Schedule> {
    expression.parse().ok()
}

/// Each field on its own, so that the message names it. A step of 0 is refused here: the crate's answer to it is not documented.
fn check_field(field: &str, what: &'static str, alone: impl Fn(&str) -> String) -> Result<(), ScheduleError> {
    let zero_step = field.split(',').any(|item| item.split_once('/').is_some_and(|(_, step)| step.parse() == Ok(0)));
    let known = field.bytes().all(|b| b.is_ascii_alphanumeric() || b"*,-/".contains(&b));
    if zero_step || !known || compile(&alone(field)).is_none() {
        return Err(ScheduleError::Field(field.to_owned(), what));
    }
    Ok(())
}

/// crontab's weekdays as names, which both sides read alike.
fn weekdays(field: &str) -> Result<String, ScheduleError> {
    if field == "*" {
        return Ok(field.to_owned());
    }
    let refused = || ScheduleError::Weekday(field.to_owned());
    let days: Option<Vec<Vec<usize>>> = field.split(',').map(weekday_item).collect();
    let days: BTreeSet<usize> = days.ok_or_else(refused)?.into_iter().flatten().map(|day| day % 7).collect();
    let names: Vec<&str> = days.into_iter().map(|day| DAY_NAMES[day]).collect();
    Ok(names.join(","))
}

/// `1`, `mon`, `1-5`, `*/2`, `1-5/2`, `1/2`: days from 0 to 7.
fn weekday_item(item: &str) -> Option<Vec<usize>> {
    let (days, step) = item.split_once('/').map_or((item, None), |(days, step)| (days, Some(step)));
    let step: usize = step.map_or(Ok(1), str::parse).ok().filter(|&step| step > 0)?;
    let (first, last) = match days.split_once('-') {
        Some((first, last)) => (weekday(first)?, last_weekday(last)?),
        None if days == "*" => (0, 6),
        None if item.contains('/') => (weekday(days)?, 6),
        None => (weekday(days)?, weekday(days)?),
    };
    (first <= last).then(|| (first..=last).step_by(step).collect())
}

fn weekday(text: &str) -> Option<usize> {
    let named = DAY_NAMES.iter().position(|name| name.eq_ignore_ascii_case(text));
    let digit = || matches!(text.as_bytes(), [b'0'..=b'7']).then(|| text.parse().ok())?;
    named.or_else(digit)
}

/// At a range's end Sunday closes the week: `fri-sun`.
fn last_weekday(text: &str) -> Option<usize> {
    if text.eq_ignore_ascii_case("sun") { Some(7) } else { weekday(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The first times after `from`.
    fn times(schedule: &str, from: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(schedule).unwrap();
        let step = |time: &Timestamp| Some(schedule.next_after(*time, Duration::ZERO));
        std::iter::successors(Some(at(from)), step).skip(1).take(count).map(|time| time.to_string()).collect()
    }

    #[test]
    fn every_other_minute() {
        assert_eq!(
            times("*/2 * * * *", "2026-11-21T23:57:00.5Z", 3),
            ["2026-11-21T23:58:00Z", "2026-11-22T00:00:00Z", "2026-11-22T00:02:00Z"]
        );
        assert_eq!(times("*/2 * * * *", "2026-11-21T23:58:00Z", 1), ["2026-11-22T00:00:00Z"]);
        assert_eq!(times("* * * * *", "2026-11-21T23:57:59.999Z", 1), ["2026-11-21T23:58:00Z"]);
    }

    #[test]
    fn daylight_saving_changes_nothing() {
        // Berlin's clocks jump from 02:00 to 03:00 on 2026-03-29 and back on 2026-10-25, at 01:00 UTC.
        for day in ["2026-03-29", "2026-10-25"] {
            let expected = ["00:30", "01:30", "02:30"].map(|time| format!("{day}T{time}:00Z"));
            assert_eq!(times("30 * * * *", &format!("{day}T00:00:00Z"), 3), expected);
        }
    }

    #[test]
    fn sunday_is_0_and_7_and_monday_is_1() {
        let sunday = ["2026-11-22T03:00:00Z"];
        for field in ["0", "7", "sun", "SUN", "7-7"] {
            assert_eq!(times(&format!("0 3 * * {field}"), "2026-11-21T12:00:00Z", 1), sunday, "{field}");
        }
        assert_eq!(times("0 3 * * 1", "2026-11-21T12:00:00Z", 1), ["2026-11-23T03:00:00Z"]);
    }

    #[test]
    fn weekdays_as_ranges_steps_and_lists() {
        let days = |field: &str| weekdays(field).unwrap();
        assert_eq!(days("1-5"), "MON,TUE,WED,THU,FRI");
        assert_eq!(days("fri-sun"), "SUN,FRI,SAT");
        assert_eq!(days("5-7"), "SUN,FRI,SAT");
        assert_eq!(days("*/2"), "SUN,TUE,THU,SAT");
        assert_eq!(days("1-5/2,sun"), "SUN,MON,WED,FRI");
        assert_eq!(days("4/2"), "THU,SAT");
        for field in ["8", "", "5-1", "mo", "1-", "*/0", "1,", "+1", "01", "1-5-6", "?"] {
            assert_eq!(weekdays(field), Err(ScheduleError::Weekday(field.to_owned())));
        }
    }

    #[test]
    fn leap_days_come_and_impossible_days_are_refused() {
        assert_eq!(times("0 0 29 2 *", "2026-11-21T00:00:00Z", 2), ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]);
        for text in ["0 0 31 2 *", "0 0 30 feb *", "0 0 31 4,6,9,11 *"] {
            assert_eq!(Schedule::parse(text), Err(ScheduleError::Never), "{text}");
        }
    }

    #[test]
    fn months_lists_and_steps() {
        assert_eq!(
            times("0,30 8-9 1 jan,jul *", "2026-11-21T00:00:00Z", 5),
            [
                "2027-01-01T08:00:00Z",
                "2027-01-01T08:30:00Z",
                "2027-01-01T09:00:00Z",
                "2027-01-01T09:30:00Z",
                "2027-07-01T08:00:00Z"
            ]
        );
        assert_eq!(
            times("1-10/4,50 * * * *", "2026-11-21T00:02:00Z", 3),
            ["2026-11-21T00:05:00Z", "2026-11-21T00:09:00Z", "2026-11-21T00:50:00Z"]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| Schedule::parse(text).unwrap_err();
        assert_eq!(error("0 3 * *"), ScheduleError::Fields(4));
        assert_eq!(error("0 0 3 * * *"), ScheduleError::Fields(6));
        assert_eq!(error("@hourly"), ScheduleError::Fields(1));
        assert_eq!(error("0 3 13 * fri"), ScheduleError::BothDays);
        assert!(error("60 * * * *").to_string().contains("minute"));
        assert!(error("0 24 * * *").to_string().contains("hour"));
        assert!(error("0 0 0 * *").to_string().contains("day of the month"));
        assert!(error("0 0 1 13 *").to_string().contains("month"));
        for text in ["*/0 * * * *", "5-1 * * * *", "99999999999 * * * *", "-1 * * * *", "é * * * *", "? * * * *"] {
            assert!(matches!(error(text), ScheduleError::Field(..)), "{text}");
        }
    }

    #[test]
    fn the_offset_is_the_hosts_own_and_loses_no_pass() {
        let jitter = Duration::from_secs(30);
        let web1 = offset("web1", jitter);
        assert_eq!(web1, offset("web1", jitter));
        assert!(web1 < jitter && web1 != offset("web2", jitter));
        assert_eq!(offset("web1", Duration::ZERO), Duration::ZERO);
        let schedule = Schedule::parse("*/2 * * * *").unwrap();
        // Longer than the interval, on purpose.
        let offset = Duration::from_secs(150);
        let mut now = at("2026-11-21T00:00:01Z");
        for _ in 0..100 {
            let next = schedule.next_after(now, offset);
            let gap = next.duration_since(now);
            assert!(gap > SignedDuration::ZERO && gap <= SignedDuration::from_secs(120), "{gap}");
            now = next;
        }
        assert_eq!(now.as_second().rem_euclid(120), 30);
    }

    #[test]
    fn a_clock_far_off_still_gets_a_next_time() {
        let schedule = Schedule::parse("*/2 * * * *").unwrap();
        for now in [Timestamp::MIN, at("1915-01-01T00:00:00Z"), at("2150-01-01T00:00:00Z")] {
            assert!(schedule.next_after(now, Duration::from_secs(30)) > now, "{now}");
        }
        assert_eq!(schedule.next_after(Timestamp::MAX, Duration::from_secs(30)), Timestamp::MAX);
    }
}
