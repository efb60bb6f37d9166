//! `portreeve status`: where each environment stands. Reads the host and what the last pass saw; the network is not asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use comfy_table::{Table, presets};
use jiff::Timestamp;
use serde::Serialize;

use super::args::{Global, StatusArgs};
use super::{Fault, open, printer, reconcile};
use crate::agent::{App, LastPass, Left, mute, read_last_pass, read_standing, schedule};
use crate::host::{Request, Target};
use crate::model::{EnvName, SlotId};
use crate::observed::Installed;
use crate::plan::{Action, Decision, EnvPlan, Want, decide};
use crate::policy::{Hold, HoldKind, Standing};
use crate::transaction::{self, Context, Failure, Quiet};

/// A pass that is later than this is missed: a long build delays one too.
const LATE: Duration = Duration::from_mins(10);

/// One row.
#[derive(Debug, Serialize)]
struct Row {
    environment: EnvName,
    serves: Option<String>,
    release: Option<String>,
    generation: Option<u64>,
    slot: Option<String>,
    http: Option<u16>,
    wants: Option<String>,
    state: &'static str,
    detail: String,
    #[serde(skip)]
    next: String,
}

impl Row {
    /// A person decided about those that are held, suspended and stopped.
    fn needs_you(&self) -> bool {
        !matches!(self.state, "ok" | "releasing" | "held" | "suspended" | "stopped")
    }
}

/// Prints the table.
pub fn run(args: &StatusArgs, global: &Global) -> Result<u8, Fault> {
    let app = open::app(global)?;
    let cx = app.context(&Quiet);
    let last = read_last_pass(&cx);
    let rows = rows(&cx, &last, &args.only.environments).map_err(|failure| reconcile::fault(&failure))?;
    if let Some(unknown) = args.only.environments.iter().find(|name| !rows.iter().any(|row| row.environment == **name))
    {
        return Err(Fault::blocked(format!("{unknown} is not on this host")));
    }
    if global.json {
        printer::json(&rows);
    } else {
        print(&app, &last, &rows);
    }
    Ok(if args.exit_code && rows.iter().any(Row::needs_you) { 4 } else { 0 })
}

fn rows(cx: &Context<'_>, last: &LastPass, only: &[EnvName]) -> Result<Vec<Row>, Failure> {
    let on_host = Failure::on_host(transaction::Phase::Recover);
    let services = cx.host.services().services().map_err(&on_host)?;
    let installed = transaction::installed_names(cx).map_err(&on_host)?;
    let names: BTreeSet<EnvName> = installed.into_iter().chain(last.environments.keys().cloned()).collect();
    let names = names.into_iter().filter(|name| only.is_empty() || only.contains(name));
    let rows = names.map(|name| {
        let row = row(cx, last, &services, &name);
        row.unwrap_or_else(|failure| Some(unreadable(&name, failure)))
    });
    Ok(rows.flatten().collect())
}

/// What is on the host of it can't be read, or is a newer portreeve's.
fn unreadable(name: &EnvName, failure: Failure) -> Row {
    Row {
        environment: name.clone(),
        serves: None,
        release: None,
        generation: None,
        slot: None,
        http: None,
        wants: None,
        state: "blocked",
        detail: failure.cause,
        next: format!("portreeve history {name}"),
    }
}

/// `None`: it was taken off this host.
fn row(
    cx: &Context<'_>,
    last: &LastPass,
    services: &BTreeMap<SlotId, crate::model::Service>,
    name: &EnvName,
) -> Result<Option<Row>, Failure> {
    let installed = transaction::installed(cx, name, services)?;
    let seen = last.environments.get(name);
    if installed.generation.is_none() && seen.is_none() {
        return Ok(None);
    }
    let standing = read_standing(cx, name)?;
    let now = cx.host.clock().now();
    let (state, detail) = match releasing(cx, name) {
        Some(detail) => ("releasing", detail),
        None => state(&installed, &standing, seen.and_then(|seen| seen.left.as_ref()), now),
    };
    let generation = installed.generation.as_ref();
    Ok(Some(Row {
        environment: name.clone(),
        serves: generation.map(|generation| generation.wanted.title()),
        release: generation.map(|generation| generation.wanted.release.to_string()),
        generation: generation.map(|generation| generation.number),
        slot: generation.map(|generation| generation.slot.to_string()),
        http: http(cx, &installed),
        wants: seen.and_then(|seen| seen.wants.clone()),
        state,
        detail: detail.lines().next().unwrap_or_default().to_owned(),
        next: next(name, state, &standing),
    }))
}

