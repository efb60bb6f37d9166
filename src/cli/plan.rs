//! `portreeve plan`: what a pass would do, without doing it.

use std::collections::BTreeSet;

use super::args::{Global, PlanArgs};
use super::{Fault, open, printer, reconcile};
use crate::agent::{Survey, survey};
use crate::model::EnvName;
use crate::plan::{Action, EnvPlan};
use crate::transaction::Quiet;

/// Prints the plan; with `--exit-code` 5 when it holds changes.
pub fn run(args: &PlanArgs, global: &Global) -> Result<u8, Fault> {
    if args.since.is_some() {
        return Err(Fault::usage(
            "plan --since is not in portreeve 0.1 yet; git diff shows what changed in the manifests",
        ));
    }
    let app = open::app(global)?;
    let only: BTreeSet<EnvName> = args.only.environments.iter().cloned().collect();
    let survey = survey(&app, &app.context(&Quiet), &only).map_err(|failure| reconcile::fault(&failure))?;
    let changes = survey.plan.environments.iter().any(EnvPlan::changes);
    if global.json {
        printer::json(&survey.plan.environments.iter().map(as_json).collect::<Vec<_>>());
    } else {
        print(&survey);
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

fn print(survey: &Survey) {
    if let Some(commit) = &survey.commit {
        printer::line(format!("deploy commit {} \"{}\", {}", commit.id.short(), commit.subject, commit.author));
    }
    for plan in &survey.plan.environments {
        if plan.changes() || !matches!(plan.action, Action::Nothing) {
            printer::line("");
            environment(plan);
        }
    }
    let count = |wanted: fn(&EnvPlan) -> bool| survey.plan.environments.iter().filter(|plan| wanted(plan)).count();
    let blocked =
        count(|plan| matches!(plan.action, Action::Blocked(_) | Action::Diverged(_) | Action::Quarantined(_)));
    let release = count(|plan| plan.action == Action::Release);
    let unchanged = count(|plan| !plan.changes() && plan.action == Action::Nothing);
    printer::line(format!("\n{release} to release, {unchanged} unchanged, {blocked} blocked"));
    if release > 0 {
        printer::help("portreeve reconcile, or wait for the next pass");
    }
}

fn environment(plan: &EnvPlan) {
    let serves = plan.serves.as_ref();
    let from = serves.map_or("nothing", |serving| serving.title.as_str());
    match (&plan.action, &plan.wants) {
        (Action::Release, Some(wanted)) => {
            printer::line(format!("{}: release {from} -> {}", plan.name, wanted.title()));
            differences(plan);
        }
        (Action::Start, _) => printer::line(format!("{}: start {from}, which is not running", plan.name)),
        (Action::Remove, _) => printer::line(format!("{}: take off this host; data, media and logs stay", plan.name)),
        (Action::Nothing, _) => printer::line(format!("{}: repair", plan.name)),
        (Action::Held(words), _) => printer::line(format!("{}: held {words}", plan.name)),
        (Action::Stopped(words), _) => printer::line(format!("{}: stopped {words}", plan.name)),
        (Action::Suspended(words), _) => printer::line(format!("{}: suspended {words}", plan.name)),
        (Action::Quarantined(words), _) => printer::line(format!("{}: quarantined: {words}", plan.name)),
        (Action::Waiting(words), _) => printer::line(format!("{}: waiting: {words}", plan.name)),
        (Action::Blocked(words), _) => printer::line(format!("{}: blocked: {words}", plan.name)),
        (Action::Diverged(words), _) => printer::line(format!("{}: diverged: {words}", plan.name)),
        (Action::Stale(words), _) => printer::line(format!("{}: stale: {words}", plan.name)),
        (Action::Release, None) => {}
    }
    for drift in &plan.repairs {
        printer::line(format!("  repair   {drift}"));
    }
    for words in &plan.respected {
        printer::line(format!("  left     {words}"));
    }
}

/// What differs between what serves and what is wanted, key by key.
fn differences(plan: &EnvPlan) {
    let Some(wanted) = &plan.wants else { return };
    let before =
        plan.serves.as_ref().and_then(|serving| toml::to_string_pretty(&serving.wanted.env).ok()).unwrap_or_default();
    let after = toml::to_string_pretty(&wanted.env).unwrap_or_default();
    if plan.serves.is_some() {
        let diff = similar::TextDiff::from_lines(before.as_str(), after.as_str());
        for change in diff.iter_all_changes().filter(|change| change.tag() != similar::ChangeTag::Equal) {
            printer::line(format!("  {}{}", change.tag(), change.value().trim_end()));
        }
    }
    let serving = plan.serves.as_ref().map(|serving| &serving.wanted);
    let commits = serving.map_or_else(
        || wanted.commit.short().to_owned(),
        |old| format!("{}..{}", old.commit.short(), wanted.commit.short()),
    );
    printer::line(format!("  source   {commits}"));
    let venv = if serving.is_some_and(|old| old.venv == wanted.venv) {
        "reused"
    } else {
        "build, python and requirements decide"
    };
    printer::line(format!("  venv     {venv}"));
}

fn as_json(plan: &EnvPlan) -> serde_json::Value {
    let action = match &plan.action {
        Action::Nothing if plan.changes() => "repair",
        Action::Nothing => "nothing",
        Action::Release => "release",
        Action::Start => "start",
        Action::Remove => "remove",
        Action::Held(_) => "held",
        Action::Stopped(_) => "stopped",
        Action::Suspended(_) => "suspended",
        Action::Quarantined(_) => "quarantined",
        Action::Waiting(_) => "waiting",
        Action::Blocked(_) => "blocked",
        Action::Diverged(_) => "diverged",
        Action::Stale(_) => "stale",
    };
    serde_json::json!({
        "environment": plan.name.to_string(), "action": action,
        "serves": plan.serves.as_ref().map(|serving| &serving.title),
        "wants": plan.wants.as_ref().map(|wanted| wanted.title()),
        "repairs": plan.repairs.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
