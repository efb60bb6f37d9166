//! In which of its inputs a release differs from the one that serves.

use serde_json::{Map, Value};

use crate::desired::Wanted;
use crate::manifest::Environment;

/// Keys of an environment of which each entry has a name that people know it by.
const TABLES: [&str; 6] = ["settings", "env", "health", "nginx", "logs", "python"];
/// Keys of which nothing that runs depends, or that are said in other words.
const ELSEWHERE: [&str; 7] = ["rev", "keep_releases", "warm", "web", "django", "name", "removed"];

/// What differs, in the order in which people ask: `rev v1.4.2 -> v1.5.0`, `settings EMAIL_HOST`. Values are not told: they
/// may be secret. Empty for the same content.
pub fn differences(from: &Wanted, to: &Wanted) -> Vec<String> {
    if from.digest == to.digest {
        return Vec::new();
    }
    let mut said = Vec::new();
    said.extend(revision(from, to));
    if from.python != to.python {
        said.push(format!("python {} -> {}", from.python.version, to.python.version));
    } else if from.venv != to.venv {
        said.push("requirements".to_owned());
    }
    said.extend(keys(&from.env, &to.env));
    if from.workers != to.workers {
        said.push(format!("workers {} -> {}", from.workers, to.workers));
    }
    if said.is_empty() {
        said.push("a secret on this host".to_owned());
    }
    said
}

/// The same tag or branch can lead to another commit.
fn revision(from: &Wanted, to: &Wanted) -> Option<String> {
    match (from.title(), to.title()) {
        (before, after) if before != after => Some(format!("rev {before} -> {after}")),
        (same, _) if from.commit != to.commit => {
            Some(format!("{same} {} -> {}", from.commit.short(), to.commit.short()))
        }
        _ => None,
    }
}

fn keys(from: &Environment, to: &Environment) -> Vec<String> {
    let (from, to) = (object(from), object(to));
    let differing = to.keys().filter(|key| !ELSEWHERE.contains(&key.as_str()) && from.get(*key) != to.get(*key));
    let mut said: Vec<String> = differing.map(|key| named(key, from.get(key), to.get(key))).collect();
    // Kinds of process and Django's keys are flat: one word for each table.
    said.extend(
        ["web", "django"].into_iter().filter(|key| inner(from.get(*key)) != inner(to.get(*key))).map(str::to_owned),
    );
    said
}

/// The number of workers is told with what the host made of it.
fn inner(value: Option<&Value>) -> Option<Value> {
    let mut value = value.cloned()?;
    if let Some(Value::Object(gunicorn)) = value.get_mut("gunicorn") {
        gunicorn.remove("workers");
    }
    Some(value)
}

/// `domains`, or `settings EMAIL_HOST, TIME_ZONE`.
fn named(key: &str, from: Option<&Value>, to: Option<&Value>) -> String {
    let nothing = Map::new();
    let entries = |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
    let (from, to) = if TABLES.contains(&key) { (entries(from), entries(to)) } else { (nothing.clone(), nothing) };
    let all: std::collections::BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let names: Vec<&str> =
        all.into_iter().filter(|name| from.get(*name) != to.get(*name)).map(String::as_str).collect();
    if names.is_empty() { key.to_owned() } else { format!("{key} {}", names.join(", ")) }
}

fn object(env: &Environment) -> Map<String, Value> {
    match serde_json::to_value(env) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}
