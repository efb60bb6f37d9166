//! The Supervisor program of one slot: the same text whichever slot is live.
//!
//! Supervisor has no conditions, so the program is our launcher: it checks those of the systemd unit and exits with 0,
//! or becomes what `exec.json` says.

use super::Subject;
use super::exec::whole_seconds;
use crate::emit::EmitError;
use crate::emit::supervisor::{Value, program};
use crate::manifest::Web;
use crate::model::Capability;

/// How much longer than gunicorn Supervisor waits before it kills.
const STOP_GRACE_SECONDS: u64 = 5;

pub(super) fn render(subject: &Subject<'_>) -> Result<String, EmitError> {
    let (name, slot) = (&subject.env.name, subject.slot);
    let Web::Gunicorn(gunicorn) = &subject.env.web;
    let stop = whole_seconds(gunicorn.graceful_timeout.duration()) + STOP_GRACE_SECONDS;
    let log = subject.layout.log_dir().join(format!("web-{slot}.log"));
    let mut settings = vec![
        ("command", Value::command(&launch(subject))?),
        ("autostart", Value::word("true")),
        ("startsecs", Value::word("0")),
        ("autorestart", Value::word("unexpected")),
        ("exitcodes", Value::word("0")),
        ("stopsignal", Value::word("TERM")),
        ("stopwaitsecs", Value::number(stop)),
        // The master alone is told to stop; it lets its workers finish.
        ("stopasgroup", Value::word("false")),
        ("killasgroup", Value::word("true")),
        ("umask", Value::word("027")),
    ];
    if subject.capabilities.has(Capability::Identities) {
        settings.push(("user", Value::name("the user", subject.env.user.as_str())?));
    }
    settings.extend([
        ("redirect_stderr", Value::word("true")),
        ("stdout_logfile", Value::path("a log", &log)?),
        ("stdout_logfile_maxbytes", Value::number(subject.env.logs.max_size)),
        ("stdout_logfile_backups", Value::number(subject.env.logs.keep.into())),
    ]);
    program(&subject.layout.host().program_name(name, slot), &settings)
}

fn launch(subject: &Subject<'_>) -> Vec<String> {
    let words = ["launch".to_owned(), subject.env.name.to_string(), subject.slot.to_string()];
    subject.launcher.iter().cloned().chain(words).collect()
}
