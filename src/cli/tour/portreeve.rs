//! This very program as a child: what a person would type, and what it says, a little to the right.

use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::printer;
use super::TourError;
use super::place::Place;
use crate::host::{Clock as _, Command, Surroundings, follow};

/// What a command did.
#[derive(Debug)]
pub(super) struct Said {
    /// Its exit code.
    pub code: Option<i32>,
    /// All its lines.
    pub lines: Vec<String>,
    /// From its start to its end.
    pub took: Duration,
}

impl Said {
    /// Whether a line has these words.
    pub fn has(&self, words: &str) -> bool {
        self.lines.iter().any(|line| line.contains(words))
    }
}

/// Runs it against the tour's host. `plan --exit-code` and the like come back with their code.
pub(super) fn run(place: &Place, args: &[&str]) -> Result<Said, TourError> {
    place.go_on()?;
    let root = place.layout.root().path().display().to_string();
    let colour = if printer::colours() { "always" } else { "never" };
    let all = ["--root", &root, "--progress", "lines", "--color", colour].into_iter().chain(args.iter().copied());
    let command = Command {
        program: program()?,
        args: all.map(str::to_owned).collect(),
        surroundings: Surroundings::Ours,
        directory: place.files.path().to_owned(),
    };
    printer::line(format!("    $ portreeve {}", args.join(" ")));
    let bar = bar();
    let mut lines = Vec::new();
    let begun = place.parts.clock.monotonic();
    let status = follow(&command, &|| place.parts.clock.cancelled(), &mut |line| {
        bar.reset_elapsed();
        if let Some(what) = line.strip_prefix(printer::UNDER_WAY) {
            return bar.set_message(what.to_owned());
        }
        // Our own words, colours and all.
        bar.suspend(|| printer::raw(&format!("{}\n", format!("      {line}").trim_end())));
        lines.push(line.to_owned());
    });
    bar.finish_and_clear();
    let took = place.parts.clock.monotonic().saturating_sub(begun);
    let status = status?;
    place.go_on()?;
    Ok(Said { code: status.code(), lines, took })
}

/// This program's file.
pub(super) fn program() -> Result<PathBuf, TourError> {
    std::env::current_exe().map_err(|error| TourError::Turn(format!("portreeve does not find its own file: {error}")))
}

/// A sign of life below what was said last; none in a pipe.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("        {spinner} {msg} {elapsed}");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
