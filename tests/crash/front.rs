//! A web server in memory, and the client that asks it: configuration is read at a reload or boot, links at each connect.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portreeve::host::{Answer, Front, HostError, Probe, Request, Result, Target, Twice};
use portreeve::model::Layout;
use portreeve::resource::vhost;

use crate::machine::{Machine, State};
use crate::services::Process;
use crate::step::Behaviour;
use crate::storage::{Body, Storage};

/// nginx.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Nginx {
    pub running: bool,
    /// Another one after each start.
    pub pid: u32,
    /// The vhosts that it serves, as it read them.
    pub vhosts: Vec<Arc<Vec<u8>>>,
}

impl Nginx {
    /// All vhosts that are included now, or the link that leads nowhere.
    pub fn configuration(storage: &Storage, layout: &Layout) -> std::result::Result<Vec<Arc<Vec<u8>>>, String> {
        let sites = layout.nginx_sites();
        // `*` matches no hidden name.
        let names = storage.names(&sites).into_iter().filter(|name| !name.to_string_lossy().starts_with('.'));
        let read = |path: PathBuf| storage.read(&path).ok_or_else(|| format!("open() {} failed", path.display()));
        names.map(|name| read(sites.join(name))).collect()
    }

    pub fn boot(&mut self, storage: &Storage, layout: &Layout) {
        let configuration = Self::configuration(storage, layout);
        let (running, pid) = (configuration.is_ok(), self.pid + 1);
        *self = Self { running, pid, vhosts: configuration.unwrap_or_default() };
    }

    /// A configuration that can't be read changes nothing.
    fn reload(&mut self, storage: &Storage, layout: &Layout) -> std::result::Result<(), String> {
        if self.running {
            self.vhosts = Self::configuration(storage, layout)?;
        }
        Ok(())
    }

    /// The vhost for this host name.
    pub fn vhost(&self, host: &str) -> Option<&Arc<Vec<u8>>> {
        let names = |bytes: &Arc<Vec<u8>>| {
            let text = String::from_utf8_lossy(bytes).into_owned();
            text.lines().any(|line| {
                line.trim().strip_prefix("server_name ").is_some_and(|names| {
                    names.trim_end_matches(';').split(' ').any(|name| name.trim_matches('"') == host)
                })
            })
        };
        self.vhosts.iter().find(|vhost| names(vhost))
    }
}

/// Where a vhost's requests go: the path behind `unix:`.
fn upstream(vhost: &[u8]) -> Option<PathBuf> {
    let text = String::from_utf8_lossy(vhost).into_owned();
    let (_, rest) = text.split_once("unix:")?;
    Some(PathBuf::from(rest.split([' ', ';', '"']).next()?))
}

/// Who answers at a socket's path: the kernel follows links.
pub fn connected<'a>(state: &'a State, socket: &Path) -> Option<&'a Process> {
    let real = match state.storage.link_text(socket) {
        Some(text) => socket.parent()?.join(text),
        None => socket.to_owned(),
    };
    state.services.behind(&real)
}

/// What a visitor of `host` gets: the status, and which process answered.
pub fn visit<'a>(state: &'a State, host: &str) -> (u16, Option<&'a Process>) {
    if !state.front.running {
        return (0, None);
    }
    let Some(vhost) = state.front.vhost(host) else { return (404, None) };
    match upstream(vhost).and_then(|socket| connected(state, &socket)) {
        Some(process) => (status(process, true), Some(process)),
        None => (502, None),
    }
}

fn status(process: &Process, in_front: bool) -> u16 {
    match process.code.behaviour {
        Behaviour::Fails => 500,
        Behaviour::FailsInFront if in_front => 500,
        _ => 200,
    }
}

/// Somebody leaves a link among the vhosts that leads nowhere: nginx goes on with what it has read.
pub fn break_configuration(state: &mut State, layout: &Layout) {
    let device = 1;
    let link = state.storage.make(Body::Link("/nowhere".into()), 0o777, device);
    let sites = state.storage.find(&layout.nginx_sites(), true).expect("sites are there");
    state.storage.name(sites, OsStr::new("broken.conf"), Some(link));
}

/// [`Front`] of a machine.
#[derive(Debug)]
pub struct MemoryFront {
    pub machine: Arc<Machine>,
    pub layout: Layout,
}

fn refused(why: String) -> HostError {
    HostError::Program { program: "systemctl".to_owned(), why }
}

impl Front for MemoryFront {
    fn test(&self, _: &Path, candidate: &Path) -> Result<std::result::Result<Twice, String>> {
        let bytes = self.machine.look(|state| state.storage.read(&candidate.join("nginx.conf")));
        Ok(bytes.map(|_| Twice::new()).ok_or_else(|| "no vhost".to_owned()))
    }

    fn test_live(&self) -> Result<std::result::Result<Twice, String>> {
        Ok(self.machine.look(|state| Nginx::configuration(&state.storage, &self.layout).map(|_| Twice::new())))
    }

    fn reload(&self) -> Result<()> {
        let read = |state: &mut State| state.front.reload(&state.storage, &self.layout);
        self.machine.effect(&|| "nginx reload".to_owned(), read).map_err(refused)
    }

    fn process(&self) -> Result<Option<u32>> {
        Ok(self.machine.look(|state| state.front.running.then_some(state.front.pid)))
    }
}

/// [`Probe`] of a machine.
#[derive(Debug)]
pub struct MemoryProbe {
    pub machine: Arc<Machine>,
}

const TOOK: Duration = Duration::from_millis(5);

impl Probe for MemoryProbe {
    fn get(&self, request: &Request) -> Result<std::result::Result<Answer, String>> {
        let answer = |status, listener| Answer { status, headers: vec![], body: vec![], listener, took: TOOK };
        let answer = self.machine.look(|state| match &request.target {
            Target::Socket(socket) => {
                connected(state, socket).map(|process| answer(status(process, false), Some(process.pid)))
            }
            Target::Port(_) if !state.front.running => None,
            Target::Port(_) => Some(answer(self.through_front(state, request), None)),
        });
        self.machine.state.borrow_mut().clock += TOOK;
        Ok(answer.ok_or_else(|| "connection refused".to_owned()))
    }
}

impl MemoryProbe {
    #[expect(clippy::unused_self, reason = "reads as a question to the machine")]
    fn through_front(&self, state: &State, request: &Request) -> u16 {
        let tokens = state.front.vhosts.iter().filter_map(|vhost| vhost::token(vhost));
        if tokens.map(|token| vhost::token_path(&token)).any(|path| path == request.path) {
            return 204;
        }
        if request.path.starts_with("/.portreeve/") { 404 } else { visit(state, &request.host).0 }
    }
}
