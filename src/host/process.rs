//! Programs run to their end: as somebody, with nothing of ours, and never longer than their deadline.
//!
//! `setsid(1)` and `setpriv(1)` (util-linux, on every Debian) stand before the program and become it by exec: a session of its
//! own, so that nothing can ask on our terminal and all of it can be killed at once; the identity, without further groups,
//! capabilities, or ways to regain them; and death with us. Doing that between fork and exec ourselves would take `unsafe`.
//! What a program leaves running behind it, in its session, is killed when it ends, unless a person talked with it.
#![expect(clippy::disallowed_methods, reason = "this is where programs are started")]

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::Mode;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::capture::{Capture, Ended, Limits};
use super::conversation::hold;
use super::ground::Ground;
use super::handle::sys;
use super::terminal::{Streams, Terminal, connect};
use super::{Authority, HostError, Result, umask};
use crate::model::Identity;

/// Where programs are looked for; the caller's own `PATH` is his affair.
const PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Characters of a command line that are told.
const LINE: usize = 200;

/// A program to run to its end. Never through a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment: nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Where it runs.
    pub directory: PathBuf,
    /// As whom. Ignored where the host can't change identity (`--root`).
    pub identity: Identity,
    /// It is killed, with its process group, after so long.
    pub deadline: Duration,
    /// Both output streams are also appended to this file.
    pub log: Option<PathBuf>,
    /// Connects the three streams to our own instead of capturing them (`portreeve run`). In the place of a terminal it has one of
    /// its own.
    pub interactive: bool,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// `None`: killed by a signal or by its deadline.
    pub code: Option<i32>,
    /// It was killed (`SIGKILL`), and not by us: as the kernel does when memory is short.
    pub killed: bool,
    /// It outlived its deadline.
    pub timed_out: bool,
    /// The beginning of what it wrote to standard output, at most 1 MiB.
    pub stdout: Vec<u8>,
    /// The last lines of both streams as they came, at most 200.
    pub tail: Vec<String>,
}

impl Exit {
    /// Whether it ended with 0.
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }
}

/// Programs.
pub trait Processes {
    /// Runs a program to its end. An error means that it could not be run at all.
    fn run(&self, run: &Run) -> Result<Exit>;
    /// The same, but kills it, with its process group, soon after `stop` has become true. A machine whose programs take no
    /// time runs them to their end.
    fn run_until(&self, run: &Run, stop: &dyn Fn() -> bool) -> Result<Exit> {
        if stop() {
            Ok(Exit { code: None, killed: false, timed_out: false, stdout: Vec::new(), tail: Vec::new() })
        } else {
            self.run(run)
        }
    }
    /// The first of these programs that is on the machine, as an absolute path.
    fn find(&self, names: &[&str]) -> Option<PathBuf>;
}

/// The real processes.
#[derive(Debug, Clone)]
pub struct RealProcesses {
    ground: Arc<Ground>,
}

impl RealProcesses {
    /// Programs whose logs lie below `ground`.
    pub fn new(ground: Arc<Ground>) -> Self {
        Self { ground }
    }

    /// With `terminal`, what it reads from is its session's controlling terminal.
    fn command(&self, run: &Run, terminal: bool) -> Result<Command> {
        check(run)?;
        let mut words = vec![self.needed("setsid")?];
        words.extend(terminal.then(|| "--ctty".to_owned()));
        words.extend(["--".to_owned(), self.needed("setpriv")?]);
        words.extend(privileges(self.ground.authority(), run.identity));
        words.push("--".to_owned());
        let mut words = words.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg(&run.program).args(&run.args);
        command.env_clear().envs(&run.env).current_dir(&run.directory);
        Ok(command)
    }

    /// Runs a program that a person talks with.
    fn converse(&self, run: &Run, streams: &Streams<'_>) -> Result<Exit> {
        let fail = |source: io::Error| failed(run, &source);
        let owner = self.ground.authority().give(run.identity);
        let (terminal, inner) = Terminal::like(streams, owner).map_err(fail)?.unzip();
        let mut command = self.command(run, terminal.as_ref().is_some_and(|terminal| terminal.typed.is_some()))?;
        connect(&mut command, streams, inner.as_ref()).map_err(fail)?;
        let mut started = Started::start(&mut command, run)?;
        // What the program has not open is nobody's: the end of its terminal is the end of what it says.
        drop((command, inner));
        let ended = hold(started.handle.as_fd(), started.pid, terminal.as_ref(), run.deadline).map_err(fail)?;
        if ended != Ended::ByItself {
            kill(started.pid);
        }
        Ok(exit(started.wait(run)?, ended, Capture::default()))
    }

    fn needed(&self, name: &str) -> Result<String> {
        let found = self.find(&[name]).ok_or_else(|| HostError::Program {
            program: name.to_owned(),
            why: "not on this machine: apt-get install util-linux".to_owned(),
        })?;
        Ok(found.to_string_lossy().into_owned())
    }

