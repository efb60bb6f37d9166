//! git as a person uses it: commits in a working clone, pushed to a bare repository beside it.

use std::collections::BTreeMap;

use super::TourError;
use super::place::Place;
use crate::host::{Clock as _, Command, Surroundings, follow};

/// Who commits, and nobody's own settings: a tour signs nothing and runs no hooks.
const VARIABLES: [(&str, &str); 8] = [
    ("GIT_AUTHOR_EMAIL", "you@localhost"),
    ("GIT_AUTHOR_NAME", "you"),
    ("GIT_COMMITTER_EMAIL", "you@localhost"),
    ("GIT_COMMITTER_NAME", "you"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("HOME", "/nonexistent"),
];

/// A working clone in the tour's directory, with `NAME.git` beside it as its origin.
#[derive(Debug)]
pub(super) struct Repository<'a> {
    place: &'a Place,
    name: &'static str,
}

impl<'a> Repository<'a> {
    /// Makes both.
    pub fn create(place: &'a Place, name: &'static str) -> Result<Self, TourError> {
        let repository = Self { place, name };
        let bare = format!("{name}.git");
        place.files.make(name)?;
        place.files.make(&bare)?;
        // Without templates: no hooks.
        repository.git(&[
            "init",
            "--quiet",
            "--bare",
            "--initial-branch=main",
            "--template=",
            &format!("../{bare}"),
        ])?;
        repository.git(&["init", "--quiet", "--initial-branch=main", "--template=", "."])?;
        // git would leave its housekeeping behind, running.
        repository.git(&["--git-dir", &format!("../{bare}"), "config", "receive.autoGC", "false"])?;
        repository.git(&["config", "maintenance.auto", "false"])?;
        repository.git(&["config", "gc.auto", "0"])?;
        repository.git(&["remote", "add", "origin", &format!("../{bare}")])?;
        // For the commits of a person who has never told git a name.
        repository.git(&["config", "user.name", "you"])?;
        repository.git(&["config", "user.email", "you@localhost"])?;
        repository.git(&["config", "push.autoSetupRemote", "true"])?;
        Ok(repository)
    }

    /// Writes a file.
    pub fn write(&self, file: &str, text: impl AsRef<[u8]>) -> Result<(), TourError> {
        Ok(self.place.files.write(format!("{}/{file}", self.name), text)?)
    }

    /// Commits everything.
    pub fn commit(&self, message: &str) -> Result<(), TourError> {
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--no-gpg-sign", "--message", message])
    }

    /// Names the last commit.
    pub fn tag(&self, name: &str) -> Result<(), TourError> {
        self.git(&["tag", name])
    }

    /// Pushes the branch and all tags.
    pub fn push(&self) -> Result<(), TourError> {
        self.git(&["push", "--quiet", "--tags", "--set-upstream", "origin", "main"])
    }

    /// The address of the bare repository.
    pub fn address(&self) -> String {
        self.place.at(&format!("{}.git", self.name)).display().to_string()
    }

    /// What main of the bare repository is, if it is anything.
    pub fn tip(&self) -> Result<Option<String>, TourError> {
        Ok(self.place.files.read(format!("{}.git/refs/heads/main", self.name))?)
    }

    fn git(&self, args: &[&str]) -> Result<(), TourError> {
        let mut variables: BTreeMap<_, _> = VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        variables.insert("GIT_CEILING_DIRECTORIES".to_owned(), self.place.files.path().display().to_string());
        let command = Command {
            program: self.place.program("git")?,
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            surroundings: Surroundings::Bare(variables),
            directory: self.place.at(self.name),
        };
        let mut said = Vec::new();
        let cancelled = || self.place.parts.clock.cancelled();
        let status = follow(&command, &cancelled, &mut |line| said.push(line.to_owned()))?;
        self.place.go_on()?;
        if status.success() {
            return Ok(());
        }
        Err(TourError::Git { command: args.join(" "), said: said.join("; ") })
    }
}