/// What is under way: `generation 43, by portreeve agent (pid 812, since 02:40:10 UTC)`
fn releasing(cx: &Context<'_>, name: &EnvName) -> Option<String> {
    let who = transaction::lock::at_work(cx, name)?;
    let intent = transaction::Intent::find(cx, name).ok()??;
    Some(format!("generation {}, by {who}", intent.to))
}

/// What the host itself says counts first, then what the last pass could not do.
fn state(installed: &Installed, standing: &Standing, left: Option<&Left>, now: Timestamp) -> (&'static str, String) {
    let want = installed
        .generation
        .as_ref()
        .map_or(Want::Absent { tombstone: false }, |generation| Want::Wanted(Box::new(generation.wanted.clone())));
    let plan = decide(Decision { want, installed, standing, foreign: None, renders_differently: false, now });
    if let Some(said) = standing.hold.as_ref().and_then(|hold| held(hold, &plan.action, now)) {
        return said;
    }
    let (state, detail) = words(&plan.action);
    if state != "ok" {
        return (state, detail);
    }
    if let Some(failed) = standing.quarantine.last() {
        let ago = printer::ago(now.duration_since(failed.at));
        return ("quarantined", format!("{}: {}, {ago} ago", failed.phase, failed.cause.lines().next().unwrap_or("")));
    }
    match left {
        Some(Left::Waiting(words) | Left::Blocked(words)) => ("blocked", words.clone()),
        Some(Left::Diverged(words)) => ("diverged", words.clone()),
        Some(Left::Stale(words)) => ("stale", words.clone()),
        Some(Left::Held(_) | Left::Quarantined(_) | Left::Busy(_) | Left::Overtaken) | None => ("ok", drift(&plan)),
    }
}

/// What a person ordered, while it counts: `by anna, 2h ago: "cart broken"`.
fn held(hold: &Hold, action: &Action, now: Timestamp) -> Option<(&'static str, String)> {
    let (state, until) = match (&hold.kind, action) {
        (HoldKind::RolledBack { .. }, Action::Nothing | Action::Held(_)) => ("held", String::new()),
        (HoldKind::Stopped, Action::Stopped(_)) => ("stopped", String::new()),
        (HoldKind::Suspended { until: Some(until) }, Action::Suspended(_)) => {
            ("suspended", format!("until {}, ", until.strftime("%H:%M UTC")))
        }
        (HoldKind::Suspended { until: None }, Action::Suspended(_)) => ("suspended", String::new()),
        _ => return None,
    };
    let reason = hold.reason.as_ref().map(|reason| format!(": \"{reason}\"")).unwrap_or_default();
    Some((state, format!("{until}by {}, {} ago{reason}", hold.by, printer::ago(now.duration_since(hold.since)))))
}

fn drift(plan: &EnvPlan) -> String {
    if plan.repairs.is_empty() {
        return String::new();
    }
    let words: Vec<String> = plan.repairs.iter().map(ToString::to_string).collect();
    format!("{}; the next pass repairs it", words.join(", "))
}

fn next(name: &EnvName, state: &str, standing: &Standing) -> String {
    let tried = standing.quarantine.last().and_then(|failed| failed.generation);
    match tried.filter(|_| state == "quarantined") {
        Some(number) => format!("portreeve logs {name} --release {number}"),
        None => format!("portreeve history {name}"),
    }
}

