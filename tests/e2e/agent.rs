//! The two ways to run without a person: the agent, and the timer's service.

use std::time::Duration;

use crate::edits::{NO_INDEX, OTHER_REQUIREMENTS};
use crate::traces::until_within;
use crate::world::World;

/// A pass a minute, none of it by chance.
const AGENT_TOML: &str = r#"repo = "ssh://git@git.example.org/srv/git/deploy.git"
host = "web1"
schedule = "* * * * *"
jitter = "0s"
"#;

/// A minute until the pass, and a release on a busy machine.
const A_PASS: Duration = Duration::from_secs(150);

const JOURNAL: &str = "/var/lib/portreeve/journal/bakery_pro.json";

/// A property of a unit.
fn property(world: &World, unit: &str, name: &str) -> String {
    let name = format!("--property={name}");
    world.host.exec_ok(&["systemctl", "show", "--value", &name, unit]).stdout.trim().to_owned()
}

#[test]
fn the_agent_releases_on_schedule_and_the_service_makes_one_pass() {
    let world = World::new("agent");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.host.put_file("/etc/portreeve/agent.toml", AGENT_TOML);
    the_units_confine(&world);
    a_first_release_through_the_confined_service(&world);
    a_stop_in_the_middle_leaves_nothing_half(&world);
    the_agent_releases_what_is_pushed(&world);
}

/// The most that root's services may be exposed, by systemd's own reckoning, in tenths. systemd/portreeve.service says what
/// keeps it up.
const EXPOSURE: &str = "--threshold=39";

#[track_caller]
fn the_units_confine(world: &World) {
    for unit in ["portreeve.service", "portreeve-reconcile.service"] {
        let file = format!("/usr/lib/systemd/system/{unit}");
        world.host.exec_ok(&["systemd-analyze", "security", "--offline=true", EXPOSURE, "--no-pager", &file]);
    }
}

/// All that a first release does to a host, under the unit's hardening: user, mount namespace of `nginx -t`, sysctl.
#[track_caller]
fn a_first_release_through_the_confined_service(world: &World) {
    const UNIT: &str = "portreeve-reconcile.service";
    let pass = world.host.exec(&["systemctl", "start", UNIT]);
    assert_eq!(pass.code, 0, "{pass}{}", world.host.journal(UNIT));
    assert_eq!(world.serving(), "v1");
    let reserved = world.host.read_file("/proc/sys/net/ipv4/ip_local_reserved_ports");
    assert_eq!(reserved.trim(), "60000-60009", "{}", world.host.journal(UNIT));
    assert!(!world.host.journal(UNIT).contains("note:"), "{}", world.host.journal(UNIT));

    world.push_app("v2", crate::edits::IMPORT_ERROR, "v2");
    world.set_rev("v2");
    world.host.exec_ok(&["systemctl", "start", UNIT]);
    assert!(world.host.journal(UNIT).contains("No module named 'breda'"));
    assert_eq!(world.serving(), "v1");
    assert_eq!(world.host.state(), "running", "a release that was not kept is no failed unit");
}

/// SIGTERM in the middle of a release: it is abandoned or finished, never held against the release.
#[track_caller]
fn a_stop_in_the_middle_leaves_nothing_half(world: &World) {
    const UNIT: &str = "portreeve-reconcile.service";
    world.push_app("v3", &[], "v3");
    world.set_rev("v3");
    world.host.exec_ok(&["systemctl", "start", "--no-block", UNIT]);
    until_within(A_PASS, "a release is under way", || world.host.has(JOURNAL));
    world.host.exec_ok(&["systemctl", "stop", UNIT]);
    assert!(!world.host.has(JOURNAL), "the journal is closed: {}", world.host.journal(UNIT));
    assert_eq!(world.serving(), "v1");
    let status = world.portreeve(&["status"]).ok();
    assert!(!status.stdout.contains("stopped on request"), "{status}");
    world.reconcile().ok();
    assert_eq!(world.serving(), "v3");
}

/// Seconds without the network cost seconds, however far the passes are apart.
#[test]
fn what_time_mends_does_not_wait_for_a_pass_a_year() {
    const UNIT: &str = "portreeve.service";
    let world = World::new("wakes");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.host.put_file("/etc/portreeve/agent.toml", AGENT_TOML.replace("* * * * *", "0 0 1 1 *"));
    world.reconcile().ok();
    world.push_app("v2", OTHER_REQUIREMENTS, "v2");
    world.set_rev("v2");
    let conf = world.host.read_file("/etc/pip.conf");
    world.host.put_file("/etc/pip.conf", NO_INDEX);
    world.host.exec_ok(&["systemctl", "stop", "ssh"]);
    world.host.exec_ok(&["systemctl", "start", UNIT]);
    let says = |words: &str| world.portreeve(&["status"]).stdout.contains(words);
    until_within(A_PASS, "the git server is away", || says("stale"));
    world.host.exec_ok(&["systemctl", "start", "ssh"]);
    until_within(A_PASS, "it is asked again, and the index is away", || says("blocked"));
    world.host.put_file("/etc/pip.conf", conf);
    until_within(A_PASS, "it is asked again", || world.serving() == "v2");
    world.push_app("v3", &[], "v3");
    world.set_rev("v3");
    world.portreeve(&["suspend", "bakery/pro", "--for", "5s", "--reason", "db move"]).ok();
    until_within(A_PASS, "it goes on by itself, though nobody looked while it was suspended", || {
        world.serving() == "v3"
    });
    world.host.exec_ok(&["systemctl", "stop", UNIT]);
}

