//! Names of what is being made or removed, and what a killed process left under them.
//!
//! A tree or file in the making holds a lock (`flock`) that dies with its process, so where several make something a leftover is
//! known by its free lock: a process id would soon be somebody else's, and after a reboot at once.
#![expect(clippy::disallowed_methods, reason = "this is host/: a leftover link is told by its age")]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;

use super::disk::{Answer, Disk, Kind, Open};
use super::handle::{about_in, sync, sys};
use super::tree::remove_entry;
use super::{HostError, Result};

/// A link can't be locked; it lives for two system calls, and after this it is nobody's.
const LINK_LIFE: Duration = Duration::from_mins(1);
/// Between its making and its lock a file is nobody's for an instant, and other threads and processes sweep as well.
const UNLOCKED: Duration = Duration::from_secs(2);

/// What a temporary name is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It becomes its target.
    New,
    /// It was its target.
    Gone,
}

impl Purpose {
    const ALL: [Self; 2] = [Self::New, Self::Gone];

    fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Gone => "gone",
        }
    }
}

/// A name that nobody uses yet, `.TARGET.new-PID-N`: hidden, so that no include pattern finds it.
pub(super) fn temporary(target: &OsStr, purpose: Purpose) -> OsString {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut name = prefix(target, purpose);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    name.push(format!("{}-{number}", std::process::id()));
    name
}

/// Tries temporary names until `make` does not find one taken.
pub(super) fn with_temporary<T>(
    target: &OsStr,
    purpose: Purpose,
    mut make: impl FnMut(&OsStr) -> Answer<T>,
) -> Answer<(OsString, T)> {
    loop {
        let name = temporary(target, purpose);
        match rustix::io::retry_on_intr(|| make(&name)) {
            Ok(value) => return Ok((name, value)),
            // A process with our number left it.
            Err(Errno::EXIST | Errno::NOTEMPTY) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn prefix(target: &OsStr, purpose: Purpose) -> OsString {
    let mut name = OsString::from(".");
    name.push(target);
    name.push(format!(".{}-", purpose.word()));
    name
}

/// Says that what `handle` holds is in use until it is closed. A file system without locks is no reason to stop.
pub(super) fn hold<D: Disk>(disk: &D, handle: &D::Handle) {
    let _unsupported = disk.try_lock(handle);
}

/// Who may be making something in a directory that is swept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Makers {
    /// Nobody: whoever sweeps holds the lock under which all is made there. However young, it is a dead program's.
    Sweeper,
    /// Other programs and threads: only what is old enough, and locked by nobody, is a dead one's.
    Anybody,
}

/// Which names in a directory to sweep.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sweep<'a> {
    /// What was to be, or had been, this target.
    Of(&'a OsStr),
    /// All.
    All(Makers),
}

impl Sweep<'_> {
    fn takes(self, name: &OsStr) -> bool {
        let bytes = name.as_bytes();
        match self {
            Self::Of(target) => Purpose::ALL
                .iter()
                .any(|&purpose| bytes.strip_prefix(prefix(target, purpose).as_bytes()).is_some_and(is_number_pair)),
            Self::All(_) => Purpose::ALL.iter().any(|purpose| {
                let mark = format!(".{}-", purpose.word());
                let at = bytes.windows(mark.len()).rposition(|window| window == mark.as_bytes());
                bytes.first() == Some(&b'.') && at.is_some_and(|at| is_number_pair(&bytes[at + mark.len()..]))
            }),
        }
    }

    fn is_alone(self) -> bool {
        matches!(self, Self::All(Makers::Sweeper))
    }
}

fn is_number_pair(bytes: &[u8]) -> bool {
    let text = str::from_utf8(bytes).unwrap_or_default();
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.split_once('-').is_some_and(|(pid, count)| number(pid) && number(count))
}

/// Removes what killed processes left in `directory`.
pub(super) fn sweep<D: Disk>(disk: &D, directory: &D::Handle, path: &Path, which: Sweep<'_>) -> Result<()> {
    let mut any = false;
    for name in sys("list", path, || disk.names(directory))? {
        if which.takes(&name) && (which.is_alone() || is_abandoned(disk, directory, &name, path)?) {
            remove_entry(disk, directory, &name, &path.join(&name))?;
            any = true;
        }
    }
    // Or a power cut brings them back, when nobody looks for them any more.
    if any { sync(disk, directory, path) } else { Ok(()) }
}

fn is_abandoned<D: Disk>(disk: &D, directory: &D::Handle, name: &OsStr, path: &Path) -> Result<bool> {
    let Some(about) = about_in(disk, directory, name, path)? else { return Ok(false) };
    if !matches!(about.kind, Kind::Directory | Kind::File) {
        return Ok(age(about.changed) > LINK_LIFE);
    }
    if age(about.changed) < UNLOCKED {
        return Ok(false);
    }
    match rustix::io::retry_on_intr(|| disk.open(directory, Path::new(name), Open::Any)) {
        Ok(handle) => Ok(matches!(disk.try_lock(&handle), Ok(true))),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(HostError::at("open", path.join(name))(errno.into())),
    }
}

fn age(changed: i64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_secs(changed.try_into().unwrap_or(0)))
}

/// Takes away a temporary name after a failure; the failure is what is told.
pub(super) fn discard<D: Disk>(disk: &D, directory: &D::Handle, name: &OsStr) {
    let _first_failure_counts = disk.remove(directory, name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pattern_is_swept() {
        let takes = |which: Sweep<'_>, name: &str| which.takes(OsStr::new(name));
        let of = Sweep::Of(OsStr::new("42"));
        assert!(takes(of, ".42.new-17-0"));
        assert!(takes(of, ".42.gone-17-3"));
        for foreign in ["42", ".42", ".42.new-", ".42.new-17", ".42.new-x-1", ".421.new-17-0", "42.new-17-0"] {
            assert!(!takes(of, foreign), "{foreign}");
        }
        assert!(takes(Sweep::All(Makers::Anybody), ".anything.new-1-2"));
        assert!(!takes(Sweep::All(Makers::Anybody), "anything.new-1-2"));
        assert!(!takes(Sweep::All(Makers::Anybody), ".bashrc"));
    }
}