    fn open_log(&self, path: &Path) -> Result<std::fs::File> {
        use rustix::fs::OFlags;
        let spot = self.ground.make_parents(path)?.ours()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
        // A pipe in its place would have nobody to read it.
        let flags = flags | OFlags::NONBLOCK;
        sys("open", path, || rustix::fs::openat(spot.directory(), spot.name(), flags, mode)).map(Into::into)
    }
}

impl Processes for RealProcesses {
    fn run(&self, run: &Run) -> Result<Exit> {
        self.run_until(run, &|| false)
    }

    fn run_until(&self, run: &Run, stop: &dyn Fn() -> bool) -> Result<Exit> {
        if run.interactive {
            return self.converse(run, &Streams::ours());
        }
        let mut command = self.command(run, false)?;
        let log = run.log.as_deref().map(|path| self.open_log(path)).transpose()?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut started = Started::start(&mut command, run)?;
        let end = Limits { deadline: run.deadline, stop };
        let (ended, capture) =
            super::capture::follow(&mut started.child, &started.handle, &end, log, || kill(started.pid))
                .map_err(|source| failed(run, &source))?;
        let status = started.wait(run)?;
        Ok(exit(status, ended, capture))
    }

    fn find(&self, names: &[&str]) -> Option<PathBuf> {
        names
            .iter()
            .flat_map(|name| PATH.iter().map(move |dir| Path::new(dir).join(name)))
            .find(|path| is_program(path))
    }
}

/// A child that does not outlive an error on the way to its end.
struct Started {
    child: Child,
    pid: Pid,
    handle: OwnedFd,
    begun: Instant,
    reaped: bool,
}

impl Started {
    fn start(command: &mut Command, run: &Run) -> Result<Self> {
        let begun = Instant::now();
        let mut child = umask::for_programs(|| command.spawn()).map_err(|source| failed(run, &source))?;
        let pid = Pid::from_child(&child);
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => Ok(Self { child, pid, handle, begun, reaped: false }),
            Err(errno) => {
                kill(pid);
                let _already_failing = child.wait();
                Err(failed(run, &errno.into()))
            }
        }
    }

    fn wait(&mut self, run: &Run) -> Result<ExitStatus> {
        let status = self.child.wait().map_err(|source| failed(run, &source))?;
        self.reaped = true;
        tracing::debug!("ran {}, {}ms, {status}", line(run), self.begun.elapsed().as_millis());
        Ok(status)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if !self.reaped {
            kill(self.pid);
            let _already_failing = self.child.wait();
        }
    }
}

/// Kills the processes of the group that `pid` leads. Only before it is waited for: until then its number is its own.
pub(super) fn kill(pid: Pid) {
    let _none_left = rustix::process::kill_process_group(pid, Signal::KILL);
    // Before `setsid` has run there is no such group yet.
    let _gone = rustix::process::kill_process(pid, Signal::KILL);
}

fn privileges(authority: Authority, identity: Identity) -> Vec<String> {
    let mut words = vec!["--pdeathsig".to_owned(), "KILL".to_owned()];
    let Some(identity) = authority.give(identity) else { return words };
    words.extend([
        format!("--reuid={}", identity.uid),
        format!("--regid={}", identity.gid),
        "--clear-groups".to_owned(),
    ]);
    if identity.uid != 0 {
        words.extend(["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"].map(str::to_owned));
    }
    words
}

/// What a person would type, as far as one line shows it. Its variables, which may be secret, are not told.
fn line(run: &Run) -> String {
    let words = std::iter::once(run.program.to_string_lossy()).chain(run.args.iter().map(Into::into));
    let line = words.collect::<Vec<_>>().join(" ");
    line.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(LINE).collect()
}

/// What `setpriv` would only say by an exit code that the program could have, too.
fn check(run: &Run) -> Result<()> {
    let refuse = |why: String| Err(HostError::Program { program: run.program.display().to_string(), why });
    if !run.program.is_absolute() {
        return refuse("not an absolute path".to_owned());
    }
    if !is_program(&run.program) {
        return refuse("not there, or not executable".to_owned());
    }
    if !run.directory.is_dir() {
        return refuse(format!("can't run in {}: no such directory", run.directory.display()));
    }
    Ok(())
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

fn failed(run: &Run, source: &std::io::Error) -> HostError {
    HostError::Program { program: run.program.display().to_string(), why: source.to_string() }
}

fn exit(status: ExitStatus, ended: Ended, capture: Capture) -> Exit {
    let timed_out = ended == Ended::AtDeadline;
    let code = status.code().filter(|_| ended == Ended::ByItself && status.signal().is_none());
    let (stdout, tail) = capture.into_parts();
    let killed = ended == Ended::ByItself && status.signal() == Some(Signal::KILL.as_raw());
    Exit { code, killed, timed_out, stdout, tail }
}

#[cfg(test)]
mod tests;
