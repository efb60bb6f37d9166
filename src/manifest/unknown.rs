//! Keys that nothing reads: an error each, with the key that was likely meant.

use super::diagnostic::Diagnostic;
use super::document::At;
use super::later::is_later;
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

/// Most unknown keys of a table that are looked at: guessing what was meant costs time.
const ENOUGH: usize = 50;

/// Complains about each key of the table that was not asked for.
pub(super) fn complain(keys: &mut Keys<'_, '_>) {
    let unknown: Vec<_> =
        keys.all().into_iter().map(|(key, _)| key).filter(|key| !keys.known().contains(&key.value)).collect();
    for key in unknown.iter().take(ENOUGH) {
        let (complaint, meant) = about(keys, key);
        keys.out.push(complaint);
        if let Some(full_name) = meant {
            keys.mean(full_name);
        }
    }
}

/// The complaint, and the key that was meant, as far as one can tell.
fn about(keys: &Keys<'_, '_>, key: &At<'_, &str>) -> (Diagnostic, Option<String>) {
    let complaint = key.spot.error(message(keys, key.value));
    if let Some(meant) = nearest(key.value, keys.known().iter().copied()) {
        return (complaint.label(format!("did you mean `{meant}`?")), Some(keys.full_name(meant)));
    }
    match home(keys, key.value) {
        Some(home) => (complaint.label(home.label).help(home.help), home.meant),
        None => (complaint.label("nothing reads it").help(known_here(keys)), None),
    }
}

fn message(keys: &Keys<'_, '_>, key: &str) -> String {
    match keys.name.as_str() {
        "" => format!("unknown key `{key}`"),
        table => format!("unknown key `{key}` in [{table}]"),
    }
}

/// Where a key belongs that stands in the wrong place.
struct Home {
    label: String,
    help: String,
    meant: Option<String>,
}

fn home(keys: &Keys<'_, '_>, key: &str) -> Option<Home> {
    if !keys.name.is_empty() && TOP.contains(&key) {
        return Some(above_first_table(key));
    }
    if keys.name.is_empty() && is_upper(key) {
        let help = "move it below [settings] (Django) or [env] (environment variables)".to_owned();
        return Some(Home { label: "upper-case keys live in a table".to_owned(), help, meant: None });
    }
    let (_, table) = HOMES.iter().find(|(name, table)| *name == key && *table != keys.name)?;
    let meant = Some(format!("{table}.{key}"));
    Some(Home { label: format!("it belongs in [{table}]"), help: format!("move it below [{table}]"), meant })
}

/// For a key that stands below a `[table]` and belongs to the file.
fn above_first_table(key: &str) -> Home {
    let help = format!("move `{key}` above the first [table]");
    Home { label: "it belongs to no table".to_owned(), help, meant: Some(key.to_owned()) }
}

fn known_here(keys: &Keys<'_, '_>) -> String {
    let known: Vec<_> = keys.known().iter().copied().filter(|name| *name != "enabled" && !is_later(name)).collect();
    if known.is_empty() { "this table has no keys".to_owned() } else { format!("known here: {}", known.join(", ")) }
}

/// A key of `[settings]` or `[env]` that is not upper-case.
pub(super) fn lower_case(keys: &mut Keys<'_, '_>, key: &At<'_, &str>) {
    let table = keys.name.clone();
    let complaint = key.spot.error(format!("`{}` in [{table}] is not upper-case", key.value));
    if TOP.contains(&key.value) {
        let home = above_first_table(key.value);
        keys.out.push(complaint.label(home.label).help(home.help));
        keys.mean(key.value.to_owned());
        return;
    }
    let complaint = complaint
        .label(format!("keys of [{table}] are upper-case"))
        .help("move it above the first [table], if it is a key of the environment");
    keys.out.push(complaint);
}
