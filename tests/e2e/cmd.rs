//! A program's run, as a test looks at it.

use std::fmt;
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

/// What every program is given in place of this process's environment, which is full of this machine's habits.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("LANG", "C.UTF-8"),
    ("TERM", "dumb"),
];

/// How a program ended and what it said.
#[derive(Debug, Clone)]
pub struct CmdResult {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error, invalid UTF-8 replaced.
    pub stderr: String,
}

impl CmdResult {
    /// Itself, if the exit code is 0; otherwise the test fails with all that was said.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Itself, if the exit code is `code`; otherwise the test fails with all that was said.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(self.code == code, "expected exit code {code}:\n{self}");
        self
    }

    /// Both streams, for tests that don't care which.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl fmt::Display for CmdResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$ {}\n{}{}[exit {}]", self.command, self.stdout, self.stderr, self.code)
    }
}

/// A command with an environment of its own.
pub fn command(argv: &[&str]) -> Command {
    let (program, arguments) = argv.split_first().expect("a program");
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(ENVIRONMENT);
    command
}

/// Runs `command` to its end, with nothing to read.
#[track_caller]
pub fn run(mut command: Command) -> CmdResult {
    let line = line(&command);
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{line}: {e}"));
    result(line, &output)
}

/// Runs `command` to its end, with `input` to read.
#[track_caller]
pub fn run_with_input(mut command: Command, input: &[u8]) -> CmdResult {
    let line = line(&command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{line}: {e}"));
    child.stdin.take().expect("a pipe").write_all(input).unwrap_or_else(|e| panic!("{line}: {e}"));
    let output = child.wait_with_output().unwrap_or_else(|e| panic!("{line}: {e}"));
    result(line, &output)
}

/// A program that goes on while others run.
#[derive(Debug)]
pub struct Background {
    line: String,
    child: Child,
}

impl Background {
    /// It has nothing to read.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let line = line(&command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap_or_else(|e| panic!("{line}: {e}"));
        Self { line, child }
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_some()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn end(self) -> CmdResult {
        let output = self.child.wait_with_output().unwrap_or_else(|e| panic!("{}: {e}", self.line));
        result(self.line, &output)
    }
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn result(command: String, output: &Output) -> CmdResult {
    CmdResult {
        command,
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
