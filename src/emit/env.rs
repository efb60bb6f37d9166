//! `KEY="value"`: safe to source in a shell, and read alike by systemd's `EnvironmentFile=`.
//!
//! Double quotes, because after a closing single quote systemd no longer sees quotes: `'it'\''s'`, which every shell
//! takes, is `it''s'` to it. Inside double quotes both give a backslash its meaning before `"`, `\`, `` ` `` and `$` only.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{EmitError, Grammar, NOTICE, double_quoted, refuse};

/// Variables, sorted by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvFile {
    lines: BTreeMap<String, String>,
}

impl EnvFile {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a variable; the last one counts. Refuses names that no shell takes, and control characters.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), EmitError> {
        if !is_name(name) {
            let what = "the name of a variable".to_owned();
            return Err(EmitError::Name { grammar: Grammar::Env, what, text: name.to_owned() });
        }
        refuse(Grammar::Env, &format!("variable {name}"), value, b"")?;
        self.lines.insert(name.to_owned(), double_quoted(value, &['"', '\\', '`', '$']));
        Ok(())
    }

    /// The text of the file.
    pub fn render(&self) -> String {
        let mut out = format!("# {NOTICE}\n");
        for (name, value) in &self.lines {
            // Writing to a String cannot fail.
            let _infallible = writeln!(out, "{name}={value}");
        }
        out
    }
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

/// A line that [`EnvFile`] would not have written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is not KEY=\"value\"")]
pub struct NotOurs(pub usize);

/// Reads a file that [`EnvFile::render`] wrote, for a process that is started without systemd or a shell.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, NotOurs> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(index, line)| assignment(line).ok_or(NotOurs(index + 1))).collect()
}

fn assignment(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once('=')?;
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        plain.push(if c == '\\' { chars.next()? } else { c });
    }
    is_name(name).then(|| (name.to_owned(), plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::proof;

    /// `parse_env_file_internal` of systemd 252, for one line `KEY=…`.
    fn systemd_reads(line: &str) -> String {
        enum State {
            Pre,
            Value,
            ValueEscape,
            Single,
            Double,
            DoubleEscape,
        }
        let mut state = State::Pre;
        let mut value = String::new();
        for c in line.split_once('=').unwrap().1.chars() {
            state = match (state, c) {
                (State::Pre, '\'') => State::Single,
                (State::Pre, '"') => State::Double,
                (State::Pre | State::Value, '\\') => State::ValueEscape,
                (State::Pre, ' ' | '\t') | (State::Single, '\'') | (State::Double, '"') => State::Pre,
                (State::Double, '\\') => State::DoubleEscape,
                (state, c) => {
                    if matches!(state, State::DoubleEscape) && !"\"\\`$".contains(c) {
                        value.push('\\');
                    }
                    value.push(c);
                    match state {
                        State::DoubleEscape | State::Double => State::Double,
                        State::Single => State::Single,
                        _ => State::Value,
                    }
                }
            };
        }
        value
    }

    fn carried() -> (EnvFile, Vec<String>) {
        let mut file = EnvFile::new();
        let values: Vec<String> =
            proof::values().into_iter().filter(|value| EnvFile::new().set("V", value).is_ok()).collect();
        for (index, value) in values.iter().enumerate() {
            file.set(&format!("V{index:05}"), value).unwrap();
        }
        (file, values)
    }

    #[test]
    fn systemd_reads_what_was_meant() {
        let (file, values) = carried();
        let text = file.render();
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(lines.len(), values.len());
        for (line, value) in lines.iter().zip(&values) {
            assert_eq!(&systemd_reads(line), value);
        }
    }

    #[test]
    fn shells_and_we_ourselves_read_what_was_meant() {
        let (file, values) = carried();
        let text = file.render();
        assert_eq!(parse(&text).unwrap().into_values().collect::<Vec<_>>(), values);
        let (_dir, path) = proof::file("env.conf", &text);
        for shell in ["dash", "bash"] {
            let script = r#"PATH= ; . "$0"; set | while IFS= read -r l; do :; done
                i=0; while [ "$i" -lt "$1" ]; do n=0000$i; n=${n#"${n%?????}"}; eval "printf '%s\0' \"\$V$n\""; i=$((i+1)); done"#;
            let count = values.len().to_string();
            let Some(said) = proof::ask(shell, &["-c", script, path.to_str().unwrap(), &count], b"") else { continue };
            let read: Vec<&[u8]> = said.stdout.split(|&b| b == 0).collect();
            let meant: Vec<&[u8]> = values.iter().map(String::as_bytes).chain([&b""[..]]).collect();
            assert_eq!(read, meant, "{shell}: {}", said.stderr);
        }
    }

    #[test]
    fn only_names_of_variables_and_whole_lines() {
        for name in ["", "1A", "A-B", "A B", "A=B", "A\n", "É", "A;B"] {
            assert!(EnvFile::new().set(name, "x").is_err(), "{name:?}");
        }
        for value in ["a\nb", "a\0", "\x1b[0m"] {
            assert!(EnvFile::new().set("A", value).is_err(), "{value:?}");
        }
        assert_eq!(parse("A=\"x\"\nB=y\n"), Err(NotOurs(2)));
    }
}
