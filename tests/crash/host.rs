//! The rest of a host in memory: users, kernel, clock, and programs that a build runs.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portreeve::host::{
    Account, Clock, Exit, Files, Front, Host, Kernel, Listener, Probe, Processes, Result, Run, Services, Users,
};
use portreeve::model::{Boot, Capabilities, Digest, EnvLayout, Identity, Layout, UserName};

use crate::files::MemoryFiles;
use crate::front::{MemoryFront, MemoryProbe};
use crate::machine::{Machine, State};
use crate::services::MemoryServices;
use crate::storage::Storage;

/// The application's user.
pub const APP: Identity = Identity { uid: 1500, gid: 1500 };
/// The web server's group.
pub const WEB: u32 = 33;
/// When the machine was made.
const BEGIN: i64 = 1_790_000_000;

/// A host in memory.
#[derive(Debug)]
pub struct MemoryHost {
    pub machine: Arc<Machine>,
    capabilities: Capabilities,
    files: MemoryFiles,
    services: MemoryServices,
    front: MemoryFront,
    probe: MemoryProbe,
    rest: Rest,
}

/// What needs no type of its own.
#[derive(Debug)]
struct Rest {
    machine: Arc<Machine>,
    paths: EnvLayout,
}

impl MemoryHost {
    /// The host of one environment.
    pub fn new(state: State, layout: &Layout, paths: &EnvLayout) -> Self {
        let machine = Machine::new(state);
        let (m, l) = (&machine, || layout.clone());
        Self {
            capabilities: Capabilities::default(),
            files: MemoryFiles::new(m, layout),
            services: MemoryServices { machine: Arc::clone(m), layout: l() },
            front: MemoryFront { machine: Arc::clone(m), layout: l() },
            probe: MemoryProbe { machine: Arc::clone(m) },
            rest: Rest { machine: Arc::clone(m), paths: paths.clone() },
            machine,
        }
    }
}

impl Host for MemoryHost {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn files(&self) -> &dyn Files {
        &self.files
    }
    fn services(&self) -> &dyn Services {
        &self.services
    }
    fn front(&self) -> &dyn Front {
        &self.front
    }
    fn probe(&self) -> &dyn Probe {
        &self.probe
    }
    fn processes(&self) -> &dyn Processes {
        &self.rest
    }
    fn users(&self) -> &dyn Users {
        &self.rest
    }
    fn kernel(&self) -> &dyn Kernel {
        &self.rest
    }
    fn clock(&self) -> &dyn Clock {
        &self.rest
    }
}

/// By the clock on the wall.
fn by_wall(state: &State, time: Duration) -> jiff::Timestamp {
    let begin = jiff::Timestamp::from_second(BEGIN + state.set).expect("a time");
    begin.checked_add(time).expect("a time")
}

/// Its clock is set, and whatever a boot counts by begins anew at the next.
pub fn booted(state: &State) -> Boot {
    Boot::new(format!("boot {}", state.boots), by_wall(state, state.booted))
}

impl Clock for Rest {
    fn now(&self) -> jiff::Timestamp {
        self.machine.look(|state| by_wall(state, state.clock))
    }
    fn monotonic(&self) -> Duration {
        self.machine.look(|state| state.clock.saturating_sub(state.booted))
    }
    fn boot(&self) -> Boot {
        self.machine.look(booted)
    }
    fn sleep(&self, time: Duration) {
        self.machine.state.borrow_mut().clock += time;
    }
    fn cancelled(&self) -> bool {
        false
    }
}

