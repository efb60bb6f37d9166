//! `portreeve plan`: what a pass would do, without doing it.

use std::collections::BTreeSet;

use super::args::{Global, PlanArgs};
use super::{Fault, json, open, printer, reconcile, release, since};
use crate::agent::{App, Previews, Survey, preview, schedule, survey};
use crate::model::{Capabilities, EnvName};
use crate::plan::{Action, EnvPlan, Row};
use crate::transaction::Quiet;

/// Prints the plan; with `--exit-code` 5 when it holds changes.
pub fn run(args: &PlanArgs, global: &Global) -> Result<u8, Fault> {
    if let Some(rev) = &args.since {
        return since::run(rev, args, global);
    }
    let app = open::app(global)?;
    let only: BTreeSet<EnvName> = args.only.environments.iter().cloned().collect();
    let progress = printer::Progress::new(global);
    let survey = survey(&app, &app.context(&progress), &only).map_err(|failure| reconcile::fault(&failure))?;
    drop(progress);
    let known = |name: &EnvName| survey.plan.environments.iter().any(|plan| plan.name == *name);
    if let Some(missing) = only.iter().find(|name| !known(name)) {
        return Err(reconcile::unknown(&app, &survey, missing));
    }
    let changes = survey.plan.environments.iter().any(EnvPlan::changes);
    if global.json {
        printer::json(
            &survey.plan.environments.iter().map(|plan| as_json(plan, app.host.capabilities())).collect::<Vec<_>>(),
        );
        let blocked = survey.plan.environments.iter().filter(|plan| is_blocked(&plan.action));
        blocked.filter_map(|plan| words(plan, &plan.action)).for_each(|words| printer::note(&words));
    } else {
        let previews = preview(&app, &app.context(&Quiet), &survey).map_err(|failure| reconcile::fault(&failure))?;
        print(&app, &survey, &previews);
    }
    let mistakes = reconcile::mistakes(&survey, global);
    if let Some(trouble) = &survey.trouble {
        let code = if mistakes { 2 } else { trouble.exit_code() };
        return Err(Fault { code, message: trouble.words().to_owned(), help: None });
    }
    if mistakes {
        return Ok(2);
    }
    Ok(if changes && args.exit_code { 5 } else { 0 })
}

fn print(app: &App, survey: &Survey, previews: &Previews) {
    if let Some(words) = commit(survey, previews) {
        printer::line(words);
    }
    for plan in &survey.plan.environments {
        if plan.changes() || plan.action != Action::Nothing || plan.moved.is_some() {
            printer::line("");
            environment(plan);
            if let Some(preview) = previews.releases.get(&plan.name) {
                release::print(preview, plan, previews.applied.as_ref());
                needs(app, plan);
            }
        }
    }
    if !survey.plan.environments.is_empty() {
        printer::line(format!("\n{}", totals(&survey.plan.environments)));
        next(app, &survey.plan.environments);
    }
}

/// `deploy commit 51d07ee -> 8c1f2ab "release v1.5.0", Anna`
fn commit(survey: &Survey, previews: &Previews) -> Option<String> {
    let tip = survey.commit.as_ref()?;
    let applied = previews.applied.as_ref().filter(|applied| **applied != tip.id);
    let from = applied.map(|applied| format!("{} -> ", applied.short())).unwrap_or_default();
    Some(format!("deploy commit {from}{} \"{}\", {}", tip.id.short(), tip.subject, tip.author))
}

