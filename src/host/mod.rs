//! The machine, and the only way to touch it.
//!
//! The traits say what the rest of the program may ask for; each has one real implementation beside this file and one in
//! memory for tests. An implementation does what it is told and decides nothing.

mod authority;
mod bus;
mod capture;
mod clock;
mod conversation;
mod disk;
mod error;
mod exec;
mod files;
mod foreground;
mod ground;
mod handle;
mod hangup;
mod heeding;
pub(crate) mod http;
mod journal;
mod kernel;
mod later;
mod leftover;
mod linux;
mod lock;
mod logfile;
mod nginx;
mod nginx_trial;
mod post;
mod probe;
mod process;
mod real;
mod rpc;
mod scratch;
mod slot_name;
mod stage;
mod supervisor;
mod systemd;
mod terminal;
mod tmpfiles;
mod tool;
mod tree;
mod umask;
mod users;
mod way;
mod write;
mod xmlrpc;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use authority::Authority;
pub use clock::RealClock;
pub use disk::{About, Answer as DiskAnswer, Disk, Kind, Onto, Open};
pub use error::HostError;
pub use exec::replace_with;
pub use files::RealFiles;
pub use foreground::{Command, Server, Surroundings, follow};
pub use ground::{Ground, Spot};
pub use hangup::ignores_hangup;
pub use heeding::Heeding;
pub(crate) use http::runtime;
pub use kernel::RealKernel;
pub use leftover::Makers;
pub use linux::Linux;
pub use nginx::Nginx;
pub use post::{Mail, Nowhere, Post, RealPost};
pub use probe::{Answer, Probe, Request, Target};
pub use process::{Exit, Processes, RealProcesses, Run};
pub use real::{Machine, Parts};
pub use scratch::Scratch;
pub use supervisor::Supervisor;
pub use systemd::Systemd;
pub use users::{Account, RealUsers, Users};
pub use write::Writer;

pub use crate::model::{Activity, Found, Manager, Node, Service, SlotId};
use crate::model::{Boot, Capabilities, Digest, Identity};

/// Shorthand for what a machine may refuse.
pub type Result<T> = std::result::Result<T, HostError>;

/// A machine.
pub trait Host {
    /// What it can do, and why not more.
    fn capabilities(&self) -> &Capabilities;
    /// Its files.
    fn files(&self) -> &dyn Files;
    /// Its service manager.
    fn services(&self) -> &dyn Services;
    /// Its web server.
    fn front(&self) -> &dyn Front;
    /// Its HTTP client.
    fn probe(&self) -> &dyn Probe;
    /// Its processes.
    fn processes(&self) -> &dyn Processes;
    /// Its users.
    fn users(&self) -> &dyn Users;
    /// Its kernel's tables.
    fn kernel(&self) -> &dyn Kernel;
    /// Its clock.
    fn clock(&self) -> &dyn Clock;
    /// Its way out, to tell people; none unless it has one.
    fn post(&self) -> &dyn Post {
        &Nowhere
    }
}

