//! Rotation of the environment's logs.

use super::Subject;
use crate::emit::EmitError;
use crate::emit::logrotate::{Setting, Stanza, render as text};
use crate::model::Capability;

/// nginx opens its logs again; without a shell variable or a value in it.
const REOPEN: &str = "[ ! -f /run/nginx.pid ] || kill -USR1 \"$(cat /run/nginx.pid)\"";

pub(super) fn render(subject: &Subject<'_>) -> Result<String, EmitError> {
    Ok(text(&[front(subject)?, application(subject)?]))
}

/// nginx's logs, in a directory that only root writes: no `su`, so that logrotate refuses it should that ever change.
fn front(subject: &Subject<'_>) -> Result<Stanza, EmitError> {
    let (directory, mut settings) = (subject.layout.log_dir(), common(subject));
    if !subject.capabilities.has(Capability::Identities) {
        settings.push(Setting::word("copytruncate"));
        return Stanza::new(&directory, "nginx-*.log", settings);
    }
    settings.push(Setting::owner("create 0640", &subject.web_user, &subject.group)?);
    settings.push(Setting::word("sharedscripts"));
    Ok(Stanza::new(&directory, "nginx-*.log", settings)?.postrotate(REOPEN))
}

/// The application's own logs, as the application: it could plant links there. We cannot ask it to open them again.
fn application(subject: &Subject<'_>) -> Result<Stanza, EmitError> {
    let mut settings = common(subject);
    settings.push(Setting::word("copytruncate"));
    if subject.capabilities.has(Capability::Identities) {
        settings.push(Setting::owner("su", subject.env.user.as_str(), &subject.group)?);
    }
    Stanza::new(&subject.layout.app_log_dir(), "*.log", settings)
}

fn common(subject: &Subject<'_>) -> Vec<Setting> {
    let logs = &subject.env.logs;
    vec![
        Setting::number("size", logs.max_size),
        Setting::number("rotate", logs.keep.into()),
        Setting::word("missingok"),
        Setting::word("notifempty"),
        Setting::word("compress"),
        Setting::word("delaycompress"),
    ]
}
