//! Runs `malformed.txt`. A case is a title (`===`), files laid over the sound repository, and all its complaints (`>>>`).
//!
//! `--- FILE` replaces a file, `+++ FILE` appends to it, `^^^ FILE` puts lines before it, `xxx FILE` deletes it;
//! `fleet`, `web1`, `project` and `pro` are the files of the sound repository.

use portreeve::manifest::{Entry, Tree, parse};

use super::{file, lines, sound};

const CASES: &str = include_str!("malformed.txt");

#[derive(Default)]
struct Case {
    title: String,
    tree: Tree,
    expected: Vec<String>,
}

fn path(name: &str) -> &str {
    match name {
        "fleet" => "portreeve.toml",
        "web1" => "hosts/web1.toml",
        "project" => "projects/bakery/project.toml",
        "pro" => "projects/bakery/pro.toml",
        other => other,
    }
}

fn lay(tree: Tree, how: &str, name: &str, text: &str) -> Tree {
    let path = path(name);
    let before = match tree.get(path) {
        Some(Entry::File(bytes)) => String::from_utf8(bytes.clone()).unwrap(),
        _ => String::new(),
    };
    let after = match how {
        "---" => text.to_owned(),
        "+++" => format!("{before}{text}"),
        "^^^" => format!("{text}{before}"),
        _ => return tree.iter().filter(|(other, _)| *other != path).map(|(p, e)| (p, e.clone())).collect(),
    };
    let mut tree = tree;
    tree.insert(path, file(&after));
    tree
}

fn cases() -> Vec<Case> {
    CASES.split("=== ").skip(1).map(case).collect()
}

fn case(text: &str) -> Case {
    let (title, body) = text.split_once('\n').unwrap();
    let mut case = Case { title: title.to_owned(), tree: sound(), expected: Vec::new() };
    let mut open: Option<(&str, &str, String)> = None;
    for line in body.lines().chain(["--- end"]) {
        let head = line.split_once(' ').filter(|(how, _)| ["---", "+++", "^^^", "xxx", ">>>"].contains(how));
        match (head, &mut open) {
            (Some((how, rest)), _) => {
                if let Some((how, name, text)) = open.take() {
                    case.tree = lay(case.tree, how, name, &text);
                }
                match how {
                    ">>>" => case.expected.push(rest.to_owned()),
                    _ => open = Some((how, rest, String::new())),
                }
            }
            (None, Some((_, _, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => assert!(line.is_empty(), "{title}: {line}"),
        }
    }
    case
}

#[test]
fn each_mistake_has_its_place_and_its_cure() {
    let cases = cases();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    let mut wrong = String::new();
    for case in cases {
        let (_, diagnostics) = parse(&case.tree);
        let found: Vec<_> = lines(&diagnostics)
            .iter()
            .map(|line| line.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"))
            .collect();
        if found != case.expected {
            let text: Vec<_> = found.iter().map(|line| format!(">>> {line}\n")).collect();
            wrong.extend(["=== ", &case.title, "\n", &text.concat()]);
        }
    }
    assert!(wrong.is_empty(), "found something else in:\n{wrong}");
}
