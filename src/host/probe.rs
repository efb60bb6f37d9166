//! Questions over HTTP, and their answers.

use std::path::PathBuf;
use std::time::Duration;

use super::Result;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A Unix socket.
    Socket(PathBuf),
    /// A TCP port of 127.0.0.1.
    Port(u16),
}

/// A GET request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Where to.
    pub target: Target,
    /// `Host:`
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Sends `X-Forwarded-Proto: https`.
    pub forwarded_https: bool,
    /// For connection, answer and body together.
    pub timeout: Duration,
}

/// An answer; at most 64 KiB of its body were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    /// The body's beginning.
    pub body: Vec<u8>,
    /// The process that made the socket listen (`SO_PEERCRED`, unix(7)); `None` where it was a port.
    pub listener: Option<u32>,
    /// Until the body's end.
    pub took: Duration,
}

/// HTTP without redirects.
pub trait Probe {
    /// Sends the request. The inner error says in a few words why there was no answer: `connection refused`, `no answer within 5s`.
    fn get(&self, request: &Request) -> Result<std::result::Result<Answer, String>>;
}