fn words(action: &Action) -> (&'static str, String) {
    match action {
        Action::Nothing | Action::Release | Action::Remove => ("ok", String::new()),
        Action::Start => ("blocked", "not running; the next pass starts it".to_owned()),
        Action::Held(words) => ("held", words.clone()),
        Action::Stopped(words) => ("stopped", words.clone()),
        Action::Suspended(words) => ("suspended", words.clone()),
        Action::Quarantined(words) => ("quarantined", words.clone()),
        Action::Waiting(words) | Action::Blocked(words) => ("blocked", words.clone()),
        Action::Diverged(words) => ("diverged", words.clone()),
        Action::Stale(words) => ("stale", words.clone()),
    }
}

/// What its users get now, through nginx.
fn http(cx: &Context<'_>, installed: &Installed) -> Option<u16> {
    let env = &installed.generation.as_ref()?.wanted.env;
    let request = Request {
        target: Target::Port(cx.facts.http_port),
        host: env.domains.first()?.to_string(),
        path: env.health.path.clone(),
        forwarded_https: false,
        timeout: env.health.timeout.duration(),
    };
    cx.host.probe().get(&request).ok()?.ok().map(|answer| answer.status)
}

fn print(app: &App, last: &LastPass, rows: &[Row]) {
    let now = app.host.clock().now();
    let answering = rows.iter().filter(|row| row.http.is_some_and(|status| status < 500)).count();
    let need = match rows.iter().filter(|row| row.needs_you()).count() {
        0 => String::new(),
        1 => "; 1 needs you".to_owned(),
        several => format!("; {several} need you"),
    };
    let what = if rows.len() == 1 { "environment answers" } else { "environments answer" };
    printer::line(format!("{}: {answering} of {} {what}{need}", app.name, rows.len()));
    printer::line(format!("repo  {}", repository(app, last, now)));
    for line in mute(&app.context(&Quiet)) {
        printer::line(format!("notify  {line}"));
    }
    if rows.is_empty() {
        printer::help("portreeve reconcile makes the first pass");
        return;
    }
    printer::line("");
    table(rows);
    for (n, row) in rows.iter().filter(|row| row.needs_you()).enumerate() {
        let label = if n == 0 { "\nnext:" } else { "     " };
        printer::line(format!("{label} {}", row.next));
    }
}

fn table(rows: &[Row]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["ENVIRONMENT", "SERVES", "HTTP", "WANTS", "STATE", ""]);
    for row in rows {
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let http = row.http.map(|status| status.to_string());
        let state = row.state.to_owned();
        let cells =
            [row.environment.to_string(), dash(&row.serves), dash(&http), dash(&row.wants), state, row.detail.clone()];
        table.add_row(cells);
    }
    printer::table(&table);
}

/// `main 8c1f2ab, fetched 40s ago, next pass 02:59:12 UTC`
fn repository(app: &App, last: &LastPass, now: Timestamp) -> String {
    let ago = |at: Timestamp| printer::ago(now.duration_since(at));
    let branch = &app.settings.branch;
    let tip = last.tip.as_ref().map(|tip| format!(" {}", tip.short())).unwrap_or_default();
    let fetched = match (&last.trouble, last.fetched) {
        (None, Some(at)) => format!("fetched {} ago", ago(at)),
        (Some(trouble), Some(at)) => format!("not read for {}: {}", ago(at), trouble.lines().next().unwrap_or("")),
        (Some(trouble), None) => format!("can't be read: {}", trouble.lines().next().unwrap_or("")),
        (None, None) => "not read since the host started".to_owned(),
    };
    format!("{branch}{tip}, {fetched}{}", passes(app, last, now))
}

/// When the next pass comes, or that none came when it should have.
fn passes(app: &App, last: &LastPass, now: Timestamp) -> String {
    let Some(at) = last.at else { return String::new() };
    let offset = schedule::offset(&app.name, app.settings.jitter.duration());
    let due = app.settings.schedule.next_after(at, offset);
    if now.duration_since(due) > jiff::SignedDuration::try_from(LATE).unwrap_or_default() {
        return format!("; no pass for {}: systemctl status portreeve", printer::ago(now.duration_since(at)));
    }
    let next = app.settings.schedule.next_after(now, offset);
    format!(", next pass {}", next.strftime("%H:%M:%S UTC"))
}
