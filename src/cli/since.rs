//! `portreeve plan --since REV`: in a clone of the deploy repository, which environments a push would change. No host is asked.

use std::collections::{BTreeMap, BTreeSet};

use super::args::{Global, PlanArgs};
use super::{Fault, diagnostics, json, printer, release};
use crate::agent::{deploy_tree, manifests};
use crate::manifest::{self, Environment, Repository, Tree};
use crate::model::{CommitId, EnvName};
use crate::plan::Edited;
use crate::source::{Objects, SourceError};

/// One environment that would change.
struct Row {
    name: EnvName,
    /// Where it runs now.
    before: BTreeSet<String>,
    /// Where it would run.
    after: BTreeSet<String>,
    manifests: Vec<Edited>,
}

/// Prints what differs between REV and HEAD; with `--exit-code` 5 when anything does.
pub fn run(rev: &str, args: &PlanArgs, global: &Global) -> Result<u8, Fault> {
    let clone = Objects::of_clone(std::path::Path::new(".")).map_err(|error| unreadable(&error))?;
    let from = clone.rev(rev).map_err(|_| {
        Fault::usage(format!("`{rev}` names no commit of this clone")).with_help("git log --oneline shows them")
    })?;
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
        let (old, new) = (before.get(name), after.get(name));
        let hosts = |placed: Option<&(_, BTreeSet<String>)>| placed.map(|(_, hosts)| hosts.clone()).unwrap_or_default();
        let row = || Row { name: name.clone(), before: hosts(old), after: hosts(new), manifests: Vec::new() };
        (old != new).then(row)
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
        printer::line(format!("\n{}: {}", row.name, words(row)));
        release::edits(&row.manifests, None);
    }
}

/// What becomes of it, and where: `changes on web1`, `new on web2; leaves web1`.
fn words(row: &Row) -> String {
    let list = |hosts: Vec<&String>| hosts.into_iter().cloned().collect::<Vec<_>>().join(", ");
    let kinds = [
        ("changes on", list(row.before.intersection(&row.after).collect())),
        ("new on", list(row.after.difference(&row.before).collect())),
        ("leaves", list(row.before.difference(&row.after).collect())),
    ];
    let said: Vec<String> =
        kinds.iter().filter(|(_, hosts)| !hosts.is_empty()).map(|(word, hosts)| format!("{word} {hosts}")).collect();
    if said.is_empty() { "on no host".to_owned() } else { said.join("; ") }
}

fn as_json(row: &Row) -> json::Since {
    let files = row.manifests.iter().map(|edited| edited.path.clone()).collect();
    json::Since {
        environment: row.name.clone(),
        hosts_before: row.before.clone(),
        hosts_after: row.after.clone(),
        files,
    }
}