impl Kernel for Rest {
    fn listeners(&self) -> Result<Vec<Listener>> {
        Ok(Vec::new())
    }
    fn ephemeral_ports(&self) -> Result<(u16, u16)> {
        Ok((32768, 60999))
    }
    fn reserved_ports(&self) -> Result<String> {
        Ok(String::new())
    }
    fn reserve_ports(&self, _: &str) -> Result<()> {
        Ok(())
    }
    fn processors(&self) -> u32 {
        2
    }
    fn random(&self, bytes: usize) -> Result<Vec<u8>> {
        let drawn = self.machine.look(|state| (state.boots, state.clock, self.machine.calls()));
        let byte = |at: usize| BuildHasherDefault::<DefaultHasher>::default().hash_one((drawn, at)).to_le_bytes()[0];
        Ok((0..bytes).map(byte).collect())
    }
    fn hostname(&self) -> Result<String> {
        Ok("memory".to_owned())
    }
}

impl Users for Rest {
    fn own(&self) -> Identity {
        Identity::ROOT
    }
    fn user(&self, _: &UserName) -> Result<Option<Identity>> {
        Ok(Some(APP))
    }
    fn account(&self, _: &UserName) -> Result<Option<Account>> {
        Ok(Some(Account { identity: APP, home: "/home/foouser".into(), groups: vec!["foouser".to_owned()] }))
    }
    fn user_name(&self, _: u32) -> Result<Option<String>> {
        Ok(Some("foouser".to_owned()))
    }
    fn group_name(&self, _: u32) -> Result<String> {
        Ok("foouser".to_owned())
    }
    fn group(&self, _: &str) -> Result<Option<u32>> {
        Ok(Some(WEB))
    }
    fn apply_sysusers(&self, _: &Path) -> Result<()> {
        Ok(())
    }
    fn apply_tmpfiles(&self, file: &Path, except: Option<&Path>) -> Result<()> {
        let what = || format!("systemd-tmpfiles --create {}", file.display());
        self.machine.effect(&what, |state| tmpfiles(&mut state.storage, file, except));
        Ok(())
    }
}

/// `systemd-tmpfiles --create`, for the two types of lines that we write.
pub fn tmpfiles(storage: &mut Storage, file: &Path, except: Option<&Path>) {
    let Some(bytes) = storage.read(file) else { return };
    for line in String::from_utf8_lossy(&bytes).lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields.as_slice() {
            [_, path, ..] if except.is_some_and(|except| Path::new(path).starts_with(except)) => {}
            ["d", path, ..] => {
                let path = Path::new(path);
                if !storage.exists(path) {
                    storage.make_directories(path);
                }
            }
            ["L", path, .., target] => {
                let path = Path::new(path);
                let parent = path.parent().and_then(|parent| storage.find(parent, true));
                if let (None, Some(parent)) = (storage.find(path, false), parent) {
                    let device = storage.inode(parent).device;
                    let id = storage.make(crate::storage::Body::Link(PathBuf::from(target)), 0o777, device);
                    storage.name(parent, path.file_name().expect("a name"), Some(id));
                }
            }
            _ => {}
        }
    }
}

/// The machine starts: `/run` is filled, the web server reads its configuration, what is wanted and may run is started.
pub fn boot(state: &mut State, layout: &Layout) {
    (state.boots, state.booted) = (state.boots + 1, state.clock);
    let directory = layout.tmpfiles_d();
    for name in state.storage.names(&directory) {
        tmpfiles(&mut state.storage, &directory.join(name), None);
    }
    state.services.power_cut();
    state.services.boot(&state.storage, layout);
    state.front.boot(&state.storage, layout);
}

