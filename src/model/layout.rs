//! Where everything lives. The only place that joins system paths.
//!
//! Every path begins with the [`Root`], so that a whole host fits below one directory (`--root DIR`).

use std::path::{Path, PathBuf};

use super::{Digest, EnvLayout, EnvName, GenerationNumber, Root, Slot, UserName};

/// The longest path of a socket (`unix(7)`: 108 with the final zero).
const SOCKET_BYTES: usize = 107;

/// The host's directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: Root,
    runtime: PathBuf,
    agent_toml: PathBuf,
}

impl Layout {
    /// The layout below `root`, with sockets in `run/portreeve` there.
    pub fn new(root: Root) -> Self {
        let runtime = root.join("/run/portreeve");
        Self::with_runtime(root, runtime)
    }

    /// The same for whoever runs as `uid`, below an absolute root; where its longest socket could not be bound, in a short directory.
    pub fn for_root(root: Root, uid: u32) -> Self {
        let layout = Self::new(root);
        if layout.longest_socket() <= SOCKET_BYTES {
            return layout;
        }
        let hash = Digest::of(layout.root.path().as_os_str().as_encoded_bytes()).short(8);
        Self::with_runtime(layout.root, PathBuf::from(format!("/tmp/portreeve-{uid}-{hash}")))
    }

    /// Bytes in the path of the slot socket of an environment whose name could not be longer.
    fn longest_socket(&self) -> usize {
        self.runtime.as_os_str().len() + "/".len() + EnvName::MAX + "_".len() + "/a/s".len()
    }

    /// The same, with sockets and flags in `runtime`: a socket's path has at most 107 bytes (`unix(7)`), which a deep root exceeds.
    pub fn with_runtime(root: Root, runtime: PathBuf) -> Self {
        let agent_toml = root.join("/etc/portreeve/agent.toml");
        Self { root, runtime, agent_toml }
    }

    /// The same with the host's own configuration in this file (absolute, whatever the root).
    #[must_use]
    pub fn with_agent_toml(self, agent_toml: PathBuf) -> Self {
        Self { agent_toml, ..self }
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
        self.agent_toml.clone()
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

    /// The newest deploy commits that were followed; they survive the loss of [`state`](Self::state).
    pub fn floors(&self) -> PathBuf {
        self.config().join("floors.json")
    }

    /// What is wrong since when, over reboots.
    pub fn troubles(&self) -> PathBuf {
        self.state().join("troubles.json")
    }

    /// The journal: a record for each environment with a transaction under way.
    pub fn journal(&self) -> PathBuf {
        self.state().join("journal")
    }

    /// What happened.
    pub fn history(&self) -> PathBuf {
        self.state().join("history.sqlite")
    }

    /// What was told to whom, and who is told; only root reads it. When it is lost, what is wrong is told once more.
    pub fn notified(&self) -> PathBuf {
        self.state().join("notify.json")
    }

    /// The disposable record of the last pass that left nothing to do; only root reads it. Not on the disk, which that spares.
    pub fn pass_cache(&self) -> PathBuf {
        self.runtime.join("pass")
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

    /// How far a release of each environment is, while its lock is held.
    pub fn moving(&self) -> PathBuf {
        self.runtime.join("moving")
    }

    /// When tags were last looked at.
    pub fn tags_looked(&self) -> PathBuf {
        self.runtime.join("tags-looked")
    }

    /// How the first pass after a boot found it.
    pub fn boot_note(&self) -> PathBuf {
        self.runtime.join("boot.json")
    }

    /// When a pass last saw that again.
    pub fn last_look(&self) -> PathBuf {
        self.runtime.join("last-look")
    }

    /// Units of the system's administrator (`systemd.unit(5)`).
    pub fn systemd_units(&self) -> PathBuf {
        self.root.join("/etc/systemd/system")
    }

    /// Where `systemctl --runtime` writes: gone at the next boot, and outranked by [`systemd_units`](Self::systemd_units).
    pub fn systemd_runtime_units(&self) -> PathBuf {
        self.root.join("run/systemd/system")
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

    /// Supervisor's XML-RPC socket; with the other sockets, where these lie elsewhere.
    pub fn supervisor_socket(&self) -> PathBuf {
        let directory = self.root.join("/run");
        let directory = if self.runtime.starts_with(&directory) { &directory } else { &self.runtime };
        directory.join("supervisor.sock")
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

    /// Beside the generations of `name`: it was taken off this host, and since when.
    pub fn removed_note(&self, name: &EnvName) -> PathBuf {
        self.env_generations(name).join("removed.json")
    }

    /// Copies of what was there before us, kept for its owner.
    pub fn adopted(&self) -> PathBuf {
        self.config().join("adopted")
    }

    /// Beside a generation: it was tried and never held.
    pub fn refused_mark(&self, name: &EnvName, number: GenerationNumber) -> PathBuf {
        self.env_generations(name).join(format!("{number}.refused"))
    }

    /// Beside a generation: which migrations its release applied.
    pub fn migrated_note(&self, name: &EnvName, number: GenerationNumber) -> PathBuf {
        self.env_generations(name).join(format!("{number}.migrated"))
    }

    /// Beside a generation: the static files that its release asks for.
    pub fn static_note(&self, name: &EnvName, number: GenerationNumber) -> PathBuf {
        self.env_generations(name).join(format!("{number}.static"))
    }

    /// What the build of an attempt said, and its processes, when it failed.
    pub fn attempt_log(&self, name: &EnvName, number: GenerationNumber) -> PathBuf {
        self.attempts().join(format!("{}.{number}.log", name.flat()))
    }

    /// Holds and quarantine of `name`.
    pub fn standing(&self, name: &EnvName) -> PathBuf {
        name.record_in(&self.policy())
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
        for depth in 1..200 {
            let layout = Layout::for_root(Root::at(format!("/{}", "d".repeat(depth))), u32::MAX);
            let socket = layout.slot_socket(&name, Slot::A);
            assert!(socket.as_os_str().len() <= 107, "{}", socket.display());
            // supervisord binds `NAME.PID` first.
            let supervisor = layout.supervisor_socket();
            assert!(supervisor.as_os_str().len() + ".4194304".len() <= 107, "{}", supervisor.display());
            let short = layout.runtime().starts_with("/tmp");
            assert_eq!(supervisor.starts_with("/tmp"), short);
            assert_eq!(short, Layout::new(layout.root().clone()).slot_socket(&name, Slot::A).as_os_str().len() > 107);
        }
        assert_eq!(Layout::for_root(Root::system(), 0), Layout::new(Root::system()));
    }

    #[test]
    fn two_deep_roots_share_no_socket() {
        let runtime = |name: char| {
            let root = Root::at(format!("/{}", name.to_string().repeat(90)));
            Layout::for_root(root, 1000).runtime().to_owned()
        };
        assert_ne!(runtime('a'), runtime('b'));
        assert_eq!(runtime('a'), runtime('a'));
    }
}
