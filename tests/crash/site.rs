//! The site that all of it is about: one environment, its releases, and the files of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portreeve::desired::{Interpreter, Wanted, WantedInput};
use portreeve::manifest::{
    Django, Environment, Expect, Gunicorn, Health, Logs, Migrations, Nginx, Policy, Python, Rev, Web,
};
use portreeve::model::{
    CommitId, Digest, Domain, EnvLayout, EnvName, Identity, Layout, Manager, Node, PortRange, Root, Span, UserName,
};
use portreeve::transaction::{Context, Entry, Event, Facts, Failure, Installer, Report, Tool, Trees};

use crate::cell::Shared;
use crate::front::Nginx as Front;
use crate::machine::State;
use crate::services::{Code, Manager as Services};
use crate::step::Behaviour;
use crate::storage::Storage;

/// What visitors type.
pub const SITE: &str = "bakery.example";

pub fn name() -> EnvName {
    EnvName::parse("bakery/pro").expect("a name")
}

/// Below a root that no real program writes to: whatever would go round the host in memory fails.
pub fn layout() -> Layout {
    Layout::new(Root::at("/memory"))
}

pub fn paths() -> EnvLayout {
    layout().env(&name(), &UserName::parse("foouser").expect("a user"), Path::new("/home"))
}

/// A release, as its repository has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub code: Code,
    /// What only the manifest says: a change of it is another vhost of the same code.
    pub max_body: u64,
    /// How long the release before stays up.
    pub warm: u64,
    pub keep: u32,
    /// The commit of the deploy repository that asks for it.
    pub push: u32,
    /// Which packages it needs.
    pub packages: u32,
}

impl Release {
    pub fn new(title: &str, behaviour: Behaviour) -> Self {
        let code = Code { release: title.to_owned(), behaviour };
        Self { code, max_body: 1 << 20, warm: 0, keep: 5, push: 0, packages: 0 }
    }

    pub fn good(title: &str) -> Self {
        Self::new(title, Behaviour::Well)
    }

    pub fn wanted(&self) -> Wanted {
        let env = environment(self);
        Wanted::new(WantedInput {
            env,
            commit: commit(&self.code.release),
            deploy_commit: commit(&format!("deploy{}", self.push)),
            python: Interpreter { program: "/usr/bin/python3".into(), version: "3.11.2".to_owned() },
            requirements: format!("Django==5.2\n# {}\n", self.packages).as_bytes(),
            installer: "pip",
            secrets: b"",
            processors: 2,
        })
    }
}

fn commit(title: &str) -> CommitId {
    CommitId::parse(&Digest::of(title.as_bytes()).to_string()[..40]).expect("a commit")
}

fn environment(release: &Release) -> Environment {
    Environment {
        name: name(),
        policy: Policy::Pro,
        user: UserName::parse("foouser").expect("a user"),
        base_dir: "/home".into(),
        ports: PortRange::parse("60000-60009").expect("ports"),
        source: "https://git.example.org/bakery.git".to_owned(),
        rev: Rev::Named(release.code.release.clone()),
        domains: vec![Domain::parse(SITE).expect("a domain")],
        python: Python { version: None, requirements: "requirements.txt".into() },
        web: Web::Gunicorn(Gunicorn {
            app: "bakery.wsgi:application".to_owned(),
            workers: Some(1),
            threads: 1,
            timeout: Span::secs(30),
            graceful_timeout: Span::secs(25),
            max_requests: 0,
        }),
        django: Some(Django {
            settings: "bakery.settings".to_owned(),
            dir: None,
            debug: false,
            compilemessages: false,
            collectstatic: true,
        }),
        health: Health {
            path: "/".to_owned(),
            expect: Expect::Answer,
            timeout: Span::secs(1),
            deadline: Span::secs(4),
            passes: 2,
            bake: Span::secs(1),
        },
        settings: BTreeMap::new(),
        env: BTreeMap::new(),
        nginx: Nginx { max_body: release.max_body, headers: BTreeMap::new() },
        logs: Logs { max_size: 20 << 20, keep: 20 },
        keep_releases: release.keep,
        warm: Span::secs(release.warm),
        migrations: Migrations::Additive,
        removed: false,
    }
}