/// Files. Paths are absolute and already below the root; every change is durable when the call returns.
pub trait Files {
    /// What is at `path`; the last component is not followed.
    fn look(&self, path: &Path) -> Result<Found>;
    /// A regular file's bytes, at most `limit` of them (more is an error); `None` when nothing is there.
    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>>;
    /// Names in a directory, sorted; none when it is not there.
    fn list(&self, directory: &Path) -> Result<Vec<String>>;
    /// Makes a directory (its missing parents become `root:root 0755`), or gives an existing one this owner and mode.
    fn make_directory(&self, path: &Path, mode: u32, owner: Identity) -> Result<()>;
    /// Puts a file or link in the place of whatever file or link is there, by one rename.
    fn put(&self, path: &Path, node: &Node) -> Result<()>;
    /// Renames a file or link over another one in the same file system, or a directory to where nothing is.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Removes a file or link; nothing there is fine.
    fn remove(&self, path: &Path) -> Result<()>;
    /// Makes the whole tree in staging beside `path`, syncs it, and renames it to `path`, where nothing may be.
    /// `nodes` are relative paths, parents first.
    fn make_tree(
        &self,
        path: &Path,
        mode: u32,
        owner: Identity,
        nodes: &mut dyn Iterator<Item = Result<(PathBuf, Node)>>,
    ) -> Result<()>;
    /// Removes a tree that only root could write; nothing there is fine. Not atomic.
    fn remove_tree(&self, path: &Path) -> Result<()>;
    /// Removes from `directory` what killed programs left half-made; nothing there is fine. As [`Makers::Sweeper`] the caller holds
    /// the lock under which all is made there.
    fn sweep(&self, directory: &Path, makers: Makers) -> Result<()>;
    /// Makes an empty marker in the runtime directory; not durable.
    fn raise_flag(&self, path: &Path) -> Result<()>;
    /// Bytes and inodes free to users at `path`'s file system.
    fn free_space(&self, path: &Path) -> Result<FreeSpace>;
    /// Whether a regular file with these permission bits, this owner and this content is at `path`. `room` is where its bytes
    /// are read to: one for many files.
    fn holds_file(&self, path: &Path, mode: u32, owner: Identity, sha256: Digest, room: &mut Vec<u8>) -> Result<bool> {
        room.clear();
        match self.look(path)? {
            Found::File { mode: is_mode, owner: is_owner, size } if is_mode == mode && is_owner == owner => {
                room.extend(self.read(path, size)?.unwrap_or_default());
                Ok(Digest::of(room) == sha256)
            }
            _ => Ok(false),
        }
    }
    /// Whether a symbolic link with this text is at `path`.
    fn holds_link(&self, path: &Path, target: &Path) -> Result<bool> {
        Ok(matches!(self.look(path)?, Found::Link(found) if found == target))
    }
    /// Text that becomes another one when what is at `path`, links followed, is replaced or written.
    fn stamp(&self, path: &Path) -> Result<String> {
        Ok(format!("{:?}", self.look(path)?))
    }
    /// Puts `node` in its place; the same that is there already will do where nothing can be written, as on a full disk.
    fn keep(&self, path: &Path, node: &Node) -> Result<()> {
        // Asked before: a put that fails may have made its name, and not durable.
        let held = self.holds(path, node)?;
        self.put(path, node).or_else(|error| if held { Ok(()) } else { Err(error) })
    }
    /// Whether such a file or link is at `path`.
    fn holds(&self, path: &Path, node: &Node) -> Result<bool> {
        match node {
            Node::File { bytes, mode, owner } => {
                self.holds_file(path, *mode, *owner, Digest::of(bytes), &mut Vec::with_capacity(bytes.len()))
            }
            Node::Link(target) => self.holds_link(path, target),
            Node::Directory { mode, owner } => Ok(self.look(path)? == Found::Directory { mode: *mode, owner: *owner }),
        }
    }
    /// Until what this returns is finished, names that this thread makes or puts become durable together at its end, whatever
    /// their order. A file's or tree's content is durable before its name, as ever.
    fn together(&self) -> Box<dyn Together + '_>;
    /// Makes everything durable that was written on `path`'s file system, by whomever (`syncfs(2)`); nothing there is fine.
    fn sync_all(&self, path: &Path) -> Result<()>;
    /// Takes an exclusive lock, waiting at most so long; its text says who holds it: command, pid, since when.
    fn lock(&self, path: &Path, wait: Duration) -> Result<Box<dyn Lock>> {
        self.lock_one_of(&[path], wait)
    }
    /// The same with the first of several that is free; refused, it names the first one's holder.
    fn lock_one_of(&self, paths: &[&Path], wait: Duration) -> Result<Box<dyn Lock>>;
    /// Who holds the lock at `path`, if anybody does. Somebody dead does not.
    fn holder(&self, path: &Path) -> Result<Option<String>>;
}

/// Names that become durable together.
pub trait Together {
    /// Makes them durable.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// A lock that is held until it is dropped, also by the death of its process.
pub trait Lock: std::fmt::Debug {}

/// What a file system has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeSpace {
    /// Bytes.
    pub bytes: u64,
    /// Inodes; `None` where the file system does not count them.
    pub inodes: Option<u64>,
}

