//! Where people are told things: a URL with a token in it, a mail address.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

/// No URL is longer; what is longer is a mistake, or a program's whole text.
const LONGEST_URL: usize = 2000;
/// RFC 5321 4.5.3.1.3: a path has 256 octets with its brackets.
const LONGEST_MAIL: usize = 254;

/// An `http` or `https` URL that is a secret: whoever knows the address of a webhook may post there. Shown as its host alone.
#[derive(Clone)]
pub struct SecretUrl(SecretString);

/// What an address must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not a URL that can be asked.
    #[error("an address begins with https:// or http://, names a host, and has no spaces")]
    Url,
    /// Not a mail address.
    #[error("a mail address is like ops@example.org")]
    Mail,
}

impl SecretUrl {
    /// Parses a URL.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (_, authority) = split(text).ok_or(AddressError::Url)?;
        let host = host(authority);
        let named = host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
        let plain = text.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b));
        if named && plain && text.len() <= LONGEST_URL { Ok(Self(text.into())) } else { Err(AddressError::Url) }
    }

    /// The whole of it, for whoever sends to it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

fn split(text: &str) -> Option<(&'static str, &str)> {
    let (scheme, rest) =
        ["https://", "http://"].iter().find_map(|scheme| Some((*scheme, text.strip_prefix(scheme)?)))?;
    rest.split(['/', '?', '#']).next().map(|authority| (scheme, authority))
}

/// Without user and password (RFC 3986 3.2.1).
fn host(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// `https://chat.example.org/…`
impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, authority) = split(self.expose()).unwrap_or(("", ""));
        write!(f, "{scheme}{}/…", host(authority))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({self})")
    }
}

impl PartialEq for SecretUrl {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for SecretUrl {}

/// One mailbox, fit for a header and an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailAddress(String);

impl MailAddress {
    /// Parses `local@domain`; the rarer forms of RFC 5322 (quoted, commented) are refused.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~.-".contains(&b);
        let label = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let sound = text.split_once('@').is_some_and(|(local, domain)| {
            let dots = local.starts_with('.') || local.ends_with('.') || local.contains("..");
            !local.is_empty()
                && !local.starts_with('-')
                && !dots
                && local.bytes().all(atom)
                && domain.split('.').all(label)
        });
        if sound && text.len() <= LONGEST_MAIL { Ok(Self(text.to_owned())) } else { Err(AddressError::Mail) }
    }

    /// `ops@example.org`
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_its_host_alone() {
        for text in [
            "https://chat.example.org/hook/s3cret",
            "https://chat.example.org?token=s3cret",
            "https://s3cret:s3cret@chat.example.org/x",
        ] {
            let url = SecretUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), "https://chat.example.org/…");
            assert_eq!(format!("{url:?} {:?}", Some(&url)).matches("s3cret").count(), 0);
            assert_eq!(url.expose(), text);
        }
        assert_eq!(SecretUrl::parse("http://[::1]:8080/x").unwrap().to_string(), "http://[::1]:8080/…");
    }

    #[test]
    fn what_is_no_url_or_could_break_a_request_is_refused() {
        for text in [
            "",
            "chat.example.org/x",
            "ftp://h/x",
            "https://",
            "https:///x",
            "https://h/a b",
            "https://h/\r\nX: y",
            "file:///x",
        ] {
            assert_eq!(SecretUrl::parse(text), Err(AddressError::Url), "{text:?}");
        }
        assert!(SecretUrl::parse(&format!("https://h/{}", "x".repeat(2000))).is_err());
    }

    #[test]
    fn mail_addresses_cannot_break_a_header_or_an_envelope() {
        for text in ["ops@example.org", "ops+web1@mail.example.org", "root@localhost"] {
            assert_eq!(MailAddress::parse(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            "ops",
            "@example.org",
            "ops@",
            "ops@@x",
            "a b@x",
            "a@x\nBcc: b@y",
            "-f@x",
            "a@x,b@y",
            "<a@x>",
            ".a@x",
            "a@x..y",
        ] {
            assert_eq!(MailAddress::parse(text), Err(AddressError::Mail), "{text:?}");
        }
    }
}
