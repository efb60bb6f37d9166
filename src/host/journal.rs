//! What a unit printed, from systemd's journal.

use std::path::Path;
use std::time::Duration;

use super::{HostError, Result, tool};

const JOURNALCTL: &str = "/usr/bin/journalctl";
const DEADLINE: Duration = Duration::from_secs(20);

/// The last lines of one run of a unit, by its invocation (`systemd.exec(5)`). Where its processes printed nothing, what systemd
/// said of it: a program that can't be executed is told only there.
pub(super) fn lines(invocation: &str, count: usize) -> Result<Vec<String>> {
    // What a process printed right before its death may still be on its way. A refusal costs us a line, no more.
    tool::output(Path::new(JOURNALCTL), ["--sync"], DEADLINE).ok();
    let printed = query(&format!("_SYSTEMD_INVOCATION_ID={invocation}"), count)?;
    if printed.is_empty() { query(&format!("INVOCATION_ID={invocation}"), count) } else { Ok(printed) }
}

fn query(filter: &str, count: usize) -> Result<Vec<String>> {
    let entries = count.to_string();
    let args = ["--no-pager", "--quiet", "--all", "--output=cat", "--lines", &entries, filter];
    let output = tool::output(Path::new(JOURNALCTL), args, DEADLINE)?;
    if !output.status.success() {
        let why = tool::last_lines(&output.stderr, 1).pop().unwrap_or_else(|| output.status.to_string());
        return Err(HostError::Program { program: JOURNALCTL.to_owned(), why });
    }
    Ok(tool::last_lines(&output.stdout, count))
}
