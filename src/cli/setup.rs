//! `portreeve setup REPO`: a host's first configuration. Applies nothing; a second run finds what the first one made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::args::{Environments, Global, PlanArgs};
use super::{Fault, open, plan, printer, ssh_trust, units};
use crate::host::{Files as _, Kernel as _, Parts, Processes as _, Run};
use crate::model::{Identity, Layout, Node};
use crate::settings::{AgentSettings, Git};
use crate::source::{Address, LocalPaths};

/// Programs that releases need, and the package that holds each.
const NEEDED: [(&str, &str); 6] = [
    ("git", "git"),
    ("nginx", "nginx"),
    ("logrotate", "logrotate"),
    ("setpriv", "util-linux"),
    ("python3", "python3-venv"),
    ("ssh", "openssh-client"),
];

/// Its arguments.
#[derive(Debug, Args)]
pub struct SetupArgs {
    /// The deploy repository; unless said, the one in agent.toml
    pub repo: Option<String>,
    /// The name of this host's file in hosts/; unless said, the hostname
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// The git server's host key, as its keepers publish it; asked for on a terminal unless said
    #[arg(long, value_name = "SHA256:…")]
    pub fingerprint: Option<String>,
    /// Another ssh server to trust, where an application's repository is
    #[arg(long, value_name = "HOST[:PORT]")]
    pub trust: Option<String>,
}

/// Says what is missing, makes the deploy key, pins the git servers' host keys, writes agent.toml and the units that no package
/// brought, and ends with the plan.
pub fn run(args: &SetupArgs, global: &Global) -> Result<u8, Fault> {
    let layout = open::layout(global)?;
    let local = if layout.root().is_system() { LocalPaths::Refused } else { LocalPaths::Allowed };
    let parts = Parts::open(&layout, Arc::default()).map_err(|error| Fault::failed(&error))?;
    let there = settings(&parts, &layout)?;
    let repo = repo(args, there.as_ref(), &layout)?;
    let address = Address::parse(&repo, local).map_err(|error| Fault::usage(error.to_string()))?;
    let trusted = trusted(args)?;
    let servers: Vec<_> =
        [Some(&address), trusted.as_ref()].into_iter().flatten().filter_map(Address::ssh_server).collect();
    let missing = missing(&parts)?;
    parts.files.make_directory(&layout.config(), 0o755, Identity::ROOT).map_err(|error| Fault::failed(&error))?;
    if missing > 0 {
        return Err(Fault::blocked("programs are missing").with_help("install them, then run this again"));
    }
    let git = there.as_ref().map_or_else(|| own_git(&layout, &servers), |settings| settings.git.clone());
    ssh(&parts, &layout, &git, &servers, args)?;
    let settings = AgentSettings { host: args.host.clone(), git, ..AgentSettings::new(repo) };
    configure(&parts, &layout, there.is_some(), &settings)?;
    units::install(&parts.files, &layout, &open::surroundings(None, Arc::default()).program)?;
    printer::line("");
    let only = Environments { environments: Vec::new() };
    let code = plan::run(&PlanArgs { only, exit_code: false, since: None }, global)?;
    printer::help("nothing was applied; systemctl enable --now portreeve.service begins");
    printer::help("portreeve-reconcile.timer needs no resident process, but one slow build holds up all other sites");
    Ok(code)
}

/// What agent.toml says, if there is one: it is kept.
fn settings(parts: &Parts, layout: &Layout) -> Result<Option<AgentSettings>, Fault> {
    let path = layout.agent_toml();
    let bytes = parts.files.read(&path, 1024 * 1024).map_err(|error| Fault::failed(&error))?;
    let parse = |bytes: Vec<u8>| AgentSettings::parse(&path.to_string_lossy(), &String::from_utf8_lossy(&bytes));
    bytes.map(parse).transpose().map_err(|error| Fault::usage(error.to_string()))
}

/// The deploy repository: as it is said, and as agent.toml has it.
fn repo(args: &SetupArgs, there: Option<&AgentSettings>, layout: &Layout) -> Result<String, Fault> {
    let Some(settings) = there else {
        let unsaid = || Fault::usage("which deploy repository?").with_help("portreeve setup REPO --host NAME");
        return args.repo.clone().ok_or_else(unsaid);
    };
    let same_repo = args.repo.as_ref().is_none_or(|repo| *repo == settings.repo);
    let same_host = args.host.is_none() || args.host == settings.host;
    if same_repo && same_host {
        return Ok(settings.repo.clone());
    }
    let path = layout.agent_toml();
    Err(Fault::blocked(format!("{} says otherwise: repo = \"{}\"", path.display(), settings.repo))
        .with_help("edit it, or move it away and run this again"))
}

