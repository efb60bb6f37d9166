//! Options of every command, as a person types them; no host is needed.

#![expect(clippy::disallowed_methods, reason = "the program is run as a person runs it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory with an empty host in `host`, and a file of a deploy repository that has a mistake.
fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir_all(place.path().join("host")).unwrap();
    fs::create_dir_all(place.path().join("deploy")).unwrap();
    fs::write(place.path().join("deploy/portreeve.toml"), "schema = 1\nno_such_key = 2\n").unwrap();
    place
}

fn portreeve(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    command.args(arguments).current_dir(directory).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_configuration_elsewhere_is_the_one_that_is_read() {
    let place = place();
    let status = |more: &[&str]| {
        let output = portreeve(place.path(), &[&["--root", "host", "status"], more].concat());
        (output.status.code(), said(&output))
    };
    let (code, unset) = status(&[]);
    assert_eq!(code, Some(4), "{unset}");
    assert!(unset.contains("host/etc/portreeve/agent.toml is not there"), "{unset}");
    let (code, missing) = status(&["--config", "mine.toml"]);
    let mine = place.path().canonicalize().unwrap().join("mine.toml");
    assert_eq!(code, Some(4), "{missing}");
    assert!(missing.contains(&format!("{} is not there", mine.display())), "{missing}");
    fs::write(&mine, "repo = \"/srv/deploy.git\"\nno_such_key = 1\n").unwrap();
    let (code, mistaken) = status(&["--config", "mine.toml"]);
    assert_eq!(code, Some(2), "{mistaken}");
    assert!(mistaken.contains("mine.toml") && mistaken.contains("no_such_key"), "{mistaken}");
}

#[test]
fn colours_come_and_go_as_they_are_asked_for() {
    let place = place();
    let check = |colour: &str| {
        let output = portreeve(place.path(), &["check", "deploy", "--color", colour]);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        said(&output)
    };
    let (always, never, auto) = (check("always"), check("never"), check("auto"));
    assert!(always.contains("\u{1b}[") && !never.contains('\u{1b}'), "{always}\n{never}");
    assert_eq!(auto, never, "a pipe takes none");
}

#[test]
fn quiet_says_nothing_where_nothing_is_wrong() {
    let template = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy-repo-template");
    assert!(said(&portreeve(&template, &["check"])).contains("no mistakes"));
    let quiet = portreeve(&template, &["check", "-q"]);
    assert_eq!((quiet.status.code(), said(&quiet).as_str()), (Some(0), ""));
    let place = place();
    let mistaken = portreeve(place.path(), &["check", "-q", "deploy"]);
    assert!(said(&mistaken).contains("no_such_key"), "a mistake is said all the same");
    assert_eq!(portreeve(place.path(), &["check", "-q", "-v"]).status.code(), Some(2));
}

/// A disk that is full behind `>` and `2>`; a reader that has gone says no less.
#[test]
fn what_nobody_can_read_breaks_nothing_off() {
    let place = place();
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for arguments in [&["check", "deploy"][..], &["check", "deploy", "--json"], &["-v", "check", "deploy"]] {
        let read = portreeve(place.path(), arguments);
        let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
        let unread = command.args(arguments).current_dir(place.path()).stdout(full()).stderr(full()).status().unwrap();
        assert_eq!(unread.code(), read.status.code(), "{arguments:?}");
    }
}
