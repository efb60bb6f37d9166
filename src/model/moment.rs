//! Times as people read them.

use jiff::{SignedDuration, Timestamp};

/// `40s`, `18m`, `2h`, `6h 12m`, `3d`. Less than nothing is nothing: clocks are set back.
pub fn ago(time: SignedDuration) -> String {
    let seconds = time.as_secs().max(0);
    match (seconds / 60, seconds / 3600) {
        (0, _) => format!("{seconds}s"),
        (minutes, 0) => format!("{minutes}m"),
        (minutes, hours @ 1..48) if minutes % 60 == 0 => format!("{hours}h"),
        (minutes, hours @ 1..48) => format!("{hours}h {}m", minutes % 60),
        (_, hours) => format!("{}d", hours / 24),
    }
}

/// `02:41 UTC`, with its date unless that is today's.
pub fn moment(at: Timestamp, now: Timestamp) -> String {
    let day = "%Y-%m-%d";
    let format =
        if at.strftime(day).to_string() == now.strftime(day).to_string() { "%H:%M UTC" } else { "%d %b %H:%M UTC" };
    at.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_or_two_units_and_times_a_date_unless_it_is_today() {
        let said: Vec<_> = [-5, 59, 60, 3_599, 7_259, 22_320, 172_800].map(SignedDuration::from_secs).map(ago).into();
        assert_eq!(said, ["0s", "59s", "1m", "59m", "2h", "6h 12m", "2d"]);
        let now: Timestamp = "2026-11-21T02:41:07Z".parse().unwrap();
        assert_eq!(moment("2026-11-21T23:59:59Z".parse().unwrap(), now), "23:59 UTC");
        assert_eq!(moment("2026-11-20T23:59:59Z".parse().unwrap(), now), "20 Nov 23:59 UTC");
    }
}
