//! What a running program prints, read until it ends.
#![expect(clippy::disallowed_methods, reason = "a child's deadline runs on the machine's clock")]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStderr, ChildStdout};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Of standard output, the bytes that are kept.
const STDOUT_BYTES: usize = 1024 * 1024;

/// Lines of both streams that are kept.
const TAIL_LINES: usize = 200;

/// A line is broken here, so that a program without line ends can't fill the memory.
const LINE_BYTES: usize = 4096;

/// How late a wish to stop is noticed.
const LOOK: Duration = Duration::from_millis(100);

/// After the program's end, how long we read from pipes that something escaped from its session still holds.
const GRACE: Duration = Duration::from_millis(500);

/// Which came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The program's end.
    ByItself,
    /// The deadline.
    AtDeadline,
    /// Somebody's wish.
    OnRequest,
}

/// What ends a program that does not end by itself.
pub(super) struct Limits<'a> {
    /// From its start.
    pub deadline: Duration,
    /// Asked every now and then.
    pub stop: &'a dyn Fn() -> bool,
}

impl Limits<'_> {
    fn passed(&self, elapsed: Duration) -> Option<Ended> {
        if elapsed >= self.deadline {
            return Some(Ended::AtDeadline);
        }
        (self.stop)().then_some(Ended::OnRequest)
    }
}

/// What is kept of the output.
#[derive(Debug, Default)]
pub(super) struct Capture {
    stdout: Vec<u8>,
    tail: VecDeque<String>,
    log: Option<File>,
}

/// One of the two streams, and the line that it is in the middle of.
struct Stream<R> {
    pipe: Option<R>,
    line: Vec<u8>,
}

/// Reads the child's output until it has ended (`handle` is its pidfd) or has to; `kill` then ends it, or what it left behind.
/// The child is not waited for.
pub(super) fn follow(
    child: &mut Child,
    handle: impl AsFd,
    limits: &Limits<'_>,
    log: Option<File>,
    kill: impl Fn(),
) -> io::Result<(Ended, Capture)> {
    let mut capture = Capture { log, ..Capture::default() };
    let mut out = Stream { pipe: child.stdout.take(), line: Vec::new() };
    let mut err = Stream { pipe: child.stderr.take(), line: Vec::new() };
    let begun = Instant::now();
    let mut ended = Ended::ByItself;
    while !turn(
        Some(handle.as_fd()),
        LOOK.min(limits.deadline.saturating_sub(begun.elapsed())),
        &mut out,
        &mut err,
        &mut capture,
    )? {
        if let Some(passed) = limits.passed(begun.elapsed()) {
            ended = passed;
            break;
        }
    }
    kill();
    let over = Instant::now();
    while (out.pipe.is_some() || err.pipe.is_some()) && over.elapsed() < GRACE {
        turn(None, GRACE.saturating_sub(over.elapsed()), &mut out, &mut err, &mut capture)?;
    }
    capture.end_line(&mut out.line);
    capture.end_line(&mut err.line);
    Ok((ended, capture))
}

/// Waits for one thing to happen; says whether the child has ended.
fn turn(
    handle: Option<BorrowedFd<'_>>,
    wait: Duration,
    out: &mut Stream<ChildStdout>,
    err: &mut Stream<ChildStderr>,
    capture: &mut Capture,
) -> io::Result<bool> {
    let asked = [handle, fd(out.pipe.as_ref()), fd(err.pipe.as_ref())];
    let [ended, out_ready, err_ready] = ready(asked.map(|asked| Some((asked?, PollFlags::IN))), wait)?;
    if out_ready {
        read(out, capture, Capture::keep_stdout)?;
    }
    if err_ready {
        read(err, capture, |_, _| {})?;
    }
    Ok(ended)
}

fn fd<F: AsFd>(pipe: Option<&F>) -> Option<BorrowedFd<'_>> {
    pipe.map(AsFd::as_fd)
}

/// Waits until one of these can be read from, or written to; and which can.
pub(super) fn ready<const N: usize>(
    asked: [Option<(BorrowedFd<'_>, PollFlags)>; N],
    wait: Duration,
) -> io::Result<[bool; N]> {
    let mut fds: Vec<_> =
        asked.iter().flatten().map(|(handle, what)| PollFd::from_borrowed_fd(*handle, *what)).collect();
    let wait = Timespec::try_from(wait).map_err(io::Error::other)?;
    match poll(&mut fds, Some(&wait)) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok([false; N]),
        Err(errno) => return Err(errno.into()),
    }
    let mut fired = fds.iter().map(|fd| !fd.revents().is_empty());
    Ok(asked.map(|asked| asked.is_some() && fired.next().unwrap_or(false)))
}

fn read<R: Read>(stream: &mut Stream<R>, capture: &mut Capture, keep: impl Fn(&mut Capture, &[u8])) -> io::Result<()> {
    let Some(pipe) = &mut stream.pipe else { return Ok(()) };
    let mut buffer = [0; 16 * 1024];
    let count = match pipe.read(&mut buffer) {
        Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
        count => count?,
    };
    let bytes = &buffer[..count];
    if bytes.is_empty() {
        stream.pipe = None;
    }
    keep(capture, bytes);
    capture.write_log(bytes);
    capture.add_lines(&mut stream.line, bytes);
    Ok(())
}

impl Capture {
    /// Standard output's beginning, and the last lines of both.
    pub(super) fn into_parts(self) -> (Vec<u8>, Vec<String>) {
        (self.stdout, self.tail.into())
    }

    fn keep_stdout(&mut self, bytes: &[u8]) {
        let room = STDOUT_BYTES - self.stdout.len();
        self.stdout.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// A full disk is no reason to end a program: the tail says that the log has a hole.
    fn write_log(&mut self, bytes: &[u8]) {
        let Some(Err(e)) = self.log.as_mut().map(|log| log.write_all(bytes)) else { return };
        self.log = None;
        self.push(format!("portreeve: the log ends here: {e}"));
    }

    fn add_lines(&mut self, line: &mut Vec<u8>, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.push(text(line));
                line.clear();
            } else {
                line.push(byte);
                if line.len() == LINE_BYTES {
                    self.end_line(line);
                }
            }
        }
    }

    fn end_line(&mut self, line: &mut Vec<u8>) {
        if !line.is_empty() {
            self.push(text(line));
            line.clear();
        }
    }

    fn push(&mut self, line: String) {
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}
