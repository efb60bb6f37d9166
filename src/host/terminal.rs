//! A terminal of its own for a program that a person talks with.
//!
//! Whoever has a handle of a terminal reads what is typed there, and where it is his controlling terminal he can type himself
//! (`TIOCSTI`): an application that had root's could type at root's shell. `runuser --pty` would make one of everything; here each
//! stream stays what it is unless it is a terminal, so that `run … dumpdata >file` writes what the program wrote.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{
    OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use crate::model::Identity;

/// The three streams of whoever called us.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams<'a> {
    /// What is typed.
    pub input: BorrowedFd<'a>,
    /// What is said.
    pub output: BorrowedFd<'a>,
    /// What is complained of.
    pub errors: BorrowedFd<'a>,
}

impl Streams<'static> {
    /// This process's own.
    pub(super) fn ours() -> Self {
        Self { input: stdin(), output: stdout(), errors: stderr() }
    }
}

impl<'a> Streams<'a> {
    /// Where a person reads.
    fn shown(&self) -> Option<BorrowedFd<'a>> {
        [self.output, self.errors].into_iter().find(|stream| isatty(stream))
    }

    /// Where a person types, if it is for the program. Behind a pipe may be somebody who reads the keyboard (`| less`), and in the
    /// background it is the shell's.
    fn typed(&self) -> Option<BorrowedFd<'a>> {
        let piped = rustix::fs::fstat(self.output)
            .is_ok_and(|about| rustix::fs::FileType::from_raw_mode(about.st_mode) == rustix::fs::FileType::Fifo);
        let background = tcgetpgrp(self.input).is_ok_and(|group| group != rustix::process::getpgrp());
        (isatty(self.input) && !piped && !background).then_some(self.input)
    }
}

/// The end that is ours of the program's terminal, and the person's terminal.
#[derive(Debug)]
pub(super) struct Terminal<'a> {
    /// What the program says comes from here, and what is typed goes there.
    pub master: OwnedFd,
    /// Where the person types, if it is for the program.
    pub typed: Option<BorrowedFd<'a>>,
    /// Where the person reads.
    pub shown: BorrowedFd<'a>,
}

/// The program's end.
#[derive(Debug)]
pub(super) struct Inner(OwnedFd);

impl<'a> Terminal<'a> {
    /// One for whom has these streams, like theirs; `None`: they are no terminals. `owner` may open it by its name.
    pub(super) fn like(streams: &Streams<'a>, owner: Option<Identity>) -> io::Result<Option<(Self, Inner)>> {
        let typed = streams.typed();
        let Some(shown) = streams.shown().or(typed) else { return Ok(None) };
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        unlockpt(&master)?;
        rustix::fs::fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK)?;
        let inner = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        if let Some(owner) = owner {
            rustix::fs::fchown(&inner, Some(rustix::fs::Uid::from_raw(owner.uid)), None)?;
        }
        let mut modes = tcgetattr(shown)?;
        if typed.is_none() {
            // The person's own terminal still does that.
            modes.output_modes.remove(OutputModes::OPOST);
        }
        tcsetattr(&inner, OptionalActions::Now, &modes)?;
        let terminal = Self { master, typed, shown };
        terminal.resize();
        Ok(Some((terminal, Inner(inner))))
    }

    /// As large as the person's.
    pub(super) fn resize(&self) {
        let _no_size_is_no_reason = tcgetwinsize(self.shown).and_then(|size| tcsetwinsize(&self.master, size));
    }

    /// From here on each key is the program's, Ctrl-C too, until the value is dropped.
    pub(super) fn hand_over(&self) -> io::Result<Option<Raw<'a>>> {
        let Some(terminal) = self.typed else { return Ok(None) };
        let was = tcgetattr(terminal)?;
        let mut raw = was.clone();
        raw.make_raw();
        tcsetattr(terminal, OptionalActions::Now, &raw)?;
        Ok(Some(Raw { terminal, was }))
    }
}

/// A person's terminal that does nothing by itself.
#[derive(Debug)]
pub(super) struct Raw<'a> {
    terminal: BorrowedFd<'a>,
    was: Termios,
}

impl Drop for Raw<'_> {
    fn drop(&mut self) {
        let _gone_with_its_person = tcsetattr(self.terminal, OptionalActions::Now, &self.was);
    }
}

/// Gives the program these streams, with its own terminal in the place of each that is one.
pub(super) fn connect(command: &mut Command, streams: &Streams<'_>, inner: Option<&Inner>) -> io::Result<()> {
    let of_its_own = |stream: BorrowedFd<'_>| match inner {
        Some(Inner(inner)) if isatty(stream) => inner.try_clone().map(Stdio::from),
        _ => stream.try_clone_to_owned().map(Stdio::from),
    };
    let deaf = isatty(streams.input) && streams.typed().is_none();
    command.stdin(if deaf { Stdio::null() } else { of_its_own(streams.input)? });
    command.stdout(of_its_own(streams.output)?).stderr(of_its_own(streams.errors)?);
    Ok(())
}
