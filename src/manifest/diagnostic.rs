//! Complaints about a deploy repository, each with its place and its cure.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::model::{EnvName, ProjectName};

use super::tree::{Entry, Tree};

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
    /// What only one may have, and this environment asks for beside another: each host goes on with the one that has it there.
    Shared(EnvName),
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
    /// These bytes, before line and column are known: counting costs the whole file, and many complaints are dropped.
    pub(super) fn uncounted(span: Range<usize>) -> Self {
        Self { span, line: 1, column: 1 }
    }

    /// The place of these bytes in this file.
    pub(super) fn new(file: &[u8], span: Range<usize>) -> Self {
        let before = String::from_utf8_lossy(file.get(..span.start).unwrap_or(file));
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
            Concern::Host(_) | Concern::Shared(_) | Concern::Nothing => false,
        }
    }
}

/// Most complaints of one severity and concern that are kept of a file: a hostile one could make millions.
const MOST: usize = 50;

/// All complaints of one run, in the order of files and lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    by_file: BTreeMap<String, Vec<Diagnostic>>,
    files: usize,
}

impl Diagnostics {
    /// Adds one.
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        let list = self.by_file.entry(diagnostic.file.clone()).or_default();
        let alike = |one: &&Diagnostic| one.severity == diagnostic.severity && one.concern == diagnostic.concern;
        if !list.contains(&diagnostic) && list.iter().filter(alike).count() < MOST {
            list.push(diagnostic);
        }
    }

    /// Says how many manifests were looked at, counts lines and columns, and puts the complaints in order.
    pub(super) fn finish(&mut self, files: usize, tree: &Tree) {
        self.files = files;
        for (path, list) in &mut self.by_file {
            list.sort_by_key(|one| one.place.as_ref().map_or(0, |place| place.span.start));
            let Some(Entry::File(bytes)) = tree.get(path) else { continue };
            for place in list.iter_mut().filter_map(|one| one.place.as_mut()) {
                *place = Place::new(bytes, place.span.clone());
            }
        }
    }

    /// How many manifests were looked at.
    pub fn files(&self) -> usize {
        self.files
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.by_file.values().flatten()
    }

    /// Those that make something unusable.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.iter().filter(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Those that don't.
    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.iter().filter(|diagnostic| diagnostic.severity == Severity::Warning)
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
