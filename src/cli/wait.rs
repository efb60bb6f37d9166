//! `portreeve wait ENV`: until a commit is live, or known not to be.

use std::time::Duration;

use super::args::{Global, WaitArgs};
use super::{Fault, open, printer, reconcile};
use crate::agent::{App, read_standing, survey};
use crate::transaction::{self, Quiet};

/// Between two looks.
const GLANCE: Duration = Duration::from_millis(500);

/// 0 when it is live, 3 when it was refused, 1 when the time is over.
pub fn run(args: &WaitArgs, global: &Global) -> Result<u8, Fault> {
    let app = open::app(global)?;
    let commit = match &args.commit {
        Some(commit) => commit.clone(),
        None => tip(&app)?,
    };
    let clock = app.host.clock();
    let until = clock.monotonic() + args.timeout.duration();
    loop {
        if let Some(code) = look(&app, args, &commit)? {
            return Ok(code);
        }
        if clock.monotonic() >= until {
            return Err(Fault {
                code: 1,
                message: format!("{}: {commit} is not live after {}", args.env, args.timeout),
                help: Some(format!("portreeve status {}", args.env)),
            });
        }
        clock.sleep(GLANCE);
    }
}

fn tip(app: &App) -> Result<String, Fault> {
    let survey = survey(app, &app.context(&Quiet), &std::collections::BTreeSet::new())
        .map_err(|failure| reconcile::fault(&failure))?;
    let trouble = survey.trouble;
    let tip = survey.plan.tip.ok_or_else(|| Fault {
        code: 1,
        message: trouble.map(|trouble| trouble.words().to_owned()).unwrap_or_default(),
        help: None,
    })?;
    Ok(tip.to_string())
}

fn look(app: &App, args: &WaitArgs, commit: &str) -> Result<Option<u8>, Fault> {
    let cx = app.context(&Quiet);
    let installed = transaction::installed(&cx, &args.env, &std::collections::BTreeMap::new())
        .map_err(|failure| reconcile::fault(&failure))?;
    if let Some(generation) = &installed.generation
        && generation.wanted.deploy_commit.as_str().starts_with(commit)
    {
        printer::line(format!("{}  {} is live", args.env, generation.wanted.title()));
        return Ok(Some(0));
    }
    let standing = read_standing(&cx, &args.env).map_err(|failure| reconcile::fault(&failure))?;
    for entry in &standing.quarantine {
        let Some(number) = entry.generation else { continue };
        let tried =
            transaction::read_generation(&cx, &args.env, number).map_err(|failure| reconcile::fault(&failure))?;
        if tried.is_some_and(|tried| tried.wanted.deploy_commit.as_str().starts_with(commit)) {
            return Err(Fault {
                code: 3,
                message: format!("{} was not released: {}", args.env, entry.cause),
                help: None,
            });
        }
    }
    Ok(None)
}
