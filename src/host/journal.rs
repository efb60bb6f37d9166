//! What a unit printed, from systemd's journal.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Clock, Command, Excerpt, HostError, Result, Surroundings, follow, tool};

const JOURNALCTL: &str = "/usr/bin/journalctl";
const DEADLINE: Duration = Duration::from_secs(20);

/// A point in the journal, by the wall clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(Duration);

impl Moment {
    #[expect(clippy::disallowed_methods, reason = "the journal's entries carry the machine's own clock")]
    pub(super) fn now() -> Self {
        Self(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }
}

/// The last lines of one run of a unit, by its invocation (`systemd.exec(5)`). Where its processes printed nothing, what systemd
/// said of it: a program that can't be executed is told only there.
pub(super) fn lines(invocation: &str, count: usize) -> Result<Vec<String>> {
    sync();
    let printed = query(&[&format!("_SYSTEMD_INVOCATION_ID={invocation}")], count)?;
    if printed.is_empty() { query(&[&format!("INVOCATION_ID={invocation}")], count) } else { Ok(printed) }
}

/// The last lines of a unit since `start`: all of its runs since then, because the one that systemd has just begun after a death
/// says nothing of the death.
pub(super) fn lines_since(unit: &str, start: Moment, count: usize) -> Result<Vec<String>> {
    sync();
    // With `--since`, `--lines` counts from the beginning unless the order is reversed.
    let since = format!("--since=@{}.{:06}", start.0.as_secs(), start.0.subsec_micros());
    let mut lines = query(&["--reverse", &since, &format!("_SYSTEMD_UNIT={unit}")], count)?;
    if lines.is_empty() {
        lines = query(&["--reverse", &since, "--unit", unit], count)?;
    }
    lines.reverse();
    Ok(lines)
}

/// Hands on what units print. The inner error: `journalctl` does not take it so.
pub(super) fn excerpt(
    units: &[String],
    excerpt: &Excerpt,
    clock: &dyn Clock,
    line: &mut dyn FnMut(&str),
) -> Result<std::result::Result<(), String>> {
    let since = excerpt.since.as_ref().map(|since| format!("--since={since}"));
    if let Some(since) = &since
        && let Err(HostError::Program { why, .. }) = query(&[since], 0)
    {
        return Ok(Err(why));
    }
    sync();
    // With `--since`, `--lines` counts from the beginning unless the order is reversed.
    let reversed = since.is_some() && excerpt.lines.is_some() && !excerpt.follow;
    let lines = excerpt.lines.map_or_else(|| "--lines=all".to_owned(), |lines| format!("--lines={lines}"));
    let flags = [(excerpt.follow, "--follow"), (reversed, "--reverse")].into_iter().filter(|(set, _)| *set);
    let fixed = ["--no-pager", "--quiet", "--all", "--output=cat"].into_iter().chain(flags.map(|(_, flag)| flag));
    let ours = units.iter().map(|unit| format!("_SYSTEMD_UNIT={unit}"));
    let command = Command {
        program: JOURNALCTL.into(),
        args: fixed.map(str::to_owned).chain([lines]).chain(since).chain(ours).collect(),
        surroundings: Surroundings::Bare(BTreeMap::new()),
        directory: "/".into(),
    };
    let mut backwards = Vec::new();
    follow(&command, &|| clock.cancelled(), &mut |text| {
        if reversed { backwards.push(text.to_owned()) } else { line(text) }
    })?;
    for text in backwards.iter().rev() {
        line(text);
    }
    Ok(Ok(()))
}

/// What a process printed right before its death may still be on its way. A refusal costs us a line, no more.
fn sync() {
    tool::output(Path::new(JOURNALCTL), ["--sync"], DEADLINE).ok();
}

fn query(filters: &[&str], count: usize) -> Result<Vec<String>> {
    let entries = count.to_string();
    let args = [&["--no-pager", "--quiet", "--all", "--output=cat", "--lines", &entries], filters].concat();
    let output = tool::output(Path::new(JOURNALCTL), args, DEADLINE)?;
    if !output.status.success() {
        let why = tool::last_lines(&output.stderr, 1).pop().unwrap_or_else(|| output.status.to_string());
        return Err(HostError::Program { program: JOURNALCTL.to_owned(), why });
    }
    Ok(tool::last_lines(&output.stdout, count))
}
