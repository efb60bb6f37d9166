//! Where everything lives. The only place that joins system paths.
//!
//! Every path begins with the [`Root`], so that a whole host fits below one directory (`--root DIR`).

use std::path::{Path, PathBuf};

use super::{Digest, EnvName, GenerationNumber, ReleaseId, Slot, UserName};

/// The directory that stands for `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// The machine itself.
    pub fn system() -> Self {
        Self(PathBuf::from("/"))
    }

    /// A host below `directory`, which must be absolute.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// Whether this is the machine itself.
    pub fn is_system(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// `path` (absolute, as seen from this root) as the kernel knows it.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// The host's directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: Root,
    runtime: PathBuf,
}

impl Layout {
    /// The layout below `root`, with sockets in `run/portreeve` there.
    pub fn new(root: Root) -> Self {
        let runtime = root.join("/run/portreeve");
        Self { root, runtime }
    }

    /// The same, with sockets and flags in `runtime`: a socket's path has at most 107 bytes (`unix(7)`), which a deep root exceeds.
    pub fn with_runtime(root: Root, runtime: PathBuf) -> Self {
        Self { root, runtime }
    }

    /// The root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// `/etc/portreeve`
    pub fn config(&self) -> PathBuf {
        self.root.join("/etc/portreeve")
    }

    /// The host's own configuration.
    pub fn agent_toml(&self) -> PathBuf {
        self.config().join("agent.toml")
    }

    /// Parent of all environments' generations.
    pub fn generations(&self) -> PathBuf {
        self.config().join("generations")
    }

    /// Parent of the `active` links.
    pub fn active(&self) -> PathBuf {
        self.config().join("active")
    }

    /// Parent of the slots' links.
    pub fn slots(&self) -> PathBuf {
        self.config().join("slots")
    }

    /// Holds and quarantine; they survive the loss of [`state`](Self::state).
    pub fn policy(&self) -> PathBuf {
        self.config().join("policy")
    }

    /// Where files are made before they are renamed into place: on the file system of `/etc`, in no include directory.
    pub fn staging(&self) -> PathBuf {
        self.config().join("staging")
    }

    /// `/var/lib/portreeve`: what can be lost without harm to what serves.
    pub fn state(&self) -> PathBuf {
        self.root.join("/var/lib/portreeve")
    }

    /// Bare clone of the deploy repository.
    pub fn deploy_clone(&self) -> PathBuf {
        self.state().join("deploy.git")
    }

    /// Bare clone of an application's repository, named by its address.
    pub fn source_clone(&self, address: &str) -> PathBuf {
        self.state().join("sources").join(format!("{}.git", Digest::of(address.as_bytes()).short(16)))
    }

    /// The journal: a record for each environment with a transaction under way.
    pub fn journal(&self) -> PathBuf {
        self.state().join("journal")
    }

    /// What happened.
    pub fn history(&self) -> PathBuf {
        self.state().join("history.sqlite")
    }

    /// The disposable cache of the last pass; only root reads it.
    pub fn pass_cache(&self) -> PathBuf {
        self.state().join("pass.json")
    }

    /// Output of builds and starts that failed, by attempt.
    pub fn attempts(&self) -> PathBuf {
        self.state().join("attempts")
    }

    /// Lock files.
    pub fn locks(&self) -> PathBuf {
        self.runtime.join("locks")
    }

    /// `/run/portreeve`, or what stands for it.
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// What the last pass saw.
    pub fn last_pass(&self) -> PathBuf {
        self.runtime.join("last-pass.json")
    }

    /// Units of the system's administrator (`systemd.unit(5)`).
    pub fn systemd_units(&self) -> PathBuf {
        self.root.join("/etc/systemd/system")
    }

    /// Included by nginx: one link for each environment.
    pub fn nginx_sites(&self) -> PathBuf {
        self.root.join("/etc/nginx/sites-enabled")
    }

    /// Included by nginx in its `http` block, before the sites.
    pub fn nginx_conf_d(&self) -> PathBuf {
        self.root.join("/etc/nginx/conf.d")
    }

    /// nginx's main configuration.
    pub fn nginx_conf(&self) -> PathBuf {
        self.root.join("/etc/nginx/nginx.conf")
    }

    /// `/etc/logrotate.d`
    pub fn logrotate_d(&self) -> PathBuf {
        self.root.join("/etc/logrotate.d")
    }

    /// `/etc/tmpfiles.d`
    pub fn tmpfiles_d(&self) -> PathBuf {
        self.root.join("/etc/tmpfiles.d")
    }

