//! Complaints about a deploy repository, as `portreeve check` prints them: place, source line, cure.

use std::fmt::Write as _;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::printer::is_odd;
use crate::manifest::{Diagnostic, Diagnostics, Entry, Place, Severity, Tree};
use crate::plan::masked;

/// Longest source line that is shown whole, in bytes; the screen ends before.
const LONGEST_LINE: usize = 400;

/// All complaints, warnings first, and the closing line. `colour` is for terminals.
///
/// What the repository holds is hostile until proven otherwise: no control character of it is printed.
pub fn render(diagnostics: &Diagnostics, tree: &Tree, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut text = String::new();
    for diagnostic in diagnostics.warnings().chain(diagnostics.errors()) {
        text.push_str(&one(diagnostic, tree, &renderer));
        text.push_str("\n\n");
    }
    text.push_str(&closing_line(diagnostics));
    text.push('\n');
    text
}

/// `2 errors in 5 files`
pub fn closing_line(diagnostics: &Diagnostics) -> String {
    let files = count(diagnostics.files(), "file");
    let (errors, warnings) = (diagnostics.errors().count(), diagnostics.warnings().count());
    match (errors, warnings) {
        (0, 0) => format!("no mistakes in {files}"),
        (0, _) => format!("{} in {files}", count(warnings, "warning")),
        (_, 0) => format!("{} in {files}", count(errors, "error")),
        _ => format!("{} and {} in {files}", count(errors, "error"), count(warnings, "warning")),
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn one(diagnostic: &Diagnostic, tree: &Tree, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let (message, path) = (safe(&diagnostic.message), safe(&diagnostic.file));
    let line = diagnostic.place.as_ref().and_then(|place| Line::of(place, tree.get(&diagnostic.file)?));
    let group = Group::with_title(level.primary_title(message));
    let mut group = match &line {
        Some(line) => group.element(line.snippet(path, diagnostic.label.as_deref())),
        None => group.element(Origin::path(path)),
    };
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(safe(help)));
    }
    renderer.render(&[group])
}

/// The line of a complaint, and which of its bytes are meant.
struct Line {
    text: String,
    number: usize,
    span: std::ops::Range<usize>,
}

impl Line {
    fn of(place: &Place, entry: &Entry) -> Option<Self> {
        let Entry::File(bytes) = entry else { return None };
        let bytes = masked(bytes);
        let at = place.span.start.min(bytes.len());
        let begin = bytes[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        let end = bytes[at..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |newline| at + newline);
        let until = place.span.end.clamp(at, end);
        let before = plain(&bytes[begin..at]);
        let meant = plain(&bytes[at..until]);
        let after = plain(&bytes[until..end]);
        let span = before.len()..before.len() + meant.len();
        let text = format!("{before}{meant}{after}");
        Some(Self { text: text.trim_end().to_owned(), number: place.line, span }.shortened())
    }

    /// Without what is far right of the place: a line of a megabyte helps nobody.
    fn shortened(mut self) -> Self {
        let most = self.text.floor_char_boundary(self.span.start + LONGEST_LINE);
        self.text.truncate(most);
        self.span = self.span.start.min(self.text.len())..self.span.end.min(self.text.len());
        self
    }

    fn snippet(&self, path: String, label: Option<&str>) -> Snippet<'_, annotate_snippets::Annotation<'_>> {
        let annotation = AnnotationKind::Primary.span(self.span.clone()).label(label.map(safe));
        Snippet::source(&self.text).line_start(self.number).path(path).annotation(annotation)
    }
}

/// Bytes of a manifest as text of which each character has one column.
fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if is_odd(c) && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Text of the repository without what a terminal would obey.
fn safe(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if is_odd(c) {
            // Writing to a String can't fail.
            let _written = write!(out, "{}", c.escape_debug());
        } else {
            out.push(c);
        }
    }
    out
}
