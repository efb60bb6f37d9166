//! Identities by content.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256, written as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// That of no bytes: what is wanted where nothing is.
    pub fn nothing() -> Self {
        Self::of(b"")
    }

    /// The digest of several parts, each with its length before it, so that their borders count.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// Its 32 bytes, for compact records.
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// From [`to_bytes`](Self::to_bytes).
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The first `digits` hexadecimal digits, for names that people read.
    pub fn short(&self, digits: usize) -> String {
        let mut hex = self.to_string();
        hex.truncate(digits);
        hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// Text that is no digest of the expected length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {0} lower-case hexadecimal digits")]
pub struct NotHex(usize);

fn is_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl TryFrom<String> for Digest {
    type Error = NotHex;
    fn try_from(text: String) -> Result<Self, NotHex> {
        if !is_hex(&text, 64) {
            return Err(NotHex(64));
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| NotHex(64))?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| NotHex(64))?;
        }
        Ok(Self(bytes))
    }
}

/// A git commit: 40 lower-case hexadecimal digits (SHA-1 repositories; libgit2 reads no others).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(String);

impl CommitId {
    /// The commit, if the text is a full id.
    pub fn parse(text: &str) -> Result<Self, NotHex> {
        if is_hex(text, 40) { Ok(Self(text.to_owned())) } else { Err(NotHex(40)) }
    }

    /// All 40 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether people can mean a commit by this: its id, or at least the seven digits of it that git shows them.
    pub fn may_begin(text: &str) -> bool {
        (7..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// The seven digits that git shows people.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for CommitId {
    type Error = NotHex;
    fn try_from(text: String) -> Result<Self, NotHex> {
        Self::parse(&text)
    }
}

impl From<CommitId> for String {
    fn from(commit: CommitId) -> Self {
        commit.0
    }
}

/// A built tree on a host: source commit and everything else that decided what was built, `<commit:9>-<key:6>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReleaseId(String);

impl ReleaseId {
    /// The release of a commit, built under this key.
    pub fn new(commit: &CommitId, key: &Digest) -> Self {
        Self(format!("{}-{}", &commit.as_str()[..9], key.short(6)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_its_text() {
        let digest = Digest::of(b"abc");
        assert!(digest.to_string().starts_with("ba7816bf8f01cfea"));
        assert_eq!(Digest::try_from(digest.to_string()).unwrap(), digest);
        assert!(Digest::try_from("BA".repeat(32)).is_err());
    }

    #[test]
    fn borders_between_parts_count() {
        let parts = |list: &[&'static str]| Digest::of_parts(list.iter().map(|part| part.as_bytes()));
        assert_ne!(parts(&["ab", "c"]), parts(&["a", "bc"]));
    }
}
