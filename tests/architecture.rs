//! The walls of the house: which module may know which other, who may print, how long a file may be.
//!
//! Sources are read as tokens, so that a path inside a macro counts as well as one in a `use`. Tests in a module
//! (`#[cfg(test)]`) may reach anywhere.

#![expect(clippy::disallowed_methods, reason = "this test reads the sources")]

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A top-level module, and those that it may name. Only earlier ones may be named, so there is no way round.
struct Module {
    name: &'static str,
    may: &'static [&'static str],
    why: &'static str,
}

/// In the order in which they may know each other.
const MODULES: &[Module] = &[
    Module { name: "model", may: &[], why: "names, ports and digests mean the same everywhere" },
    Module { name: "emit", may: &["model"], why: "writes other programs' syntax, and doesn't ask what for" },
    Module { name: "manifest", may: &["model"], why: "what the repository says, whatever the host" },
    Module { name: "settings", may: &["model"], why: "what the host's operator says, whatever the repository" },
    Module { name: "policy", may: &["model"], why: "holds and quarantine judge digests, not their contents" },
    Module {
        name: "desired",
        may: &["model", "manifest", "settings"],
        why: "what is wanted, before any file is written",
    },
    Module {
        name: "resource",
        may: &["model", "manifest", "emit", "desired"],
        why: "turns what is wanted into the text of files; doesn't know what the host has",
    },
    Module { name: "observed", may: &["model", "desired"], why: "what was found, as values" },
    Module {
        name: "plan",
        may: &["model", "manifest", "policy", "desired", "resource", "observed"],
        why: "pure: the plan that is printed is the plan that is executed",
    },
    Module { name: "host", may: &["model"], why: "touches the machine, and knows no purpose" },
    Module { name: "health", may: &["model", "manifest", "host"], why: "asks a process, whoever started it" },
    Module { name: "source", may: &["model", "manifest", "host"], why: "brings commits and trees, whatever they hold" },
    Module {
        name: "notify",
        may: &["model", "manifest", "host"],
        why: "compares states and sends messages; what an environment's state is, it is told",
    },
    Module { name: "history", may: &["model", "host"], why: "remembers what it is told" },
    Module {
        name: "transaction",
        may: &[
            "model", "emit", "manifest", "policy", "desired", "resource", "observed", "plan", "host", "health",
            "source", "history",
        ],
        why: "carries a plan out; when, and for whom, is not its business",
    },
    Module {
        name: "agent",
        may: &[
            "model",
            "emit",
            "manifest",
            "settings",
            "policy",
            "desired",
            "resource",
            "observed",
            "plan",
            "host",
            "health",
            "source",
            "notify",
            "history",
            "transaction",
        ],
        why: "a pass, from the tick to the last effect; says what happened, and prints nothing",
    },
    Module {
        name: "cli",
        may: &[
            "model",
            "emit",
            "manifest",
            "settings",
            "policy",
            "desired",
            "resource",
            "observed",
            "plan",
            "host",
            "health",
            "source",
            "notify",
            "history",
            "transaction",
            "agent",
        ],
        why: "the only place that speaks with people",
    },
];

/// These decide, and take what they decide from as arguments: no machine, no clock, no network.
const PURE: &[&str] = &[
    "model",
    "manifest",
    "settings",
    "desired",
    "observed",
    "plan",
    "policy",
    "emit",
    "resource",
    "source::select",
    "notify::change",
    "notify::memory",
    "notify::message",
    "notify::state",
    "agent::schedule",
    "agent::explain",
];

/// For tests only: what pure modules say is tried here, with the programs that read it.
const TRIED: &[&str] = &["emit::proof", "resource::tests"];

