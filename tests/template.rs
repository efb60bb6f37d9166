//! The deploy repository that we give people: it is checked like anybody's, and says nothing that isn't so.

#![expect(clippy::disallowed_methods, reason = "the program is run as a person runs it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portreeve::manifest::{self, Policy, Tree};
use portreeve::model::EnvName;
use portreeve::source::read_directory_tree;

fn template() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy-repo-template")
}

fn portreeve(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_portreeve")).args(arguments).output().unwrap()
}

#[test]
fn check_passes_the_template() {
    let output = portreeve(&["check", template().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains("error") && !said.contains("warning"), "{said}");
}

#[test]
fn the_template_means_what_its_comments_say() {
    let files = read_directory_tree(&template(), manifest::LARGEST_FILE, &Tree::wants).unwrap();
    let (repository, diagnostics) = manifest::parse(&files.into_iter().collect());
    assert_eq!(diagnostics.iter().count(), 0, "{diagnostics:?}");
    let repository = repository.unwrap();
    let env = |name: &str| repository.environments[&EnvName::parse(name).unwrap()].as_ref().unwrap();
    let (pro, stage, dev) = (env("bakery/pro"), env("bakery/stage"), env("bakery/dev"));
    assert_eq!([pro.policy, stage.policy, dev.policy], [Policy::Pro, Policy::Stage, Policy::Dev]);
    let users = [pro, stage, dev].map(|env| env.user.to_string());
    assert_eq!(users, ["foouser", "foouser-stage", "foouser-dev"]);
    let ports = [pro, stage, dev].map(|env| env.ports.to_string());
    assert_eq!(ports, ["60000-60009", "60010-60019", "60020-60029"]);
    assert_eq!(repository.for_host("web1.example.org").unwrap().1.environments.len(), 2);
}

/// A clone of a deploy repository, with a release and a new place in its second commit.
fn clone() -> tempfile::TempDir {
    let clone = tempfile::tempdir().unwrap();
    let directory = clone.path();
    run("cp", &["-rT", template().to_str().unwrap(), "."], directory);
    run("git", &["init", "-q"], directory);
    commit(directory);
    edit(directory, "projects/bakery/pro.toml", "v1.4.2", "v1.5.0");
    edit(directory, "hosts/web1.toml", "\"bakery/pro\"", "\"bakery/pro\", \"bakery/dev\"");
    commit(directory);
    clone
}

fn commit(directory: &Path) {
    run("git", &["add", "-A"], directory);
    run("git", &["-c", "user.name=Anna", "-c", "user.email=anna@example.org", "commit", "-qm", "x"], directory);
}

fn edit(directory: &Path, file: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(directory.join(file)).unwrap();
    assert!(text.contains(from));
    std::fs::write(directory.join(file), text.replace(from, to)).unwrap();
}

fn run(program: &str, arguments: &[&str], directory: &Path) {
    let status = Command::new(program).args(arguments).current_dir(directory).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

#[test]
fn plan_since_says_in_a_clone_what_a_push_would_change() {
    let clone = clone();
    let plan = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_portreeve"))
            .args([&["plan", "--exit-code", "--since"], arguments].concat())
            .current_dir(clone.path().join("projects"))
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = plan(&["HEAD~1"]);
    assert_eq!(code, Some(5), "{said}");
    let lines: Vec<&str> = said.lines().map(|line| line.split("   ").next().unwrap_or_default()).collect();
    let changed = ["  --- projects/bakery/pro.toml", "  -rev = \"v1.4.2\"", "  +rev = \"v1.5.0\""];
    let head = ["changes 2 environments: bakery/dev, bakery/pro", "", "bakery/dev: new on web1", ""];
    assert_eq!(lines, [&head[..], &["bakery/pro: changes on web1"], &changed].concat());
    assert_eq!(plan(&["HEAD~1", "bakery/stage"]).0, Some(0));
    assert_eq!(plan(&["HEAD"]), (Some(0), "changes no environment\n".to_owned()));
    assert_eq!(plan(&["nowhere"]).0, Some(2));
    edit(clone.path(), "projects/bakery/pro.toml", "domains", "domain");
    commit(clone.path());
    assert_eq!(plan(&["HEAD~1"]).0, Some(2), "mistakes come first");
}

/// A reader types what is written there.
#[test]
fn every_command_that_the_documents_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["README.md", "deploy-repo-template/README.md"] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        for verb in verbs(&text) {
            let output = portreeve(&[&verb, "--help"]);
            assert!(output.status.success(), "{file} names `portreeve {verb}`");
        }
    }
}

/// What follows `portreeve ` where a command is written: in code, or after a prompt.
fn verbs(text: &str) -> Vec<String> {
    let starts = ["`portreeve ", "$ portreeve ", "    portreeve ", "help: portreeve "];
    let found = starts.iter().flat_map(|start| text.split(start).skip(1));
    let verb = |rest: &str| rest.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default().to_owned();
    found.map(verb).filter(|verb| !verb.is_empty()).collect()
}
