//! systemd units: sections of `Key=value`.
//!
//! Settings differ in how they read a value (`systemd.syntax(7)` and the parsers behind it): most take the line as it is,
//! lists of paths and command lines split and unquote it. `%` is a specifier in all of them, `$` a variable in commands.

use std::fmt::Write as _;
use std::path::Path;

use super::{EmitError, Grammar, NOTICE, double_quoted, is_plain, path_text, plain_name, refuse};

/// The value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value(String);

impl Value {
    /// A value of ours, as it stands.
    pub fn word(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    /// A length of time in whole seconds.
    pub fn seconds(seconds: u64) -> Self {
        Self(format!("{seconds}s"))
    }

    /// The name of a user or group.
    pub fn name(what: &str, name: &str) -> Result<Self, EmitError> {
        plain_name(Grammar::Unit, what, name).map(|name| Self(name.to_owned()))
    }

    /// Text for people: `Description=`.
    pub fn text(what: &str, text: &str) -> Result<Self, EmitError> {
        refuse(Grammar::Unit, what, text, b"\\")?;
        ends_as_it_begins(what, text)?;
        Ok(Self(text.replace('%', "%%")))
    }

    /// One absolute path that is taken as it is: `WorkingDirectory=`.
    pub fn path(what: &str, path: &Path) -> Result<Self, EmitError> {
        Self::path_after("", what, path)
    }

    /// The same after a prefix of ours: `ConditionPathExists=|…`.
    pub fn path_after(prefix: &'static str, what: &str, path: &Path) -> Result<Self, EmitError> {
        // A backslash at the end would join the next line; quotes and glob patterns mean something to some settings.
        let text = path_text(Grammar::Unit, what, path, br#"\"'*?["#)?;
        ends_as_it_begins(what, text)?;
        Ok(Self(format!("{prefix}{}", text.replace('%', "%%"))))
    }

    /// Absolute paths that are split and unquoted: `ReadWritePaths=`.
    pub fn paths<'a>(what: &str, paths: impl IntoIterator<Item = &'a Path>) -> Result<Self, EmitError> {
        let words = paths.into_iter().map(|path| path_text(Grammar::Unit, what, path, b"").map(quoted));
        Ok(Self(words.collect::<Result<Vec<_>, _>>()?.join(" ")))
    }

    /// A command line: program and arguments that mean themselves, without a shell.
    pub fn command(program: &Path, args: &[String]) -> Result<Self, EmitError> {
        // The program's own path knows no variables, so a `$` could not be doubled there.
        let mut words = vec![quoted(path_text(Grammar::Unit, "a program", program, b"$")?)];
        for arg in args {
            refuse(Grammar::Unit, "an argument", arg, b"")?;
            words.push(quoted(arg).replace('$', "$$"));
        }
        Ok(Self(words.join(" ")))
    }
}

fn quoted(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    double_quoted(text, &['"', '\\']).replace('%', "%%")
}

/// systemd strips white space around a value.
fn ends_as_it_begins(what: &str, text: &str) -> Result<(), EmitError> {
    if text.starts_with(' ') || text.ends_with(' ') {
        return Err(EmitError::Byte { grammar: Grammar::Unit, what: format!("the edge of {what}"), byte: b' ' });
    }
    Ok(())
}

/// A section with its settings, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    name: &'static str,
    settings: Vec<(&'static str, Value)>,
}

impl Section {
    /// `[name]` and its settings.
    pub fn new(name: &'static str, settings: Vec<(&'static str, Value)>) -> Self {
        Self { name, settings }
    }
}

