//! What a test host is made of outside itself: a directory, a mount, a cgroup, processes, a runtime directory of nspawn's.
//!
//! All of them follow from the host's name, which ends with the number of the process that made it. So whatever a killed
//! test left is recognised and removed by the next one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::mount::UnmountFlags;

use crate::base;

/// How long anything on this machine may take that is not work.
const PATIENCE: Duration = Duration::from_secs(20);

/// The places that belong to one host.
#[derive(Debug, Clone)]
pub struct Traces {
    name: String,
}

impl Traces {
    /// Those of the host that this process calls `name`: letters, digits and dashes.
    pub fn of(name: &str) -> Self {
        let fits = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') && name.len() <= 40;
        assert!(fits, "a host's name becomes a machine's: {name}");
        Self { name: format!("{name}-{}", std::process::id()) }
    }

    /// The machine's name, unique on this one.
    pub fn machine(&self) -> &str {
        &self.name
    }

    /// Its directory.
    pub fn directory(&self) -> PathBuf {
        hosts().join(&self.name)
    }

    /// Where its files are.
    pub fn disk(&self) -> PathBuf {
        self.directory().join("disk")
    }

    /// The file that is mounted there, if it has a disk of its own.
    pub fn image(&self) -> PathBuf {
        self.directory().join("disk.image")
    }

    /// The layer with all that differs from the base.
    pub fn upper(&self) -> PathBuf {
        self.disk().join("upper")
    }

    /// Overlay's scratch directory.
    pub fn work(&self) -> PathBuf {
        self.disk().join("work")
    }

    /// The host's `/`, as seen from outside.
    pub fn root(&self) -> PathBuf {
        self.directory().join("root")
    }

    /// What it printed while booting.
    pub fn boot_log(&self) -> PathBuf {
        self.directory().join("boot.log")
    }

    /// The cgroup of all its processes. Without one of its own, hosts share one tree, and orphans of one go on answering.
    pub fn cgroup(&self) -> PathBuf {
        cgroups().join(format!("portreeve-{}", self.name))
    }

    /// What is there, one line each; empty when nothing is.
    pub fn found(&self) -> Vec<String> {
        let mounts = mounts_below(&self.directory()).into_iter().map(|path| format!("mount {}", path.display()));
        let paths = [self.directory(), self.cgroup()].into_iter().chain(self.runtime());
        let paths = paths.filter(|path| path.exists()).map(|path| path.display().to_string());
        let processes = self.processes().into_iter().map(|pid| format!("process {pid}"));
        processes.chain(mounts).chain(paths).collect()
    }

    /// Ends its processes at once and removes all of it. Safe to repeat, and beside another process that does the same.
    pub fn remove(&self) {
        let kill = self.cgroup().join("cgroup.kill");
        if kill.exists() && fs::write(&kill, "1").is_ok() {
            until("its processes have ended", || self.processes().is_empty());
        }
        for mount in mounts_below(&self.directory()).into_iter().rev() {
            rustix::mount::unmount(&mount, UnmountFlags::empty()).ok();
        }
        if mounts_below(&self.directory()).is_empty() {
            fs::remove_dir_all(self.directory()).ok();
        }
        remove_cgroup(&self.cgroup());
        for directory in self.runtime() {
            fs::remove_dir(directory).ok();
        }
    }

    /// Whether the process that made it is still there and still a test.
    fn owned(&self) -> bool {
        let owner = self.name.rsplit('-').next().unwrap_or_default();
        fs::read_to_string(format!("/proc/{owner}/comm")).is_ok_and(|comm| comm.starts_with("e2e"))
    }

    /// What nspawn makes for the machine and, if it is killed, leaves.
    fn runtime(&self) -> [PathBuf; 2] {
        ["propagate", "unix-export"].map(|kind| Path::new("/run/systemd/nspawn").join(kind).join(&self.name))
    }

    fn processes(&self) -> Vec<u32> {
        let mut found = Vec::new();
        walk(&self.cgroup(), &mut |directory| {
            let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        });
        found
    }
}

/// All hosts on this machine whose test has ended without removing them.
pub fn abandoned() -> Vec<Traces> {
    let cgroups = names(&cgroups()).into_iter().filter_map(|name| name.strip_prefix("portreeve-").map(str::to_owned));
    let mut all: Vec<String> = names(&hosts()).into_iter().chain(cgroups).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(|name| Traces { name }).filter(|traces| !traces.owned()).collect()
}

/// Waits for a condition; the test fails when it takes longer than anything here may.
#[track_caller]
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(PATIENCE, what, condition);
}

/// The same with a patience of its own.
#[track_caller]
pub fn until_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < patience, "waited {patience:?} until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn hosts() -> PathBuf {
    base::store().join("hosts")
}

/// Where the unified hierarchy is mounted: not the same place on every machine.
fn cgroups() -> PathBuf {
    let mounts = fs::read_to_string("/proc/mounts").expect("/proc is mounted");
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let unified = fields.filter(|fields| fields[2] == "cgroup2").map(|fields| PathBuf::from(fields[1])).next();
    unified.expect("cgroup2 is mounted")
}

fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").expect("/proc is mounted");
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    points.filter(|point| point.starts_with(directory)).collect()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Calls `visit` with `directory` and those below it, the deepest first.
fn walk(directory: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), visit);
        }
    }
    visit(directory);
}

/// A cgroup can be removed a moment after its last process was reaped.
fn remove_cgroup(cgroup: &Path) {
    let begun = Instant::now();
    while cgroup.exists() && begun.elapsed() < PATIENCE {
        walk(cgroup, &mut |directory| {
            fs::remove_dir(directory).ok();
        });
    }
}

/// The last step of `make test`: every host has been taken down by its own test.
#[test]
#[ignore = "run after all others: make test does"]
fn nothing_is_left() {
    let left: Vec<String> = abandoned().iter().flat_map(Traces::found).collect();
    abandoned().iter().for_each(Traces::remove);
    assert!(left.is_empty(), "tests left this behind (now removed):\n{}", left.join("\n"));
}
