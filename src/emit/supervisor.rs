//! Supervisor: an ini section.
//!
//! Its parser ends a value at a `;` or `#` after white space, whatever the quotes, then expands `%(…)s`; a command is
//! split like a shell would (`shlex`).

use std::fmt::Write as _;
use std::path::Path;

use super::{EmitError, Grammar, NOTICE, is_plain, path_text, plain_name, refuse};

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value(String);

impl Value {
    /// A value of ours, as it stands.
    pub fn word(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    /// A number.
    pub fn number(number: u64) -> Self {
        Self(number.to_string())
    }

    /// The name of a user.
    pub fn name(what: &str, name: &str) -> Result<Self, EmitError> {
        plain_name(Grammar::Supervisor, what, name).map(|name| Self(name.to_owned()))
    }

    /// An absolute path that is taken as it is.
    pub fn path(what: &str, path: &Path) -> Result<Self, EmitError> {
        let text = path_text(Grammar::Supervisor, what, path, b";#")?;
        if text.chars().next_back().is_some_and(char::is_whitespace) {
            return Err(EmitError::Byte {
                grammar: Grammar::Supervisor,
                what: format!("the end of {what}"),
                byte: b' ',
            });
        }
        Ok(Self(text.replace('%', "%%")))
    }

    /// A command line whose words mean themselves, without a shell.
    pub fn command(words: &[String]) -> Result<Self, EmitError> {
        let mut quoted = Vec::with_capacity(words.len());
        for word in words {
            refuse(Grammar::Supervisor, "an argument", word, b"")?;
            quoted.push(shell_word(word).replace('%', "%%"));
        }
        Ok(Self(quoted.join(" ")))
    }
}

/// `word` in single quotes, unless it needs none. `;` and `#` get quotes of their own, so that none follows a space.
fn shell_word(word: &str) -> String {
    if is_plain(word) {
        return word.to_owned();
    }
    let mut quoted = String::from("'");
    for c in word.chars() {
        match c {
            '\'' => quoted.push_str(r#"'"'"'"#),
            ';' | '#' => quoted.extend(["'", "'", c.encode_utf8(&mut [0; 4])]),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

/// The text of a file with one program.
pub fn program(name: &str, settings: &[(&'static str, Value)]) -> Result<String, EmitError> {
    let name = plain_name(Grammar::Supervisor, "a program's name", name)?;
    Ok(format!("; {NOTICE}\n[program:{name}]\n{}", lines(settings)))
}

/// A section of ours: `[supervisord]`.
pub fn section(name: &'static str, settings: &[(&'static str, Value)]) -> String {
    format!("[{name}]\n{}", lines(settings))
}

fn lines(settings: &[(&'static str, Value)]) -> String {
    let mut out = String::new();
    for (key, value) in settings {
        // Writing to a String cannot fail.
        let _infallible = writeln!(out, "{key}={}", value.0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::proof;

    const READ: &str = r#"
import json, shlex, sys
try:
    from supervisor.options import ServerOptions
except ImportError:
    sys.exit(77)
options = ServerOptions()
options.realize(["-n", "-c", sys.argv[1]])
found = {}
for group in options.process_group_configs:
    for p in group.process_configs:
        found[p.name] = [shlex.split(p.command), p.directory, p.autostart]
print(json.dumps(found))
"#;

    #[test]
    fn supervisor_reads_exactly_these_programs() {
        let mut text = String::from("[supervisord]\n");
        let mut meant = std::collections::BTreeMap::new();
        for (index, value) in proof::values().into_iter().enumerate() {
            let path = format!("/{value}");
            let directory = Value::path("path", Path::new(&path));
            let expected = directory.is_ok().then(|| path.clone());
            let words = ["/bin/x".to_owned(), value.clone(), "last".to_owned()];
            let Ok(command) = Value::command(&words) else { continue };
            let mut settings = vec![("command", command), ("autostart", Value::word("false"))];
            settings.extend(directory.ok().map(|value| ("directory", value)));
            text += &program(&format!("p{index}"), &settings).unwrap();
            meant.insert(format!("p{index}"), (words, expected, false));
        }
        assert!(meant.len() > 1000, "too much is refused: {} left", meant.len());
        let (_dir, conf) = proof::file("s.conf", &text);
        let Some(said) = proof::ask("python3", &["-c", READ, conf.to_str().unwrap()], b"") else { return };
        if said.stdout.is_empty() && said.stderr.is_empty() {
            return; // Supervisor is not installed
        }
        assert!(said.ok, "{}", said.stderr);
        let read: std::collections::BTreeMap<String, ([String; 3], Option<String>, bool)> =
            serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!(read.len(), meant.len());
        for (name, expected) in meant {
            assert_eq!(read[&name], expected, "{name}");
        }
    }

    #[test]
    fn what_an_ini_cannot_carry_is_refused() {
        assert!(Value::command(&["a\nuser=root".to_owned()]).is_err());
        for path in ["/a ;b", "/a#b", "relative", "/a ", "/a\u{a0}"] {
            assert!(Value::path("path", Path::new(path)).is_err(), "{path:?}");
        }
        for name in ["a]", "a b", "a:b", "", "a\n"] {
            assert!(program(name, &[]).is_err(), "{name:?}");
        }
        for path in proof::raw_paths() {
            assert!(Value::path("path", &path).is_err());
        }
    }
}
