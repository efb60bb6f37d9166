//! Names that a deploy repository chooses and that end up in paths, units and vhosts.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a name was refused. The text says the rule, so that it can be shown as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A project's name is not `[a-z][a-z0-9.-]*`.
    #[error("a project's name is lower-case letters, digits, `.` and `-`, and begins with a letter")]
    Project,
    /// An environment's name is not `[a-z][a-z0-9]{0,15}`.
    #[error("an environment's name is at most 16 lower-case letters and digits, and begins with a letter")]
    Environment,
    /// `project` would collide with `project.toml`.
    #[error("`project` is reserved: project.toml is what the environments share")]
    Reserved,
    /// Sockets have 107 bytes, unit names 255: the two names together are bounded.
    #[error("project and environment together have at most {} characters", EnvName::MAX)]
    TooLong,
    /// Not of the form `project/environment`.
    #[error("an environment is written project/environment, like bakery/pro")]
    NoSlash,
    /// Not a user name that `useradd` takes, or root.
    #[error("a user is lower-case letters, digits, `_` and `-`, at most 31 of them, and begins with a letter")]
    User,
    /// Code of a repository never runs as root.
    #[error("an application never runs as root")]
    Root,
    /// Not a DNS name (RFC 1035, in lower case).
    #[error("a domain is a DNS name in lower case, like www.bakery.example")]
    Domain,
}

/// A project: the name of a folder below `projects/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectName(String);

/// An environment within its project: the name of a file, without `.toml`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvironmentName(String);

/// An environment of the fleet, written `bakery/pro` inside the repository and [`flat`](Self::flat) outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvName {
    /// The project.
    pub project: ProjectName,
    /// Its environment.
    pub environment: EnvironmentName,
}

/// A system user; never root.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserName(String);

/// A DNS name in lower case; a leading `*.` is allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Domain(String);

fn begins_with_letter_then(text: &str, more: impl Fn(u8) -> bool) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_lowercase())
        && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || more(b))
}

impl ProjectName {
    /// The project's name, or the rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let ok = begins_with_letter_then(text, |b| b == b'.' || b == b'-')
            && !text.contains("..")
            && text.len() <= EnvName::MAX;
        ok.then(|| Self(text.to_owned())).ok_or(NameError::Project)
    }
}

impl EnvironmentName {
    /// The environment's name, or the rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text == "project" {
            return Err(NameError::Reserved);
        }
        let ok = begins_with_letter_then(text, |_| false) && text.len() <= 16;
        ok.then(|| Self(text.to_owned())).ok_or(NameError::Environment)
    }
}

impl EnvName {
    /// Longest name of project and environment together, without the separator.
    pub const MAX: usize = 50;

    /// Joins the two names, or says that they are too long together.
    pub fn new(project: ProjectName, environment: EnvironmentName) -> Result<Self, NameError> {
        if project.0.len() + environment.0.len() > Self::MAX {
            return Err(NameError::TooLong);
        }
        Ok(Self { project, environment })
    }

    /// Parses `bakery/pro`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let (project, environment) = text.split_once('/').ok_or(NameError::NoSlash)?;
        Self::new(ProjectName::parse(project)?, EnvironmentName::parse(environment)?)
    }

    /// The name outside the repository: `bakery_pro`. Neither half holds `_`, so two names can't meet.
    pub fn flat(&self) -> String {
        format!("{}_{}", self.project, self.environment)
    }

    /// The file of this environment in a directory that has one for each: `bakery_pro.json`.
    pub fn record_in(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{}.json", self.flat()))
    }

    /// The name in system directories: `portreeve-bakery_pro`.
    pub fn system(&self) -> String {
        format!("portreeve-{}", self.flat())
    }

    /// The environment that [`flat`](Self::flat) named.
    pub fn parse_flat(text: &str) -> Result<Self, NameError> {
        Self::parse(&text.replacen('_', "/", 1))
    }
}

impl UserName {
    /// The user's name, or the rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text == "root" {
            return Err(NameError::Root);
        }
        let ok = begins_with_letter_then(text, |b| b == b'_' || b == b'-') && text.len() <= 31;
        ok.then(|| Self(text.to_owned())).ok_or(NameError::User)
    }
}

impl Domain {
    /// The domain, or the rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let labels = text.strip_prefix("*.").unwrap_or(text);
        let ok = !labels.is_empty() && labels.len() <= 253 && labels.split('.').all(is_label);
        ok.then(|| Self(text.to_owned())).ok_or(NameError::Domain)
    }
}

fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !label.is_empty()
        && label.len() <= 63
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

macro_rules! string_newtype {
    ($($name:ident),*) => {$(
        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<std::path::Path> for $name {
            fn as_ref(&self) -> &std::path::Path {
                self.0.as_ref()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        parse_conversions!($name);
    )*};
}

macro_rules! parse_conversions {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }
    };
}

string_newtype!(ProjectName, EnvironmentName, UserName, Domain);
parse_conversions!(EnvName);

impl fmt::Display for EnvName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.project, self.environment))
    }
}

impl From<EnvName> for String {
    fn from(name: EnvName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_has_one_name_inside_and_one_outside() {
        let name = EnvName::parse("project.baz/pro").unwrap();
        assert_eq!(name.to_string(), "project.baz/pro");
        assert_eq!(name.system(), "portreeve-project.baz_pro");
        assert_eq!(EnvName::parse_flat(&name.flat()), Ok(name));
    }

    #[test]
    fn names_that_would_leave_their_place_are_refused() {
        for text in [
            "../x/pro",
            "bakery/../pro",
            "-x/pro",
            "b_a/pro",
            "B/pro",
            "bakery/",
            "/pro",
            "a..b/pro",
            "bakery/p-o",
            "bakery/pro\n",
        ] {
            assert!(EnvName::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(EnvName::parse("bakery/project"), Err(NameError::Reserved));
        assert_eq!(EnvName::parse("bakery"), Err(NameError::NoSlash));
        assert_eq!(EnvName::parse(&format!("{}/pro", "a".repeat(48))), Err(NameError::TooLong));
    }

    #[test]
    fn root_runs_no_application() {
        assert_eq!(UserName::parse("root"), Err(NameError::Root));
        assert_eq!(UserName::parse("foo;rm"), Err(NameError::User));
        assert!(UserName::parse("foouser-stage").is_ok());
    }

    #[test]
    fn a_domain_is_a_dns_name() {
        for text in ["bakery.example", "*.bakery.example", "localhost", "xn--bckerei-5wa.example"] {
            assert!(Domain::parse(text).is_ok(), "{text}");
        }
        for text in ["", "a..b", "a;b", "a b", "-a.b", "A.b", "a.b/", "*", "*.*.b"] {
            assert!(Domain::parse(text).is_err(), "{text:?}");
        }
    }
}