/// The service manager. Waits are bounded.
pub trait Services {
    /// Which of the two.
    fn manager(&self) -> Manager;
    /// Reads changed unit or program files; starts and stops nothing. Idempotent.
    fn refresh(&self, slots: &[SlotId]) -> Result<()>;
    /// Forgets the slot's failures, starts it and waits until its manager calls it started, or not.
    fn start(&self, slot: &SlotId, wait: Duration) -> Result<Service>;
    /// Stops it and waits until it has stopped. Not running, or not known, is fine.
    fn stop(&self, slot: &SlotId) -> Result<()>;
    /// The same for who has nobody to answer: whatever of it still runs after `grace` is killed.
    fn stop_within(&self, slot: &SlotId, grace: Duration) -> Result<()>;
    /// One slot's state; `None` when the manager does not know it.
    fn service(&self, slot: &SlotId) -> Result<Option<Service>>;
    /// All of our slots that the manager knows, in one question.
    fn services(&self) -> Result<BTreeMap<SlotId, Service>>;
    /// Forgets a slot whose files have been removed.
    fn forget(&self, slot: &SlotId) -> Result<()>;
    /// The last lines that the slot's present (or, when it has died, latest) attempt printed, oldest first.
    fn output(&self, slot: &SlotId, lines: usize) -> Result<Vec<String>>;
    /// Hands on what these slots print, of all their attempts. The inner error: that can't be had here, in words.
    fn log(
        &self,
        slots: &[SlotId],
        excerpt: &Excerpt,
        _clock: &dyn Clock,
        line: &mut dyn FnMut(&str),
    ) -> Result<std::result::Result<(), String>> {
        for slot in slots {
            for text in self.output(slot, excerpt.lines.unwrap_or(usize::MAX))? {
                line(&text);
            }
        }
        Ok(Ok(()))
    }
}

/// A part of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// The last so many lines of what is there; `None`: all.
    pub lines: Option<usize>,
    /// Since when, as the service manager takes it (`systemd.time(7)`).
    pub since: Option<String>,
    /// Then whatever comes, until the clock is cancelled.
    pub follow: bool,
}

/// The names that two vhosts of a sound configuration have: nginx warns of them, and goes by the first.
pub type Twice = Vec<String>;

/// The web server in front.
pub trait Front {
    /// Tests the whole configuration as it would be if `active` led to `candidate`. The inner error is the tester's own words.
    fn test(&self, active: &Path, candidate: &Path) -> Result<std::result::Result<Twice, String>>;
    /// Tests the configuration as it is.
    fn test_live(&self) -> Result<std::result::Result<Twice, String>>;
    /// Asks it to read its configuration again; an exit code of 0 says nothing, so verify what is served. Not running is fine.
    fn reload(&self) -> Result<()>;
    /// Its main process; `None`: it does not run.
    fn process(&self) -> Result<Option<u32>>;
    /// Whether it runs.
    fn running(&self) -> Result<bool> {
        Ok(self.process()?.is_some())
    }
}

/// A listening TCP socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The port.
    pub port: u16,
    /// Its owner.
    pub uid: u32,
    /// The process, where it could be found out.
    pub pid: Option<u32>,
    /// The process's name (`/proc/PID/comm`).
    pub command: Option<String>,
}

/// The kernel's tables.
pub trait Kernel {
    /// Listening TCP sockets, IPv4 and IPv6.
    fn listeners(&self) -> Result<Vec<Listener>>;
    /// First and last port that the kernel hands out by itself.
    fn ephemeral_ports(&self) -> Result<(u16, u16)>;
    /// `net.ipv4.ip_local_reserved_ports`, as the kernel prints it.
    fn reserved_ports(&self) -> Result<String>;
    /// Sets `net.ipv4.ip_local_reserved_ports`.
    fn reserve_ports(&self, value: &str) -> Result<()>;
    /// Number of processors that are switched on, whoever asks: what a person's shell or a unit may use of them is not counted, and
    /// decides no number of workers.
    fn processors(&self) -> u32;
    /// Random bytes, fit for keys (`getrandom(2)`).
    fn random(&self, bytes: usize) -> Result<Vec<u8>>;
    /// The host's name.
    fn hostname(&self) -> Result<String>;
}

/// Time.
pub trait Clock {
    /// Wall-clock time, for people and records.
    fn now(&self) -> jiff::Timestamp;
    /// Time that only goes forward, for deadlines.
    fn monotonic(&self) -> Duration;
    /// This boot of the host, by the wall clock as it is set now: for deadlines that outlive a process.
    fn boot(&self) -> Boot;
    /// Waits, all of it: whoever waits for long asks [`cancelled`](Self::cancelled) in between.
    fn sleep(&self, time: Duration);
    /// Whether whatever goes by this clock should end at its next safe point (SIGTERM, or an order about the same environment).
    fn cancelled(&self) -> bool;
}