impl Processes for Rest {
    fn run(&self, run: &Run) -> Result<Exit> {
        let args: Vec<&str> = run.args.iter().map(String::as_str).collect();
        let program = run.program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some((_, exit)) = self.machine.end.borrow().as_ref().filter(|(word, _)| args.contains(word)) {
            return Ok(exit.clone());
        }
        let said = match (program.as_str(), args.as_slice()) {
            ("find", [directory, "-mindepth", "1", "-delete"]) => {
                self.clears(Path::new(directory));
                Ok(String::new())
            }
            ("python3", ["-m", "venv", venv]) => self.in_two(|storage, half| {
                let bin = Path::new(venv).join("bin");
                storage.make_directories(&bin);
                storage.write(&bin.join(["python", "pip"][half]), b"program");
            }),
            ("pip", _) if self.machine.look(|state| state.offline) => Err(NO_INDEX),
            ("pip", _) => self.in_two(|storage, half| {
                let bin = run.program.parent().expect("bin");
                storage.write(&bin.join(["gunicorn", "django-admin"][half]), b"program");
            }),
            ("python", ["manage.py", "collectstatic", ..]) => self.in_two(|storage, half| {
                let file = settings(run).join("static").join(ASSETS[half]);
                // What is there already is left as it is, also when it was cut off.
                if !storage.exists(&file) {
                    storage.write(&file, b"css");
                }
            }),
            ("find", [from, .., "-exec", "cp", "-rlf", "-t", to, "--", "{}", "+"]) => self.in_two(|storage, half| {
                storage.link(&Path::new(from).join(ASSETS[half]), &Path::new(to).join(ASSETS[half]));
            }),
            ("python", ["-c", script, ..]) if script.contains("hashlib") => {
                Ok(format!("PORTREEVE {}", self.effective(&settings(run))))
            }
            ("python", ["-c", ..]) => Ok("PORTREEVE {\"migrations\": [], \"unwritten\": []}".to_owned()),
            _ => Ok(String::new()),
        };
        let exit = Exit { code: Some(0), killed: false, timed_out: false, stdout: vec![], tail: vec![] };
        Ok(match said {
            Ok(said) => Exit { stdout: said.into_bytes(), ..exit },
            Err(words) => Exit { code: Some(1), tail: vec![words.to_owned()], ..exit },
        })
    }

    fn find(&self, names: &[&str]) -> Option<PathBuf> {
        let known = ["find", "python3"];
        names.iter().find(|name| known.contains(name)).map(|name| Path::new("/usr/bin").join(name))
    }
}

/// The static files of every release.
const ASSETS: [&str; 2] = ["a.css", "b.css"];

/// Where the application's Python looks first: the directory of the generation whose settings it has.
fn settings(run: &Run) -> PathBuf {
    let path = run.env.get("PYTHONPATH").map(String::as_str).unwrap_or_default();
    PathBuf::from(path.split(':').next().unwrap_or_default())
}

/// What a program said: on its standard output, or as its last line before it failed.
type Said = std::result::Result<String, &'static str>;

const NO_INDEX: &str = "Failed to establish a new connection: [Errno 111] Connection refused";
const NO_ROOM: &str = "OSError: [Errno 122] Disk quota exceeded";

impl Rest {
    /// A program's work, with a kill possible in its middle, where a full disk ends it. It syncs nothing.
    fn in_two(&self, mut work: impl FnMut(&mut Storage, usize)) -> Said {
        for half in 0..2 {
            let worked = self.machine.effect(&|| "a program's work".to_owned(), |state| {
                state.storage.take_room(crate::storage::ROOT).map(|()| work(&mut state.storage, half))
            });
            worked.map_err(|_| NO_ROOM)?;
        }
        Ok(String::new())
    }

    /// What takes no room.
    fn clears(&self, directory: &Path) {
        self.machine.effect(&|| "nothing yet".to_owned(), |_| ());
        self.machine.effect(&|| "all is deleted".to_owned(), |state| state.storage.clear(directory));
    }

    /// What the application's settings come to.
    fn effective(&self, settings: &Path) -> String {
        let text = self.machine.look(|state| state.storage.read(&settings.join("env.conf"))).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let key = portreeve::emit::env::parse(&text).unwrap_or_default().remove("SECRET_KEY").unwrap_or_default();
        serde_json::json!({
            "debug": false,
            "secret": Digest::of(key.as_bytes()).to_string(),
            "database": self.paths.data().join("db.sqlite3"),
            "module": portreeve::resource::SETTINGS_MODULE,
            "redirects": false,
        })
        .to_string()
    }
}
