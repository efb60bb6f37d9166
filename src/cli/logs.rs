//! `portreeve logs ENV`: what its processes printed, or what a build that failed said.

use super::args::{Global, LogsArgs};
use super::{Fault, open, printer, reconcile};
use crate::model::SlotId;
use crate::transaction::{self, Quiet};

/// No log of a build is shown beyond this.
const LIMIT: u64 = 16 * 1024 * 1024;

/// Prints the last lines, oldest first.
pub fn run(args: &LogsArgs, global: &Global) -> Result<u8, Fault> {
    let app = open::app(global)?;
    let cx = app.context(&Quiet);
    if let Some(number) = args.release {
        let path = app.layout.attempt_log(&args.env, number);
        let bytes = cx.host.files().read(&path, LIMIT).map_err(|error| Fault::failed(&error))?;
        let text = bytes.ok_or_else(|| Fault::blocked(format!("generation {number} of {} left no log", args.env)))?;
        tail(&String::from_utf8_lossy(&text).lines().collect::<Vec<_>>(), args.n);
        return Ok(0);
    }
    let installed = transaction::installed(&cx, &args.env, &std::collections::BTreeMap::new());
    let installed = installed.map_err(|failure| reconcile::fault(&failure))?;
    let slot = installed.serving_slot().ok_or_else(|| Fault::blocked(format!("{} is not on this host", args.env)))?;
    let lines = cx.host.services().output(&SlotId { env: args.env.clone(), slot }, args.n);
    tail(&lines.map_err(|error| Fault::failed(&error))?, args.n);
    Ok(0)
}

fn tail(lines: &[impl AsRef<str>], n: usize) {
    for line in &lines[lines.len().saturating_sub(n)..] {
        printer::line(line.as_ref());
    }
}
