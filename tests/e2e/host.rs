//! A Debian host: its own init, cgroup, network and disk. It boots in about a second and can lose its power.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Pid, Signal};

use crate::base;
use crate::cmd::{self, CmdResult};
use crate::disk;
use crate::traces::{self, Traces, until, until_within};

/// Longest boot or shutdown on a busy machine.
const BOOT: Duration = Duration::from_mins(2);

/// A host. It is gone, with all its traces, when this value is.
#[derive(Debug)]
pub struct TestHost {
    traces: Traces,
    /// The layers below its own, for overlay.
    below: String,
    storage: Storage,
    running: Option<Running>,
}

/// Where a host's files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// In a directory of this machine: a power cut takes all processes, and what was in memory of files stays.
    Shared,
    /// On a disk of its own, which loses with its power what nobody synced.
    Own,
}

/// The processes of a host that has power.
#[derive(Debug)]
struct Running {
    nspawn: Child,
    /// Its PID 1, by the number it has outside.
    init: Pid,
}

impl TestHost {
    /// A fresh host that has booted with no failed unit.
    #[track_caller]
    pub fn boot(name: &str, storage: Storage) -> Self {
        traces::abandoned().iter().for_each(Traces::remove);
        let mut host = Self::lay_out(name, base::base().display().to_string(), storage);
        fs::write(host.path("/etc/hostname"), format!("{name}\n")).expect("its name is written");
        // An empty one means a first boot, which asks questions and ends degraded.
        let id = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("a random name").replace('-', "");
        fs::write(host.path("/etc/machine-id"), id).expect("its identity is written");
        host.power_on();
        assert_eq!(host.state(), "running", "{}", host.exec(&["systemctl", "--failed"]));
        host
    }

    fn lay_out(name: &str, below: String, storage: Storage) -> Self {
        let host = Self { traces: Traces::of(name), below, storage, running: None };
        if storage == Storage::Own {
            disk::make(&host.traces);
        }
        for directory in [host.traces.upper(), host.traces.work(), host.traces.root()] {
            fs::create_dir_all(directory).expect("the host's directories are made");
        }
        host.mount();
        host
    }

    fn mount(&self) {
        let (below, upper, work) = (&self.below, self.traces.upper(), self.traces.work());
        // A directory of a layer below can be renamed, as on any other disk.
        let layers =
            format!("redirect_dir=on,lowerdir={below},upperdir={},workdir={}", upper.display(), work.display());
        let layers = std::ffi::CString::new(layers).expect("no NUL in a path");
        rustix::mount::mount("overlay", self.traces.root(), "overlay", MountFlags::empty(), Some(layers.as_c_str()))
            .expect("the overlay is mounted; its directory must not be on an overlay (PORTREEVE_TESTS names another)");
    }

    /// Runs `argv` inside, as root, and waits for its end.
    #[track_caller]
    pub fn exec(&self, argv: &[&str]) -> CmdResult {
        cmd::run(self.command(argv))
    }

    /// The same, and it must exit with 0.
    #[track_caller]
    pub fn exec_ok(&self, argv: &[&str]) -> CmdResult {
        self.exec(argv).ok()
    }