    /// `/etc/sysusers.d`
    pub fn sysusers_d(&self) -> PathBuf {
        self.root.join("/etc/sysusers.d")
    }

    /// `/etc/sysctl.d`
    pub fn sysctl_d(&self) -> PathBuf {
        self.root.join("/etc/sysctl.d")
    }

    /// Supervisor's include directory.
    pub fn supervisor_conf_d(&self) -> PathBuf {
        self.root.join("/etc/supervisor/conf.d")
    }

    /// Supervisor's XML-RPC socket.
    pub fn supervisor_socket(&self) -> PathBuf {
        self.root.join("/run/supervisor.sock")
    }

    /// The paths of one environment. `base` is the parent of the users' directories, `/home` by default.
    pub fn env(&self, name: &EnvName, user: &UserName, base: &Path) -> EnvLayout {
        EnvLayout { layout: self.clone(), name: name.clone(), user: user.clone(), base: self.root.join(base) }
    }

    /// The generations of `name`.
    pub fn env_generations(&self, name: &EnvName) -> PathBuf {
        self.generations().join(name.flat())
    }

    /// Generation `number` of `name`.
    pub fn generation(&self, name: &EnvName, number: GenerationNumber) -> PathBuf {
        self.env_generations(name).join(number.to_string())
    }

    /// Beside a generation: it was tried and never held.
    pub fn refused_mark(&self, name: &EnvName, number: GenerationNumber) -> PathBuf {
        self.env_generations(name).join(format!("{number}.refused"))
    }

    /// The commit point of `name`.
    pub fn active_link(&self, name: &EnvName) -> PathBuf {
        self.active().join(name.flat())
    }

    /// The generation that `slot` of `name` runs.
    pub fn slot_link(&self, name: &EnvName, slot: Slot) -> PathBuf {
        self.slots().join(name.flat()).join(slot.as_str())
    }

    /// The permanent link that nginx includes.
    pub fn nginx_link(&self, name: &EnvName) -> PathBuf {
        self.nginx_sites().join(format!("{}.conf", name.system()))
    }

    /// The permanent link that logrotate includes; a name with a dot is not ignored, one ending in `.conf` neither.
    pub fn logrotate_link(&self, name: &EnvName) -> PathBuf {
        self.logrotate_d().join(name.system())
    }

    /// The permanent link that systemd-tmpfiles reads.
    pub fn tmpfiles_link(&self, name: &EnvName) -> PathBuf {
        self.tmpfiles_d().join(format!("{}.conf", name.system()))
    }

    /// The name of the slot's unit.
    pub fn unit_name(&self, name: &EnvName, slot: Slot) -> String {
        format!("{}@{slot}.service", name.system())
    }

    /// The slot's unit: a regular file.
    pub fn unit_file(&self, name: &EnvName, slot: Slot) -> PathBuf {
        self.systemd_units().join(self.unit_name(name, slot))
    }

    /// The link that starts the slot at boot.
    pub fn wants_link(&self, name: &EnvName, slot: Slot) -> PathBuf {
        self.systemd_units().join("multi-user.target.wants").join(self.unit_name(name, slot))
    }

    /// The slot's name as a Supervisor program.
    pub fn program_name(&self, name: &EnvName, slot: Slot) -> String {
        format!("{}-{slot}", name.system())
    }

    /// The slot's Supervisor program.
    pub fn program_file(&self, name: &EnvName, slot: Slot) -> PathBuf {
        self.supervisor_conf_d().join(format!("{}.conf", self.program_name(name, slot)))
    }

    /// Root-owned; sockets, slot directories and flags of `name`.
    pub fn env_runtime(&self, name: &EnvName) -> PathBuf {
        self.runtime.join(name.flat())
    }

    /// Where nginx proxies to, for ever.
    pub fn web_socket(&self, name: &EnvName) -> PathBuf {
        self.env_runtime(name).join("web.sock")
    }

    /// The slot's own directory: the application's, so that it can bind there.
    pub fn slot_runtime(&self, name: &EnvName, slot: Slot) -> PathBuf {
        self.env_runtime(name).join(slot.as_str())
    }

    /// The socket that the slot's processes bind.
    pub fn slot_socket(&self, name: &EnvName, slot: Slot) -> PathBuf {
        self.slot_runtime(name, slot).join("s")
    }

    /// While it exists the slot may run although it is not the active one.
    pub fn run_flag(&self, name: &EnvName, slot: Slot) -> PathBuf {
        self.env_runtime(name).join(format!("run-{slot}"))
    }

