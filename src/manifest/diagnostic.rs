//! Complaints about a deploy repository, each with its place and its cure.

use std::ops::Range;

use crate::model::{EnvName, ProjectName};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, and is likely not what was meant.
    Warning,
    /// What it concerns can't be used.
    Error,
}

/// What a complaint keeps from being used; everything else goes on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Concern {
    /// Every environment on every host.
    Everything,
    /// All environments of a project.
    Project(ProjectName),
    /// One environment, on whatever host.
    Environment(EnvName),
    /// What a host's file says runs there: it is not known in full, so nothing may be taken away.
    Host(String),
    /// A file that belongs to nothing.
    Nothing,
}

/// A stretch of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Bytes of the file.
    pub span: Range<usize>,
    /// Line of the first byte, from 1.
    pub line: usize,
    /// Column of the first byte in characters, from 1.
    pub column: usize,
}

impl Place {
    /// The place of these bytes in this text.
    pub(super) fn new(text: &str, span: Range<usize>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { span, line, column }
    }
}

/// One complaint. Its text may hold whatever the repository holds: escape it before it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line.
    pub message: String,
    /// Path of the file within the repository.
    pub file: String,
    /// Where in it, unless it is about the file as a whole.
    pub place: Option<Place>,
    /// What stands beside the place.
    pub label: Option<String>,
    /// The cure.
    pub help: Option<String>,
    /// What can't be used because of it.
    pub concern: Concern,
}

impl Diagnostic {
    /// Line from 1; 1 for a complaint about the file as a whole.
    pub fn line(&self) -> usize {
        self.place.as_ref().map_or(1, |place| place.line)
    }

    /// Column from 1, in characters; 1 for a complaint about the file as a whole.
    pub fn column(&self) -> usize {
        self.place.as_ref().map_or(1, |place| place.column)
    }

    /// A complaint about a file as a whole.
    pub(super) fn of_file(file: &str, concern: Concern, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            file: file.to_owned(),
            place: None,
            label: None,
            help: None,
            concern,
        }
    }

    /// The same as a warning.
    pub(super) fn warning(self) -> Self {
        Self { severity: Severity::Warning, ..self }
    }

    /// With words beside the place.
    pub(super) fn label(self, label: impl Into<String>) -> Self {
        Self { label: Some(label.into()), ..self }
    }

    /// With a cure.
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// With something narrower, or wider, than the file's own concern.
    pub(super) fn concerning(self, concern: Concern) -> Self {
        Self { concern, ..self }
    }

    fn stops(&self, name: &EnvName) -> bool {
        match &self.concern {
            Concern::Everything => true,
            Concern::Project(project) => *project == name.project,
            Concern::Environment(environment) => environment == name,
            Concern::Host(_) | Concern::Nothing => false,
        }
    }
}

/// All complaints of one run, in the order of files and lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    files: usize,
}

impl Diagnostics {
    /// Adds one.
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        if !self.list.contains(&diagnostic) {
            self.list.push(diagnostic);
        }
    }

    /// Says how many manifests were looked at, and puts the complaints in order.
    pub(super) fn finish(&mut self, files: usize) {
        self.files = files;
        self.list.sort_by(|a, b| (&a.file, a.line(), a.column()).cmp(&(&b.file, b.line(), b.column())));
    }

    /// How many manifests were looked at.
    pub fn files(&self) -> usize {
        self.files
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// Those that make something unusable.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter().filter(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Those that don't.
    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter().filter(|diagnostic| diagnostic.severity == Severity::Warning)
    }

    /// Whether something is unusable.
    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// The errors because of which an environment can't be released.
    pub fn stopping(&self, name: &EnvName) -> Option<Invalid> {
        Invalid::of(self.errors().filter(|error| error.stops(name)))
    }

    /// The errors because of which it isn't known in full what runs on a host.
    pub fn about_host(&self, host: &str) -> Option<Invalid> {
        Invalid::of(self.errors().filter(|error| matches!(&error.concern, Concern::Host(name) if name == host)))
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Something is named by the repository, and can't be read: that is not the same as being absent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// The first error, as `file:line:column: message`.
    pub first: String,
    /// How many errors there are, at least 1.
    pub errors: usize,
}

impl Invalid {
    fn of<'a>(errors: impl Iterator<Item = &'a Diagnostic>) -> Option<Self> {
        let errors: Vec<_> = errors.collect();
        let first = errors.first()?;
        let text = format!("{}:{}:{}: {}", first.file, first.line(), first.column(), first.message);
        Some(Self { first: text.escape_debug().to_string().replace("\\\"", "\""), errors: errors.len() })
    }
}

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.first)?;
        if self.errors > 1 { write!(f, " (and {} more)", self.errors - 1) } else { Ok(()) }
    }
}
