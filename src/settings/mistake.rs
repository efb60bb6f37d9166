//! What is wrong with the file, and where.

use std::fmt;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// The cure.
    pub help: Option<String>,
}

/// All mistakes of a file, in its order; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// The file.
    pub file: String,
    /// The mistakes.
    pub mistakes: Vec<Mistake>,
}

impl std::error::Error for SettingsError {}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Mistake { line, column, message, help }) in self.mistakes.iter().enumerate() {
            let lead = if index == 0 { "" } else { "\n" };
            write!(f, "{lead}{}:{line}:{column}: {message}", self.file)?;
            help.iter().try_for_each(|help| write!(f, "; {help}"))?;
        }
        Ok(())
    }
}

impl Mistake {
    /// A mistake at a byte of `text`.
    pub(super) fn at(text: &str, byte: usize, message: String, help: Option<String>) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        Self { line, column: before[line_start..].chars().count() + 1, message, help }
    }
}

/// The known word that `word` was meant to be, when one is near.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|&other| (distance(word, other), other)).min()?;
    (near.0 <= 2.max(word.len() / 3) && near.0 < near.1.len()).then_some(near.1)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let swapped = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = swapped.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
