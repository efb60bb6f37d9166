//! The mask of new modes (`umask(2)`): one for all threads of a process, and another one for the programs it starts.

use std::sync::{LazyLock, PoisonError, RwLock};

use rustix::fs::Mode;

/// Ours: a directory has its whole mode from its first moment, so that no kill can leave it with half of it.
const OURS: u32 = 0o022;

/// Files that programs make are not everybody's.
const PROGRAMS: u32 = 0o027;

/// Held alone while the other mask is the process's.
static MASK: LazyLock<RwLock<()>> = LazyLock::new(|| {
    set(OURS);
    RwLock::new(())
});

/// Calls `make` while our own mask holds.
pub(super) fn ours<T>(make: impl FnOnce() -> T) -> T {
    let _ours = MASK.read().unwrap_or_else(PoisonError::into_inner);
    make()
}

/// Calls `start` while the mask is the one that programs get.
pub(super) fn for_programs<T>(start: impl FnOnce() -> T) -> T {
    let _theirs = MASK.write().unwrap_or_else(PoisonError::into_inner);
    set(PROGRAMS);
    let started = start();
    set(OURS);
    started
}

fn set(mask: u32) {
    rustix::process::umask(Mode::from_raw_mode(mask));
}
