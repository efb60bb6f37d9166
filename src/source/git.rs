//! The `git` program: all network and nothing else, hardened so that neither a server nor the host's habits change what it does.
#![expect(clippy::disallowed_methods, reason = "one of the two places that may start a process")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use super::child::{self, Bounds, Cut};
use super::turns::{Rank, Turns};
use super::{Address, Result, SourceError};

/// How `ssh` proves who we are and whom it talks to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ssh {
    /// The deploy key, and no other one; `None`: whatever ssh finds.
    pub key: Option<PathBuf>,
    /// The servers' keys, and no others; `None`: ssh's own files.
    pub known_hosts: Option<PathBuf>,
}

/// What one run of git may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GitLimits {
    /// For a look at the refs; its wait for those before it included, as for a fetch.
    pub look: Duration,
    /// For a fetch.
    pub fetch: Duration,
    /// Bytes of a fetched pack.
    pub pack: u64,
    /// Bytes of private memory of each process.
    pub memory: u64,
}

impl Default for GitLimits {
    fn default() -> Self {
        Self { look: Duration::from_secs(30), fetch: Duration::from_mins(10), pack: 2 << 30, memory: 2 << 30 }
    }
}

/// A git program and the conditions under which it runs: at most four at once with one server, and eight in all.
#[derive(Debug, Clone)]
pub struct Git {
    program: PathBuf,
    environment: BTreeMap<String, String>,
    limits: GitLimits,
    turns: Arc<Turns>,
    rank: Rank,
}

/// Bytes of `ls-remote` output: some 150,000 refs.
const LOOK_OUTPUT: usize = 16 << 20;
/// Configuration of every run; a command line wins over every file.
const CONFIG: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "fetch.fsckObjects=true",
    // Old tools' harmless slips, which many an honest history holds.
    "fetch.fsck.zeroPaddedFilemode=ignore",
    "fetch.fsck.badTimezone=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "fetch.recurseSubmodules=false",
    "fetch.writeCommitGraph=false",
    // One pack for each fetch, where loose objects would be one file each.
    "fetch.unpackLimit=1",
    "http.followRedirects=false",
    // Housekeeping runs within our deadline; a commit that left its branch may still be what serves.
    "gc.autoDetach=false",
    "maintenance.autoDetach=false",
    "gc.pruneExpire=never",
];

/// How long a repository of ours has been there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// It was just made.
    New,
    /// It was there already.
    Used,
}

impl Git {
    /// `/usr/bin/git`, else the first one in `path`, the directories of `$PATH`.
    pub fn find(path: &str) -> Option<Self> {
        let absolute = path.split(':').filter(|directory| directory.starts_with('/'));
        let candidates = ["/usr/bin"].into_iter().chain(absolute).map(|directory| Path::new(directory).join("git"));
        candidates.into_iter().find(|program| program.is_file()).map(Self::at)
    }

