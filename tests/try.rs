//! `portreeve try`, as a newcomer runs it: without privileges, with the nginx, supervisor and Python of this machine.

#![expect(clippy::disallowed_methods, reason = "the test starts the program, and looks at the machine afterwards")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Who the tests are when they would be root: `nobody`, and a group of nobody else.
const NOBODY: u32 = 65534;

/// A directory of the newcomer's, and the program in it.
struct Newcomer {
    dir: tempfile::TempDir,
    program: PathBuf,
    uid: u32,
}

impl Newcomer {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let own = rustix::process::geteuid().as_raw();
        let uid = if own == 0 { NOBODY } else { own };
        let program = dir.path().join("portreeve");
        // By another program: a test beside this one may be starting something just now, and would hold the copy open for
        // writing until then, which can't be run meanwhile (ETXTBSY).
        let copied = Command::new("cp").args([env!("CARGO_BIN_EXE_portreeve").as_ref(), program.as_os_str()]).status();
        assert!(copied.unwrap().success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        if own == 0 {
            std::os::unix::fs::chown(dir.path(), Some(uid), Some(uid)).unwrap();
        }
        Self { dir, program, uid }
    }

    fn command(&self, directory: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["try", "--once", directory]).current_dir(self.dir.path()).stdin(Stdio::null());
        if rustix::process::geteuid().is_root() {
            command.uid(self.uid).gid(self.uid).env("HOME", self.dir.path());
        }
        command
    }

    fn start(&self, directory: &str) -> Child {
        self.command(directory).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Command lines of processes that know the directory, whoever their parent is now.
    fn left_behind(&self) -> Vec<String> {
        let name = self.dir.path().to_str().unwrap().to_owned();
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        lines
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .filter(|line| line.contains(&name))
            .collect()
    }
}

impl Newcomer {
    /// Where the sockets of a tour in this directory are.
    fn runtime(&self, directory: &str) -> PathBuf {
        let root = portreeve::model::Root::at(self.dir.path().join(directory).join("host"));
        portreeve::model::Layout::for_root(root, self.uid).runtime().to_owned()
    }
}

const DEEP: &str = "a-directory-so-deep/that-no-socket-could-be-bound/anywhere-below-it/try";

fn said(mut child: Child) -> (ExitStatus, String) {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    (child.wait().unwrap(), text)
}

#[test]
fn the_whole_story_without_a_failed_request() {
    let newcomer = Newcomer::new();
    let (status, text) = said(newcomer.start(DEEP));
    assert!(status.success(), "{text}");
    let mut rest = text.as_str();
    for words in [
        "1/4 first release",
        "$ portreeve plan",
        "$ portreeve reconcile",
        "v1 answers after ",
        "a client now sends requests without pause",
        "2/4 push v2",
        "v2 answers; the switch took ",
        "3/4 push v3",
        "No module named 'breda'",
        "not released: ImportError, no module named 'breda'",
        "v2 still answers; the next pass leaves v3 alone",
        "4/4 rollback",
        "$ portreeve rollback bakery/pro",
        "v1 answers after ",
        "the next pass leaves it there",
        " requests, 0 failed",
        "yours to try:  ",
        &format!("portreeve try {DEEP}"),
        "portreeve init deploy && ",
        &format!("rm -r {DEEP} removes it"),
    ] {
        let at = rest.find(words).unwrap_or_else(|| panic!("{words:?} is not said, or not in its place:\n{text}"));
        rest = &rest[at + words.len()..];
    }
    assert_eq!(newcomer.left_behind(), [""; 0]);
    let runtime = newcomer.runtime(DEEP);
    assert!(runtime.starts_with("/tmp") && !runtime.starts_with(newcomer.dir.path()), "deep enough for this test");
    assert!(!runtime.exists());
}

#[test]
fn ended_in_the_middle_it_leaves_no_process() {
    let newcomer = Newcomer::new();
    let mut child = newcomer.start("try");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reached = lines.by_ref().map_while(Result::ok).any(|line| line.contains("$ portreeve reconcile"));
    assert!(reached, "the first pass is reached");
    assert!(newcomer.left_behind().iter().any(|line| line.contains("supervisord")), "it is up, and found");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(newcomer.left_behind(), [""; 0]);
}

#[test]
fn a_directory_of_somebody_is_left_alone() {
    let newcomer = Newcomer::new();
    let mine = newcomer.dir.path().join("try/host");
    fs::create_dir_all(&mine).unwrap();
    let (status, text) = said(newcomer.start("try"));
    assert_eq!((status.code(), mine.exists()), (Some(2), true), "{text}");
    assert!(text.contains("not from a tour; nothing was touched"), "{text}");
}
