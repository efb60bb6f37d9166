//! Throw-away repositories for the tests, made by real git.
#![expect(clippy::disallowed_methods, reason = "tests make their repositories with git itself")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::{Address, Git, LocalPaths, Mirror};
use crate::model::CommitId;

/// The git under test.
pub fn git() -> Git {
    Git::find("/usr/local/bin:/usr/bin").expect("git is installed")
}

/// A repository with a work tree, for us a server.
pub struct Origin {
    directory: tempfile::TempDir,
}

impl Origin {
    pub fn new() -> Self {
        Self::with_format("sha1")
    }

    pub fn with_format(format: &str) -> Self {
        let origin = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::create_dir(origin.path()).unwrap();
        origin.git(&["init", "-q", "-b", "main", "--object-format", format]);
        origin
    }

    pub fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("origin")
    }

    pub fn address(&self) -> Address {
        Address::parse(&format!("file://{}", self.path().display()), LocalPaths::Allowed).unwrap()
    }

    pub fn mirror(&self) -> Mirror {
        Mirror::new(self.directory.path().join("mirror.git"), self.address())
    }

    pub fn git(&self, args: &[&str]) -> String {
        let output = self.command(args).stdin(Stdio::null()).output().unwrap();
        printed(args, &output)
    }

    /// Runs git with this input.
    pub fn git_with(&self, args: &[&str], input: &[u8]) -> String {
        let file = self.directory.path().join("input");
        std::fs::write(&file, input).unwrap();
        let output = self.command(args).stdin(std::fs::File::open(file).unwrap()).output().unwrap();
        printed(args, &output)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/git");
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent").env("LC_ALL", "C");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Anna").env(format!("GIT_{who}_EMAIL"), "anna@example.org");
            command.env(format!("GIT_{who}_DATE"), "1767225600 +0100");
        }
        command.args(["-c", "core.protectHFS=false", "-c", "core.protectNTFS=false"]);
        command.current_dir(self.path()).args(args);
        command
    }

    pub fn commit(&self, file: &str, content: &str) -> CommitId {
        self.commit_bytes(file, content.as_bytes())
    }

    pub fn commit_bytes(&self, file: &str, content: &[u8]) -> CommitId {
        let path = self.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        std::fs::write(path, content).unwrap();
        self.commit_all()
    }

    pub fn link(&self, path: &str, target: &str) {
        std::os::unix::fs::symlink(target, self.path().join(path)).unwrap();
    }

    /// A file that does not compress.
    pub fn commit_noise(&self, file: &str, len: usize) -> CommitId {
        let mut state = 1_u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        });
        self.commit_bytes(file, &noise.take(len).collect::<Vec<_>>())
    }

    pub fn commit_all(&self) -> CommitId {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "change something\n\nbody"]);
        self.head()
    }

    pub fn head(&self) -> CommitId {
        CommitId::parse(&self.git(&["rev-parse", "HEAD"])).unwrap()
    }

    pub fn remove(&self) {
        std::fs::remove_dir_all(self.path()).unwrap();
    }
}

fn printed(args: &[&str], output: &Output) -> String {
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap().trim_end().to_owned()
}
