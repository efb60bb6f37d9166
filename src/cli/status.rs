//! `portreeve status`: where each environment stands. Reads the host only; the repository is not asked.

use comfy_table::{Table, presets};
use serde::Serialize;

use super::args::{Global, StatusArgs};
use super::{Fault, open, printer, reconcile};
use crate::agent::{App, read_standing};
use crate::host::{Request, Target};
use crate::model::EnvName;
use crate::observed::Installed;
use crate::plan::{Action, Decision, Want, decide};
use crate::transaction::{self, Context, Failure, Quiet};

/// One row.
#[derive(Debug, Serialize)]
struct Row {
    environment: EnvName,
    serves: Option<String>,
    release: Option<String>,
    generation: Option<u64>,
    slot: Option<String>,
    http: Option<u16>,
    state: String,
    detail: String,
}

/// Prints the table.
pub fn run(args: &StatusArgs, global: &Global) -> Result<u8, Fault> {
    let app = open::app(global)?;
    let rows = rows(&app, &args.only.environments).map_err(|failure| reconcile::fault(&failure))?;
    let needing = rows.iter().filter(|row| row.state != "ok" && row.state != "held").count();
    if global.json {
        printer::json(&rows);
    } else {
        print(&app, &rows, needing);
    }
    Ok(if args.exit_code && needing > 0 { 4 } else { 0 })
}

fn rows(app: &App, only: &[EnvName]) -> Result<Vec<Row>, Failure> {
    let cx = app.context(&Quiet);
    let on_host = Failure::on_host(transaction::Phase::Recover);
    let services = cx.host.services().services().map_err(&on_host)?;
    let names = transaction::installed_names(&cx).map_err(&on_host)?;
    let names = names.into_iter().filter(|name| only.is_empty() || only.contains(name));
    names.map(|name| row(&cx, &transaction::installed(&cx, &name, &services)?)).collect()
}

fn row(cx: &Context<'_>, installed: &Installed) -> Result<Row, Failure> {
    let standing = read_standing(cx, &installed.name)?;
    let generation = installed.generation.as_ref();
    let want = generation
        .map_or(Want::Absent { tombstone: false }, |generation| Want::Wanted(Box::new(generation.wanted.clone())));
    let now = cx.host.clock().now();
    let plan =
        decide(Decision { want, installed, standing: &standing, foreign: None, renders_differently: false, now });
    let (mut state, mut detail) = words(&plan.action);
    if state == "ok"
        && let Some(last) = standing.quarantine.last()
    {
        (state, detail) = ("quarantined", format!("{}: {}", last.phase, last.cause));
    }
    if state == "ok" && !plan.repairs.is_empty() {
        detail = format!(
            "{}; the next pass repairs it",
            plan.repairs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        );
    }
    Ok(Row {
        environment: installed.name.clone(),
        serves: generation.map(|generation| generation.wanted.title()),
        release: generation.map(|generation| generation.wanted.release.to_string()),
        generation: generation.map(|generation| generation.number),
        slot: generation.map(|generation| generation.slot.to_string()),
        http: http(cx, installed),
        state: state.to_owned(),
        detail,
    })
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

fn print(app: &App, rows: &[Row], needing: usize) {
    let answering = rows.iter().filter(|row| row.http.is_some_and(|status| status < 500)).count();
    let need = if needing == 0 { String::new() } else { format!("; {needing} need you") };
    printer::line(format!("{}: {answering} of {} environments answer{need}", app.name, rows.len()));
    if rows.is_empty() {
        printer::help("portreeve reconcile makes the first pass");
        return;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["ENVIRONMENT", "SERVES", "HTTP", "STATE", ""]);
    for row in rows {
        let http = row.http.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let serves = row.serves.clone().unwrap_or_else(|| "-".to_owned());
        table.add_row([row.environment.to_string(), serves, http, row.state.clone(), row.detail.clone()]);
    }
    printer::line("");
    printer::line(table);
    if let Some(row) = rows.iter().find(|row| row.state != "ok") {
        printer::line(format!("\nnext: portreeve history {}", row.environment));
    }
}
