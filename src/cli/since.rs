//! `portreeve plan --since REV`: in a clone of the deploy repository, which environments a push would change. No host is asked.

use std::collections::{BTreeMap, BTreeSet};

use super::args::{Global, PlanArgs};
use super::{Fault, diagnostics, printer, release};
use crate::agent::{deploy_tree, manifests};
use crate::manifest::{self, Environment, Repository, Tree};
use crate::model::{CommitId, EnvName};
use crate::plan::Edited;
use crate::source::{Objects, SourceError};

/// What a push would do to one environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Changed,
    Added,
    Removed,
}

/// One environment that would change.
struct Row {
    name: EnvName,
    change: Change,
    hosts: BTreeSet<String>,
    manifests: Vec<Edited>,
}

/// Prints what differs between REV and HEAD; with `--exit-code` 5 when anything does.
pub fn run(rev: &str, args: &PlanArgs, global: &Global) -> Result<u8, Fault> {
    let clone = Objects::of_clone(std::path::Path::new(".")).map_err(|error| unreadable(&error))?;
    let from = clone.rev(rev).map_err(|error| unreadable(&error))?;
    let head = clone.rev("HEAD").map_err(|error| unreadable(&error))?;
    let before = repository(&clone, &from)?.0;
    let (after, found, tree) = repository(&clone, &head)?;
    if found.errors().next().is_some() {
        printer::raw(&diagnostics::render(&found, &tree, printer::colours()));
        return Ok(2);
    }
    let mut rows = rows(before.as_ref(), after.as_ref());
    rows.retain(|row| args.only.environments.is_empty() || args.only.environments.contains(&row.name));
    for row in &mut rows {
        row.manifests = manifests(&clone, &row.name, &from, &head);
    }
    if global.json {
        printer::json(&rows.iter().map(as_json).collect::<Vec<_>>());
    } else {
        print(&rows);
    }
    Ok(if args.exit_code && !rows.is_empty() { 5 } else { 0 })
}

fn unreadable(error: &SourceError) -> Fault {
    Fault { code: 2, ..Fault::failed(error) }.with_help("run it inside a clone of the deploy repository")
}

type Read = (Option<Repository>, manifest::Diagnostics, Tree);

fn repository(clone: &Objects, commit: &CommitId) -> Result<Read, Fault> {
    let tree = deploy_tree(clone, commit).map_err(|error| unreadable(&error))?;
    let (repository, found) = manifest::parse(&tree);
    Ok((repository, found, tree))
}

/// An environment as the hosts see it: its content, and where it runs.
type Placed<'a> = BTreeMap<&'a EnvName, (Option<&'a Environment>, BTreeSet<String>)>;

fn placed(repository: Option<&Repository>) -> Placed<'_> {
    let Some(repository) = repository else { return Placed::new() };
    let hosts = |name: &EnvName| {
        let of = repository.hosts.iter().filter(|(_, entry)| entry.environments.iter().any(|listed| listed == name));
        of.map(|(host, _)| host.clone()).collect()
    };
    repository.environments.iter().map(|(name, env)| (name, (env.as_ref().ok(), hosts(name)))).collect()
}

fn rows(before: Option<&Repository>, after: Option<&Repository>) -> Vec<Row> {
    let (before, after) = (placed(before), placed(after));
    let names: BTreeSet<&EnvName> = before.keys().chain(after.keys()).copied().collect();
    let row = |name: &EnvName| {
        let (change, hosts) = match (before.get(name), after.get(name)) {
            (None, Some((_, hosts))) => (Change::Added, hosts.clone()),
            (Some((_, hosts)), None) => (Change::Removed, hosts.clone()),
            (Some(old), Some(new)) if old != new => (Change::Changed, old.1.union(&new.1).cloned().collect()),
            _ => return None,
        };
        Some(Row { name: name.clone(), change, hosts, manifests: Vec::new() })
    };
    names.into_iter().filter_map(row).collect()
}

fn print(rows: &[Row]) {
    let names: Vec<String> = rows.iter().map(|row| row.name.to_string()).collect();
    match names.as_slice() {
        [] => printer::line("changes no environment"),
        [one] => printer::line(format!("changes 1 environment: {one}")),
        several => printer::line(format!("changes {} environments: {}", several.len(), several.join(", "))),
    }
    for row in rows {
        printer::line(format!("\n{}: {} on {}", row.name, word(row.change), hosts(row)));
        release::edits(&row.manifests, None);
    }
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Changed => "changed",
        Change::Added => "new",
        Change::Removed => "removed",
    }
}

fn hosts(row: &Row) -> String {
    if row.hosts.is_empty() {
        return "no host".to_owned();
    }
    row.hosts.iter().cloned().collect::<Vec<_>>().join(", ")
}

fn as_json(row: &Row) -> serde_json::Value {
    let files: Vec<&str> = row.manifests.iter().map(|edited| edited.path.as_str()).collect();
    serde_json::json!({
        "environment": row.name.to_string(), "change": word(row.change), "hosts": row.hosts, "files": files,
    })
}
