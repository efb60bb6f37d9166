//! Locks that the kernel drops with their process.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use super::ground::{Ground, Spot};
use super::handle::sys;
use super::{Clock, HostError, Lock, Result};

/// How often a waiter tries again.
const STEP: Duration = Duration::from_millis(50);

/// Of what a holder says of itself, the bytes that are shown.
const HOLDER_BYTES: u64 = 1024;

/// Of a holder's command line, what is told to others: the command and its environment, not a whole reason.
const COMMAND_CHARS: usize = 60;

/// A lock that is held.
#[derive(Debug)]
struct Held {
    file: File,
}

impl Lock for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        // The text goes before the lock does, so that nobody is told of a holder that has left.
        let _only_a_courtesy = self.file.set_len(0);
    }
}

/// Takes the lock at `path` (its directories are made), waiting at most so long; a cancelled clock ends the wait.
pub(super) fn take(ground: &Ground, clock: &dyn Clock, path: &Path, wait: Duration) -> Result<Box<dyn Lock>> {
    let spot = ground.make_parents(path)?.ours()?;
    let begun = clock.monotonic();
    loop {
        let mut file = open(&spot, path)?;
        match file.try_lock() {
            Ok(()) if is_still_there(&file, &spot)? => {
                write_holder(&mut file, &ourselves(clock.now())).map_err(HostError::at("write", path))?;
                return Ok(Box::new(Held { file }));
            }
            // Somebody removed the file while we opened it: the next one is another lock.
            Ok(()) => continue,
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(TryLockError::Error(e)) => return Err(HostError::at("lock", path)(e)),
        }
        let waited = clock.monotonic().saturating_sub(begun);
        if waited >= wait || clock.cancelled() {
            return Err(HostError::Locked { path: path.to_owned(), holder: read_holder(&mut file) });
        }
        clock.sleep(STEP.min(wait.saturating_sub(waited)));
    }
}

/// Who holds the lock at `path`: asked by trying to share it, for an instant in which nobody else can take it.
pub(super) fn holder(ground: &Ground, path: &Path) -> Result<Option<String>> {
    let Some(spot) = ground.find(path)? else { return Ok(None) };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::io::retry_on_intr(|| {
        rustix::fs::openat(spot.directory(), spot.name(), flags, Mode::empty()).map(File::from)
    });
    let mut file = match opened {
        Ok(file) => file,
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(HostError::at("open", path)(errno.into())),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(read_holder(&mut file))),
        Err(TryLockError::Error(error)) => Err(HostError::at("lock", path)(error)),
    }
}

/// `portreeve rollback bakery/pro (pid 812, since 10:12:03 UTC)`
fn ourselves(now: jiff::Timestamp) -> String {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: String = words.join(" ").chars().filter(|c| !c.is_control()).take(COMMAND_CHARS).collect();
    format!("portreeve {words} (pid {}, since {})", std::process::id(), now.strftime("%H:%M:%S UTC"))
}

fn open(spot: &Spot, path: &Path) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    sys("open", path, || rustix::fs::openat(spot.directory(), spot.name(), flags, mode)).map(File::from)
}

fn is_still_there(file: &File, spot: &Spot) -> Result<bool> {
    let held = file.metadata().map_err(HostError::at("look at", spot.path()))?;
    Ok(spot.about()?.is_some_and(|there| there.inode == held.ino() && there.device == held.dev()))
}

fn write_holder(file: &mut File, holder: &str) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(holder.as_bytes())
}

fn read_holder(file: &mut File) -> String {
    let mut text = Vec::new();
    let read = file.take(HOLDER_BYTES).read_to_end(&mut text);
    let text: String = String::from_utf8_lossy(&text).chars().filter(|c| !c.is_control()).collect();
    if read.is_err() || text.is_empty() { "another process".to_owned() } else { text }
}
