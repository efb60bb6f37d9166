//! `portreeve why ENV`: who is served by what, the cause, what happens next by itself, and what to type. The same value of which
//! `status` prints a row; the network is not asked.

use jiff::Timestamp;

use super::args::{Global, WhyArgs};
use super::{Fault, open, printer, reconcile};
use crate::agent::explain::{Deploy, Explanation};
use crate::agent::look;
use crate::model::moment;

/// Prints the explanation.
pub fn run(args: &WhyArgs, global: &Global) -> Result<u8, Fault> {
    let app = open::app(global)?;
    let found = look(&app, std::slice::from_ref(&args.env)).map_err(|failure| reconcile::fault(&failure))?;
    let Some(explanation) = found.into_iter().next() else {
        return Err(
            Fault::blocked(format!("{} is not on this host", args.env)).with_help("portreeve status lists what is")
        );
    };
    if global.json {
        printer::json(&explanation);
    } else {
        print(&explanation, app.host.clock().now());
    }
    Ok(0)
}

fn print(explanation: &Explanation, now: Timestamp) {
    printer::line(head(explanation));
    printer::line("");
    rows("wanted", &[wanted(explanation, now)]);
    if explanation.wants.is_some() && explanation.serves.is_some() {
        rows("changed", &[changed(explanation)]);
    }
    rows("rule", &explanation.rule);
    rows("next", std::slice::from_ref(&explanation.next));
    rows("you", &explanation.you);
}

fn rows(label: &str, lines: &[String]) {
    for (n, line) in lines.iter().enumerate() {
        printer::line(format!("{:<8} {line}", if n == 0 { label } else { "" }));
    }
}

/// `project.baz/pro serves v1.4.2 (generation 42, 200 in 11ms); users are not affected`
fn head(explanation: &Explanation) -> String {
    let name = &explanation.environment;
    let (Some(serves), Some(generation)) = (&explanation.serves, explanation.generation) else {
        return format!("{name}: {}", explanation.users);
    };
    let answer = match (explanation.http, explanation.took_ms) {
        (Some(status), Some(took)) => format!(", {status} in {took}ms"),
        _ => String::new(),
    };
    let users = if explanation.users.is_empty() { String::new() } else { format!("; {}", explanation.users) };
    format!("{name} serves {serves} (generation {generation}{answer}){users}")
}

/// `v1.5.0, deploy commit 8c1f2ab "release v1.5.0", Anna, 02:39 UTC`
fn wanted(explanation: &Explanation, now: Timestamp) -> String {
    let wants = explanation.wants.clone().unwrap_or_else(|| "not known".to_owned());
    let Some(Deploy { commit, subject, author, time }) = &explanation.deploy else {
        return format!("{wants}; no pass has read the deploy repository since the host started");
    };
    let told = match (subject, author, time) {
        (Some(subject), Some(author), Some(time)) => format!(" \"{subject}\", {author}, {}", moment(*time, now)),
        _ => String::new(),
    };
    format!("{wants}, deploy commit {}{told}", commit.short())
}

fn changed(explanation: &Explanation) -> String {
    match explanation.changed.as_slice() {
        [] => "nothing".to_owned(),
        [one] => format!("{one}; nothing else"),
        several => several.join("; "),
    }
}