    /// Runs a shell script inside; it must exit with 0. What it printed is returned.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.exec(&["sh", "-euc", script]).ok().stdout
    }

    /// A command that will run inside, for what [`exec`](Self::exec) can't do: go on in the background, read a pipe.
    pub fn command(&self, argv: &[&str]) -> Command {
        let init = self.init().as_raw_nonzero().to_string();
        cmd::command(&[&["nsenter", "--target", &init, "--all"], argv].concat())
    }

    /// The content of a file inside.
    #[track_caller]
    pub fn read_file(&self, path: &str) -> String {
        self.exec_ok(&["cat", path]).stdout
    }

    /// Writes a file inside, root's, mode 0644, and the directories above it.
    #[track_caller]
    pub fn put_file(&self, path: &str, content: impl AsRef<[u8]>) {
        let script = r#"umask 022; mkdir -p "$(dirname "$0")"; cat >"$0""#;
        cmd::run_with_input(self.command(&["sh", "-euc", script, path]), content.as_ref()).ok();
    }

    /// Whether something has this path inside; a link counts whatever it leads to.
    pub fn has(&self, path: &str) -> bool {
        self.exec(&["sh", "-c", r#"test -e "$0" || test -L "$0""#, path]).code == 0
    }

    /// A path inside, as seen from outside. It works without power too; but `/run` and `/tmp` are not there, and absolute
    /// links lead astray.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.traces.root().join(inside.trim_start_matches('/'))
    }

    /// What `systemctl is-system-running` says: `running`, or `degraded` when a unit has failed.
    pub fn state(&self) -> String {
        self.exec(&["systemctl", "is-system-running"]).stdout.trim().to_owned()
    }

    /// All that the journal holds of a unit, since its first boot.
    pub fn journal(&self, unit: &str) -> String {
        self.exec(&["journalctl", "--no-pager", "--output=short-precise", "--unit", unit]).stdout
    }

    /// The network namespace, for clients that enter it.
    pub fn network(&self) -> OwnedFd {
        let path = format!("/proc/{}/ns/net", self.init().as_raw_nonzero());
        File::open(path).expect("the network namespace is opened").into()
    }

    /// What was done so far stays done, whatever happens.
    pub fn sync(&self) {
        self.exec_ok(&["sync", "-f", "/"]);
    }

    /// The next power cut leaves what one would leave now, and what is done until then comes to nothing.
    #[track_caller]
    pub fn keep_for_power_cut(&self) {
        self.freeze(1);
        disk::keep_what_is_written(&self.traces);
        self.freeze(0);
    }

    /// Stops what the host runs by itself (1), or lets it go on (0); commands from outside are not of it.
    #[track_caller]
    fn freeze(&self, frozen: u8) {
        let cgroup = self.traces.cgroup();
        fs::write(cgroup.join("cgroup.freeze"), frozen.to_string()).expect("the host is stopped, or goes on");
        until("all its processes do", || {
            let events = fs::read_to_string(cgroup.join("cgroup.events")).expect("its cgroup is there");
            events.lines().any(|line| line == format!("frozen {frozen}"))
        });
    }

    /// The power goes: every process is gone at once, and from a disk of its own whatever was not synced.
    #[track_caller]
    pub fn power_cut(&mut self) {
        // PID 1 would close its bus before the kernel ends the rest, and whoever met that would write it down; nor is it to see the
        // rest go, and sync a word about it.
        self.freeze(1);
        self.exec_ok(&["sh", "-c", "kill -KILL -1"]);
        let mut running = self.running.take().expect("the host has power");
        // nspawn's own death would leave the host running, with another parent.
        rustix::process::kill_process(running.init, Signal::KILL).expect("its init is killed");
        self.freeze(0);
        running.nspawn.wait().expect("nspawn has ended");
        if self.storage == Storage::Own {
            disk::keep_what_is_written(&self.traces);
            for mounted in [self.traces.root(), self.traces.disk()] {
                rustix::mount::unmount(mounted, UnmountFlags::empty()).expect("nobody is in it any more");
            }
            disk::come_back(&self.traces);
            self.mount();
        }
    }

    /// An orderly shutdown.
    #[track_caller]
    pub fn power_off(&mut self) {
        self.exec(&["systemctl", "poweroff"]);
        let mut running = self.running.take().expect("the host has power");
        until_within(BOOT, "the host has shut down", || running.nspawn.try_wait().expect("nspawn is ours").is_some());
    }

    /// Boots what the last power cut or shutdown left. Units may have failed: see [`state`](Self::state).
    #[track_caller]
    pub fn boot_again(&mut self) {
        assert!(self.running.is_none(), "the host has power");
        self.power_on();
    }

    /// An orderly shutdown and a boot.
    #[track_caller]
    pub fn reboot(&mut self) {
        self.power_off();
        self.boot_again();
    }

    /// Installs the program and its units, where a package would.
    #[track_caller]
    pub fn install_binary(&self) {
        fs::copy(env!("CARGO_BIN_EXE_portreeve"), self.path("/usr/bin/portreeve")).expect("the program is copied");
        for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/systemd")).into_iter().flatten().flatten() {
            let place = self.path("/usr/lib/systemd/system").join(entry.file_name());
            fs::copy(entry.path(), place).expect("a unit is copied");
        }
        self.exec_ok(&["systemctl", "daemon-reload"]);
    }

    /// Runs `argv` inside, as root; the first process that it starts has this number, unless another comes first.
    #[track_caller]
    pub fn exec_numbering(&self, number: u32, argv: &[&str]) -> CmdResult {
        let (init, last) = (self.init().as_raw_nonzero().to_string(), (number - 1).to_string());
        // Inside, the kernel's settings are read-only.
        let enter = r#"echo "$1" >/proc/sys/kernel/ns_last_pid; shift
            exec nsenter --target "$0" --mount --uts --ipc --net --cgroup -- "$@""#;
        let outside = ["nsenter", "--target", &init, "--pid", "sh", "-euc", enter, &init, &last];
        cmd::run(cmd::command(&[&outside, argv].concat()))
    }

    fn init(&self) -> Pid {
        self.running.as_ref().expect("the host has power").init
    }

    #[track_caller]
    fn power_on(&mut self) {
        let mut nspawn = self.nspawn();
        let init = self.wait_for_init(&mut nspawn);
        self.running = Some(Running { nspawn, init });
        // The bus comes up some time after PID 1, and `--wait` does not wait for it.
        until_within(BOOT, "the host has booted", || {
            let state = self.exec(&["systemctl", "is-system-running", "--wait"]).stdout;
            matches!(state.trim(), "running" | "degraded")
        });
    }

    fn nspawn(&self) -> Child {
        let (cgroup, machine) = (self.traces.cgroup(), self.traces.machine());
        fs::create_dir_all(&cgroup).expect("its cgroup is made");
        let log = File::create(self.traces.boot_log()).expect("its boot log is made");
        // The shell enters the cgroup before anything is started that could leave it; the session keeps the terminal's
        // signals away.
        let enter = r#"echo $$ >"$0/cgroup.procs"; exec setsid systemd-nspawn --quiet --register=no --keep-unit --boot \
            --private-network --console=pipe --link-journal=no --resolv-conf=off --timezone=off -M "$1" -D "$2""#;
        let (cgroup, root) = (cgroup.display().to_string(), self.traces.root().display().to_string());
        cmd::command(&["sh", "-euc", enter, &cgroup, machine, &root])
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("nspawn is started")
    }

    /// nspawn's child is itself at first; entering it then would run commands outside.
    #[track_caller]
    fn wait_for_init(&self, nspawn: &mut Child) -> Pid {
        let mut found = None;
        until("the host's init is there", || {
            let ended = nspawn.try_wait().expect("nspawn is ours");
            assert!(
                ended.is_none(),
                "nspawn ended: {}",
                fs::read_to_string(self.traces.boot_log()).unwrap_or_default()
            );
            found = init_below(nspawn.id());
            found.is_some()
        });
        found.expect("it was found")
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        if let Some(mut running) = self.running.take() {
            rustix::process::kill_process(running.init, Signal::KILL).ok();
            running.nspawn.wait().ok();
        }
        self.traces.remove();
    }
}