    /// This program; its absolute path.
    pub fn at(program: PathBuf) -> Self {
        let environment = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("LC_ALL", "C"),
            ("LANG", "C"),
            ("HOME", "/nonexistent"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_ATTR_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_SSH_VARIANT", "ssh"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let (limits, turns, rank) = (GitLimits::default(), Arc::default(), Rank::InTurn);
        Self { program, environment, limits, turns, rank }.with_ssh(&Ssh::default())
    }

    /// With this home directory and its git configuration (credential helpers, proxies). It must be the home of the user we
    /// run as by the password database: under sudo `$HOME` may be another's, whose helpers would run as root.
    #[must_use]
    pub fn with_home(mut self, home: &Path) -> Self {
        self.environment.remove("GIT_CONFIG_GLOBAL");
        self.with_variable("HOME", home.to_string_lossy())
    }

    /// With one more variable for git and ssh: `SSH_AUTH_SOCK`, `https_proxy`, `GIT_SSL_CAINFO`.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// With this key and these servers.
    #[must_use]
    pub fn with_ssh(self, ssh: &Ssh) -> Self {
        self.with_variable("GIT_SSH_COMMAND", ssh_command(ssh))
    }

    /// For the deploy repository, which waits for no application's.
    #[must_use]
    pub fn first(&self) -> Self {
        Self { rank: Rank::First, ..self.clone() }
    }

    /// With these limits.
    #[must_use]
    pub fn with_limits(mut self, limits: GitLimits) -> Self {
        self.limits = limits;
        self
    }

    /// What `git ls-remote` prints about these refs (full names; none: all). Needs no repository of our own.
    pub(super) fn ls_remote(&self, address: &Address, names: &[&str]) -> Result<String> {
        let mut command = self.command(address, Path::new("/"));
        command.args(["ls-remote", "--quiet", "--", address.as_str()]).args(names);
        let stdout = self.run("ls-remote", command, address, self.limits.look)?;
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }

    /// Fetches `refspecs` into the bare repository at `repository`. In a new one there is no housekeeping to do, and asking for
    /// it would start two more programs.
    pub(super) fn fetch(&self, repository: &Path, address: &Address, refspecs: &[String], age: Age) -> Result<()> {
        let mut command = self.command(address, repository);
        command.env("GIT_DIR", repository);
        command.args(["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--prune"]);
        command.args((age == Age::New).then_some("--no-auto-maintenance"));
        command.args(["--", address.as_str()]).args(refspecs);
        self.run("fetch", command, address, self.limits.fetch).map(drop)
    }

    fn command(&self, address: &Address, directory: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().envs(&self.environment).current_dir(directory);
        // Wins over every `protocol.*.allow`, so that no `insteadOf` leads to another transport.
        command.env("GIT_ALLOW_PROTOCOL", address.transport().protocol());
        command.args(CONFIG.iter().flat_map(|setting| ["-c", setting]));
        command
    }

    fn run(&self, verb: &str, mut command: Command, address: &Address, deadline: Duration) -> Result<Vec<u8>> {
        let GitLimits { pack, memory, .. } = self.limits;
        let late = || SourceError::TimedOut { address: address.clone(), after: deadline };
        let turn = self.turns.take(address.server(), self.rank, deadline).ok_or_else(late)?;
        let bounds = Bounds { deadline: turn.left, output: LOOK_OUTPUT, file: pack, memory };
        let (ended, took) = child::timed(&mut command, &bounds);
        tracing::debug!("ran git {verb} {address}, {}ms", took.as_millis());
        match ended {
            Ok(ended) if ended.status.success() => Ok(ended.stdout),
            Ok(ended) => Err(SourceError::from_stderr(address, &ended.stderr, pack)),
            Err(Cut::TimedOut) => Err(late()),
            Err(Cut::TooMuch) => {
                Err(SourceError::TooLarge { what: format!("the list of refs of {address}"), limit: LOOK_OUTPUT as u64 })
            }
            Err(Cut::Io(source)) => Err(SourceError::Program { program: self.program.clone(), source }),
        }
    }
}

/// The value of `GIT_SSH_COMMAND`, which git hands to a shell.
fn ssh_command(ssh: &Ssh) -> String {
    let mut command = String::from(
        "ssh -oBatchMode=yes -oStrictHostKeyChecking=yes -oConnectTimeout=15 -oServerAliveInterval=15 -oControlMaster=no \
         -oForwardAgent=no -oClearAllForwardings=yes",
    );
    if let Some(key) = &ssh.key {
        command.push_str(&ssh_option("IdentityFile", key));
        command.push_str(" -oIdentitiesOnly=yes");
    }
    if let Some(known_hosts) = &ssh.known_hosts {
        command.push_str(&ssh_option("UserKnownHostsFile", known_hosts));
        command.push_str(" -oGlobalKnownHostsFile=/dev/null");
    }
    command
}

/// An option with a path: quoted for ssh, in which `%` begins a token (`ssh_config(5)`), and then for the shell.
fn ssh_option(name: &str, path: &Path) -> String {
    let path = path.to_string_lossy().replace('%', "%%");
    format!(" '-o{name}=\"{}\"'", path.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_ssh_and_shell() {
        let ssh = Ssh { key: Some("/etc/a key's".into()), known_hosts: Some("/x%y".into()) };
        let command = ssh_command(&ssh);
        assert!(command.contains(r#"'-oIdentityFile="/etc/a key'\''s"' -oIdentitiesOnly=yes"#), "{command}");
        assert!(command.contains(r#"'-oUserKnownHostsFile="/x%%y"' -oGlobalKnownHostsFile=/dev/null"#), "{command}");
    }

    #[test]
    fn git_is_found_by_absolute_paths_only() {
        assert!(Git::find("relative::").is_some_and(|git| git.program == Path::new("/usr/bin/git")));
    }
}
