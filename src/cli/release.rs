//! The part of `portreeve plan` about one release: what changed, and what would be built.

use std::path::Path;

use super::printer;
use crate::agent::{Commits, Migrations, Preview};
use crate::desired::Wanted;
use crate::model::CommitId;
use crate::plan::{Edited, EnvPlan};

/// Prints what a release would do. `header` is the commit that the plan's first line says is applied.
pub fn print(preview: &Preview, plan: &EnvPlan, header: Option<&CommitId>) {
    let Some(wanted) = &plan.wants else { return };
    let serving = plan.serves.as_ref().map(|serving| &serving.wanted);
    let since = preview.since.as_ref().filter(|since| Some(*since) != header);
    edits(&preview.manifests, since);
    row("source", &source(&preview.source));
    row("venv", &venv(preview, serving, wanted));
    if let Some(words) = migrations(&preview.migrations) {
        row("migrate", &words);
    }
    row("files", &files(preview));
    row("switch", &switch(preview, plan));
}

/// Prints the changed lines of manifests; `since` when they are counted from another commit than the plan's.
pub fn edits(manifests: &[Edited], since: Option<&CommitId>) {
    let since = since.map(|since| format!(" (since {})", since.short())).unwrap_or_default();
    for edited in manifests {
        printer::line(format!("  --- {}{since}", edited.path));
        edited.lines.iter().for_each(|line| printer::changed(line));
    }
}

fn row(label: &str, text: &str) {
    printer::line(format!("  {label:<8} {text}"));
}

fn source(commits: &Commits) -> String {
    let to = commits.to.short();
    match (&commits.from, commits.count) {
        (None, _) => to.to_owned(),
        (Some(from), _) if *from == commits.to => format!("{to}, as now"),
        (Some(from), Some(0)) => format!("{}..{to}, an earlier commit", from.short()),
        (Some(from), Some(1)) => format!("{}..{to}, 1 commit", from.short()),
        (Some(from), Some(count)) => format!("{}..{to}, {count} commits", from.short()),
        (Some(from), None) => format!("{}..{to}", from.short()),
    }
}

fn venv(preview: &Preview, serving: Option<&Wanted>, wanted: &Wanted) -> String {
    if preview.foreseen.venv_ready {
        return "reused".to_owned();
    }
    let Some(serving) = serving else { return format!("build, python {}", wanted.python.version) };
    let requirements = wanted.env.python.requirements.as_path();
    let changed = |path: &String| Path::new(path) == requirements;
    if serving.venv == wanted.venv {
        "rebuild: it is gone from this host".to_owned()
    } else if serving.python != wanted.python {
        format!("rebuild: python {} -> {}", serving.python.version, wanted.python.version)
    } else if serving.env.python.requirements != wanted.env.python.requirements
        || preview.paths.as_ref().is_some_and(|paths| paths.iter().any(changed))
    {
        format!("rebuild: {} changed", requirements.display())
    } else {
        "rebuild: what the requirements include changed, or where packages come from".to_owned()
    }
}

fn migrations(found: &Migrations) -> Option<String> {
    let Migrations { pending, applied, changed } = found;
    let files = |files: &[String], kind: &str| match files {
        [] => None,
        [one] => Some(format!("1 {kind} file, {one}")),
        [first, ..] => Some(format!("{} {kind} files, {first} and others", files.len())),
    };
    match (files(pending, "new"), files(applied, "new"), files(changed, "changed")) {
        (Some(pending), None, _) => Some(format!("{pending}; dump first")),
        (Some(pending), Some(_), _) => Some(format!("{pending}; dump first; {} more applied already", applied.len())),
        (None, Some(applied), _) => Some(format!("{applied}; the database has it already")),
        (None, None, Some(changed)) => Some(format!("{changed}; none new")),
        (None, None, None) => None,
    }
}

/// The files of a generation in the order in which people think of them, and what they call them.
const KINDS: [(&str, &str); 9] = [
    ("nginx.conf", "vhost"),
    ("unit", "unit"),
    ("program", "program"),
    ("logrotate", "logrotate"),
    ("tmpfiles.conf", "tmpfiles"),
    ("env.conf", "env.conf"),
    ("settings_local.py", "settings"),
    ("portreeve_settings.py", "settings"),
    ("exec.json", "launcher"),
];

fn files(preview: &Preview) -> String {
    let files = &preview.foreseen.files;
    if files.is_empty() {
        return "all new".to_owned();
    }
    // A kind has changed when any of its files has.
    let mut kinds: Vec<(&str, bool)> = Vec::new();
    for (name, kind) in KINDS {
        let Some(&changed) = files.get(name) else { continue };
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, any)) => *any |= changed,
            None => kinds.push((kind, changed)),
        }
    }
    let named = |wanted: bool| {
        let of = kinds.iter().filter(|(_, changed)| *changed == wanted);
        of.map(|&(kind, _)| kind).collect::<Vec<_>>().join(", ")
    };
    match (named(true), named(false)) {
        (changed, same) if changed.is_empty() => format!("{same} unchanged"),
        (changed, same) if same.is_empty() => changed,
        (changed, same) => format!("{changed}; {same} unchanged"),
    }
}

fn switch(preview: &Preview, plan: &EnvPlan) -> String {
    let slot = preview.foreseen.slot;
    match (preview.serving, &plan.serves) {
        (Some(from), Some(serving)) => {
            format!("slot {from} -> {slot}; generation {} stays for rollback", serving.generation)
        }
        _ => format!("slot {slot}, generation {}", preview.foreseen.number),
    }
}