/// The text of the unit.
pub fn render(sections: &[Section]) -> String {
    let mut out = format!("# {NOTICE}\n");
    for section in sections {
        // Writing to a String cannot fail.
        let _infallible = writeln!(out, "\n[{}]", section.name);
        for (key, value) in &section.settings {
            let _infallible = writeln!(out, "{key}={}", value.0);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emit::proof;

    /// The settings of a unit: lines, continued by a backslash, without comments, white space at the edges stripped.
    fn settings(text: &str) -> Vec<(String, String)> {
        let edges = [' ', '\t', '\r'];
        let joined = text.replace("\\\n", " ");
        let lines = joined
            .split('\n')
            .map(|line| line.trim_matches(edges))
            .filter(|line| !line.is_empty() && !line.starts_with(['#', ';', '[']));
        lines
            .map(|line| line.split_once('=').unwrap())
            .map(|(k, v)| (k.to_owned(), v.trim_matches(edges).to_owned()))
            .collect()
    }

    fn specifiers(text: &str) -> String {
        let plain = text.replace("%%", "\0");
        assert!(!plain.contains('%'), "a specifier in {text:?}");
        plain.replace('\0', "%")
    }

    /// `extract_first_word` with `EXTRACT_UNQUOTE | EXTRACT_CUNESCAPE`.
    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        let mut chars = text.chars().peekable();
        while chars.peek().is_some() {
            let mut word = String::new();
            let mut quote = None;
            while let Some(c) = chars.next() {
                match (c, quote) {
                    (' ' | '\t', None) => break,
                    ('"' | '\'', None) => quote = Some(c),
                    (c, Some(q)) if c == q => quote = None,
                    ('\\', _) => {
                        let escaped = chars.next().unwrap();
                        assert!("\"\\".contains(escaped), "an escape that we never write");
                        word.push(escaped);
                    }
                    (c, _) => word.push(c),
                }
            }
            assert_eq!(quote, None, "an open quote in {text:?}");
            words.push(word);
        }
        words
    }

    fn variables(text: &str) -> String {
        let plain = text.replace("$$", "\0");
        assert!(!plain.contains('$'), "a variable in {text:?}");
        plain.replace('\0', "$")
    }

    fn one(key: &'static str, value: Value) -> String {
        let text = render(&[Section::new("Service", vec![(key, value), ("Type", Value::word("notify"))])]);
        let found = settings(&text);
        assert_eq!(found.len(), 2, "{text}");
        assert_eq!((found[0].0.as_str(), found[1].1.as_str()), (key, "notify"), "{text}");
        found[0].1.clone()
    }

    #[test]
    fn arguments_mean_themselves() {
        let mut carried = 0;
        for value in proof::values() {
            let args = ["--first".to_owned(), value.clone(), ";".to_owned()];
            let Ok(command) = Value::command(Path::new("/usr/bin/x"), &args) else { continue };
            let read: Vec<_> = words(&specifiers(&one("ExecStart", command))).iter().map(|w| variables(w)).collect();
            assert_eq!(read, ["/usr/bin/x", "--first", &value, ";"]);
            carried += 1;
        }
        assert!(carried > 1000, "too much is refused: {carried} left");
    }

    #[test]
    fn texts_and_paths_mean_themselves() {
        for value in proof::values() {
            let path = format!("/x/{value}");
            if let Ok(text) = Value::text("text", &value) {
                assert_eq!(specifiers(&one("Description", text)), value);
            }
            if let Ok(value) = Value::path("path", Path::new(&path)) {
                assert_eq!(specifiers(&one("WorkingDirectory", value)), path);
            }
            if let Ok(value) = Value::paths("paths", [Path::new(&path), Path::new("/y")]) {
                assert_eq!(words(&specifiers(&one("ReadWritePaths", value))), [path.as_str(), "/y"]);
            }
        }
    }

    #[test]
    fn what_a_unit_cannot_carry_is_refused() {
        for bad in ["a\nExecStartPre=+/bin/sh", "a\0", "a\\", " a", "a "] {
            assert!(Value::text("text", bad).is_err(), "{bad:?}");
            assert!(Value::path("path", Path::new(&format!("/{bad}"))).is_err() || bad == " a", "{bad:?}");
        }
        assert!(Value::command(Path::new("/a$b"), &[]).is_err());
        assert!(Value::command(Path::new("+/bin/sh"), &[]).is_err());
        assert!(Value::command(Path::new("/bin/x"), &["a\nb".to_owned()]).is_err());
        for path in proof::raw_paths() {
            assert!(Value::path("path", &path).is_err());
        }
    }
}