/// What a pure module may not name, of this crate and of others.
const IMPURE: &[&str] = &[
    "crate::host",
    "tokio",
    "git2",
    "rustix",
    "rusqlite",
    "ureq",
    "lettre",
    "zbus",
    "std::env",
    "std::fs",
    "std::net",
    "std::os::unix::net",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// Pure parts of a module that may be named where the module itself may not, by whom.
const LENT: &[(&str, &str, &str)] =
    &[("settings", "agent::schedule", "agent.toml's cron expression is parsed once, where it is read")];

/// What is below `resource/` without being a kind, and may be shared by them.
const SHARED: &[(&str, &str)] = &[("exec", "the command line of a process, the same under every service manager")];

/// Lines of a file before its tests.
const LONGEST_FILE: usize = 375;

/// Lines of `main.rs`: arguments in, exit code out.
const LONGEST_MAIN: usize = 40;

/// A path that a source file names, absolute: `crate::host::Files`, `tokio::time`.
#[derive(Debug, PartialEq)]
struct Named {
    path: Vec<String>,
    line: usize,
}

/// A source file: its text, and the module that it is.
struct Source {
    file: PathBuf,
    module: Vec<String>,
    text: String,
}

#[test]
fn every_module_names_only_what_it_may() {
    report(&sources().iter().flat_map(edges).collect::<Vec<_>>());
}

#[test]
fn only_cli_prints() {
    report(&sources().iter().filter(|source| source.top() != Some("cli")).flat_map(prints).collect::<Vec<_>>());
}

#[test]
fn files_are_short() {
    report(&sources().iter().filter_map(too_long).collect::<Vec<_>>());
}

#[test]
fn the_table_has_every_module_and_goes_one_way() {
    let names: Vec<&str> = MODULES.iter().map(|module| module.name).collect();
    for (place, module) in MODULES.iter().enumerate() {
        for other in module.may {
            assert!(names[..place].contains(other), "{} may not name {other}, which comes later", module.name);
        }
    }
    for source in sources() {
        let known = source.top().is_none_or(|top| names.contains(&top));
        assert!(known, "{}: MODULES in tests/architecture.rs doesn't say what it may name", source.file.display());
    }
}

fn report(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

impl Source {
    /// The top-level module; `lib.rs` and `main.rs` are none.
    fn top(&self) -> Option<&str> {
        self.module.first().map(String::as_str)
    }

    fn names(&self) -> Vec<Named> {
        let tokens: TokenStream = self.text.parse().unwrap_or_else(|e| panic!("{}: {e}", self.file.display()));
        let mut found = Vec::new();
        collect(&mut self.module.clone(), tokens, &mut found);
        found
    }

    fn is_pure(&self) -> bool {
        let path = self.module.join("::");
        let is_pure = PURE.iter().any(|pure| path == *pure || path.starts_with(&format!("{pure}::")));
        is_pure && !TRIED.contains(&&*path)
    }
}

fn edges(source: &Source) -> Vec<String> {
    let Some(top) = source.top() else { return Vec::new() };
    let module = MODULES.iter().find(|module| module.name == top).expect("every module is in the table");
    source.names().iter().filter_map(|named| complaint(source, module, named)).collect()
}

fn complaint(source: &Source, module: &Module, named: &Named) -> Option<String> {
    let path = named.path.join("::");
    let at = format!("{}:{}: names `{path}`", source.file.display(), named.line);
    if source.is_pure() && IMPURE.iter().any(|impure| path == *impure || path.starts_with(&format!("{impure}::"))) {
        return Some(format!(
            "{at}, but {} is pure: take what it decides from as an argument",
            source.module.join("::")
        ));
    }
    let [root, other, rest @ ..] = named.path.as_slice() else { return None };
    if root != "crate" || !MODULES.iter().any(|module| module.name == other) {
        return None;
    }
    if other != module.name {
        let may = module.may.contains(&other.as_str()) || is_lent(module.name, &named.path);
        return (!may).then(|| format!("{at}, which {} may not know: {}", module.name, module.why));
    }
    let (own, kind) = (source.module.get(1)?, rest.first()?);
    let sideways = module.name == "resource" && kind != own && is_kind(kind);
    sideways.then(|| {
        format!("{at}: resource kinds don't know each other; share through resource/mod.rs, or say so in SHARED")
    })
}

fn is_lent(to: &str, path: &[String]) -> bool {
    let lent =
        |part: &str| part.split("::").zip(&path[1..]).filter(|(a, b)| a == b).count() == part.split("::").count();
    LENT.iter().any(|(who, part, _)| *who == to && lent(part))
}

/// Whether `resource/NAME` is a kind: a file of its own, not a function or type of `resource/mod.rs`.
fn is_kind(name: &str) -> bool {
    let shared = SHARED.iter().any(|(shared, _)| *shared == name);
    let directory = root().join("src/resource");
    let exists = directory.join(format!("{name}.rs")).exists() || directory.join(name).is_dir() || name == "synthetic";
    exists && !shared
}

fn prints(source: &Source) -> Vec<String> {
    let lines = production(&source.text).lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    let says = ["println!(", "print!(", "eprintln!(", "eprint!(", "io::stdout()", "io::stderr()"];
    let speaking = lines.filter(|(_, line)| says.iter().any(|word| line.contains(word)));
    speaking.map(|(n, _)| format!("{}:{}: prints; only cli/ does", source.file.display(), n + 1)).collect()
}

fn too_long(source: &Source) -> Option<String> {
    // A file of tests has no production part; its parent declares it below #[cfg(test)].
    let own = source.module.last().is_some_and(|name| name == "tests" || name.ends_with("_tests"));
    let lines = if own { 0 } else { production(&source.text).lines().count() };
    let most = if source.file.ends_with("src/main.rs") { LONGEST_MAIN } else { LONGEST_FILE };
    (lines > most).then(|| format!("{}: {lines} lines before its tests; {most} are enough", source.file.display()))
}

/// What comes before the tests.
fn production(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text)
}

/// Every path in `tokens` that begins with `crate`, `self`, `super` or another crate, made absolute from `module`.
fn collect(module: &mut Vec<String>, tokens: TokenStream, found: &mut Vec<Named>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at..] {
            [TokenTree::Punct(hash), TokenTree::Group(attribute), ..]
                if hash.as_char() == '#' && attribute.stream().to_string().replace(' ', "") == "cfg(test)" =>
            {
                at += 2;
                at += item_length(&tokens[at..]);
            }
            [TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Group(body), ..] if word == "mod" => {
                module.push(name.to_string());
                collect(module, body.stream(), found);
                module.pop();
                at += 3;
            }
            [TokenTree::Group(group), ..] => {
                collect(module, group.stream(), found);
                at += 1;
            }
            [TokenTree::Ident(_), ..] => at += path(module, &tokens[at..], found),
            _ => at += 1,
        }
    }
}

