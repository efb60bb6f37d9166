//! Keys that nothing reads: an error each, with the key that was likely meant.

use super::diagnostic::Diagnostic;
use super::document::{At, Spot};
use super::reader::Keys;
use super::suggest::nearest;
use super::value::is_upper;

/// Keys of a manifest outside all tables; found below a `[table]`, they belong above it.
const TOP: [&str; 13] = [
    "rev",
    "tag",
    "commit",
    "branch",
    "domains",
    "ports",
    "user",
    "removed",
    "like",
    "base_dir",
    "keep_releases",
    "warm",
    "environments",
];

/// Keys that people look for outside their table.
const HOMES: [(&str, &str); 14] = [
    ("app", "web.gunicorn"),
    ("workers", "web.gunicorn"),
    ("threads", "web.gunicorn"),
    ("git", "source"),
    ("requirements", "python"),
    ("max_body", "nginx"),
    ("headers", "nginx"),
    ("path", "health"),
    ("status", "health"),
    ("deadline", "health"),
    ("passes", "health"),
    ("bake", "health"),
    ("debug", "django"),
    ("migrate", "django"),
];

/// Complains about each key of the table that was not asked for.
pub(super) fn complain(keys: &mut Keys<'_, '_>) {
    for (key, _) in keys.all() {
        if !keys.known().contains(&key.value) {
            let complaint = about(keys, &key);
            keys.out.push(complaint);
        }
    }
}

fn about(keys: &Keys<'_, '_>, key: &At<'_, &str>) -> Diagnostic {
    let complaint = key.spot.error(message(keys, key.value));
    if let Some(meant) = nearest(key.value, keys.known().iter().copied()) {
        return complaint.label(format!("did you mean `{meant}`?"));
    }
    match home(keys, key.value) {
        Some((label, help)) => complaint.label(label).help(help),
        None => complaint.label("nothing reads it").help(known_here(keys)),
    }
}

fn message(keys: &Keys<'_, '_>, key: &str) -> String {
    match keys.name.as_str() {
        "" => format!("unknown key `{key}`"),
        table => format!("unknown key `{key}` in [{table}]"),
    }
}

fn home(keys: &Keys<'_, '_>, key: &str) -> Option<(String, String)> {
    if !keys.name.is_empty() && TOP.contains(&key) {
        return Some(above_first_table(key));
    }
    if keys.name.is_empty() && is_upper(key) {
        let help = "move it below [settings] (Django) or [env] (environment variables)".to_owned();
        return Some(("upper-case keys live in a table".to_owned(), help));
    }
    let (_, table) = HOMES.iter().find(|(name, table)| *name == key && *table != keys.name)?;
    Some((format!("it belongs in [{table}]"), format!("move it below [{table}]")))
}

/// Label and cure for a key that stands below a `[table]` and belongs to the file.
fn above_first_table(key: &str) -> (String, String) {
    ("it belongs to no table".to_owned(), format!("move `{key}` above the first [table]"))
}

fn known_here(keys: &Keys<'_, '_>) -> String {
    let known: Vec<_> = keys.known().iter().copied().filter(|name| *name != "enabled").collect();
    if known.is_empty() { "this table has no keys".to_owned() } else { format!("known here: {}", known.join(", ")) }
}

/// A key of `[settings]` or `[env]` that is not upper-case.
pub(super) fn lower_case(table: &str, key: &str, spot: Spot<'_>) -> Diagnostic {
    let complaint = spot.error(format!("`{key}` in [{table}] is not upper-case"));
    if TOP.contains(&key) {
        let (label, help) = above_first_table(key);
        return complaint.label(label).help(help);
    }
    complaint
        .label(format!("keys of [{table}] are upper-case"))
        .help("move it above the first [table], if it is a key of the environment")
}