impl TestHost {
    /// For whoever reads why a test failed: the end of the journal.
    #[expect(clippy::print_stdout, reason = "shown by test runners with a failure, and only then")]
    fn tell(&self) {
        if self.running.is_some() {
            let journal = cmd::run(self.command(&["journalctl", "--no-pager", "--lines=60"])).stdout;
            println!("--- the journal of {} ends with\n{journal}", self.traces.machine());
        }
    }

    /// Its traces, to assert that they are gone later.
    pub fn traces(&self) -> Traces {
        self.traces.clone()
    }
}

/// A host that was shut down, for others that begin as it ended. Nothing changes it, so there may be any number of them.
#[derive(Debug)]
pub struct Snapshot(TestHost);

impl Snapshot {
    /// Shuts `host` down.
    #[track_caller]
    pub fn of(mut host: TestHost) -> Self {
        host.power_off();
        rustix::mount::unmount(host.traces.root(), UnmountFlags::empty()).expect("nobody is in it any more");
        Self(host)
    }

    /// A host as it was, with a disk of its own on top.
    #[track_caller]
    pub fn boot(&self, name: &str) -> TestHost {
        let below = format!("{}:{}", self.0.traces.upper().display(), base::base().display());
        let mut host = TestHost::lay_out(name, below, Storage::Own);
        host.power_on();
        host
    }
}

fn init_below(nspawn: u32) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
    let pid = children.split_whitespace().find(|pid| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        matches!(name.trim(), "systemd" | "init")
    })?;
    Pid::from_raw(pid.parse().ok()?)
}
