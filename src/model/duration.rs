//! Lengths of time as people write them: `5s`, `10m`, `24h`, `7d`, `500ms`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a length of time was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a length of time is a whole number and a unit: 500ms, 5s, 10m, 24h or 7d")]
pub struct SpanError;

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(Duration);

impl Span {
    /// A number of whole seconds.
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Parses `5s`; at most a hundred years.
    pub fn parse(text: &str) -> Result<Self, SpanError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| SpanError)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 3600 * 1000,
            "d" => 24 * 3600 * 1000,
            _ => return Err(SpanError),
        };
        let total = number.checked_mul(millis).filter(|&ms| ms <= 100 * 366 * 24 * 3600 * 1000).ok_or(SpanError)?;
        Ok(Self(Duration::from_millis(total)))
    }

    /// The same as the standard library's duration.
    pub const fn of(duration: Duration) -> Self {
        Self(duration)
    }

    /// As the standard library's duration.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let units = [(24 * 3600 * 1000, "d"), (3600 * 1000, "h"), (60 * 1000, "m"), (1000, "s")];
        match units.into_iter().find(|&(unit, _)| ms > 0 && ms.is_multiple_of(unit)) {
            Some((unit, name)) => write!(f, "{}{name}", ms / unit),
            None if ms == 0 => f.write_str("0s"),
            None => write!(f, "{ms}ms"),
        }
    }
}

impl std::str::FromStr for Span {
    type Err = SpanError;
    fn from_str(text: &str) -> Result<Self, SpanError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Span {
    type Error = SpanError;
    fn try_from(text: String) -> Result<Self, SpanError> {
        Self::parse(&text)
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_what_is_shown() {
        for text in ["500ms", "5s", "10m", "24h", "7d", "0s"] {
            assert_eq!(Span::parse(&Span::parse(text).unwrap().to_string()), Span::parse(text), "{text}");
        }
        assert_eq!(Span::parse("90s").unwrap().to_string(), "90s");
        for text in ["", "5", "s", "-1s", "1.5s", "5 s", "99999999999999999999s", "9999999999999d"] {
            assert_eq!(Span::parse(text), Err(SpanError), "{text:?}");
        }
    }
}