    /// While it exists (durable) neither slot of `name` runs: `portreeve stop`.
    pub fn stopped_flag(&self, name: &EnvName) -> PathBuf {
        self.config().join("stopped").join(name.flat())
    }

    /// Secrets of `name`: made once, kept for ever, `root:root 0600`.
    pub fn secrets(&self, name: &EnvName) -> PathBuf {
        self.config().join("secrets").join(name.flat())
    }

    /// Root-owned nginx includes of `name`, written by the host's operator.
    pub fn local_nginx(&self, name: &EnvName) -> PathBuf {
        self.config().join("local").join(name.flat()).join("nginx.d")
    }
}

/// The directories of one environment, `/home/USER/PROJECT/ENV` and beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvLayout {
    layout: Layout,
    name: EnvName,
    user: UserName,
    base: PathBuf,
}

impl EnvLayout {
    /// The host's layout.
    pub fn host(&self) -> &Layout {
        &self.layout
    }

    /// `/home/USER`
    pub fn user_home(&self) -> PathBuf {
        self.base.join(&self.user)
    }

    /// `/home/USER/PROJECT`
    pub fn project(&self) -> PathBuf {
        self.user_home().join(&self.name.project)
    }

    /// `/home/USER/PROJECT/ENV`: root's, with leaves of the application.
    pub fn home(&self) -> PathBuf {
        self.project().join(&self.name.environment)
    }

    /// Built trees.
    pub fn releases(&self) -> PathBuf {
        self.home().join("releases")
    }

    /// One built tree.
    pub fn release(&self, id: &ReleaseId) -> PathBuf {
        self.releases().join(id.as_str())
    }

    /// Virtual environments, shared by releases.
    pub fn venvs(&self) -> PathBuf {
        self.home().join("venvs")
    }

    /// The link for people to the release that serves.
    pub fn current(&self) -> PathBuf {
        self.home().join("current")
    }

    /// Settings and `env.conf` of the generation that serves, for people.
    pub fn etc(&self) -> PathBuf {
        self.home().join("etc")
    }

    /// Collected static files: a union over releases.
    pub fn static_files(&self) -> PathBuf {
        self.home().join("static")
    }

    /// Uploads; never touched by a release.
    pub fn media(&self) -> PathBuf {
        self.home().join("media")
    }

    /// The application's data; never touched by a release.
    pub fn data(&self) -> PathBuf {
        self.home().join("data")
    }

    /// `logs` in the environment's directory: a link to [`log_dir`](Self::log_dir).
    pub fn logs_link(&self) -> PathBuf {
        self.home().join("logs")
    }

    /// `backups` in the environment's directory: a link to [`backup_dir`](Self::backup_dir).
    pub fn backups_link(&self) -> PathBuf {
        self.home().join("backups")
    }

    /// `/var/log/USER/PROJECT/ENV`
    pub fn log_dir(&self) -> PathBuf {
        self.below("/var/log")
    }

    /// The leaf of [`log_dir`](Self::log_dir) in which the application writes logs of its own. The directory above is
    /// root's: nginx opens its logs there as root, and would follow a link that the application planted.
    pub fn app_log_dir(&self) -> PathBuf {
        self.log_dir().join("app")
    }

    /// `/var/backups/USER/PROJECT/ENV`
    pub fn backup_dir(&self) -> PathBuf {
        self.below("/var/backups")
    }

    fn below(&self, top: &str) -> PathBuf {
        self.layout.root.join(top).join(&self.user).join(&self.name.project).join(&self.name.environment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_lies_below_the_root() {
        let layout = Layout::new(Root::at("/srv/try"));
        let name = EnvName::parse("bakery/pro").unwrap();
        let env = layout.env(&name, &UserName::parse("foouser").unwrap(), Path::new("/home"));
        assert_eq!(env.home(), Path::new("/srv/try/home/foouser/bakery/pro"));
        assert_eq!(env.log_dir(), Path::new("/srv/try/var/log/foouser/bakery/pro"));
        assert_eq!(layout.active_link(&name), Path::new("/srv/try/etc/portreeve/active/bakery_pro"));
        assert_eq!(layout.unit_name(&name, Slot::B), "portreeve-bakery_pro@b.service");
    }

    #[test]
    fn the_longest_name_fits_a_socket() {
        let name = EnvName::parse(&format!("{}/{}", "p".repeat(34), "e".repeat(16))).unwrap();
        let socket = Layout::new(Root::system()).slot_socket(&name, Slot::A);
        assert!(socket.as_os_str().len() <= 107, "{}", socket.display());
    }
}
