//! What a slot runs: the program, its arguments, where, and with which variables.
//!
//! The systemd unit and Supervisor's launcher run the same value; the launcher reads it from `exec.json`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Subject;
use crate::emit::{EmitError, Grammar};
use crate::manifest::{Gunicorn, Web};

/// A program to be run in place of its launcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Where it runs.
    pub directory: PathBuf,
    /// Its whole environment, as [`crate::emit::env::parse`] reads it.
    pub env_file: PathBuf,
}

impl Exec {
    pub(super) fn render(&self) -> String {
        let args: Vec<_> = self.args.iter().map(|arg| serde_json::Value::from(arg.as_str())).collect();
        let path = |path: &Path| serde_json::Value::from(path.display().to_string());
        let json = serde_json::json!({
            "program": path(&self.program),
            "args": args,
            "directory": path(&self.directory),
            "env_file": path(&self.env_file),
        });
        format!("{json:#}\n")
    }
}

/// What the environment's web process runs.
pub(super) fn web(subject: &Subject<'_>) -> Result<Exec, EmitError> {
    let Web::Gunicorn(gunicorn) = &subject.env.web;
    let exec = Exec {
        program: subject.venv.join("bin/gunicorn"),
        args: gunicorn_args(subject, gunicorn)?,
        directory: subject.code_dir.clone(),
        env_file: subject.layout.host().slot_link(&subject.env.name, subject.slot).join("env.conf"),
    };
    for (what, path) in [("a program", &exec.program), ("a directory", &exec.directory), ("a file", &exec.env_file)] {
        text(what, path)?;
    }
    Ok(exec)
}

fn gunicorn_args(subject: &Subject<'_>, gunicorn: &Gunicorn) -> Result<Vec<String>, EmitError> {
    let socket = subject.layout.host().slot_socket(&subject.env.name, subject.slot);
    let mut args = vec!["--bind".to_owned(), format!("unix:{}", text("a socket", &socket)?)];
    let mut option = |name: &str, value: String| args.extend([name.to_owned(), value]);
    option("--workers", subject.workers.to_string());
    option("--threads", gunicorn.threads.to_string());
    option("--timeout", whole_seconds(gunicorn.timeout.duration()).to_string());
    option("--graceful-timeout", whole_seconds(gunicorn.graceful_timeout.duration()).to_string());
    // A worker's heartbeat is a file: on a disk that stalls, healthy workers would be killed.
    option("--worker-tmp-dir", "/dev/shm".to_owned());
    if gunicorn.max_requests > 0 {
        option("--max-requests", gunicorn.max_requests.to_string());
        // Workers that started together should not all be replaced together.
        option("--max-requests-jitter", (gunicorn.max_requests / 10).to_string());
    }
    args.push(application(&gunicorn.app)?);
    Ok(args)
}

/// `module:callable`, which gunicorn must not take for an option.
fn application(app: &str) -> Result<String, EmitError> {
    if app.is_empty() || app.starts_with('-') || app.bytes().any(|byte| byte.is_ascii_control()) {
        let what = "web.gunicorn.app".to_owned();
        return Err(EmitError::Name { grammar: Grammar::Json, what, text: app.to_owned() });
    }
    Ok(app.to_owned())
}

/// gunicorn counts in whole seconds, and 0 would mean never: rounded up.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

/// A path as text; JSON holds nothing else.
fn text<'a>(what: &str, path: &'a Path) -> Result<&'a str, EmitError> {
    path.to_str().ok_or_else(|| EmitError::Name {
        grammar: Grammar::Json,
        what: what.to_owned(),
        text: path.display().to_string(),
    })
}