/// How many tokens an item has: up to its body or its semicolon.
fn item_length(tokens: &[TokenTree]) -> usize {
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    };
    tokens.iter().position(ends).map_or(tokens.len(), |last| last + 1)
}

/// Reads the path at the beginning of `tokens`, a group at its end too; returns how many tokens it has.
fn path(module: &[String], tokens: &[TokenTree], found: &mut Vec<Named>) -> usize {
    let mut segments = Vec::new();
    let mut at = 0;
    while let Some(TokenTree::Ident(segment)) = tokens.get(at) {
        segments.push(segment.to_string());
        at += 1;
        if !is_colons(&tokens[at..]) {
            break;
        }
        at += 2;
    }
    let line = tokens[0].span().start().line;
    match tokens.get(at) {
        Some(TokenTree::Group(group)) if at > 1 && is_colons(&tokens[at - 2..]) => {
            for branch in branches(group.stream()) {
                let line = branch[0].span().start().line;
                let mut below = Vec::new();
                path(&[], &branch, &mut below);
                let whole = |tail: Named| absolute(module, &[segments.as_slice(), &tail.path].concat(), line);
                found.extend(below.into_iter().map(whole));
            }
            at + 1
        }
        _ => {
            found.push(absolute(module, &segments, line));
            at
        }
    }
}

fn is_colons(tokens: &[TokenTree]) -> bool {
    let colon = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ':');
    tokens.len() >= 2 && tokens[..2].iter().all(colon)
}

/// The parts of `{a, b::c}`.
fn branches(tokens: TokenStream) -> Vec<Vec<TokenTree>> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let comma = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
    tokens.split(comma).filter(|branch| !branch.is_empty()).map(<[TokenTree]>::to_vec).collect()
}

