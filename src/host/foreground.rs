//! Programs that run beside us for a while: servers in the foreground, and commands whose lines are read as they come.
//!
//! `setsid(1)` keeps the terminal's Ctrl-C from a server, so that servers end in our order; `setpriv(1)` gives it our death, when
//! that comes without an order.
#![expect(clippy::disallowed_methods, reason = "this is where programs are started, and waited for")]

use std::collections::BTreeMap;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal};

use super::{HostError, Result};

/// How late a reader may notice that it is to stop.
const LOOK: Duration = Duration::from_millis(100);

/// A longer line is shown in pieces.
const LINE: usize = 16 * 1024;

/// What no program should be without.
const BARE: [(&str, &str); 2] = [("LC_ALL", "C.UTF-8"), ("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")];

/// The variables of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Surroundings {
    /// Ours, as they are.
    Ours,
    /// A path to the system's programs, and these.
    Bare(BTreeMap<String, String>),
}

/// A program and how it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its variables.
    pub surroundings: Surroundings,
    /// Where it runs.
    pub directory: PathBuf,
}

impl Command {
    fn build(&self, before: &[&str]) -> std::process::Command {
        let program = self.program.as_os_str();
        let words = before.iter().map(AsRef::as_ref).chain([program]).collect::<Vec<_>>();
        let mut command = std::process::Command::new(words[0]);
        command.args(&words[1..]).args(&self.args).current_dir(&self.directory).stdin(Stdio::null());
        if let Surroundings::Bare(variables) = &self.surroundings {
            command.env_clear().envs(BARE).envs(variables);
        }
        command
    }

    fn failed(&self, why: impl std::fmt::Display) -> HostError {
        HostError::Program { program: self.program.display().to_string(), why: why.to_string() }
    }
}

/// A server in the foreground. It is told to end when the value is dropped.
#[derive(Debug)]
pub struct Server {
    command: Command,
    child: Child,
    handle: std::os::fd::OwnedFd,
    patience: Duration,
}

impl Server {
    /// Starts it; what it says is appended to `log`. At its end it has `patience` to end by itself. To be called by a thread that
    /// lives as long as the server is to: the kernel takes the starting thread's end for ours.
    pub fn start(command: Command, log: &Path, patience: Duration) -> Result<Self> {
        let open = std::fs::OpenOptions::new().create(true).append(true).open(log);
        let log = open.map_err(HostError::at("write", log))?;
        let errors = log.try_clone().map_err(HostError::at("write", "a log"))?;
        let mut built = command.build(&["/usr/bin/setsid", "--", "/usr/bin/setpriv", "--pdeathsig", "TERM", "--"]);
        let mut child = built.stdout(log).stderr(errors).spawn().map_err(|error| command.failed(error))?;
        match rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(handle) => Ok(Self { command, child, handle, patience }),
            Err(errno) => {
                let _already_failing = child.kill().and_then(|()| child.wait());
                Err(command.failed(errno))
            }
        }
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().map_err(|error| self.command.failed(error))
    }

    fn wait(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match readable(self.handle.as_fd(), left) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                verdict => return verdict.unwrap_or(false),
            }
        }
    }
}

impl Drop for Server {
    /// TERM, and KILL for one that can't end. By handle: the number may have passed on.
    fn drop(&mut self) {
        for (signal, time) in [(Signal::TERM, self.patience), (Signal::KILL, Duration::from_secs(5))] {
            let told = rustix::process::pidfd_send_signal(&self.handle, signal);
            if told.is_err() || self.wait(time) {
                break;
            }
        }
        let _none_left = self.child.try_wait();
    }
}

/// Runs a command to its end and hands on each line that it prints, on either stream, as it comes. Once `cancelled` says so it is
/// told to end (TERM), and then waited for.
pub fn follow(command: &Command, cancelled: &dyn Fn() -> bool, line: &mut dyn FnMut(&str)) -> Result<ExitStatus> {
    let (reader, writer) = io::pipe().map_err(|error| command.failed(error))?;
    let errors = writer.try_clone().map_err(|error| command.failed(error))?;
    let mut built = command.build(&["/usr/bin/setpriv", "--pdeathsig", "TERM", "--"]);
    let spawned = built.stdout(writer).stderr(errors).spawn();
    // It holds the writing ends; the pipe ends with the last of them.
    drop(built);
    let mut child = Reaped(spawned.map_err(|error| command.failed(error))?);
    read(reader, &child.0, cancelled, line).map_err(|error| command.failed(error))?;
    child.0.wait().map_err(|error| command.failed(error))
}

