//! What changed in a manifest, line by line, for people. What looks like a secret is never part of it.

use std::ops::Range;

use similar::{ChangeTag, TextDiff};
use toml::de::{DeTable, DeValue};

/// A file of the deploy repository and the lines that changed in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// Its path in the repository.
    pub path: String,
    /// `-rev = "v1"`, `+rev = "v2"`, in the order of the file. Empty lines are left out.
    pub lines: Vec<String>,
}

/// What stands for a value that is not shown.
const HIDDEN: &str = "…";

/// A key that has one of these words in its name has a secret for a value. Whoever knows a webhook's address may post there.
const SECRET_WORDS: [&str; 10] =
    ["SECRET", "PASSWORD", "PASSWD", "TOKEN", "KEY", "CREDENTIAL", "PRIVATE", "DSN", "WEBHOOK", "HEARTBEAT"];

/// The difference between two texts of the file at `path`; `None` when no line differs.
pub fn edited(path: &str, before: &str, after: &str) -> Option<Edited> {
    let diff = TextDiff::from_lines(before, after);
    let (old, new) = (shown(before), shown(after));
    let line = |change: &similar::Change<&str>| match change.tag() {
        ChangeTag::Delete => Some(format!("-{}", old.get(change.old_index()?)?)),
        ChangeTag::Insert => Some(format!("+{}", new.get(change.new_index()?)?)),
        ChangeTag::Equal => None,
    };
    let lines: Vec<String> = diff.iter_all_changes().filter_map(|change| line(&change)).collect();
    let lines: Vec<String> = lines.into_iter().filter(|line| line.len() > 1).collect();
    (!lines.is_empty()).then(|| Edited { path: path.to_owned(), lines })
}

/// The lines of a manifest as they may be shown. Of a text that is no TOML nothing is known, so nothing is shown.
fn shown(text: &str) -> Vec<String> {
    let Ok(table) = DeTable::parse(text) else {
        return text.lines().map(|line| if line.trim().is_empty() { "" } else { HIDDEN }.to_owned()).collect();
    };
    let mut hidden = Vec::new();
    hide(table.get_ref(), false, &mut hidden);
    let mut start = 0;
    let lines = text.split_inclusive('\n').map(|line| {
        let whole = start..start + line.trim_end().len();
        start += line.len();
        without(text, whole, &hidden)
    });
    lines.collect()
}

/// The bytes of a manifest, as many as they were, with a `*` for each byte of what looks like a secret: for the source line of a
/// complaint, which keeps its columns. In a text that is no TOML, whatever follows the host of a URL is taken for one.
pub fn masked(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for span in std::str::from_utf8(bytes).map(secrets).unwrap_or_default() {
        let hidden = out.get_mut(span).unwrap_or_default().iter_mut();
        hidden.filter(|byte| !byte.is_ascii_control()).for_each(|byte| *byte = b'*');
    }
    out
}

fn secrets(text: &str) -> Vec<Range<usize>> {
    let Ok(table) = DeTable::parse(text) else { return beyond_hosts(text) };
    let mut hidden = Vec::new();
    hide(table.get_ref(), false, &mut hidden);
    // The quotes stay: without them the line would look wrong in another way than it is.
    let quoted = |span: &Range<usize>| text[span.clone()].starts_with(['"', '\'']);
    hidden.into_iter().map(|span| if quoted(&span) { span.start + 1..span.end - 1 } else { span }).collect()
}

/// What follows each URL's host, to the end of its line.
fn beyond_hosts(text: &str) -> Vec<Range<usize>> {
    let beyond = |(at, mark): (usize, &str)| {
        let start = at + mark.len();
        let line = text[start..].lines().next().unwrap_or_default();
        Some(start + line.find(['/', '?', '@'])? + 1..start + line.len())
    };
    text.match_indices("://").filter_map(beyond).collect()
}

/// The part of `text` in `line`, with each hidden span in it replaced.
fn without(text: &str, line: Range<usize>, hidden: &[Range<usize>]) -> String {
    let mut out = String::new();
    let mut at = line.start;
    for span in hidden.iter().filter(|span| span.start < line.end && span.end > line.start) {
        out.push_str(text.get(at..span.start.max(at)).unwrap_or_default());
        out.push_str(HIDDEN);
        at = span.end.min(line.end);
    }
    out.push_str(text.get(at..line.end).unwrap_or_default());
    out
}

