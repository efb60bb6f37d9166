//! `portreeve setup REPO`: a host's first configuration. Applies nothing.

use super::args::{Global, SetupArgs};
use super::{Fault, open, printer};
use crate::host::{Files as _, Parts, Processes as _};
use crate::model::{Identity, Node};
use crate::settings::AgentSettings;

/// Programs that releases need, and the package that holds each.
const NEEDED: [(&str, &str); 6] = [
    ("git", "git"),
    ("nginx", "nginx"),
    ("logrotate", "logrotate"),
    ("setpriv", "util-linux"),
    ("python3", "python3-venv"),
    ("ssh", "openssh-client"),
];

/// Writes agent.toml, unless there is one, and says what is missing.
pub fn run(args: &SetupArgs, global: &Global) -> Result<u8, Fault> {
    let layout = open::layout(global)?;
    let parts = Parts::open(&layout, std::sync::Arc::default()).map_err(|error| Fault::failed(&error))?;
    let missing: Vec<_> = NEEDED.iter().filter(|(program, _)| parts.processes.find(&[program]).is_none()).collect();
    for (program, package) in &missing {
        printer::error(
            &Fault::blocked(format!("{program} is not installed")).with_help(format!("apt-get install {package}")),
        );
    }
    let path = layout.agent_toml();
    let there = parts.files.read(&path, 1024 * 1024).map_err(|error| Fault::failed(&error))?;
    if there.is_some() {
        return Err(Fault::blocked(format!("{} is there already; edit it, or move it away", path.display())));
    }
    let settings = AgentSettings { host: args.name.clone(), ..AgentSettings::new(args.repo.clone()) };
    let text = settings.to_toml();
    AgentSettings::parse(&path.to_string_lossy(), &text).map_err(|error| Fault::usage(error.to_string()))?;
    let node = Node::File { bytes: text.into_bytes(), mode: 0o644, owner: Identity::ROOT };
    parts.files.make_directory(&layout.config(), 0o755, Identity::ROOT).map_err(|error| Fault::failed(&error))?;
    parts.files.put(&path, &node).map_err(|error| Fault::failed(&error))?;
    printer::line(format!("wrote {}", path.display()));
    if missing.is_empty() {
        super::plan::run(
            &super::args::PlanArgs {
                only: super::args::Environments { environments: Vec::new() },
                exit_code: false,
                since: None,
            },
            global,
        )?;
        printer::help("systemctl enable --now portreeve.service, or portreeve-reconcile.timer");
        return Ok(0);
    }
    Ok(4)
}