/// A child that does not outlive an error.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _already_failing = self.0.kill().and_then(|()| self.0.wait());
        }
    }
}

fn read(
    mut reader: PipeReader,
    child: &Child,
    cancelled: &dyn Fn() -> bool,
    line: &mut dyn FnMut(&str),
) -> io::Result<()> {
    let mut lines = Lines::default();
    let mut told = false;
    let mut buffer = [0; 4096];
    loop {
        if !told && cancelled() {
            told = true;
            let _gone = rustix::process::kill_process(Pid::from_child(child), Signal::TERM);
        }
        if !readable(reader.as_fd(), LOOK)? {
            continue;
        }
        match io::Read::read(&mut reader, &mut buffer)? {
            0 => break,
            n => lines.take(&buffer[..n], line),
        }
    }
    lines.end(line);
    Ok(())
}

fn readable(handle: BorrowedFd<'_>, time: Duration) -> io::Result<bool> {
    let time =
        Timespec { tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), tv_nsec: time.subsec_nanos().into() };
    match poll(&mut [PollFd::from_borrowed_fd(handle, PollFlags::IN)], Some(&time)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Bytes, cut into lines.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn take(&mut self, bytes: &[u8], line: &mut dyn FnMut(&str)) {
        for &byte in bytes {
            if byte == b'\n' || self.0.len() >= LINE {
                self.hand_on(line);
            }
            if byte != b'\n' {
                self.0.push(byte);
            }
        }
    }

    /// What came after the last line's end.
    fn end(&mut self, line: &mut dyn FnMut(&str)) {
        if !self.0.is_empty() {
            self.hand_on(line);
        }
    }

    fn hand_on(&mut self, line: &mut dyn FnMut(&str)) {
        line(&String::from_utf8_lossy(&std::mem::take(&mut self.0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        Command {
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script.to_owned()],
            surroundings: Surroundings::Bare(BTreeMap::new()),
            directory: "/".into(),
        }
    }

    fn said(script: &str) -> (Option<i32>, Vec<String>) {
        let mut lines = Vec::new();
        let status = follow(&shell(script), &|| false, &mut |line| lines.push(line.to_owned())).unwrap();
        (status.code(), lines)
    }

    #[test]
    fn lines_of_both_streams_come_in_order() {
        let (code, lines) = said("echo one; echo two >&2; echo; printf three; exit 3");
        assert_eq!((code, lines), (Some(3), ["one", "two", "", "three"].map(str::to_owned).to_vec()));
    }

    #[test]
    fn a_cancelled_command_is_told_to_end() {
        let told = std::cell::Cell::new(false);
        let mut lines = 0;
        let script = "trap 'echo told; exit 7' TERM; echo ready; while :; do sleep 0.02; done";
        let status = follow(&shell(script), &|| told.get(), &mut |line| {
            lines += 1;
            told.set(line == "ready" || told.get());
        });
        assert_eq!((status.unwrap().code(), lines), (Some(7), 2));
    }

    #[test]
    fn a_server_ends_with_its_value_and_its_words_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let script = "trap 'echo bye; exit' TERM; echo up; while :; do sleep 0.02; done";
        let mut server = Server::start(shell(script), &log, Duration::from_secs(10)).unwrap();
        let pid = server.child.id();
        while !std::fs::read_to_string(&log).unwrap().contains("up") {
            assert!(server.ended().unwrap().is_none());
        }
        drop(server);
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "up\nbye\n");
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_server_that_will_not_end_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut server =
            Server::start(shell("trap '' TERM; echo up; exec sleep 60"), &log, Duration::from_millis(50)).unwrap();
        let pid = server.child.id();
        while std::fs::read_to_string(&log).unwrap().is_empty() {
            assert!(server.ended().unwrap().is_none());
        }
        drop(server);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_server_that_ended_says_how() {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Server::start(shell("exit 4"), &dir.path().join("log"), Duration::from_secs(1)).unwrap();
        assert!(server.wait(Duration::from_secs(10)));
        assert_eq!(server.ended().unwrap().and_then(|status| status.code()), Some(4));
    }
}