/// The server of `--trust`, as the address of a repository there.
fn trusted(args: &SetupArgs) -> Result<Option<Address>, Fault> {
    let address = |server: &String| Address::parse(&format!("ssh://{server}/repository"), LocalPaths::Refused);
    args.trust.as_ref().map(address).transpose().map_err(|error| Fault::usage(format!("--trust: {error}")))
}

/// Names each program that is not there; returns how many.
fn missing(parts: &Parts) -> Result<usize, Fault> {
    let absent = NEEDED.iter().filter(|(program, _)| parts.processes.find(&[program]).is_none());
    let mut missing: Vec<(String, &str)> =
        absent.map(|(program, package)| (format!("{program} is not installed"), *package)).collect();
    if let Some(python) = parts.processes.find(&["python3"])
        && !makes_environments(parts, python)?
    {
        missing.push(("python3 can't make virtual environments: it has no ensurepip".to_owned(), "python3-venv"));
    }
    for (what, package) in &missing {
        printer::error(&Fault::blocked(what).with_help(format!("apt-get install {package}")));
    }
    Ok(missing.len())
}

/// Debian has the interpreter in one package, and what `python3 -m venv` needs in another.
fn makes_environments(parts: &Parts, python: PathBuf) -> Result<bool, Fault> {
    let run = Run {
        program: python,
        args: ["-I", "-c", "import ensurepip"].map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        directory: PathBuf::from("/"),
        identity: Identity::ROOT,
        deadline: Duration::from_secs(30),
        log: None,
        interactive: false,
    };
    Ok(parts.processes.run(&run).map_err(|error| Fault::failed(&error))?.ok())
}

fn own_key(layout: &Layout) -> PathBuf {
    layout.config().join("deploy_key")
}

/// How ssh proves itself on a host that nobody has set up, if there is any server to prove itself to.
fn own_git(layout: &Layout, servers: &[(&str, Option<u16>)]) -> Git {
    let git = AgentSettings::new("").git;
    if servers.is_empty() {
        return git;
    }
    Git { key: Some(own_key(layout)), known_hosts: Some(layout.config().join("known_hosts")), ..git }
}

/// Our key is made and shown, and the servers' are pinned, as far as agent.toml leaves that to us.
fn ssh(
    parts: &Parts,
    layout: &Layout,
    git: &Git,
    servers: &[(&str, Option<u16>)],
    args: &SetupArgs,
) -> Result<(), Fault> {
    if let Some(key) = git.key.as_ref().filter(|key| **key == own_key(layout)) {
        let name = args.host.clone().map_or_else(|| parts.kernel.hostname(), Ok);
        let public = ssh_trust::deploy_key(parts, key, &name.map_err(|error| Fault::failed(&error))?)?;
        printer::line(format!("deploy key of this host, to be let in to read (and only read):\n  {public}"));
    }
    match &git.known_hosts {
        Some(file) => {
            servers.iter().try_for_each(|server| ssh_trust::pin(parts, file, *server, args.fingerprint.as_deref()))
        }
        None if args.trust.is_none() => Ok(()),
        None => {
            let file = layout.config().join("known_hosts");
            let cause = format!("{} names no known_hosts: ssh goes by root's own", layout.agent_toml().display());
            Err(Fault::blocked(cause).with_help(format!("write known_hosts = \"{}\" below [git]", file.display())))
        }
    }
}

/// Writes agent.toml; one that is there is kept.
fn configure(parts: &Parts, layout: &Layout, kept: bool, settings: &AgentSettings) -> Result<(), Fault> {
    let path = layout.agent_toml();
    if kept {
        printer::line(format!("{} is kept", path.display()));
        return Ok(());
    }
    let text = settings.to_toml();
    AgentSettings::parse(&path.to_string_lossy(), &text).map_err(|error| Fault::usage(error.to_string()))?;
    let node = Node::File { bytes: text.into_bytes(), mode: 0o644, owner: Identity::ROOT };
    parts.files.put(&path, &node).map_err(|error| Fault::failed(&error))?;
    printer::line(format!("wrote {}", path.display()));
    Ok(())
}
