//! Settings to commented TOML.

use std::fmt::Display;
use std::path::Path;

use super::{AgentSettings, Manager};

/// A line of the file; commented out when it says what holds anyway.
fn line(out: &mut String, said: bool, key: &str, value: impl Display, comment: &str) {
    let mark = if said { "" } else { "# " };
    let text = format!("{mark}{key} = {value}");
    out.extend([format!("{text:<50}").as_str(), " # ", comment, "\n"]);
}

/// A TOML basic string.
fn quoted(text: impl Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

fn path(path: Option<&Path>, example: &str) -> String {
    quoted(path.map_or(example.into(), Path::to_string_lossy))
}

pub(super) fn settings(settings: &AgentSettings) -> String {
    let mut out =
        "# This host's own configuration. A line that is commented out shows what holds without it.\n\n".to_owned();
    top(&mut out, settings);
    git(&mut out, settings);
    rest(&mut out, settings);
    out
}

fn top(out: &mut String, s: &AgentSettings) {
    let unsaid = AgentSettings::new("");
    line(out, true, "repo", quoted(&s.repo), "the deploy repository");
    line(out, s.branch != unsaid.branch, "branch", quoted(&s.branch), "its branch");
    let host = s.host.as_deref();
    line(out, host.is_some(), "host", quoted(host.unwrap_or("web1")), "hosts/NAME.toml there; unsaid: the hostname");
    line(out, s.schedule != unsaid.schedule, "schedule", quoted(&s.schedule), "cron, five fields, UTC");
    line(out, s.jitter != unsaid.jitter, "jitter", quoted(s.jitter), "each host starts later by its own part of this");
    let manager = s.manager.unwrap_or(Manager::Systemd).as_str();
    line(out, s.manager.is_some(), "manager", quoted(manager), "or \"supervisor\"; unsaid: what this host runs");
    let local = s.allow_local_git;
    line(out, local, "allow_local_git", local, "fetch from file:// too; for trying things out");
}

fn git(out: &mut String, s: &AgentSettings) {
    let unsaid = AgentSettings::new("");
    out.push_str("\n[git]\n");
    let (key, known_hosts) = (s.git.key.as_deref(), s.git.known_hosts.as_deref());
    line(out, key.is_some(), "key", path(key, "/etc/portreeve/ssh/id_ed25519"), "unsaid: ssh's own choice");
    let known = path(known_hosts, "/etc/portreeve/ssh/known_hosts");
    line(out, known_hosts.is_some(), "known_hosts", known, "unsaid: ssh's own file");
    let said = s.git.deadline != unsaid.git.deadline;
    line(out, said, "deadline", quoted(s.git.deadline), "longest time for one fetch, the first one of all included");
}

fn rest(out: &mut String, s: &AgentSettings) {
    let unsaid = AgentSettings::new("");
    out.push_str("\n[nginx]\n");
    line(out, s.nginx != unsaid.nginx, "port", s.nginx.port, "plain http");
    out.push_str("\n[python]\n");
    let wheels = s.python.wheelhouse.as_deref();
    let shown = path(wheels, "/srv/wheelhouse");
    line(out, wheels.is_some(), "wheelhouse", shown, "install from these wheels only; unsaid: ask the package index");
    out.push_str("\n[prune]\n");
    let said = s.prune != unsaid.prune;
    line(
        out,
        said,
        "grace",
        quoted(s.prune.grace),
        "a removed environment can come back for so long; data always stays",
    );
}
