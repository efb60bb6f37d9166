//! One manifest's text, and places in it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, Error};

use super::diagnostic::{Concern, Diagnostic, Diagnostics, Place};
use super::tree::{Entry, LARGEST_FILE};

/// A manifest's text and what is unusable when it is wrong.
#[derive(Debug)]
pub(super) struct Source<'t> {
    pub path: &'t str,
    pub text: &'t str,
    pub concern: Concern,
}

impl Source<'_> {
    /// The place before the first character, for what is missing.
    pub fn start(&self) -> Spot<'_> {
        self.spot(0..0)
    }

    /// These bytes.
    pub fn spot(&self, span: Range<usize>) -> Spot<'_> {
        Spot { source: self, start: span.start, end: span.end }
    }
}

/// A stretch of a manifest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot<'t> {
    pub source: &'t Source<'t>,
    start: usize,
    end: usize,
}

impl Spot<'_> {
    /// An error here, which concerns what the file concerns.
    pub fn error(self, message: impl Into<String>) -> Diagnostic {
        let place = Place::uncounted(self.start..self.end);
        let diagnostic = Diagnostic::of_file(self.source.path, self.source.concern.clone(), message);
        Diagnostic { place: Some(place), ..diagnostic }
    }

    /// `projects/bakery/pro.toml:3`
    pub fn file_line(self) -> String {
        format!("{}:{}", self.source.path, Place::new(self.source.text.as_bytes(), self.start..self.end).line)
    }
}

/// A value and where it was said.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'t, T> {
    pub value: T,
    pub spot: Spot<'t>,
}

impl<'t, T> At<'t, T> {
    /// The same place with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> At<'t, U> {
        At { value: change(self.value), spot: self.spot }
    }
}

/// The text of an entry of the tree, or a complaint.
pub(super) fn text<'t>(path: &str, entry: &'t Entry, concern: &Concern, out: &mut Diagnostics) -> Option<&'t str> {
    let complaint = |message: &str| Diagnostic::of_file(path, concern.clone(), message);
    match entry {
        Entry::Link => {
            out.push(complaint("a link is never followed").help("put the file itself here"));
            None
        }
        Entry::TooLarge(size) => {
            let message = format!("{} KiB is too large for a manifest", size / 1024);
            out.push(complaint(&message).help(format!("the limit is {} KiB", LARGEST_FILE / 1024)));
            None
        }
        Entry::File(bytes) => std::str::from_utf8(bytes)
            .map_err(|error| out.push(not_text(complaint("not UTF-8"), bytes, error.valid_up_to())))
            .ok(),
    }
}

fn not_text(complaint: Diagnostic, bytes: &[u8], valid: usize) -> Diagnostic {
    Diagnostic { place: Some(Place::uncounted(valid..valid + 1)), ..complaint }
        .label(format!("byte 0x{:02x} is no character", bytes[valid]))
        .help("save the file as UTF-8")
}

/// Parses a manifest. With a syntax error nothing else in it is looked at: what follows would be guesses.
pub(super) fn parse<'t>(source: &'t Source<'t>, out: &mut Diagnostics) -> Option<Spanned<DeTable<'t>>> {
    let (table, errors) = DeTable::parse_recoverable(source.text);
    let mut lines = Vec::new();
    for error in errors.iter().take(ENOUGH) {
        let (line, complaint) = syntax_error(source, error);
        // One slip makes several complaints of the parser; the first of a line is the useful one.
        if !lines.contains(&line) {
            lines.push(line);
            out.push(complaint);
        }
    }
    errors.is_empty().then_some(table)
}

/// Most syntax errors of a file that are looked at; the rest follows from these.
const ENOUGH: usize = 50;

/// The error, and its line.
fn syntax_error(source: &Source<'_>, error: &Error) -> (usize, Diagnostic) {
    let span = error.span().unwrap_or(0..0);
    let span = if span.is_empty() { back_to_line(source.text, span.start) } else { span };
    let line = Place::new(source.text.as_bytes(), span.clone()).line;
    let label = error.message().lines().next().unwrap_or_default();
    (line, source.spot(span).error("not TOML").label(label))
}

/// An error at the end of the file belongs to its last line, not to the empty one after it.
fn back_to_line(text: &str, at: usize) -> Range<usize> {
    let at = if at >= text.len() { text.trim_end().len() } else { at };
    at..at
}