fn hide(table: &DeTable<'_>, secret: bool, hidden: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        hide_value(value.get_ref(), &value.span(), secret || is_secret(key.get_ref()), hidden);
    }
    hidden.sort_by_key(|span| span.start);
}

fn hide_value(value: &DeValue<'_>, span: &Range<usize>, secret: bool, hidden: &mut Vec<Range<usize>>) {
    match value {
        DeValue::Table(inner) => hide(inner, secret, hidden),
        DeValue::Array(items) => {
            items.iter().for_each(|item| hide_value(item.get_ref(), &item.span(), secret, hidden));
        }
        DeValue::String(text) if secret || names_a_password(text) => hidden.push(span.clone()),
        _ if secret => hidden.push(span.clone()),
        _ => {}
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_uppercase();
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// `scheme://user:password@host` (RFC 3986 3.2.1).
fn names_a_password(text: &str) -> bool {
    let authority = text.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
    let user = authority.and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
    user.is_some_and(|user| user.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(before: &str, after: &str) -> Vec<String> {
        edited("projects/bakery/pro.toml", before, after).map(|edited| edited.lines).unwrap_or_default()
    }

    #[test]
    fn only_what_changed_is_shown() {
        let before = "rev = \"v1\"\ndomains = [\"a.example\"]\n\n[env]\nLOG_LEVEL = \"info\"\n";
        let after = "rev = \"v2\"\ndomains = [\"a.example\"]\n\n\n[env]\nLOG_LEVEL = \"info\"\nTZ = \"UTC\"\n";
        assert_eq!(lines(before, after), ["-rev = \"v1\"", "+rev = \"v2\"", "+TZ = \"UTC\""]);
        assert_eq!(edited("x", before, before), None);
    }

    #[test]
    fn a_secret_is_never_shown_however_it_is_written() {
        for after in [
            "[settings]\nEMAIL_HOST_PASSWORD = \"hunter2\"\n",
            "[settings]\nEMAIL_HOST_PASSWORD = \"\"\"\nhunter2\nhunter2\n\"\"\"\n",
            "[settings]\nKEYS_OF_API = [\n  \"hunter2\",\n  \"x\",\n]\n",
            "[settings.API_TOKENS]\none = \"hunter2\"\n",
            "[settings]\nMAIL = { user = \"x\", password = \"hunter2\" }\n",
            "[env]\nBROKER = \"amqp://app:hunter2@mq.example/x\"\n",
            "[notify]\nwebhook = \"https://chat.example.org/hunter2\"\n",
            "[notify]\nheartbeat = \"https://watch.example.org/ping/hunter2\"\n",
            "[env]\nSECRET_PIN = 2\n\n[settings]\nAWS_SECRET = 'hunter2'\n",
            "[settings\nno toml, hunter2",
        ] {
            let said = lines("rev = \"v1\"\n", after).join("\n");
            assert!(!said.contains("hunter2") && said.contains(HIDDEN), "{after}\n{said}");
        }
    }

    #[test]
    fn a_changed_secret_is_a_changed_line() {
        let found = lines("[env]\nAPI_TOKEN = \"a\" # ours\n", "[env]\nAPI_TOKEN = \"b\" # ours\n");
        assert_eq!(found, ["-API_TOKEN = … # ours", "+API_TOKEN = … # ours"]);
    }

    #[test]
    fn an_address_without_a_password_is_shown() {
        let found = lines("", "git = \"ssh://git@git.example.org/bakery.git\"\n");
        assert_eq!(found, ["+git = \"ssh://git@git.example.org/bakery.git\""]);
    }

    #[test]
    fn a_complaint_about_a_secret_shows_its_place_and_not_the_secret() {
        let text = "[notify]\nwebhook = \"chat/hunter2\" # ours\nemail = \"ops\"\n";
        let shown = String::from_utf8(masked(text.as_bytes())).unwrap();
        assert_eq!(shown, text.replace("chat/hunter2", "************"));
        let broken = "[notify]\nwebhook = \"https://chat.example/hunter2\nheartbeat = 1\n";
        let shown = String::from_utf8(masked(broken.as_bytes())).unwrap();
        assert!(!shown.contains("hunter2") && shown.contains("https://chat.example/") && shown.len() == broken.len());
        assert_eq!(masked(b"\xff\xfe"), b"\xff\xfe");
    }
}
