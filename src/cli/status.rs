//! `portreeve status`: where each environment stands. Reads the host and what the last pass saw; the network is not asked.

use std::collections::BTreeSet;

use comfy_table::{Table, presets};
use jiff::Timestamp;

use super::args::{Global, StatusArgs};
use super::{Fault, json, open, printer, reconcile};
use crate::agent::explain::Explanation;
use crate::agent::{App, LastPass, NextPass, known, look, moving, mute, next_pass, read_last_pass, read_troubles};
use crate::model::ago;
use crate::transaction::Quiet;

/// Prints the table.
pub fn run(args: &StatusArgs, global: &Global) -> Result<u8, Fault> {
    let app = open::app(global)?;
    let last = read_last_pass(&app.context(&Quiet));
    let rows = look(&app, &args.only.environments).map_err(|failure| reconcile::fault(&failure))?;
    if let Some(unknown) = args.only.environments.iter().find(|name| !rows.iter().any(|row| row.environment == **name))
    {
        return Err(Fault::blocked(format!("{unknown} is not on this host")));
    }
    let coming = next_pass(&app, &last);
    let missed = is_missed(&app, coming);
    let code = if args.exit_code { exit_code(missed, &rows) } else { 0 };
    if global.json {
        printer::json(&as_json(&app, &last, coming, rows));
    } else if global.quiet {
        let rows: Vec<Explanation> = rows.into_iter().filter(|row| row.needs_you).collect();
        if !rows.is_empty() {
            table(&rows);
        }
    } else {
        print(&app, &last, (coming, missed), &rows);
    }
    Ok(code)
}

fn exit_code(missed: bool, rows: &[Explanation]) -> u8 {
    if need_you(rows) > 0 || missed { 4 } else { 0 }
}

/// Whether nobody looks any more, so that no row is news. A pass that has a long way to go, also with an environment that is not
/// asked for, keeps the timer's next one waiting.
fn is_missed(app: &App, coming: NextPass) -> bool {
    let cx = app.context(&Quiet);
    let some_move = || known(&cx).is_ok_and(|names| names.iter().any(|name| moving(&cx, name).is_some()));
    !matches!(coming, NextPass::At(_)) && !some_move()
}

fn answering(rows: &[Explanation]) -> usize {
    rows.iter().filter(|row| row.http.is_some_and(|status| status < 500)).count()
}

fn need_you(rows: &[Explanation]) -> usize {
    rows.iter().filter(|row| row.needs_you).count()
}

fn as_json(app: &App, last: &LastPass, coming: NextPass, rows: Vec<Explanation>) -> json::Status {
    let next_pass = match coming {
        NextPass::At(at) => Some(at),
        NextPass::Missed(_) | NextPass::NoneSinceBoot(_) => None,
    };
    let LastPass { at: looked, tip, fetched, trouble, .. } = last.clone();
    let branch = app.settings.branch.clone();
    let repository = json::Repository { branch, tip, fetched, looked, trouble, next_pass };
    let (answering, need_you, notify) = (answering(&rows), need_you(&rows), mute(&app.context(&Quiet)));
    json::Status { host: app.name.clone(), answering, need_you, repository, notify, environments: rows }
}

fn print(app: &App, last: &LastPass, (coming, missed): (NextPass, bool), rows: &[Explanation]) {
    let need = match need_you(rows) {
        0 => String::new(),
        1 => "; 1 needs you".to_owned(),
        several => format!("; {several} need you"),
    };
    let what = if rows.len() == 1 { "environment answers" } else { "environments answer" };
    let agent = if missed { "; the agent needs you" } else { "" };
    printer::line(format!("{}: {} of {} {what}{need}{agent}", app.name, answering(rows), rows.len()));
    printer::line(format!("repo  {}", repository(app, last, coming, app.host.clock().now())));
    for line in mute(&app.context(&Quiet)) {
        printer::line(format!("notify  {line}"));
    }
    if rows.is_empty() {
        printer::help("portreeve reconcile makes the first pass");
        return;
    }
    printer::line("");
    table(rows);
    let agent = missed.then(|| "systemctl status portreeve".to_owned());
    let why = next(rows).into_iter().map(|name| format!("portreeve why {name}"));
    for (n, line) in agent.into_iter().chain(why).enumerate() {
        let label = if n == 0 { "\nnext:" } else { "     " };
        printer::line(format!("{label} {line}"));
    }
}

