//! Everything that is printed goes through here: control characters of others never reach a terminal (RUSTSEC-2024-0364).

use std::fmt::{Arguments, Display};
use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};

use super::Fault;
use super::args::{Colour, Global, Telling};
use crate::transaction::{Event, Report};

const RED: Style = AnsiColor::Red.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default().bold();

/// Text of others without control characters, and without those that turn its direction round; line breaks stay.
pub fn safe(text: &str) -> String {
    text.chars().map(|c| if is_odd(c) && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Control characters, and those that turn the direction of the text round.
pub fn is_odd(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control()
}

/// A line on standard output.
pub fn line(text: impl Display) {
    flows(&text.to_string());
}

/// A line on standard output; whether anybody is left who reads it.
pub fn flows(text: &str) -> bool {
    show(format_args!("{}\n", safe(text)))
}

/// On standard output, if that takes it: a reader that has gone and a disk that is full break off nothing that is under way.
fn show(text: Arguments<'_>) -> bool {
    anstream::stdout().lock().write_fmt(text).is_ok()
}

/// A line on standard error, likewise.
fn complain(text: Arguments<'_>) {
    writeln!(anstream::stderr().lock(), "{text}").ok();
}

/// What was said about colours; else the terminal and `NO_COLOR` decide.
pub fn colour(when: Colour) {
    match when {
        Colour::Auto => anstream::ColorChoice::Auto,
        Colour::Always => anstream::ColorChoice::Always,
        Colour::Never => anstream::ColorChoice::Never,
    }
    .write_global();
}

/// From now on each program that is run is a line on standard error.
pub fn tell_programs() {
    let lines = tracing_subscriber::fmt().with_env_filter("portreeve=debug").with_writer(std::io::stderr);
    let lines = lines.without_time().with_target(false).with_level(false).with_ansi(false);
    // A reader that has gone must not end what is under way.
    let lines = lines.log_internal_errors(false);
    lines.init();
}

/// Whether standard output takes colours.
pub fn colours() -> bool {
    anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never
}

/// Whether somebody types what we read, and reads what we print.
pub fn converses() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// A changed line of a file, `-…` or `+…`, in its colour.
pub fn changed(text: &str) {
    let style = if text.starts_with('-') { AnsiColor::Red } else { AnsiColor::Green }.on_default();
    show(format_args!("  {style}{}{style:#}\n", safe(text)));
}

/// Text that is already styled and safe, as it is.
pub fn raw(text: &str) {
    show(format_args!("{text}"));
}

/// The same on standard error.
pub fn complaints(text: &str) {
    complain(format_args!("{}", text.trim_end()));
}

/// `error: …`, and its help, on standard error.
pub fn error(fault: &Fault) {
    complain(format_args!("{RED}error{RED:#}: {}", safe(&fault.message)));
    if let Some(text) = &fault.help {
        help(text);
    }
}

/// `help: …`
pub fn help(text: &str) {
    complain(format_args!("{CYAN}help{CYAN:#}: {}", safe(text)));
}

/// `note: …`
pub fn note(text: &str) {
    complain(format_args!("{CYAN}note{CYAN:#}: {}", safe(text)));
}

/// A sentence below an error.
pub fn sentence(text: &str) {
    complain(format_args!("  {}", safe(text)));
}

/// A detail below an error.
pub fn detail(label: &str, text: &str) {
    complain(format_args!("  {label:<5} {}", safe(text)));
}

/// A value as JSON, for machines.
pub fn json(value: &impl serde::Serialize) {
    show(format_args!("{}\n", escaped(&serde_json::to_string_pretty(value).unwrap_or_default())));
}

/// JSON leaves DEL, C1 and turned text as they are (RFC 8259, section 7), and a terminal obeys them. Outside of strings there are
/// none but line breaks.
fn escaped(json: &str) -> String {
    let each = |c: char| match c {
        c if is_odd(c) && c != '\n' => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    json.chars().map(each).collect()
}

/// `6.2s`, `120ms`, `1.4ms`.
pub fn took(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    match ms {
        ..10.0 => format!("{ms:.1}ms"),
        ..1000.0 => format!("{ms:.0}ms"),
        _ => format!("{:.1}s", time.as_secs_f64()),
    }
}

/// A table, without the spaces that fill its last column.
pub fn table(table: &comfy_table::Table) {
    table.to_string().lines().for_each(|row| line(row.trim_end().strip_prefix(' ').unwrap_or(row.trim_end())));
}

/// What a line begins with that says what is under way, where that is told by lines.
pub const UNDER_WAY: &str = "  … ";

/// Tells a release as it happens: plain lines in a pipe, a spinner for what takes long on a terminal.
#[derive(Debug)]
pub struct Progress {
    quiet: bool,
    /// Lines of other programs come between: nothing may spin there.
    verbose: bool,
    telling: Telling,
    labelled: bool,
    spinner: Mutex<Option<ProgressBar>>,
}

impl Progress {
    /// Tells nothing but trouble when it is to be quiet, or JSON is the answer.
    pub fn new(global: &Global) -> Self {
        let quiet = global.quiet || global.json;
        let (verbose, telling) = (global.verbose, global.progress);
        Self { quiet, verbose, telling, labelled: false, spinner: Mutex::new(None) }
    }

    /// Says at each line whose it is: several passes may be under way.
    pub fn labelled(global: &Global) -> Self {
        let mut progress = Self::new(global);
        progress.labelled = true;
        progress
    }

    /// One event; `label` says whose it is where that isn't clear from the line before.
    fn tell(&self, label: &str, event: &Event<'_>) {
        if !matches!(event, Event::Working { .. } | Event::Of { .. }) {
            self.clear();
        }
        match event {
            Event::Working { phase, what } => {
                self.under_way(format!("{label} {phase:<8} {}", safe(what)).trim());
            }
            Event::Begin { env, from, to, generation } => {
                let change = match from {
                    Some(from) if *from == *to => format!("{to}, with other configuration"),
                    Some(from) => format!("{from} -> {to}"),
                    None => (*to).to_owned(),
                };
                line(format!("{env}  {change} (generation {generation})"));
            }
            Event::Done { phase, what, took: time } | Event::Failed { phase, what, took: time } => {
                line(format!("{label}  {:<8} {what:<40} {:>7}", phase.to_string(), took(*time)));
            }
            Event::Repaired { env, what } => {
                show(format_args!("{GREEN}repaired{GREEN:#} {env}: {}\n", safe(what)));
            }
            Event::Note { text } if label.is_empty() => note(text),
            Event::Note { text } => note(&format!("{label}: {text}")),
            Event::Of { event, .. } => self.tell(label, event),
        }
    }

    fn under_way(&self, text: &str) {
        match self.telling {
            Telling::Lines => line(format!("{UNDER_WAY}{text}")),
            Telling::Auto if !self.verbose && std::io::stderr().is_terminal() => self.spin(text.to_owned()),
            Telling::Auto => {}
        }
    }

    fn spin(&self, text: String) {
        let Ok(mut spinner) = self.spinner.lock() else { return };
        let bar = spinner.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("  {spinner} {msg} {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::new_spinner().with_style(style);
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        bar.reset_elapsed();
        bar.set_message(text);
    }

    fn clear(&self) {
        if let Ok(mut spinner) = self.spinner.lock()
            && let Some(bar) = spinner.take()
        {
            bar.finish_and_clear();
        }
    }
}

impl Report for Progress {
    fn event(&self, event: &Event<'_>) {
        match event {
            _ if self.quiet => {}
            Event::Of { env, alone, event } if self.labelled || !alone => self.tell(&env.to_string(), event),
            Event::Of { event, .. } => self.event(event),
            event => self.tell("", event),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
