//! logrotate: stanzas of `"pattern" { option … }`.
//!
//! A pattern is read up to the first `{`, whatever the quotes, then split like a shell would, then globbed: a directory
//! that holds a character with a meaning for any of the three is refused.

use std::fmt::Write as _;
use std::path::Path;

use super::{EmitError, Grammar, NOTICE, path_text, plain_name};

/// An option inside a stanza.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting(String);

impl Setting {
    /// An option of ours, as it stands: `missingok`.
    pub fn word(option: &'static str) -> Self {
        Self(option.to_owned())
    }

    /// `size 20971520`
    pub fn number(option: &'static str, number: u64) -> Self {
        Self(format!("{option} {number}"))
    }

    /// `su foouser foouser`, `create 0640 www-data foouser`; `option` may have words of ours after it.
    pub fn owner(option: &'static str, user: &str, group: &str) -> Result<Self, EmitError> {
        let user = plain_name(Grammar::Logrotate, "a user", user)?;
        let group = plain_name(Grammar::Logrotate, "a group", group)?;
        Ok(Self(format!("{option} {user} {group}")))
    }
}

/// Files that are rotated alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stanza {
    pattern: String,
    settings: Vec<Setting>,
    postrotate: Option<&'static str>,
}

impl Stanza {
    /// The files of `directory` that match `pattern`.
    pub fn new(directory: &Path, pattern: &'static str, settings: Vec<Setting>) -> Result<Self, EmitError> {
        let directory = path_text(Grammar::Logrotate, "a log directory", directory, br#""'\{}#*?[]~"#)?;
        Ok(Self { pattern: format!("\"{directory}/{pattern}\""), settings, postrotate: None })
    }

    /// Runs this line in a shell after a rotation, as root: a fixed text, never one made of values.
    #[must_use]
    pub fn postrotate(mut self, script: &'static str) -> Self {
        self.postrotate = Some(script);
        self
    }
}

/// The text of the file.
pub fn render(stanzas: &[Stanza]) -> String {
    let mut out = format!("# {NOTICE}\n");
    for stanza in stanzas {
        let script = stanza.postrotate.iter().flat_map(|&script| ["postrotate", script, "endscript"]);
        let lines = stanza.settings.iter().map(|setting| setting.0.as_str()).chain(script);
        let body: String = lines.fold(String::new(), |body, line| body + "    " + line + "\n");
        // Writing to a String cannot fail.
        let _infallible = write!(out, "{} {{\n{body}}}\n", stanza.pattern);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::proof;

    #[test]
    fn logrotate_considers_exactly_these_files() {
        let mut stanzas = Vec::new();
        let mut meant = Vec::new();
        let mut values = proof::values();
        values.sort();
        values.dedup();
        for value in values {
            let directory = format!("/nowhere/{value}");
            if let Ok(stanza) = Stanza::new(Path::new(&directory), "*.log", vec![Setting::word("missingok")]) {
                stanzas.push(stanza);
                meant.push(format!("rotating pattern: \"{directory}/*.log\"  "));
            }
        }
        assert!(meant.len() > 400, "too much is refused: {} left", meant.len());
        let (dir, conf) = proof::file("logrotate", &render(&stanzas));
        let state = dir.path().join("state");
        let args = ["-d", "-s", state.to_str().unwrap(), conf.to_str().unwrap()];
        let Some(said) = proof::ask("logrotate", &args, b"") else { return };
        let found: Vec<_> = said.stderr.lines().filter(|line| line.starts_with("rotating pattern: ")).collect();
        assert!(!said.stderr.contains("error:"), "{}", said.stderr);
        assert_eq!(found.len(), meant.len(), "{}", said.stderr);
        for (found, meant) in found.iter().zip(&meant) {
            assert!(found.starts_with(meant), "{found}\n{meant}");
        }
    }

    #[test]
    fn what_logrotate_would_read_otherwise_is_refused() {
        for directory in ["/a{b", "/a\nb", "/a*", "/a\"b", "/a'b", "/a\\b", "a", "/a#b"] {
            assert!(Stanza::new(Path::new(directory), "*.log", vec![]).is_err(), "{directory:?}");
        }
        for user in ["", "a b", "a\npostrotate", "a}"] {
            assert!(Setting::owner("su", user, "root").is_err(), "{user:?}");
        }
    }
}
