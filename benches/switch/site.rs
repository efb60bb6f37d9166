//! The tour's site, with a deploy repository of the bench's own: the tour itself releases what is pushed to its one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use portreeve::agent::{App, Given, Order, Outcome, Surroundings, Target, carry_out, pass};
use portreeve::health::HttpProbe;
use portreeve::host::{Machine, Nginx, Parts, Supervisor};
use portreeve::model::{EnvName, Layout, Root, SlotId};
use portreeve::policy::Until;

use super::stopwatch::{Stopwatch, Watched};
use super::tour::Tour;

/// This bench's program, built as it is installed.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_portreeve");
/// The tour's environment.
pub const ENV: &str = "bakery/pro";

/// The host of the tour, driven in this process.
pub struct Site {
    app: App,
    /// What was seen of it.
    pub watch: Stopwatch,
    /// Its root.
    pub root: PathBuf,
    bakery: PathBuf,
    deploy: PathBuf,
    /// Generations and what they answer with, in order.
    released: Vec<(u64, String)>,
}

impl Site {
    /// Takes the host over from the tour.
    pub fn take(tour: &Tour) -> Self {
        let (root, deploy) = (tour.directory.join("host"), tour.directory.join("wish"));
        git(&tour.directory, &["clone", "--quiet", "deploy.git", "wish"]);
        let settings = root.join("etc/portreeve/agent.toml");
        let text = fs::read_to_string(&settings).unwrap();
        let ours =
            text.replace(&tour.directory.join("deploy.git").display().to_string(), &deploy.display().to_string());
        assert_ne!(text, ours);
        fs::write(&settings, ours).unwrap();
        let watch = Stopwatch::default();
        let layout = Layout::for_root(Root::at(&root), rustix::process::geteuid().as_raw());
        let app = open(layout, &watch);
        Self { app, watch, root, bakery: tour.directory.join("bakery"), deploy, released: Vec::new() }
    }

    /// Pushes a commit of the application in which nothing but code changed, and asks for it.
    pub fn push_code(&mut self) {
        let tag = format!("bench{}", self.released.len());
        fs::write(self.bakery.join("bakery/__init__.py"), format!("RELEASE = \"{tag}\"\n")).unwrap();
        git(&self.bakery, &["commit", "--quiet", "--all", "--message", &tag]);
        git(&self.bakery, &["tag", &tag]);
        git(&self.bakery, &["push", "--quiet", "--tags", "origin", "HEAD:main"]);
        let health = "[health]\npath = \"/healthz\"\nstatus = 200\ndeadline = \"60s\"\nbake = \"0s\"\n";
        let pro = format!("rev = \"{tag}\"\ndomains = [\"localhost\"]\nwarm = \"2h\"\n{health}");
        fs::write(self.deploy.join("projects/bakery/pro.toml"), pro).unwrap();
        git(&self.deploy, &["commit", "--quiet", "--all", "--message", &tag]);
        self.released.push((0, tag));
    }

    /// Stops the slot that does not serve, as when its warm time is over.
    pub fn stop_spare(&self) {
        let cx = self.app.context(&self.watch);
        let services = portreeve::transaction::services_of(&cx, &name()).unwrap();
        let installed = portreeve::transaction::installed(&cx, &name(), &services).unwrap();
        let spare = installed.serving_slot().unwrap().other();
        self.app.host.services().stop(&SlotId { env: name(), slot: spare }).unwrap();
    }

    /// A pass that releases what was pushed last.
    pub fn pass(&mut self) {
        let done = pass(&self.app, &self.watch, &BTreeSet::new()).unwrap();
        let outcome = &done.outcomes[&name()];
        let Outcome::Released { generation, .. } = outcome else { panic!("{outcome:?}") };
        self.released.last_mut().unwrap().0 = *generation;
    }

    /// Number and release of the last two generations, by turns; the newest serves first.
    pub fn other(&self, turn: usize) -> (u64, &str) {
        let back = 1 + usize::from(turn.is_multiple_of(2));
        let (number, release) = &self.released[self.released.len() - back];
        (*number, release)
    }

    /// A rollback in this process.
    pub fn roll(&self, number: u64) {
        let order = Order::Rollback { to: Target::Generation(number), until: Until::Change };
        let given = Given { order, by: "bench".to_owned(), reason: None, wait: None };
        carry_out(&self.app.context(&self.watch), &name(), &given).unwrap();
    }
}

fn name() -> EnvName {
    EnvName::parse(ENV).unwrap()
}

fn open(layout: Layout, watch: &Stopwatch) -> App {
    let cancel = Arc::default();
    let surroundings = Surroundings {
        wait: None,
        path: "/usr/bin:/bin".to_owned(),
        installer: BTreeMap::new(),
        program: PathBuf::from(PROGRAM),
        cancel: Arc::clone(&cancel),
    };
    let mut app = App::open(layout.clone(), &surroundings).unwrap();
    let parts = Parts::open(&layout, cancel).unwrap();
    let programs = Watched { programs: parts.processes.clone(), watch: watch.clone() };
    let supervisor = Supervisor::new(layout.clone(), layout.supervisor_socket()).unwrap();
    let nginx = Nginx::new(PathBuf::from("/usr/sbin/nginx"), layout).unwrap();
    let host = Machine::new(parts, Box::new(supervisor), Box::new(nginx), Box::new(HttpProbe::new().unwrap()));
    app.host = Box::new(host.with_processes(Box::new(programs)));
    app
}

fn git(directory: &Path, arguments: &[&str]) {
    let mut git = Command::new("/usr/bin/git");
    git.current_dir(directory).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
    git.args(["-c", "user.name=bench", "-c", "user.email=bench@example.org"]).args(arguments);
    assert!(git.status().unwrap().success(), "git {arguments:?}");
}
