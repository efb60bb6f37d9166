//! `portreeve history [ENV]`: how it got there.

use comfy_table::{Table, presets};

use super::args::{Global, HistoryArgs};
use super::{Fault, json, open, printer};
use crate::agent::{known, past};
use crate::history::{Event, EventKind, HistoryError};
use crate::transaction::Quiet;

/// Prints the latest events, newest first.
pub fn run(args: &HistoryArgs, global: &Global) -> Result<u8, Fault> {
    let app = open::app(global)?;
    let (events, note) = past(&app.context(&Quiet), args.env.as_ref(), args.n).map_err(|error| match error {
        HistoryError::Newer { .. } => Fault::blocked(error.to_string()),
        _ => Fault::failed(&error),
    })?;
    if let Some(name) = args.env.as_ref().filter(|_| events.is_empty())
        && !known(&app.context(&Quiet)).map_err(|error| Fault::failed(&error))?.contains(name)
    {
        return Err(Fault::blocked(format!("{name} is not on this host")));
    }
    if let Some(note) = note {
        printer::note(&note);
    }
    if global.json {
        printer::json(&events.into_iter().map(json::Event::from).collect::<Vec<_>>());
        return Ok(0);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["WHEN (UTC)", "ENVIRONMENT", "GEN", "EVENT", ""]);
    for event in &events {
        let env = event.env.as_ref().map(ToString::to_string).unwrap_or_default();
        let generation = event.generation.map(|number| number.to_string()).unwrap_or_default();
        let when = event.at.strftime("%Y-%m-%d %H:%M:%S").to_string();
        table.add_row([when, env, generation, event.kind.as_str().to_owned(), words(event)]);
    }
    printer::table(&table);
    Ok(0)
}

/// What happened, who ordered it, and why, each once: `back to v1.4.2, by anna: "cart broken"`. Only a person is quoted.
fn words(event: &Event) -> String {
    let by = event.by.as_ref().map(|by| format!(", by {by}")).unwrap_or_default();
    let why = event.why.as_ref().filter(|why| !event.summary.contains(why.as_str()));
    let why = why.map(|why| why.lines().next().unwrap_or_default());
    let why = match (why, event.kind) {
        (None, _) => String::new(),
        (Some(why), EventKind::Released) => format!(": {why}"),
        (Some(why), _) => format!(": \"{why}\""),
    };
    let took = event.took.map(|took| format!(" after {}", printer::took(took))).unwrap_or_default();
    let commit =
        event.deploy_commit.as_ref().map(|commit| format!(", deploy commit {}", commit.short())).unwrap_or_default();
    format!("{}{took}{commit}{by}{why}", event.summary.lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_quoted_and_a_difference_is_not() {
        let told = |kind, summary: &str, why: &str| {
            let event = Event::new(jiff::Timestamp::UNIX_EPOCH, None, kind, summary);
            words(&Event { why: Some(why.to_owned()), ..event })
        };
        assert_eq!(told(EventKind::Released, "released v2", "rev v1 -> v2"), "released v2: rev v1 -> v2");
        assert_eq!(told(EventKind::Held, "back to v1", "cart broken"), "back to v1: \"cart broken\"");
    }
}
