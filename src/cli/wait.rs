//! `portreeve wait ENV`: until a commit is live, or known not to be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::args::{Global, WaitArgs};
use super::{Fault, open, printer, reconcile};
use crate::agent::{App, Trouble, manifests, survey};
use crate::model::{CommitId, EnvName};
use crate::plan::{Action, EnvPlan};
use crate::source::{Ancestry, Objects};
use crate::transaction::{self, Context, Intent, Quiet};

/// Between two looks at the host.
const GLANCE: Duration = Duration::from_millis(500);

/// One look in so many asks the repository too: what is live may be live without a release of its own.
const SURVEY_EVERY: u32 = 10;

/// 0 when it is live, 3 when it was refused, 2 or 4 when nothing will move by itself, 1 when the time is over.
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
        let mut live = if_up(&cx, &args.env, live(&cx, &args.env, &commit)?)?;
        if live.is_none() && glance % SURVEY_EVERY == 0 {
            live = if_up(&cx, &args.env, settled(&app, &cx, &args.env, &commit)?)?;
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

/// What was stopped, or has died, is not live, whatever was released.
fn if_up(cx: &Context<'_>, env: &EnvName, title: Option<String>) -> Result<Option<String>, Fault> {
    let Some(title) = title else { return Ok(None) };
    let services = transaction::services_of(cx, env).map_err(|error| Fault::failed(&error))?;
    let installed = transaction::installed(cx, env, &services).map_err(|failure| reconcile::fault(&failure))?;
    Ok((installed.serving_slot().is_some() && installed.serves()).then_some(title))
}

/// Whether a pass is at work on the environment: what serves now may still be gone back from.
fn moving(cx: &Context<'_>, env: &EnvName) -> Result<bool, Fault> {
    Ok(Intent::find(cx, env).map_err(|error| Fault::failed(&error))?.is_some())
}

/// What a pass would decide now. A repository that can't be reached says nothing, nor does one that lacks the commit: it may
/// be on its way.
fn settled(app: &App, cx: &Context<'_>, env: &EnvName, commit: &str) -> Result<Option<String>, Fault> {
    let Ok(survey) = survey(app, cx, &BTreeSet::from([env.clone()])) else { return Ok(None) };
    if moving(cx, env)? {
        return Ok(None);
    }
    if let Some(trouble @ Trouble::Lasting(words)) = &survey.trouble {
        return Err(Fault { code: trouble.exit_code(), ..never(env, words) });
    }
    let Some(tip) = &survey.plan.tip else { return Ok(None) };
    if !tip.as_str().starts_with(commit) && !same_wish(app, env, commit, tip)? {
        return Ok(None);
    }
    if let Some(invalid) = survey.manifests.as_ref().and_then(|(_, found)| found.stopping(env)) {
        return Err(Fault::usage(never(env, &invalid.first).message).with_help("portreeve check shows it"));
    }
    let plan = survey.plan.environments.iter().find(|plan| plan.name == *env);
    plan.map_or_else(|| Err(never(env, &format!("it is not in hosts/{}.toml", app.name))), judged)
}

/// Whether the branch, which leads to `tip` by now, wants of the environment what it wanted at `commit`. Never again, when it
/// wants something else.
fn same_wish(app: &App, env: &EnvName, commit: &str, tip: &CommitId) -> Result<bool, Fault> {
    let Ok(deploy) = Objects::open(&app.layout.deploy_clone()) else { return Ok(false) };
    let Ok(commit) = deploy.rev(commit) else { return Ok(false) };
    let to = tip.short();
    let words = match deploy.ancestry(&commit, tip) {
        Ok(Ancestry::Same) => return Ok(true),
        Ok(Ancestry::Descendant) if manifests(&deploy, env, &commit, tip).is_empty() => return Ok(true),
        Ok(Ancestry::Descendant) => format!("{to} came on top of {} and wants something else", commit.short()),
        Ok(Ancestry::Behind | Ancestry::Diverged) => {
            format!("{} no longer contains {}; it leads to {to}", app.settings.branch, commit.short())
        }
        Ok(Ancestry::Unknown) | Err(_) => return Ok(false),
    };
    Err(never(env, &words).with_help(format!("portreeve wait {env} --commit {to}")))
}

/// The title, when what is wanted serves. Nothing, when a pass will move; a fault, when none will until somebody does something.
fn judged(plan: &EnvPlan) -> Result<Option<String>, Fault> {
    let env = &plan.name;
    let serves = plan.serves.as_ref().filter(|it| plan.wants.as_ref().is_some_and(|w| w.digest == it.wanted.digest));
    match (&plan.action, serves) {
        (Action::Stopped(words), _) => Err(left(env, "stopped", words, "start")),
        (Action::Start, _) => Ok(None),
        (_, Some(serving)) => Ok(Some(serving.title.clone())),
        (Action::Quarantined(cause), _) => {
            Err(Fault { code: 3, ..never(env, cause) }.with_help(format!("push a fix, or: portreeve retry {env}")))
        }
        (Action::Held(words), _) => Err(left(env, "held", words, "resume")),
        (Action::Suspended(words), _) => Err(left(env, "suspended", words, "resume")),
        (Action::Blocked(words) | Action::Diverged(words) | Action::Removed { words, .. }, _) => Err(never(env, words)),
        (Action::Nothing | Action::Remove | Action::Delete, _) => Err(never(env, "it is to be absent from this host")),
        (Action::Release | Action::Waiting(_) | Action::Hindered(_) | Action::Stale(_), _) => Ok(None),
    }
}

fn left(env: &EnvName, how: &str, words: &str, verb: &str) -> Fault {
    never(env, &format!("it is {how}, {words}")).with_help(format!("portreeve {verb} {env}"))
}

fn never(env: &EnvName, words: &str) -> Fault {
    Fault::blocked(format!("{env} was not released: {words}")).with_help(format!("portreeve why {env}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(action: Action) -> Option<u8> {
        let name = EnvName::parse("bakery/pro").unwrap();
        let (serves, wants, moved, retires, settles, stops) = (None, None, None, None, false, false);
        let (repairs, respected, stays) = (Vec::new(), Vec::new(), None);
        let plan = EnvPlan { name, serves, wants, action, repairs, respected, stays, moved, retires, settles, stops };
        judged(&plan).err().map(|fault| fault.code)
    }

    #[test]
    fn what_moves_by_itself_is_waited_for_and_nothing_else() {
        let words = || "by anna, 20 Nov 02:07 UTC".to_owned();
        let passing = [Action::Waiting(words()), Action::Hindered(words()), Action::Stale(words())];
        for action in [Action::Release, Action::Start].into_iter().chain(passing) {
            assert_eq!(code(action.clone()), None, "{action:?}");
        }
        for action in [
            Action::Held(words()),
            Action::Suspended(words()),
            Action::Stopped(words()),
            Action::Blocked(words()),
            Action::Diverged(words()),
            Action::Removed { words: words(), until: None },
            Action::Nothing,
            Action::Remove,
            Action::Delete,
        ] {
            assert_eq!(code(action.clone()), Some(4), "{action:?}");
        }
        assert_eq!(code(Action::Quarantined(words())), Some(3));
    }

    #[test]
    fn what_keeps_it_is_said_with_its_end() {
        let env = EnvName::parse("bakery/pro").unwrap();
        let fault = left(&env, "stopped", "by anna, 20 Nov 02:07 UTC: \"disk\"", "start");
        assert_eq!(fault.message, "bakery/pro was not released: it is stopped, by anna, 20 Nov 02:07 UTC: \"disk\"");
        assert_eq!(fault.help.as_deref(), Some("portreeve start bakery/pro"));
    }
}
