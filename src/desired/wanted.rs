//! One environment as it should be on this host: the repository's words with everything decided that they leave open.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::manifest::Environment;
use crate::model::{CommitId, Digest, ReleaseId};

/// A Python on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// The program, absolute.
    pub program: PathBuf,
    /// `3.11.2`
    pub version: String,
}

/// What [`Wanted::new`] decides from.
#[derive(Debug, Clone)]
pub struct WantedInput<'a> {
    /// The environment, merged from its layers.
    pub env: Environment,
    /// The application's commit that its `rev` names now.
    pub commit: CommitId,
    /// The deploy repository's commit that says so.
    pub deploy_commit: CommitId,
    /// The Python that will run it.
    pub python: Interpreter,
    /// The bytes of its requirements file at that commit, and whatever is installed beside them.
    pub requirements: &'a [u8],
    /// What decides how packages are installed: the installer and where it looks for them.
    pub installer: &'a str,
    /// The host's secrets of this environment. Only their fingerprint is kept.
    pub secrets: &'a [u8],
    /// The host's processors, for the default number of workers.
    pub processors: u32,
}

/// How this program makes digests: whatever they cover and leave out. 1: content alone.
const FORMULA: u32 = 1;

/// One environment as it should be on this host. Kept in each generation, so that going back needs no git server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// Identity of everything that decides what runs: what holds and quarantine are keyed by.
    pub digest: Digest,
    /// By which formula the digest was made. 0: before they were numbered.
    #[serde(default, skip_serializing_if = "is_unnumbered")]
    pub formula: u32,
    /// The built tree.
    pub release: ReleaseId,
    /// Key of the virtual environment.
    pub venv: String,
    /// The application's commit.
    pub commit: CommitId,
    /// The deploy repository's commit.
    pub deploy_commit: CommitId,
    /// The interpreter.
    pub python: Interpreter,
    /// Worker processes.
    pub workers: u32,
    /// The environment.
    pub env: Environment,
}

impl Wanted {
    /// Decides what the repository leaves open.
    ///
    /// The digest covers the environment's content, its commit (with its requirements), interpreter and secrets, and leaves out the
    /// deploy commit, this program's version and what it installs beside, the slot and the time: an unrelated push changes no
    /// digest, a corrected secret does. Which installer the host has, and how many processors, is left out as well: neither may
    /// end a hold. How long releases are kept, or stay warm, changes nothing that runs.
    pub fn new(input: WantedInput<'_>) -> Self {
        let WantedInput { env, commit, deploy_commit, python, requirements, installer, secrets, processors } = input;
        let venv = venv_key(&python, requirements, installer);
        let release =
            ReleaseId::new(&commit, &Digest::of_parts([venv.as_bytes(), &json(&env.django), &json(&env.web)]));
        let workers = workers(&env, processors);
        let digest = Digest::of_parts([
            commit.as_str().as_bytes(),
            python.program.to_string_lossy().as_bytes(),
            python.version.as_bytes(),
            secrets,
            &json(&running_part(&env)),
        ]);
        Self { digest, formula: FORMULA, release, venv, commit, deploy_commit, python, workers, env }
    }

    /// Whether what is wanted today has this digest if it is this content: an older program made other ones.
    pub fn is_comparable(&self) -> bool {
        self.formula == FORMULA
    }

    /// Whether both run the same. Where the digests can't be compared, secrets are not: they are the host's, and nobody goes back to
    /// earlier ones.
    pub fn runs_the_same_as(&self, other: &Self) -> bool {
        let content = |wanted: &Self| (wanted.commit.clone(), wanted.python.clone(), running_part(&wanted.env));
        if self.formula == other.formula { self.digest == other.digest } else { content(self) == content(other) }
    }

    /// What people call this release: the tag or branch, or the commit.
    pub fn title(&self) -> String {
        match &self.env.rev {
            crate::manifest::Rev::Commit(commit) => commit.short().to_owned(),
            rev => rev.display().to_owned(),
        }
    }

    /// manage.py's directory below the release's tree.
    pub fn code_dir(&self, release: &Path) -> PathBuf {
        match self.env.django.as_ref().and_then(|django| django.dir.as_ref()) {
            Some(dir) => release.join(dir),
            None => release.to_owned(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_unnumbered(formula: &u32) -> bool {
    *formula == 0
}

fn running_part(env: &Environment) -> Environment {
    let settled = crate::manifest::Rev::Named(String::new());
    Environment { rev: settled, keep_releases: 0, warm: crate::model::Span::secs(0), ..env.clone() }
}

fn venv_key(python: &Interpreter, requirements: &[u8], installer: &str) -> String {
    let program = python.program.to_string_lossy();
    let key = Digest::of_parts([program.as_bytes(), python.version.as_bytes(), requirements, installer.as_bytes()]);
    let minor: Vec<&str> = python.version.split('.').take(2).collect();
    format!("env{}-{}", minor.join("."), key.short(12))
}

/// gunicorn's own advice: 2 × cores + 1.
fn workers(env: &Environment, processors: u32) -> u32 {
    let crate::manifest::Web::Gunicorn(gunicorn) = &env.web;
    gunicorn.workers.unwrap_or(2 * processors + 1)
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Maps have string keys and floats are finite (checked by the manifest), so nothing here can fail to serialise.
    serde_json::to_vec(value).unwrap_or_default()
}