/// The timer as it is shipped. A pass that was due while the host was down is made up for, so nobody has to wait for the next.
#[test]
fn the_timer_makes_a_pass_that_was_missed_and_sets_the_next() {
    const TIMER: &str = "portreeve-reconcile.timer";
    let world = World::new("timer");
    world.host.exec_ok(&["systemd-analyze", "verify", &format!("/usr/lib/systemd/system/{TIMER}")]);
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world
        .host
        .sh(&format!("mkdir -p /var/lib/systemd/timers; touch -d '1 hour ago' /var/lib/systemd/timers/stamp-{TIMER}"));
    world.host.exec_ok(&["systemctl", "enable", "--now", TIMER]);
    let begun = || property(&world, "portreeve-reconcile.service", "ExecMainStartTimestampMonotonic") != "0";
    // systemd counts the delay of what was missed from its own start: at most the timer's 30 s.
    until_within(Duration::from_secs(40), "the pass that was missed begins", begun);
    let passed = || property(&world, "portreeve-reconcile.service", "ExecMainExitTimestampMonotonic") != "0";
    until_within(A_PASS, "the pass has ended", passed);
    assert_eq!(world.serving(), "v1");
    until_within(A_PASS, "the next is set", || !property(&world, TIMER, "NextElapseUSecRealtime").is_empty());
    assert_eq!(property(&world, TIMER, "UnitFileState"), "enabled", "also after a reboot");
}

/// The agent and a command want the same, whichever was started before the configuration changed: else each would release what
/// the other has just replaced, and no hold would last.
#[test]
fn the_agent_reads_its_configuration_again_before_each_pass() {
    const UNIT: &str = "portreeve.service";
    let world = World::new("agentreads");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.host.put_file("/etc/portreeve/agent.toml", AGENT_TOML);
    world.reconcile().ok();
    world.release("v2", &[]).ok();
    a_pass_after(&world, || drop(world.host.exec_ok(&["systemctl", "start", UNIT])));

    // A mistake in it is told, and ends no agent.
    world.host.put_file("/etc/portreeve/agent.toml", format!("{AGENT_TOML}colour = 1\n"));
    let told = || world.host.journal(UNIT).contains("goes on with what it read before");
    until_within(A_PASS, "the mistake is told", told);
    assert!(world.host.journal(UNIT).contains("colour"), "{}", world.host.journal(UNIT));

    // What it says of the web server is in each vhost: nobody else looks meanwhile.
    let vhost = || world.host.sh("cat /etc/portreeve/active/bakery_pro/nginx.conf");
    assert!(!vhost().contains("listen 8080"), "{}", vhost());
    world.host.put_file("/etc/portreeve/agent.toml", format!("{AGENT_TOML}[nginx]\nport = 8080\n"));
    until_within(A_PASS, "the agent goes by it", || vhost().contains("listen 8080"));
    let plan = world.reconcile().ok();
    assert!(plan.stdout.contains("bakery/pro  unchanged"), "{plan}");
    world.host.exec_ok(&["systemctl", "stop", UNIT]);
}

/// The agent ends a pass after this; none is under way before.
#[track_caller]
fn a_pass_after(world: &World, then: impl FnOnce()) {
    let last = || world.host.sh("stat -c %y /run/portreeve/last-* | sort | tail -1");
    let before = last();
    then();
    until_within(A_PASS, "a pass has ended", || last() != before);
}

#[track_caller]
fn the_agent_releases_what_is_pushed(world: &World) {
    const UNIT: &str = "portreeve.service";
    world.host.exec_ok(&["systemctl", "start", UNIT]);
    assert_eq!(property(world, UNIT, "ActiveState"), "active");
    let watched = property(world, UNIT, "WatchdogTimestampMonotonic");
    assert_ne!(watched, "0", "the watchdog is fed");
    let sleeps = || property(world, UNIT, "StatusText").starts_with("next pass");
    until_within(A_PASS, "the agent says when its next pass is", sleeps);

    world.push_app("v4", &[], "v4");
    let commit = world.set_rev("v4");
    let waited = world.portreeve(&["wait", "bakery/pro", "--commit", &commit, "--timeout", "150s"]).ok();
    assert!(waited.stdout.contains("bakery/pro") && waited.stdout.contains("v4 is live"), "{waited}");
    assert_eq!(world.serving(), "v4");
    let fed = || property(world, UNIT, "WatchdogTimestampMonotonic") != watched;
    until_within(A_PASS, "the watchdog is fed again", fed);

    assert!(!world.host.has(JOURNAL), "what is live is settled");
    world.host.exec_ok(&["systemctl", "stop", UNIT]);
    assert_eq!(property(world, UNIT, "Result"), "success");
    assert_eq!(world.serving(), "v4", "the site serves without the agent");
}
