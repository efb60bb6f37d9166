//! A program that a person talks with, until it ends: keys go to it, what it says comes back, and so do the signals that ask us
//! to end, because the person's terminal knows nothing of its session.
#![expect(clippy::disallowed_methods, reason = "a child's deadline runs on the machine's clock")]

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::signal::unix::{self, SignalKind};

use super::capture::{Ended, ready};
use super::terminal::Terminal;

/// After the program's end, how long we listen to what it left on its terminal.
const GRACE: Duration = Duration::from_millis(500);

/// Follows the leader of the process group `group`, whose pidfd is `handle`, until it has ended or has to.
pub(super) fn hold(
    handle: BorrowedFd<'_>,
    group: Pid,
    terminal: Option<&Terminal<'_>>,
    deadline: Duration,
) -> io::Result<Ended> {
    let begun = Instant::now();
    let mut asked = Asked { group, signals: signals(terminal.is_some())?, told: false };
    let mut relay = terminal.map(Relay::of).transpose()?;
    let _as_it_was_at_the_end = terminal.map(Terminal::hand_over).transpose()?;
    let ended = loop {
        let Some(left) = deadline.checked_sub(begun.elapsed()) else { break Ended::AtDeadline };
        let own = [Some((handle, PollFlags::IN)), Some((asked.signals.as_fd(), PollFlags::IN))];
        let [said, taken, typed] = relay.as_ref().map(Relay::asks).unwrap_or_default();
        let [over, signal, said, taken, typed] = ready([own[0], own[1], said, taken, typed], left)?;
        if signal && asked.again(terminal)? {
            break Ended::OnRequest;
        }
        if let Some(relay) = &mut relay {
            relay.turn([said, taken, typed]);
        }
        if over {
            break Ended::ByItself;
        }
    };
    relay.map_or(Ok(()), Relay::hear_out)?;
    Ok(ended)
}

/// What asks us to end, and is for the program to answer.
struct Asked {
    group: Pid,
    signals: PipeReader,
    told: bool,
}

impl Asked {
    /// Hands a signal on. Whether the program has had its chance to end: who asks twice does not want to wait. Ctrl-C may mean
    /// other things to it.
    fn again(&mut self, terminal: Option<&Terminal<'_>>) -> io::Result<bool> {
        let mut number = [0];
        self.signals.read_exact(&mut number)?;
        let signal = Signal::from_named_raw(number[0].into());
        match signal {
            Some(Signal::WINCH) => terminal.iter().for_each(|terminal| terminal.resize()),
            Some(Signal::TERM | Signal::HUP) if std::mem::replace(&mut self.told, true) => return Ok(true),
            signal => {
                let _just_ended = signal.map(|signal| kill_process_group(self.group, signal));
            }
        }
        Ok(false)
    }
}

/// Their numbers, as they come. A thread waits for them, until the first one that nobody reads. Without a terminal the end of one
/// is not our affair: nohup(1) has made us deaf to it.
fn signals(terminal: bool) -> io::Result<PipeReader> {
    let (reader, mut writer) = io::pipe()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let inside = runtime.enter();
    let always = [Signal::INT, Signal::QUIT, Signal::TERM];
    let there = [Signal::HUP, Signal::WINCH].into_iter().filter(|_| terminal);
    let take = |signal: Signal| Ok((signal, unix::signal(SignalKind::from_raw(signal.as_raw()))?));
    let mut taken = always.into_iter().chain(there).map(take).collect::<io::Result<Vec<_>>>()?;
    drop(inside);
    let wait = move || {
        while u8::try_from(runtime.block_on(next(&mut taken)).as_raw())
            .is_ok_and(|number| writer.write_all(&[number]).is_ok())
        {}
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(reader)
}

async fn next(taken: &mut [(Signal, unix::Signal)]) -> Signal {
    poll_fn(|cx| {
        let come = taken.iter_mut().find_map(|(signal, taken)| taken.poll_recv(cx).is_ready().then_some(*signal));
        come.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// Between the program's terminal and the person's.
struct Relay<'a> {
    inner: BorrowedFd<'a>,
    /// `None`: nothing more comes from it.
    keys: Option<BorrowedFd<'a>>,
    /// `None`: nobody reads there any more.
    shown: Option<File>,
    /// Typed, and not yet taken: keys that nobody takes hold up only further keys.
    pending: Vec<u8>,
    /// Somebody has the program's terminal open.
    open: bool,
}

impl<'a> Relay<'a> {
    fn of(terminal: &'a Terminal<'a>) -> io::Result<Self> {
        let shown = Some(terminal.shown.try_clone_to_owned()?.into());
        let (inner, keys) = (terminal.master.as_fd(), terminal.typed);
        Ok(Self { inner, keys, shown, pending: Vec::new(), open: true })
    }

    /// What it waits for, as [`turn`](Self::turn) is to be told.
    fn asks(&self) -> [Option<(BorrowedFd<'a>, PollFlags)>; 3] {
        let idle = self.pending.is_empty();
        [
            self.open.then_some((self.inner, PollFlags::IN)),
            (!idle).then_some((self.inner, PollFlags::OUT)),
            self.keys.filter(|_| idle).map(|keys| (keys, PollFlags::IN)),
        ]
    }

    fn turn(&mut self, [said, taken, typed]: [bool; 3]) {
        if said {
            self.hear();
        }
        if taken {
            // What can't be typed in is nobody's.
            let count = rustix::io::write(self.inner, &self.pending);
            self.pending.drain(..count.unwrap_or(self.pending.len()));
        }
        if typed {
            self.pending = self.keys.and_then(|keys| read(keys).ok()).unwrap_or_default();
            self.keys = self.keys.filter(|_| !self.pending.is_empty());
        }
    }

    fn hear(&mut self) {
        match read(self.inner) {
            Err(Errno::AGAIN) => {}
            Ok(said) if !said.is_empty() => {
                let shown = self.shown.as_mut().is_some_and(|shown| shown.write_all(&said).is_ok());
                self.shown.take_if(|_| !shown);
            }
            _ => self.open = false,
        }
    }

    /// The end of its terminal is the end of what it says; that may come later than its own.
    fn hear_out(mut self) -> io::Result<()> {
        let begun = Instant::now();
        while let (true, Some(left)) = (self.open, GRACE.checked_sub(begun.elapsed())) {
            if let [true] = ready([Some((self.inner, PollFlags::IN))], left)? {
                self.hear();
            }
        }
        Ok(())
    }
}

fn read(from: BorrowedFd<'_>) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = [0; 4096];
    let count = rustix::io::retry_on_intr(|| rustix::io::read(from, &mut buffer))?;
    Ok(buffer[..count].to_vec())
}
