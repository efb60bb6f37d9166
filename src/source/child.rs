//! A child process with an end: bounded in time, output and resources, and gone with everything it started.
#![expect(clippy::disallowed_methods, reason = "deadlines are monotonic, and this is where source/ waits")]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal};

/// What a child may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// From its start to its end.
    pub deadline: Duration,
    /// Bytes on standard output.
    pub output: usize,
    /// Bytes in any one file that it or its children write.
    pub file: u64,
    /// Bytes of private memory of any one of its processes.
    pub memory: u64,
}

/// How a child ended by itself.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// Standard output, whole.
    pub stdout: Vec<u8>,
    /// The last [`STDERR_TAIL`] bytes of standard error.
    pub stderr: Vec<u8>,
}

/// Why a child was ended, or never began.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cut {
    /// It outlived its deadline.
    #[error("no answer in time")]
    TimedOut,
    /// It printed more than it may.
    #[error("too much output")]
    TooMuch,
    /// The kernel refused something.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Errno> for Cut {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Enough for git's reasons; a hostile server may send more.
pub(super) const STDERR_TAIL: usize = 8 * 1024;

/// Runs `command` to its end in a process group of its own, without input.
pub(super) fn run(command: &mut Command, bounds: &Bounds) -> Result<Ended, Cut> {
    let end = Instant::now() + bounds.deadline;
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::start(command)?;
    restrain(group.pid, bounds)?;
    let exit = rustix::process::pidfd_open(group.pid, PidfdFlags::empty())?;
    let mut stdout = Stream::new(group.child.stdout.take(), Keep::All(bounds.output))?;
    let mut stderr = Stream::new(group.child.stderr.take(), Keep::Tail(STDERR_TAIL))?;
    loop {
        let exited = wait(&exit, [&stdout, &stderr], end)?;
        stdout.drain()?;
        stderr.drain()?;
        if exited {
            let status = group.finish()?;
            return Ok(Ended { status, stdout: stdout.kept, stderr: stderr.kept });
        }
    }
}

/// The same, and how long it took.
pub(super) fn timed(command: &mut Command, bounds: &Bounds) -> (Result<Ended, Cut>, Duration) {
    let begun = Instant::now();
    (run(command, bounds), begun.elapsed())
}

/// Sleeps until the child has ended or written something. `true`: it has ended.
///
/// The end of its output is no sign: a grandchild may hold the pipe for ever.
fn wait(exit: &OwnedFd, streams: [&Stream; 2], end: Instant) -> Result<bool, Cut> {
    let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()).ok_or(Cut::TimedOut)?;
    let timeout = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
    let mut fds = vec![PollFd::new(exit, PollFlags::IN)];
    fds.extend(streams.iter().filter_map(|stream| stream.pipe.as_ref()).map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) => Ok(!fds[0].revents().is_empty()),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Limits from outside, which its children inherit: git starts them milliseconds later, after it has been loaded.
fn restrain(pid: Pid, bounds: &Bounds) -> Result<(), Cut> {
    for (resource, wanted) in [(Resource::Fsize, bounds.file), (Resource::Data, bounds.memory), (Resource::Core, 0)] {
        let ceiling = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = Some(wanted.min(ceiling));
        match rustix::process::prlimit(Some(pid), resource, Rlimit { current: limit, maximum: limit }) {
            // It has ended already.
            Ok(_) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// A process group that does not outlive this value.
struct Group {
    child: Child,
    pid: Pid,
}

impl Group {
    fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        Ok(Self { child, pid })
    }

    /// Ends what the leader left behind, before its status is taken: until then the group's number is ours.
    fn finish(&mut self) -> io::Result<ExitStatus> {
        match rustix::process::kill_process_group(self.pid, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => self.child.wait(),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let reaped = matches!(self.child.try_wait(), Ok(Some(_)));
        if !reaped {
            drop(self.finish());
        }
    }
}

#[derive(Clone, Copy)]
enum Keep {
    /// Everything; more is an error.
    All(usize),
    /// The end.
    Tail(usize),
}

/// One of the child's streams; without a pipe once it has been read to its end.
struct Stream {
    pipe: Option<OwnedFd>,
    kept: Vec<u8>,
    keep: Keep,
}

impl Stream {
    fn new(pipe: Option<impl Into<OwnedFd>>, keep: Keep) -> Result<Self, Cut> {
        let pipe = pipe.map(Into::into);
        if let Some(pipe) = &pipe {
            rustix::io::ioctl_fionbio(pipe.as_fd(), true)?;
        }
        Ok(Self { pipe, kept: Vec::new(), keep })
    }

    /// Reads what is there.
    fn drain(&mut self) -> Result<(), Cut> {
        let mut buffer = [0; 16 * 1024];
        while let Some(pipe) = &self.pipe {
            match rustix::io::read(pipe, &mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(read) => self.take(&buffer[..read])?,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Cut> {
        self.kept.extend_from_slice(bytes);
        match self.keep {
            Keep::All(limit) if self.kept.len() > limit => Err(Cut::TooMuch),
            Keep::All(_) => Ok(()),
            Keep::Tail(limit) => {
                self.kept.drain(..self.kept.len().saturating_sub(limit));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { deadline: Duration::from_secs(20), output: 1024, file: 1 << 20, memory: 1 << 30 };

    fn shell(script: &str, bounds: &Bounds) -> Result<Ended, Cut> {
        run(Command::new("/bin/sh").args(["-c", script]), bounds)
    }

    #[test]
    fn output_and_status_come_back() {
        let ended = shell("echo out; echo err >&2; exit 3", &BOUNDS).unwrap();
        assert_eq!(ended.status.code(), Some(3));
        assert_eq!((ended.stdout.as_slice(), ended.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    }

    #[test]
    fn a_deadline_ends_the_whole_group() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let bounds = Bounds { deadline: Duration::from_millis(300), ..BOUNDS };
        let begun = Instant::now();
        let cut = shell(&format!("sleep 60 & echo $! > {}; wait", file.display()), &bounds);
        assert!(matches!(cut, Err(Cut::TimedOut)));
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_gone(&std::fs::read_to_string(file).unwrap());
    }

    #[test]
    fn a_grandchild_that_holds_the_pipe_is_not_waited_for() {
        let begun = Instant::now();
        let ended = shell("sleep 60 & echo $!", &BOUNDS).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_gone(std::str::from_utf8(&ended.stdout).unwrap());
    }

    #[test]
    fn endless_output_is_cut() {
        assert!(matches!(shell("yes", &BOUNDS), Err(Cut::TooMuch)));
        let ended = shell("yes | head -c 100000 >&2; echo end >&2", &BOUNDS).unwrap();
        assert_eq!(ended.stderr.len(), STDERR_TAIL);
        assert!(ended.stderr.ends_with(b"end\n"));
    }

    #[test]
    fn a_file_may_not_grow_beyond_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("big");
        let script = format!("sleep 0.1; head -c 4000000 /dev/zero > {}", file.display());
        assert!(!shell(&script, &BOUNDS).unwrap().status.success());
        assert_eq!(std::fs::metadata(file).unwrap().len(), BOUNDS.file);
    }

    /// Awaits the end of a process that was killed; its number can't have been given away in so short a time.
    fn assert_gone(pid: &str) {
        let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return };
        let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience)).unwrap();
        assert_eq!(ended, 1, "{pid:?} lives on");
    }
}
