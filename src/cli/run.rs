//! `portreeve run ENV [CMD…]`: as the application's user, in its environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::{Global, RunArgs};
use super::{Fault, open, reconcile};
use crate::host::Run;
use crate::transaction::{self, Quiet};

/// Passes the child's code on.
pub fn run(args: &RunArgs, global: &Global) -> Result<u8, Fault> {
    let app = open::app(global)?;
    let cx = app.context(&Quiet);
    let installed = transaction::installed(&cx, &args.env, &std::collections::BTreeMap::new());
    let installed = installed.map_err(|failure| reconcile::fault(&failure))?;
    let generation = installed.generation.ok_or_else(|| Fault::blocked(format!("{} is not on this host", args.env)))?;
    let paths = cx.paths(&generation.wanted);
    let file = cx.directory(&generation).join("env.conf");
    let text = cx.host.files().read(&file, 1024 * 1024).map_err(|error| Fault::failed(&error))?.unwrap_or_default();
    let mut env = crate::emit::env::parse(&String::from_utf8_lossy(&text)).map_err(|error| Fault::failed(&error))?;
    env.extend(open::terminal());
    let identity = cx.host.users().user(&generation.wanted.env.user).map_err(|error| Fault::failed(&error))?;
    let (program, arguments) = command(&args.command, &paths.venvs().join(&generation.wanted.venv))?;
    let run = Run {
        program,
        args: arguments,
        env,
        directory: generation.wanted.code_dir(&paths.release(&generation.wanted.release)),
        identity: identity.ok_or_else(|| Fault::blocked(format!("user {} is gone", generation.wanted.env.user)))?,
        deadline: Duration::from_hours(168),
        log: None,
        interactive: true,
    };
    let exit = cx.host.processes().run(&run).map_err(|error| Fault::failed(&error))?;
    Ok(exit.code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// `manage.py …` runs with the release's Python; a program without a path comes from its environment first.
fn command(words: &[String], venv: &Path) -> Result<(PathBuf, Vec<String>), Fault> {
    match words {
        [] => Ok((PathBuf::from("/bin/sh"), Vec::new())),
        [first, ..] if Path::new(first).extension().is_some_and(|extension| extension == "py") => {
            Ok((venv.join("bin/python"), words.to_vec()))
        }
        [first, rest @ ..] if first.starts_with('/') => Ok((PathBuf::from(first), rest.to_vec())),
        [first, rest @ ..] => {
            let places =
                [venv.join("bin"), PathBuf::from("/usr/local/bin"), PathBuf::from("/usr/bin"), PathBuf::from("/bin")];
            let found = places.into_iter().map(|place| place.join(first)).find(|path| path.exists());
            found
                .map(|program| (program, rest.to_vec()))
                .ok_or_else(|| Fault::usage(format!("{first}: no such program")))
        }
    }
}
