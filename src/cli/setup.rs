//! `portreeve setup REPO`: a host's first configuration. Applies nothing; a second run finds what the first one made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::args::{Environments, Global, PlanArgs, SetupArgs};
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

/// Says what is missing, makes the deploy key, pins the git server's host key, writes agent.toml and the units that no package
/// brought, and ends with the plan.
pub fn run(args: &SetupArgs, global: &Global) -> Result<u8, Fault> {
    let layout = open::layout(global)?;
    let local = if layout.root().is_system() { LocalPaths::Refused } else { LocalPaths::Allowed };
    let address = Address::parse(&args.repo, local).map_err(|error| Fault::usage(error.to_string()))?;
    let parts = Parts::open(&layout, Arc::default()).map_err(|error| Fault::failed(&error))?;
    let missing = missing(&parts)?;
    parts.files.make_directory(&layout.config(), 0o755, Identity::ROOT).map_err(|error| Fault::failed(&error))?;
    let git = match address.ssh_server() {
        Some((host, port)) if missing == 0 => ssh(&parts, &layout, host, port, args)?,
        _ => AgentSettings::new("").git,
    };
    if missing > 0 {
        return Err(Fault::blocked("programs are missing").with_help("install them, then run this again"));
    }
    configure(&parts, &layout, args, git)?;
    units::install(&parts.files, &layout, &open::surroundings(None, Arc::default()).program)?;
    printer::line("");
    let only = Environments { environments: Vec::new() };
    let code = plan::run(&PlanArgs { only, exit_code: false, since: None }, global)?;
    printer::help("nothing was applied; systemctl enable --now portreeve.service begins, or portreeve-reconcile.timer");
    Ok(code)
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

fn ssh(parts: &Parts, layout: &Layout, host: &str, port: Option<u16>, args: &SetupArgs) -> Result<Git, Fault> {
    let name = args.host.clone().map_or_else(|| parts.kernel.hostname(), Ok).map_err(|error| Fault::failed(&error))?;
    let key = layout.config().join("deploy_key");
    let public = ssh_trust::deploy_key(parts, &key, &name)?;
    printer::line(format!("deploy key of this host, to be let in to read (and only read):\n  {public}"));
    let known_hosts = layout.config().join("known_hosts");
    ssh_trust::pin(parts, &known_hosts, host, port, args.fingerprint.as_deref())?;
    Ok(Git { key: Some(key), known_hosts: Some(known_hosts), ..AgentSettings::new("").git })
}

/// Writes agent.toml; one that is there is kept, if it is about the same repository.
fn configure(parts: &Parts, layout: &Layout, args: &SetupArgs, git: Git) -> Result<(), Fault> {
    let path = layout.agent_toml();
    let there = parts.files.read(&path, 1024 * 1024).map_err(|error| Fault::failed(&error))?;
    if let Some(bytes) = there {
        return keep(&path, &bytes, args);
    }
    let settings = AgentSettings { host: args.host.clone(), git, ..AgentSettings::new(args.repo.clone()) };
    let text = settings.to_toml();
    AgentSettings::parse(&path.to_string_lossy(), &text).map_err(|error| Fault::usage(error.to_string()))?;
    let node = Node::File { bytes: text.into_bytes(), mode: 0o644, owner: Identity::ROOT };
    parts.files.put(&path, &node).map_err(|error| Fault::failed(&error))?;
    printer::line(format!("wrote {}", path.display()));
    Ok(())
}

fn keep(path: &Path, bytes: &[u8], args: &SetupArgs) -> Result<(), Fault> {
    let settings = AgentSettings::parse(&path.to_string_lossy(), &String::from_utf8_lossy(bytes));
    let settings = settings.map_err(|error| Fault::usage(error.to_string()))?;
    let host = args.host.is_none() || args.host == settings.host;
    if settings.repo != args.repo || !host {
        return Err(Fault::blocked(format!("{} says otherwise: repo = \"{}\"", path.display(), settings.repo))
            .with_help("edit it, or move it away and run this again"));
    }
    printer::line(format!("{} is kept", path.display()));
    Ok(())
}
