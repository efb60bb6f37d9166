//! Blocks of TCP ports, inclusive at both ends.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a range of ports was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Not `first-last` in decimal.
    #[error("ports are written first-last, like 60000-60009")]
    Syntax,
    /// A number above 65535, or 0.
    #[error("a port is a number from 1 to 65535")]
    OutOfRange,
    /// The last port comes before the first.
    #[error("the first port is above the last")]
    Reversed,
}

/// A block of ports, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

impl PortRange {
    /// Parses `60000-60009`.
    pub fn parse(text: &str) -> Result<Self, PortError> {
        let (first, last) = text.split_once('-').ok_or(PortError::Syntax)?;
        let (first, last) = (port(first)?, port(last)?);
        if first > last { Err(PortError::Reversed) } else { Ok(Self { first, last }) }
    }

    /// How many ports there are.
    pub fn len(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }

    /// A range holds at least one port; clippy wants to hear it.
    pub fn is_empty(self) -> bool {
        false
    }

    /// Whether the two share a port.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Whether all of `other` lies within.
    pub fn contains(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

fn port(text: &str) -> Result<u16, PortError> {
    let digits = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    let number: u32 =
        if digits { text.parse().map_err(|_| PortError::Syntax)? } else { return Err(PortError::Syntax) };
    u16::try_from(number).ok().filter(|&port| port > 0).ok_or(PortError::OutOfRange)
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{}", self.first, self.last))
    }
}

impl TryFrom<String> for PortRange {
    type Error = PortError;
    fn try_from(text: String) -> Result<Self, PortError> {
        Self::parse(&text)
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_inclusive() {
        let block = PortRange::parse("60000-60049").unwrap();
        assert_eq!(block.len(), 50);
        assert!(block.contains(PortRange::parse("60040-60049").unwrap()));
        assert!(block.overlaps(PortRange::parse("60049-60060").unwrap()));
        assert!(!block.overlaps(PortRange::parse("60050-60060").unwrap()));
    }

    #[test]
    fn what_is_no_range_says_why() {
        assert_eq!(PortRange::parse("70000-70009"), Err(PortError::OutOfRange));
        assert_eq!(PortRange::parse("60009-60000"), Err(PortError::Reversed));
        for text in ["", "60000", "60000-", "+1-2", "1 -2", "a-b"] {
            assert_eq!(PortRange::parse(text), Err(PortError::Syntax), "{text:?}");
        }
    }
}