/// A word, whether it is said of none too, and what it counts.
type Kind = (&'static str, bool, fn(&EnvPlan) -> bool);

/// `1 to release, 4 unchanged, 0 blocked`, and what else there is.
fn totals(plans: &[EnvPlan]) -> String {
    let kinds: [Kind; 7] = [
        ("to release", true, |plan| plan.action == Action::Release),
        ("to remove", false, |plan| matches!(plan.action, Action::Remove | Action::Delete)),
        ("to start", false, |plan| plan.action == Action::Start),
        ("to repair", false, |plan| plan.action == Action::Nothing && plan.changes()),
        ("unchanged", true, |plan| plan.action == Action::Nothing && !plan.changes()),
        ("held", false, |plan| is_held(&plan.action)),
        ("blocked", true, |plan| is_blocked(&plan.action)),
    ];
    let counted = kinds.iter().map(|(word, always, of)| (word, always, plans.iter().filter(|plan| of(plan)).count()));
    let shown = counted.filter(|(_, always, count)| **always || *count > 0);
    shown.map(|(word, _, count)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

fn is_held(action: &Action) -> bool {
    matches!(action, Action::Held(_) | Action::Stopped(_) | Action::Suspended(_) | Action::Removed { .. })
}

/// What a first release asks of the host, and what of it is not here.
fn needs(app: &App, plan: &EnvPlan) {
    let first = plan.serves.is_none();
    for row in plan.needs(app.host.capabilities()).iter().filter(|_| first) {
        printer::line(format!("  {:<8} {row}", row.need().label()));
    }
}

fn is_blocked(action: &Action) -> bool {
    use Action::{Blocked, Diverged, Hindered, Quarantined, Stale, Waiting};
    matches!(action, Blocked(_) | Diverged(_) | Hindered(_) | Quarantined(_) | Stale(_) | Waiting(_))
}

fn next(app: &App, plans: &[EnvPlan]) {
    let changing: Vec<&EnvPlan> = plans.iter().filter(|plan| plan.changes()).collect();
    let one = match changing.as_slice() {
        [] => return,
        [one] => format!(" {}", one.name),
        _ => String::new(),
    };
    let offset = schedule::offset(&app.name, app.settings.jitter.duration());
    let at = app.settings.schedule.next_after(app.host.clock().now(), offset);
    printer::help(&format!("portreeve reconcile{one}, or wait for {}", at.strftime("%H:%M:%S UTC")));
}

fn environment(plan: &EnvPlan) {
    let serves = plan.serves.as_ref();
    let from = serves.map_or("nothing", |serving| serving.title.as_str());
    match (&plan.action, &plan.wants) {
        (Action::Release, Some(wanted)) => {
            printer::line(format!("{}: release {from} -> {}", plan.name, wanted.title()));
        }
        (Action::Start, _) => {
            printer::line(format!("{}: start {from}, which is not running", plan.name));
            if let Some(action) = &plan.stays {
                stays(plan, action);
            }
        }
        (Action::Remove, _) => printer::line(format!("{}: take off this host; data, media and logs stay", plan.name)),
        (Action::Delete, _) => printer::line(format!("{}: delete its files; data, media and logs stay", plan.name)),
        (Action::Nothing, _) if plan.changes() => printer::line(format!("{}: repair", plan.name)),
        (action, _) => stays(plan, action),
    }
    if let Some(words) = &plan.moved {
        diverged(plan, words);
    }
    if let Some(cure) = cure(plan) {
        printer::line(format!("  you      {cure}"));
    }
    for drift in &plan.repairs {
        printer::line(format!("  repair   {drift}"));
    }
    for words in &plan.respected {
        printer::line(format!("  left     {words}"));
    }
}

/// Why it is left where it is, and for what was rewritten what to type.
fn stays(plan: &EnvPlan, action: &Action) {
    match (action, words(plan, action)) {
        (Action::Diverged(words), _) => diverged(plan, words),
        (_, Some(words)) => printer::line(words),
        (_, None) => {}
    }
}

/// The same in a line; nothing, where it is not left.
fn words(plan: &EnvPlan, action: &Action) -> Option<String> {
    let (state, words) = match action {
        Action::Removed { words, .. } => ("", words),
        Action::Held(words) => ("held ", words),
        Action::Stopped(words) => ("stopped ", words),
        Action::Suspended(words) => ("suspended ", words),
        Action::Quarantined(words) => ("quarantined: ", words),
        Action::Waiting(words) => ("waiting: ", words),
        Action::Hindered(words) | Action::Blocked(words) => ("blocked: ", words),
        Action::Stale(words) => ("stale: ", words),
        Action::Diverged(words) => ("diverged: ", words),
        Action::Nothing | Action::Release | Action::Start | Action::Remove | Action::Delete => return None,
    };
    Some(format!("{}: {state}{words}", plan.name))
}

/// The first line says what is so, those below it what to type.
fn diverged(plan: &EnvPlan, words: &str) {
    let mut lines = words.lines();
    printer::line(format!("{}: diverged: {}", plan.name, lines.next().unwrap_or_default()));
    lines.for_each(|line| printer::line(format!("  you      {line}")));
}

/// What ends the state that keeps an environment where it is.
fn cure(plan: &EnvPlan) -> Option<String> {
    let name = &plan.name;
    match plan.stays.as_deref().unwrap_or(&plan.action) {
        Action::Held(_) => Some(format!("push other content, or portreeve resume {name}")),
        Action::Suspended(_) => Some(format!("portreeve resume {name}")),
        Action::Stopped(_) => Some(format!("portreeve start {name}")),
        Action::Quarantined(_) => Some(format!("push a fix, or portreeve retry {name}")),
        _ => None,
    }
}

fn as_json(plan: &EnvPlan, host: &Capabilities) -> json::Planned {
    let action = match &plan.action {
        Action::Nothing if plan.changes() => "repair",
        Action::Nothing => "nothing",
        Action::Release => "release",
        Action::Start => "start",
        Action::Remove => "remove",
        Action::Delete => "delete",
        Action::Removed { .. } => "removed",
        Action::Held(_) => "held",
        Action::Stopped(_) => "stopped",
        Action::Suspended(_) => "suspended",
        Action::Quarantined(_) => "quarantined",
        Action::Waiting(_) => "waiting",
        Action::Hindered(_) | Action::Blocked(_) => "blocked",
        Action::Diverged(_) => "diverged",
        Action::Stale(_) => "stale",
    };
    let not_here = plan.needs(host).into_iter().filter_map(|row| match row {
        Row::NotHere(need, why) => Some(json::NotHere { need: need.label().to_owned(), reason: why.to_string() }),
        Row::Here(_) => None,
    });
    json::Planned {
        environment: plan.name.clone(),
        action: action.to_owned(),
        serves: plan.serves.as_ref().map(|serving| serving.title.clone()),
        wants: plan.wants.as_ref().map(|wanted| wanted.title()),
        not_here: not_here.collect(),
        repairs: plan.repairs.iter().map(ToString::to_string).collect(),
    }
}
