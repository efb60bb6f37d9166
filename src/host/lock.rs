//! Locks that the kernel drops with their process.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use super::ground::{Ground, Spot};
use super::handle::sys;
use super::{Clock, HostError, Lock, Result};

/// How often a waiter tries again what another process holds.
const STEP: Duration = Duration::from_millis(50);

/// Of what a holder says of itself, the bytes that are shown.
const HOLDER_BYTES: u64 = 1024;

/// Of a holder's command line, what is told to others: the command and its environment, not a whole reason.
const COMMAND_CHARS: usize = 60;

/// What threads of this process hold: among themselves they are woken, and poll nothing.
#[derive(Debug, Default)]
pub(super) struct Here {
    held: Mutex<HashSet<PathBuf>>,
    freed: Condvar,
}

/// A path that a thread has taken before the others of its process.
#[derive(Debug)]
struct Claim {
    path: PathBuf,
    here: Arc<Here>,
    /// Whether its end is news. That of a claim which found another process there is none: two waiters would wake each other
    /// for ever.
    news: bool,
}

/// A lock that is held.
#[derive(Debug)]
struct Held {
    file: File,
    /// Dropped after the file: the next thread finds it free.
    _claim: Claim,
}

impl Lock for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        // The text goes before the lock does, so that nobody is told of a holder that has left.
        let _only_a_courtesy = self.file.set_len(0);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.here.held().remove(&self.path);
        if self.news {
            self.here.freed.notify_all();
        }
    }
}

impl Here {
    fn held(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claim(self: &Arc<Self>, path: &Path) -> Option<Claim> {
        let free = self.held().insert(path.to_owned());
        free.then(|| Claim { path: path.to_owned(), here: Arc::clone(self), news: false })
    }

    /// Waits until one of these may be free again, at most so long.
    fn wait(&self, paths: &[&Path], most: Duration) {
        let held = self.held();
        let all_held = |held: &mut HashSet<PathBuf>| paths.iter().all(|&path| held.contains(path));
        let waited = if paths.iter().all(|&path| held.contains(path)) {
            self.freed.wait_timeout_while(held, most, all_held)
        } else {
            // Another process has it, and tells nobody when it lets go.
            self.freed.wait_timeout(held, most)
        };
        drop(waited);
    }
}

/// Takes the first free lock of `paths` (their directories are made), waiting at most so long; a cancelled clock ends the wait.
pub(super) fn take(
    here: &Arc<Here>,
    ground: &Ground,
    clock: &dyn Clock,
    paths: &[&Path],
    wait: Duration,
) -> Result<Box<dyn Lock>> {
    let begun = clock.monotonic();
    loop {
        for path in paths {
            let Some(claim) = here.claim(path) else { continue };
            if let Some(file) = flock(ground, path)? {
                return Ok(held(file, claim, clock));
            }
        }
        let waited = clock.monotonic().saturating_sub(begun);
        if waited >= wait || clock.cancelled() {
            let path = paths.first().copied().unwrap_or(Path::new("/"));
            let spot = ground.make_parents(path)?.ours()?;
            return Err(HostError::Locked { path: path.to_owned(), holder: read_holder(&mut open(&spot, path)?) });
        }
        here.wait(paths, STEP.min(wait.saturating_sub(waited)));
    }
}

fn held(mut file: File, mut claim: Claim, clock: &dyn Clock) -> Box<dyn Lock> {
    claim.news = true;
    // Below `/run` applications can take all the room; the lock is ours without a word about us, too.
    let _for_others_to_read = write_holder(&mut file, &ourselves(clock.now()));
    Box::new(Held { file, _claim: claim })
}

/// The lock, unless another process has it.
fn flock(ground: &Ground, path: &Path) -> Result<Option<File>> {
    let spot = ground.make_parents(path)?.ours()?;
    loop {
        let file = open(&spot, path)?;
        match file.try_lock() {
            Ok(()) if is_still_there(&file, &spot)? => return Ok(Some(file)),
            // Somebody removed the file while we opened it: the next one is another lock.
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(e)) => return Err(HostError::at("lock", path)(e)),
        }
    }
}

/// Who holds the lock at `path`: asked by trying to share it, for an instant in which nobody else can take it.
pub(super) fn holder(path: &Path) -> Result<Option<String>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()).map(File::from));
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
    // Whoever may open it may lock it (flock(2)), and keep everybody from working.
    let alone = Mode::RUSR | Mode::WUSR;
    let file = File::from(sys("open", path, || rustix::fs::openat(spot.directory(), spot.name(), flags, alone))?);
    // One of an earlier version.
    if file.metadata().map_err(HostError::at("look at", path))?.mode() & 0o077 != 0 {
        sys("change the mode of", path, || rustix::fs::fchmod(&file, alone))?;
    }
    Ok(file)
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
