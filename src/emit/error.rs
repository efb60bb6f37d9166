//! What a grammar cannot carry.

use std::fmt;

/// The syntaxes that we write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grammar {
    /// `nginx.conf`
    Nginx,
    /// `systemd.unit(5)`
    Unit,
    /// `logrotate.conf(5)`
    Logrotate,
    /// `tmpfiles.d(5)`
    Tmpfiles,
    /// `sysusers.d(5)`
    Sysusers,
    /// `KEY="value"` for shells and systemd.
    Env,
    /// Python literals.
    Python,
    /// Supervisor's ini files.
    Supervisor,
    /// JSON.
    Json,
}

impl fmt::Display for Grammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nginx => "nginx",
            Self::Unit => "a systemd unit",
            Self::Logrotate => "logrotate",
            Self::Tmpfiles => "tmpfiles.d",
            Self::Sysusers => "sysusers.d",
            Self::Env => "an environment file",
            Self::Python => "python",
            Self::Supervisor => "supervisor",
            Self::Json => "json",
        })
    }
}

/// A value that a grammar cannot carry. The value itself is not shown: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    /// A byte that would be read as structure.
    #[error("{grammar} cannot carry {} in {what}; take it out", Shown(*byte))]
    Byte {
        /// The syntax.
        grammar: Grammar,
        /// The value's place: `header X-Robots-Tag`.
        what: String,
        /// The first such byte.
        byte: u8,
    },
    /// Not a name (or absolute path) of the expected form.
    #[error("{grammar} does not take {text:?} as {what}")]
    Name {
        /// The syntax.
        grammar: Grammar,
        /// The name's place: `user`.
        what: String,
        /// The name; names are never secret.
        text: String,
    },
    /// Infinity, or not a number.
    #[error("{what} is not a finite number")]
    NotFinite {
        /// The value's place: `setting RATIO`.
        what: String,
    },
}

struct Shown(u8);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b'\n' => f.write_str("a line break"),
            b' ' => f.write_str("a space"),
            byte if byte.is_ascii_graphic() => write!(f, "`{}`", char::from(byte)),
            byte => write!(f, "byte 0x{byte:02x}"),
        }
    }
}
