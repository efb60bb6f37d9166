//! Programs of the host that do something in the application's directories, as the application; none of its code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Context, Failure, Phase};
use crate::host::{Exit, Run};
use crate::model::Identity;

/// Runs a program of the host to its end: by its name, or its absolute path.
pub fn run(cx: &Context<'_>, app: Identity, program: &str, args: &[&str]) -> Result<Exit, Failure> {
    let found = cx.host.processes().find(&[program]).unwrap_or_else(|| Path::new("/usr/bin").join(program));
    let run = Run {
        program: found,
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: BTreeMap::from([("LC_ALL".to_owned(), "C".to_owned())]),
        directory: PathBuf::from("/"),
        identity: app,
        deadline: cx.facts.build_deadline,
        log: None,
        interactive: false,
    };
    cx.host.processes().run(&run).map_err(Failure::on_host(Phase::Build))
}