/// The environments to ask about, the worst first. Of those that stand still for the same reason one is enough.
fn next(rows: &[Explanation]) -> Vec<String> {
    let mut rows: Vec<&Explanation> = rows.iter().filter(|row| row.needs_you).collect();
    let answers = |row: &Explanation| row.http.is_some_and(|status| status < 500);
    rows.sort_by_key(|row| (answers(row), row.state));
    let mut reasons = BTreeSet::new();
    rows.retain(|row| reasons.insert((row.state, &row.detail)));
    rows.into_iter().map(|row| row.environment.to_string()).collect()
}

fn table(rows: &[Explanation]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["ENVIRONMENT", "SERVES", "HTTP", "WANTS", "STATE", ""]);
    for row in rows {
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let http = row.http.map(|status| status.to_string());
        let state = row.state.as_str().to_owned();
        let detail = row.detail.lines().next().unwrap_or_default().to_owned();
        table.add_row([row.environment.to_string(), dash(&row.serves), dash(&http), dash(&row.wants), state, detail]);
    }
    printer::table(&table);
}

/// `main 8c1f2ab, fetched 40s ago, next pass 02:59:12 UTC`
fn repository(app: &App, last: &LastPass, coming: NextPass, now: Timestamp) -> String {
    let ago = |at: Timestamp| ago(now.duration_since(at));
    let branch = &app.settings.branch;
    let tip = last.tip.as_ref().map(|tip| format!(" {}", tip.short())).unwrap_or_default();
    let troubles = read_troubles(&app.context(&Quiet));
    let unread = troubles.repo.as_ref();
    let known = last.fetched.or_else(|| unread?.fetched);
    // After a boot, and before the first pass, what was wrong before counts.
    let before = unread.filter(|_| last.at.is_none()).map(|_| "no pass since the host started".to_owned());
    let tried = last.at.map(|at| format!(", tried {} ago", ago(at))).unwrap_or_default();
    let fetched = match (last.trouble.as_ref().or(before.as_ref()), known) {
        (None, Some(at)) => format!("fetched {} ago", ago(at)),
        (Some(trouble), Some(at)) => {
            format!("not read for {}{tried}: {}", ago(at), trouble.lines().next().unwrap_or(""))
        }
        (Some(trouble), None) => {
            let age = unread.map(|unread| format!(" for {}", ago(unread.since))).unwrap_or_default();
            format!("can't be read{age}{tried}: {}", trouble.lines().next().unwrap_or(""))
        }
        (None, None) => "not read since the host started".to_owned(),
    };
    let passes = match coming {
        NextPass::At(at) => format!(", next pass {}", at.strftime("%H:%M:%S UTC")),
        NextPass::Missed(age) => format!("; no pass for {}: systemctl status portreeve", crate::model::ago(age)),
        NextPass::NoneSinceBoot(age) => {
            format!("; no pass since it started, {} ago: systemctl status portreeve", crate::model::ago(age))
        }
    };
    format!("{branch}{tip}, {fetched}{passes}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_makes_no_pass_is_for_a_person_to_see_to() {
        let mut rows = vec![json::an_explanation()];
        for (missed, code) in [(false, 0), (true, 4)] {
            assert_eq!((exit_code(missed, &rows), exit_code(missed, &[])), (code, code));
        }
        rows[0].needs_you = true;
        assert_eq!(exit_code(false, &rows), 4);
    }
}
