//! The systemd unit of one slot.

use super::Subject;
use super::exec::{Exec, whole_seconds};
use crate::emit::EmitError;
use crate::emit::unit::{Section, Value, render as text};
use crate::manifest::Web;

/// How much longer than gunicorn systemd waits before it kills.
const STOP_GRACE_SECONDS: u64 = 5;

type Settings = Vec<(&'static str, Value)>;

pub(super) fn render(subject: &Subject<'_>, exec: &Exec) -> Result<String, EmitError> {
    let mut service = process(subject, exec)?;
    service.extend(lifetime(subject));
    service.extend(walls(subject)?);
    Ok(text(&[
        Section::new("Unit", head(subject)?),
        Section::new("Service", service),
        Section::new("Install", vec![("WantedBy", Value::word("multi-user.target"))]),
    ]))
}

fn head(subject: &Subject<'_>) -> Result<Settings, EmitError> {
    let (host, name, slot) = (subject.layout.host(), &subject.env.name, subject.slot);
    let marker = host.active_link(name).join(format!("slot-{slot}"));
    let condition = |prefix, path: &std::path::Path| Value::path_after(prefix, "a condition", path);
    Ok(vec![
        ("Description", Value::text("the description", &format!("{name}, slot {slot} (portreeve)"))?),
        ("After", Value::word("network.target postgresql.service")),
        // Runs when the committed generation names this slot, or while a release says so; not while it is stopped.
        ("ConditionPathExists", condition("|", &marker)?),
        ("ConditionPathExists", condition("|", &host.run_flag(name, slot))?),
        ("ConditionPathExists", condition("!", &host.stopped_flag(name))?),
        // A database that comes up late must not leave the site down for good.
        ("StartLimitIntervalSec", Value::word("0")),
    ])
}

fn process(subject: &Subject<'_>, exec: &Exec) -> Result<Settings, EmitError> {
    Ok(vec![
        ("Type", Value::word("notify")),
        ("NotifyAccess", Value::word("main")),
        ("User", Value::name("the user", subject.env.user.as_str())?),
        ("Group", Value::name("the group", &subject.group)?),
        ("UMask", Value::word("0027")),
        ("WorkingDirectory", Value::path("the code's directory", &exec.directory)?),
        ("EnvironmentFile", Value::path("the variables", &exec.env_file)?),
        ("ExecStart", Value::command(&exec.program, &exec.args)?),
        ("StandardOutput", Value::word("journal")),
        ("StandardError", Value::word("journal")),
    ])
}

fn lifetime(subject: &Subject<'_>) -> Settings {
    let Web::Gunicorn(gunicorn) = &subject.env.web;
    let stop = whole_seconds(gunicorn.graceful_timeout.duration()) + STOP_GRACE_SECONDS;
    vec![
        // The master alone is told to stop; it lets its workers finish.
        ("KillMode", Value::word("mixed")),
        ("TimeoutStartSec", Value::word("90s")),
        ("TimeoutStopSec", Value::seconds(stop)),
        ("Restart", Value::word("always")),
        ("RestartSec", Value::word("1s")),
    ]
}

/// What the application may not do. Homes and the system are read-only but for its own leaves.
fn walls(subject: &Subject<'_>) -> Result<Settings, EmitError> {
    let layout = subject.layout;
    let runtime = layout.host().slot_runtime(&subject.env.name, subject.slot);
    let leaves = [layout.data(), layout.media(), layout.app_log_dir(), runtime];
    let leaves = Value::paths("a directory", leaves.iter().map(std::path::PathBuf::as_path))?;
    let fixed = [
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "read-only"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("ProtectClock", "yes"),
        ("ProtectControlGroups", "yes"),
        ("ProtectHostname", "yes"),
        ("ProtectKernelLogs", "yes"),
        ("ProtectKernelModules", "yes"),
        ("ProtectKernelTunables", "yes"),
        ("LockPersonality", "yes"),
        ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6"),
        ("RestrictNamespaces", "yes"),
        ("RestrictRealtime", "yes"),
        ("RestrictSUIDSGID", "yes"),
        ("SystemCallArchitectures", "native"),
        ("SystemCallFilter", "@system-service"),
        ("SystemCallErrorNumber", "EPERM"),
    ];
    let mut settings: Settings = fixed.into_iter().map(|(key, value)| (key, Value::word(value))).collect();
    settings.push(("ReadWritePaths", leaves));
    Ok(settings)
}