fn absolute(module: &[String], segments: &[String], line: usize) -> Named {
    let up = segments.iter().take_while(|segment| *segment == "super").count();
    let relative = up > 0 || segments.first().is_some_and(|first| first == "self");
    if !relative {
        return Named { path: segments.to_vec(), line };
    }
    let here = &module[..module.len().saturating_sub(up)];
    let rest = segments.iter().filter(|segment| *segment != "super" && *segment != "self");
    let whole = std::iter::once("crate".to_owned()).chain(here.iter().cloned()).chain(rest.cloned());
    Named { path: whole.collect(), line }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    find(&root().join("src"), &mut Vec::new(), &mut found);
    assert!(found.len() > 20, "the sources were found");
    found
}

fn find(directory: &Path, module: &mut Vec<String>, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).expect("a directory of sources").flatten() {
        let file = entry.path();
        let stem = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let is_root = module.is_empty() && matches!(stem.as_str(), "lib" | "main");
        let named = file.is_dir() || !(is_root || stem == "mod");
        module.extend(named.then_some(stem));
        if file.is_dir() {
            find(&file, module, found);
        } else if file.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&file).expect("a source is read");
            let file = file.strip_prefix(root()).expect("below the root").to_owned();
            found.push(Source { file, module: module.clone(), text });
        }
        if named {
            module.pop();
        }
    }
}

/// What the test says of `text` as the source of `module`.
fn judged(module: &str, text: &str) -> Vec<String> {
    let file = PathBuf::from(format!("src/{}.rs", module.replace("::", "/")));
    edges(&Source { file, module: module.split("::").map(str::to_owned).collect(), text: text.to_owned() })
}

#[test]
fn an_upward_edge_is_seen_however_it_is_written() {
    for text in [
        "use crate::host::Files;",
        "use crate::{model::Slot, host::{Files, Clock}};",
        "fn f() { let _ = crate::host::now(); }",
        "fn f() { println!(\"{}\", crate::host::now()); }",
        "use super::super::host;",
        "mod inner { use super::super::super::host::Files; }",
        "use tokio::time;",
        "async fn f() { tokio::time::sleep(D).await }",
    ] {
        let complaints = judged("plan::order", text);
        assert_eq!(complaints.len(), if text.contains("Clock") { 2 } else { 1 }, "{text}: {complaints:?}");
        assert!(complaints[0].starts_with("src/plan/order.rs:1: names `"), "{complaints:?}");
        assert!(complaints[0].contains("pure"), "{complaints:?}");
    }
    let upward = judged("host::files", "\n\nuse crate::plan::Plan;");
    assert_eq!(
        upward[0],
        "src/host/files.rs:3: names `crate::plan::Plan`, which host may not know: touches the machine, and knows no purpose"
    );
}

#[test]
fn what_is_allowed_is_not_complained_about() {
    for text in [
        "use crate::model::Slot; use super::Plan; use self::inner::X; use std::fmt;",
        "#[cfg(test)]\nmod tests { use crate::host::Files; }",
        "#[cfg(test)]\nuse crate::host::Files;",
        "pub(crate) fn f() {}  pub(super) struct S; // crate::host",
        "fn f() { let s = \"crate::host\"; }",
    ] {
        assert_eq!(judged("plan::order", text), Vec::<String>::new(), "{text}");
    }
    assert!(judged("source::fetch", "use tokio::time; use crate::host::Files;").is_empty());
    assert!(judged("settings::read", "use crate::agent::schedule::Schedule;").is_empty());
    assert_eq!(judged("settings::read", "use crate::agent::{schedule::Schedule, App};").len(), 1);
    assert_eq!(judged("policy", "use crate::agent::schedule::Schedule;").len(), 1);
    assert_eq!(judged("source::select", "use crate::host::Files;").len(), 1);
    assert_eq!(judged("agent::schedule", "use git2::Oid;").len(), 1);
    assert_eq!(judged("plan::order", "use std::{fs, fmt};").len(), 1);
}

#[test]
fn resource_kinds_do_not_know_each_other() {
    assert_eq!(judged("resource::nginx", "use super::synthetic::Thing;").len(), 1);
    assert_eq!(judged("resource::nginx", "use crate::resource::synthetic;").len(), 1);
    assert!(judged("resource::synthetic::deep", "use crate::resource::synthetic::Thing;").is_empty());
    assert!(judged("resource::nginx", "use super::File; use super::render;").is_empty());
    assert!(judged("resource", "use self::synthetic::Thing;").is_empty());
}