/// The committed files of every release that was asked for.
#[derive(Debug)]
pub struct MemoryTrees;

impl MemoryTrees {
    /// A release's files, but for what the program adds.
    pub fn files(code: &Code) -> Vec<(PathBuf, Vec<u8>)> {
        [
            ("code", code.text()),
            ("manage.py", "manage\n".to_owned()),
            ("requirements.txt", "Django==5.2\n".to_owned()),
            ("bakery/settings.py", "settings\n".to_owned()),
        ]
        .map(|(path, text)| (PathBuf::from(path), text.into_bytes()))
        .to_vec()
    }
}

impl Trees for MemoryTrees {
    fn each(
        &self,
        wanted: &Wanted,
        owner: Identity,
        take: &mut dyn FnMut(&mut dyn Iterator<Item = Entry>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let behaviour = Behaviour::ALL.into_iter().find(|behaviour| wanted.title().ends_with(behaviour.word()));
        let code = Code { release: wanted.title(), behaviour: behaviour.unwrap_or(Behaviour::Well) };
        let directory = Node::Directory { mode: 0o750, owner };
        let files = Self::files(&code).into_iter();
        let files = files.map(|(path, bytes)| (path, Node::File { bytes, mode: 0o640, owner }));
        take(&mut std::iter::once((PathBuf::from("bakery"), directory)).chain(files).map(Ok))
    }
}

pub fn facts() -> Facts {
    Facts {
        manager: Manager::Systemd,
        web_user: "www-data".to_owned(),
        web_group: "www-data".to_owned(),
        http_port: 80,
        launcher: vec!["/usr/bin/portreeve".to_owned()],
        installer: Installer { tool: Tool::Pip, wheelhouse: None, env: BTreeMap::new() },
        build_deadline: Duration::from_mins(1),
    }
}

/// Keeps the notes.
#[derive(Debug, Default)]
pub struct Notes(pub Shared<Vec<String>>);

impl Report for Notes {
    fn event(&self, event: &Event<'_>) {
        if let Event::Note { text } = event {
            self.0.borrow_mut().push((*text).to_owned());
        }
    }
}

/// A host with what packages bring, and a neighbour's vhost; nothing of ours.
pub fn bare() -> State {
    let layout = layout();
    let mut storage = Storage::new();
    // As on many a host: what is renamed from one of them to another is not renamed at all.
    storage.mount_disks(&["/var", "/home"].map(|path| layout.root().join(path)));
    for directory in [
        layout.nginx_sites(),
        layout.logrotate_d(),
        layout.tmpfiles_d(),
        layout.systemd_units().join("multi-user.target.wants"),
        layout.state(),
        layout.root().join("/home"),
        layout.root().join("/var/log"),
        layout.root().join("/var/backups"),
    ] {
        storage.make_directories(&directory);
    }
    storage.mount_run(&layout.root().join("/run"));
    storage.write(&layout.nginx_sites().join("neighbour.conf"), b"server_name neighbour.example;\n");
    storage.sync_all();
    let front = Front { running: false, pid: 0, vhosts: Vec::new() };
    let (services, clock) = (Services::default(), Duration::ZERO);
    let mut state = State { storage, services, front, clock, boots: 0, booted: clock, set: 0, offline: false };
    crate::host::boot(&mut state, &layout);
    state
}

/// The parts of a transaction's context that live as long as a test.
#[derive(Debug)]
pub struct Stage {
    pub host: crate::host::MemoryHost,
    layout: Layout,
    facts: Facts,
    pub notes: Notes,
}

impl Stage {
    pub fn new(state: State) -> Self {
        let host = crate::host::MemoryHost::new(state, &layout(), &paths());
        Self { host, layout: layout(), facts: facts(), notes: Notes::default() }
    }

    pub fn cx(&self) -> Context<'_> {
        Context { host: &self.host, layout: &self.layout, facts: &self.facts, trees: &MemoryTrees, report: &self.notes }
    }

    /// The machine as it is now.
    pub fn state(&self) -> State {
        self.host.machine.state.borrow().clone()
    }
}
