//! `portreeve logs ENV`: what its processes printed, or what a build that failed said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;

use super::args::{Global, LogsArgs};
use super::{Fault, open, printer, reconcile, signals};
use crate::agent::App;
use crate::host::{Excerpt, Files, Manager};
use crate::model::{EnvName, GenerationNumber, Layout, Slot, SlotId};
use crate::transaction::{self, Context, Quiet};

/// No log of a build is shown beyond this.
const LIMIT: u64 = 16 * 1024 * 1024;

/// Lines, unless somebody says how many.
const LINES: usize = 50;

/// The processes of an environment.
const PROCESSES: [&str; 1] = ["web"];

/// Prints the last lines, oldest first.
pub fn run(args: &LogsArgs, global: &Global) -> Result<u8, Fault> {
    known(&args.env, args.process.as_deref())?;
    // Only what does not end by itself needs another end than Ctrl-C's own.
    let end = if args.follow { signals::cancelled()? } else { Arc::default() };
    let app = open::app_with(global, Arc::clone(&end))?;
    let cx = app.context(&Quiet);
    let lines = args.n.unwrap_or(LINES);
    if let Some(number) = args.release {
        return attempt(&cx, &args.env, number, lines);
    }
    let installed = transaction::installed(&cx, &args.env, &std::collections::BTreeMap::new());
    let installed = installed.map_err(|failure| reconcile::fault(&failure))?;
    match installed.serving_slot() {
        None => last_attempt(&app, &cx, &args.env, lines),
        Some(_) if args.follow || args.since.is_some() => part(&cx, args, &end),
        Some(slot) => {
            let since = installed.generation.map(|generation| generation.at);
            recent(&cx, &SlotId { env: args.env.clone(), slot }, since, lines)
        }
    }
}

/// Of all its runs since what serves was released: why the last one ended is what people look for. Where none of them said anything,
/// what the service manager says of it.
fn recent(cx: &Context<'_>, slot: &SlotId, released: Option<Timestamp>, lines: usize) -> Result<u8, Fault> {
    let services = cx.host.services();
    // Supervisor's logs say no times.
    let since = released.filter(|_| services.manager() == Manager::Systemd).map(|at| format!("@{}", at.as_second()));
    let excerpt = Excerpt { lines: Some(lines), since, follow: false };
    let mut found = Vec::new();
    let mut keep = |line: &str| found.push(line.to_owned());
    let told = services.log(std::slice::from_ref(slot), &excerpt, cx.host.clock(), &mut keep);
    told.map_err(|error| Fault::failed(&error))?.map_err(Fault::usage)?;
    if found.is_empty() {
        found = services.output(slot, lines).map_err(|error| Fault::failed(&error))?;
    }
    found.iter().for_each(printer::line);
    Ok(0)
}

fn known(env: &EnvName, process: Option<&str>) -> Result<(), Fault> {
    match process.filter(|name| !PROCESSES.contains(name)) {
        None => Ok(()),
        Some(name) => Err(Fault::usage(format!("{env} has no process {name}"))
            .with_help(format!("its processes: {}", PROCESSES.join(", ")))),
    }
}

/// Of both slots: a release goes from one to the other. It ends with its reader, who may be on another host.
fn part(cx: &Context<'_>, args: &LogsArgs, end: &AtomicBool) -> Result<u8, Fault> {
    let slots = [Slot::A, Slot::B].map(|slot| SlotId { env: args.env.clone(), slot });
    let lines = args.n.or(args.since.is_none().then_some(LINES));
    let excerpt = Excerpt { lines, since: args.since.clone(), follow: args.follow };
    let mut tell = |line: &str| end.store(end.load(Ordering::Relaxed) || !printer::flows(line), Ordering::Relaxed);
    let told = cx.host.services().log(&slots, &excerpt, cx.host.clock(), &mut tell);
    told.map_err(|error| Fault::failed(&error))?.map_err(Fault::usage)?;
    Ok(0)
}

/// Where nothing serves, people ask why.
fn last_attempt(app: &App, cx: &Context<'_>, env: &EnvName, lines: usize) -> Result<u8, Fault> {
    let last = newest_attempt(cx.host.files(), &app.layout, env)?;
    let last = last.ok_or_else(|| Fault::blocked(format!("{env} is not on this host")))?;
    printer::note(&format!("{env} serves nothing; this is the log of generation {last}, its last attempt"));
    attempt(cx, env, last, lines)
}

fn newest_attempt(files: &dyn Files, layout: &Layout, env: &EnvName) -> Result<Option<GenerationNumber>, Fault> {
    let names = files.list(&layout.attempts()).map_err(|error| Fault::failed(&error))?;
    let prefix = format!("{}.", env.flat());
    let number = |name: &String| name.strip_prefix(&prefix)?.strip_suffix(".log")?.parse().ok();
    Ok(names.iter().filter_map(number).max())
}

fn attempt(cx: &Context<'_>, env: &EnvName, number: GenerationNumber, lines: usize) -> Result<u8, Fault> {
    let bytes = cx.host.files().read(&cx.layout.attempt_log(env, number), LIMIT);
    let bytes = bytes.map_err(|error| Fault::failed(&error))?;
    let bytes = bytes.ok_or_else(|| Fault::blocked(format!("generation {number} of {env} left no log")))?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().for_each(printer::line);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Parts, Scratch};
    use crate::model::Root;

    #[test]
    fn only_its_own_attempts_count_and_the_newest_is_by_number() {
        let dir = tempfile::tempdir().unwrap();
        let root = Scratch::open(&dir.path().join("h")).unwrap();
        let layout = Layout::new(Root::at(root.path()));
        let parts = Parts::open(&layout, std::sync::Arc::default()).unwrap();
        let env = EnvName::parse("bakery/pro").unwrap();
        let newest = || newest_attempt(&parts.files, &layout, &env).unwrap();
        assert_eq!(newest(), None);
        for name in ["bakery_pro.9.log", "bakery_pro.10.log", "bakery_pro.11.new", "bakery_stage.12.log"] {
            root.write(format!("var/lib/portreeve/attempts/{name}"), "no such package").unwrap();
        }
        assert_eq!(newest(), Some(10));
    }

    #[test]
    fn a_process_that_is_not_there_is_refused_with_those_that_are() {
        let env = EnvName::parse("bakery/pro").unwrap();
        assert!(known(&env, None).is_ok() && known(&env, Some("web")).is_ok());
        let fault = known(&env, Some("celery")).unwrap_err();
        assert_eq!((fault.code, fault.message.as_str()), (2, "bakery/pro has no process celery"));
        assert_eq!(fault.help.as_deref(), Some("its processes: web"));
    }
}
