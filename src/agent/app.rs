//! Everything that a command on a host needs, opened once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::health::HttpProbe;
use crate::host::{Files, Host, HostError, Kernel, Machine, Nginx, Parts, Processes, Services, Supervisor, Systemd};
use crate::model::{Layout, Manager};
use crate::settings::{self, AgentSettings};
use crate::source::{Git, GitLimits, LocalPaths, Ssh};
use crate::transaction::{Context, Facts, Installer, Report, Tool};

use super::trees::GitTrees;

/// No package takes longer to install, and no command of an application to run.
const BUILD_DEADLINE: Duration = Duration::from_mins(20);

/// Where a host tells pip what to do (`pip config debug`), which `uv` does not read.
const PIP_CONF: [&str; 2] = ["/etc/pip.conf", "/etc/xdg/pip/pip.conf"];

/// What the command line found in the process's environment.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The directories of `$PATH`.
    pub path: String,
    /// Variables that the installer may need: certificates, proxies, its own.
    pub installer: BTreeMap<String, String>,
    /// Our own program.
    pub program: PathBuf,
    /// How long to wait for whoever is at work on an environment.
    pub wait: Option<Duration>,
    /// Set when the pass should end at its next safe point.
    pub cancel: Arc<AtomicBool>,
}

/// Why a host could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The machine refused.
    #[error(transparent)]
    Host(#[from] HostError),
    /// agent.toml has mistakes.
    #[error(transparent)]
    Settings(#[from] settings::SettingsError),
    /// There is no agent.toml.
    #[error("{} is not there: this host has not been set up; portreeve setup REPO does it", .0.display())]
    NotSetUp(PathBuf),
    /// A program that everything needs is missing.
    #[error("{0} is not installed: apt-get install {0}")]
    Missing(&'static str),
}

/// A host, ready for passes and orders.
pub struct App {
    /// Where things live.
    pub layout: Layout,
    /// Its configuration.
    pub settings: AgentSettings,
    /// Its name in the deploy repository.
    pub name: String,
    /// The git program.
    pub git: Git,
    /// Which repositories may be fetched from.
    pub local: LocalPaths,
    /// What is true of it.
    pub facts: Facts,
    /// Our own program.
    pub program: PathBuf,
    /// How long to wait for whoever is at work on an environment; `None`: for a while.
    pub wait: Option<Duration>,
    /// The machine. Environments are worked on side by side.
    pub host: Box<dyn Host + Send + Sync>,
    trees: GitTrees,
    origin: Vec<String>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("layout", &self.layout).field("name", &self.name).finish_non_exhaustive()
    }
}

impl App {
    /// Reads agent.toml and opens the machine. Nothing is changed.
    pub fn open(layout: Layout, surroundings: &Surroundings) -> Result<Self, AppError> {
        let parts = Parts::open(&layout, Arc::clone(&surroundings.cancel))?;
        // Before anything of it is read: what is written meanwhile is seen as a change.
        let origin = origin(&parts.files, &parts.processes, &parts.kernel, &layout, &PIP_CONF);
        let settings = read_settings(&parts, &layout)?;
        let manager = manager(&settings, &layout);
        let services: Box<dyn Services + Send + Sync> = match manager {
            Manager::Systemd => Box::new(Systemd::new(layout.clone())?),
            Manager::Supervisor => Box::new(Supervisor::new(layout.clone(), layout.supervisor_socket())?),
        };
        let front = front(&layout)?;
        let workers = front.workers()?;
        let host = Machine::new(parts, services, Box::new(front), Box::new(HttpProbe::new()?));
        let local = if settings.allow_local_git { LocalPaths::Allowed } else { LocalPaths::Refused };
        let name = match &settings.host {
            Some(name) => name.clone(),
            None => host.kernel().hostname()?,
        };
        let git = git(&settings, surroundings)?;
        let mut facts = facts(&settings, &layout, surroundings, manager, workers);
        facts.installer.tool = tool(&facts.installer, host.processes(), &PIP_CONF);
        let trees = GitTrees::new(layout.clone());
        let program = surroundings.program.clone();
        Ok(Self {
            layout,
            settings,
            name,
            git,
            local,
            facts,
            program,
            wait: surroundings.wait,
            host: Box::new(host),
            trees,
            origin,
        })
    }

    /// Whether what it was opened from has changed, so that whoever opens it now may want something else of this host.
    pub fn is_outdated(&self) -> bool {
        let host = &self.host;
        origin(host.files(), host.processes(), host.kernel(), &self.layout, &PIP_CONF) != self.origin
    }

    /// What transactions are handed.
    pub fn context<'a>(&'a self, report: &'a dyn Report) -> Context<'a> {
        Context { host: &*self.host, layout: &self.layout, facts: &self.facts, trees: &self.trees, report }
    }
}

/// What decides how a host is opened, as it is now: its files by stamp.
fn origin(
    files: &dyn Files,
    processes: &dyn Processes,
    kernel: &dyn Kernel,
    layout: &Layout,
    for_pip: &[&str],
) -> Vec<String> {
    let stamp = |path: &Path| files.stamp(path).unwrap_or_else(|error| error.to_string());
    let own = [layout.agent_toml(), layout.nginx_conf()];
    let mut found: Vec<String> =
        own.iter().map(PathBuf::as_path).chain(for_pip.iter().map(Path::new)).map(stamp).collect();
    found.extend(kernel.hostname());
    found.extend(processes.find(&["uv"]).map(|uv| uv.to_string_lossy().into_owned()));
    found
}

fn read_settings(parts: &Parts, layout: &Layout) -> Result<AgentSettings, AppError> {
    let path = layout.agent_toml();
    let bytes = parts.files.read(&path, 1024 * 1024)?.ok_or_else(|| AppError::NotSetUp(path.clone()))?;
    Ok(AgentSettings::parse(&path.to_string_lossy(), &String::from_utf8_lossy(&bytes))?)
}

/// systemd where it is PID 1 (`sd_booted(3)`), else Supervisor.
fn manager(settings: &AgentSettings, layout: &Layout) -> Manager {
    match settings.manager {
        Some(settings::Manager::Systemd) => Manager::Systemd,
        None if layout.root().is_system() && Path::new("/run/systemd/system").is_dir() => Manager::Systemd,
        Some(settings::Manager::Supervisor) | None => Manager::Supervisor,
    }
}

fn front(layout: &Layout) -> Result<Nginx, AppError> {
    let program = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"].into_iter().map(PathBuf::from);
    let program = program.into_iter().find(|program| program.is_file()).ok_or(AppError::Missing("nginx"))?;
    Ok(Nginx::new(program, layout.clone())?)
}

fn git(settings: &AgentSettings, surroundings: &Surroundings) -> Result<Git, AppError> {
    let git = Git::find(&surroundings.path).ok_or(AppError::Missing("git"))?;
    let (deadline, unsaid) = (settings.git.deadline.duration(), GitLimits::default());
    let limits = GitLimits { look: unsaid.look.min(deadline), fetch: deadline, ..unsaid };
    let ssh = Ssh { key: settings.git.key.clone(), known_hosts: settings.git.known_hosts.clone() };
    Ok(git.with_limits(limits).with_ssh(&ssh))
}

fn facts(
    settings: &AgentSettings,
    layout: &Layout,
    surroundings: &Surroundings,
    manager: Manager,
    (web_user, web_group): (String, String),
) -> Facts {
    let program = surroundings.program.to_string_lossy().into_owned();
    let root = layout.root().path().to_string_lossy().into_owned();
    let launcher = if layout.root().is_system() { vec![program] } else { vec![program, "--root".to_owned(), root] };
    Facts {
        manager,
        web_user,
        web_group,
        http_port: settings.nginx.port,
        launcher,
        installer: Installer {
            tool: Tool::Pip,
            wheelhouse: settings.python.wheelhouse.clone(),
            env: surroundings.installer.clone(),
        },
        build_deadline: BUILD_DEADLINE,
    }
}

/// `uv` where it is, unless the host tells pip where packages come from: then another index must not be asked for them. What the
/// process's environment says is another one's in a person's shell than in the agent's unit, and must not decide what is wanted.
fn tool(installer: &Installer, processes: &dyn Processes, for_pip: &[&str]) -> Tool {
    let for_pip = for_pip.iter().any(|path| Path::new(path).is_file());
    match processes.find(&["uv"]) {
        Some(uv) if installer.wheelhouse.is_some() || !for_pip => Tool::Uv(uv),
        _ => Tool::Pip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Exit, Run, Scratch};
    use crate::model::Root;

    /// A machine where `uv` is.
    struct WithUv;

    impl Processes for WithUv {
        fn run(&self, _: &Run) -> Result<Exit, HostError> {
            unreachable!("nothing is run")
        }

        fn find(&self, names: &[&str]) -> Option<PathBuf> {
            Some(Path::new("/usr/bin").join(names[0]))
        }
    }

    /// A machine without it.
    struct Bare;

    impl Processes for Bare {
        fn run(&self, _: &Run) -> Result<Exit, HostError> {
            unreachable!("nothing is run")
        }

        fn find(&self, _: &[&str]) -> Option<PathBuf> {
            None
        }
    }

    #[test]
    fn a_host_that_was_opened_from_something_else_is_outdated() {
        let dir = tempfile::tempdir().unwrap();
        let root = Scratch::open(&dir.path().join("h")).unwrap();
        let layout = Layout::new(Root::at(root.path()));
        let Parts { files, kernel, .. } = Parts::open(&layout, Arc::default()).unwrap();
        let (pip, xdg) = (dir.path().join("pip.conf"), dir.path().join("xdg.conf"));
        let for_pip = [&pip, &xdg].map(|path| path.to_str().unwrap());
        let now = |processes: &dyn Processes| origin(&files, processes, &kernel, &layout, &for_pip);
        let mut before = now(&Bare);
        assert_eq!(now(&Bare), before, "nothing has happened");

        let (etc, nginx) = (root.path().join("etc/portreeve"), root.path().join("etc/nginx"));
        root.make("etc/portreeve").unwrap();
        root.make("etc/nginx").unwrap();
        for path in [etc.join("agent.toml"), nginx.join("nginx.conf"), pip.clone(), xdg.clone()] {
            let other = Scratch::open(path.parent().unwrap()).unwrap();
            for text in ["one", "other"] {
                other.write(path.file_name().unwrap(), text).unwrap();
                let after = now(&Bare);
                assert_ne!(after, before, "{}: {text}", path.display());
                before = after;
            }
        }
        assert_ne!(now(&WithUv), before, "another installer");
    }

    #[test]
    fn the_hosts_files_choose_what_installs_and_no_variable_does() {
        let installer = |wheelhouse: Option<&str>| Installer {
            tool: Tool::Pip,
            wheelhouse: wheelhouse.map(PathBuf::from),
            env: BTreeMap::from([("PIP_INDEX_URL".to_owned(), "https://pypi.example/simple".to_owned())]),
        };
        let uv = Tool::Uv("/usr/bin/uv".into());
        let (none, some) = (["/no/pip.conf"], ["/no/pip.conf", "/etc/passwd"]);
        assert_eq!(tool(&installer(None), &WithUv, &none), uv);
        assert_eq!(tool(&installer(None), &WithUv, &some), Tool::Pip);
        assert_eq!(tool(&installer(Some("/w")), &WithUv, &some), uv);
    }
}
