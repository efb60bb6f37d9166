//! Versions of this program, for `requires`.

use std::fmt;

/// A released version: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// The version of this program.
    pub fn current() -> Self {
        let part = |text: &str| text.parse().unwrap_or_default();
        Self(
            part(env!("CARGO_PKG_VERSION_MAJOR")),
            part(env!("CARGO_PKG_VERSION_MINOR")),
            part(env!("CARGO_PKG_VERSION_PATCH")),
        )
    }

    /// Parses the oldest version of `requires = ">=0.1"`.
    pub(super) fn parse_requirement(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "the oldest version that may act, like \">=0.1\"";
        let numbers = text.trim().strip_prefix(">=").ok_or(RULE)?.trim();
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let parts: Option<Vec<u32>> =
            numbers.split('.').map(|part| digits(part).then(|| part.parse().ok()).flatten()).collect();
        match parts.as_deref() {
            Some(&[major]) => Ok(Self(major, 0, 0)),
            Some(&[major, minor]) => Ok(Self(major, minor, 0)),
            Some(&[major, minor, patch]) => Ok(Self(major, minor, patch)),
            _ => Err(RULE),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}
