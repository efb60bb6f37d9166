//! `portreeve wait ENV`: until a commit is live, or known not to be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::args::{Global, WaitArgs};
use super::{Fault, open, printer, reconcile};
use crate::agent::{App, survey};
use crate::model::EnvName;
use crate::plan::Action;
use crate::transaction::{self, Context, Intent, Quiet};

/// Between two looks at the host.
const GLANCE: Duration = Duration::from_millis(500);

/// One look in so many asks the repository too: what is live may be live without a release of its own.
const SURVEY_EVERY: u32 = 10;

/// 0 when it is live, 3 when it was refused, 1 when the time is over.
pub fn run(args: &WaitArgs, global: &Global) -> Result<u8, Fault> {
    let app = open::app(global)?;
    let commit = match &args.commit {
        Some(commit) => commit.clone(),
        None => tip(&app)?,
    };
    let clock = app.host.clock();
    let until = clock.monotonic() + args.timeout.duration();
    for glance in 0_u32.. {
        let cx = app.context(&Quiet);
        let mut live = live(&cx, &args.env, &commit)?;
        if live.is_none() && glance % SURVEY_EVERY == 0 {
            live = settled(&app, &cx, &args.env, &commit)?;
        }
        if let Some(title) = live {
            printer::line(format!("{}  {title} is live", args.env));
            return Ok(0);
        }
        if clock.monotonic() >= until {
            break;
        }
        clock.sleep(GLANCE);
    }
    let message = format!("{}: {commit} is not live after {}", args.env, args.timeout);
    Err(Fault { code: 1, message, help: Some(format!("portreeve status {}", args.env)) })
}

fn tip(app: &App) -> Result<String, Fault> {
    let survey = survey(app, &app.context(&Quiet), &BTreeSet::new()).map_err(|failure| reconcile::fault(&failure))?;
    let trouble = survey.trouble;
    let tip = survey.plan.tip.ok_or_else(|| Fault {
        code: 1,
        message: trouble.map(|trouble| trouble.words().to_owned()).unwrap_or_default(),
        help: None,
    })?;
    Ok(tip.to_string())
}

/// The title of what serves, if it was released for this commit and no pass is still watching it.
fn live(cx: &Context<'_>, env: &EnvName, commit: &str) -> Result<Option<String>, Fault> {
    let installed = transaction::installed(cx, env, &BTreeMap::new()).map_err(|failure| reconcile::fault(&failure))?;
    let generation = installed.generation.filter(|it| it.wanted.deploy_commit.as_str().starts_with(commit));
    let Some(generation) = generation else { return Ok(None) };
    Ok((!moving(cx, env)?).then(|| generation.wanted.title()))
}

/// Whether a pass is at work on the environment: what serves now may still be gone back from.
fn moving(cx: &Context<'_>, env: &EnvName) -> Result<bool, Fault> {
    Ok(Intent::find(cx, env).map_err(|error| Fault::failed(&error))?.is_some())
}

/// What a pass would decide now: nothing, when the commit changes nothing here; or never again, when its content was refused.
/// A repository that can't be reached says nothing.
fn settled(app: &App, cx: &Context<'_>, env: &EnvName, commit: &str) -> Result<Option<String>, Fault> {
    let Ok(survey) = survey(app, cx, &BTreeSet::from([env.clone()])) else { return Ok(None) };
    let at_tip = survey.plan.tip.as_ref().is_some_and(|tip| tip.as_str().starts_with(commit));
    let plan = survey.plan.environments.into_iter().find(|plan| plan.name == *env && at_tip);
    let Some(plan) = plan else { return Ok(None) };
    match plan.action {
        Action::Nothing if moving(cx, env)? => Ok(None),
        Action::Nothing => Ok(plan.serves.map(|serving| serving.title)),
        Action::Quarantined(cause) => {
            Err(Fault { code: 3, message: format!("{env} was not released: {cause}"), help: None }
                .with_help(format!("push a fix, or: portreeve retry {env}")))
        }
        Action::Diverged(words) => Err(Fault::blocked(format!("{env} was not released: {words}"))),
        _ => Ok(None),
    }
}
