//! A terminal that is closed, a connection that drops: SIGHUP ends no agent, and a command at a safe point.

use std::time::Duration;

use crate::cmd::Background;
use crate::edits::{ASKED, HEALTH_GATED};
use crate::traces::until_within;
use crate::world::World;

/// A pass a year: whatever the agent does before, it was woken for.
const AGENT_TOML: &str = r#"repo = "ssh://git@git.example.org/srv/git/deploy.git"
host = "web1"
schedule = "0 0 1 1 *"
jitter = "0s"
"#;

const JOURNAL: &str = "/var/lib/portreeve/journal/bakery_pro.json";

/// A release, or a step of one, on a busy machine.
const A_STEP: Duration = Duration::from_mins(1);

const UNIT: &str = "portreeve.service";

/// A command that is hung up on while it waits for the health of a candidate.
#[track_caller]
fn hung_up(world: &World, command: &[&str]) -> Background {
    let command = Background::start(world.host.command(command));
    world.host.exec_ok(&["rm", "-f", ASKED]);
    until_within(A_STEP, "the candidate is asked for its health", || world.host.has(ASKED));
    let lock = world.host.read_file("/run/portreeve/locks/bakery_pro.lock");
    let pid = lock.split("(pid ").nth(1).and_then(|rest| rest.split(',').next());
    // A shell that is hung up on tells its children once more.
    for _ in 0..2 {
        world.host.exec_ok(&["kill", "-HUP", pid.unwrap_or_else(|| panic!("no pid: {lock}"))]);
    }
    command
}

#[test]
fn a_hangup_ends_a_command_at_a_safe_point_and_no_agent() {
    let world = World::new("hangup");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.host.put_file("/etc/portreeve/agent.toml", AGENT_TOML);
    world.host.sh("mkdir -m 777 /srv/gate; touch /srv/gate/open");
    world.edit_pro(|pro| pro.replace("deadline = \"20s\"", "deadline = \"10m\""));
    world.release("v2", HEALTH_GATED).ok();
    world.host.sh("rm /srv/gate/open");
    commands(&world);
    agent(&world);
}

#[track_caller]
fn commands(world: &World) {
    let said = hung_up(world, &["portreeve", "restart", "bakery/pro"]).end().exits(1);
    assert!(said.stderr.contains("stopped on request"), "{said}");
    assert!(!world.host.has(JOURNAL), "nothing is left for others to end");
    assert_eq!(world.serving(), "v2");

    let deaf = hung_up(world, &["nohup", "portreeve", "restart", "bakery/pro"]);
    world.host.sh("touch /srv/gate/open");
    let said = deaf.end().ok();
    assert!(said.stdout.contains("new processes in slot"), "{said}");
}

#[track_caller]
fn agent(world: &World) {
    let property = |name: &str| {
        let name = format!("--property={name}");
        world.host.exec_ok(&["systemctl", "show", "--value", &name, UNIT]).stdout.trim().to_owned()
    };
    world.host.exec_ok(&["systemctl", "start", UNIT]);
    let pid = property("MainPID");
    until_within(A_STEP, "its first pass has ended", || property("StatusText").starts_with("next pass "));
    world.push_app("v3", &[], "v3");
    world.set_rev("v3");
    until_within(A_STEP, "it looks when it is told to", || {
        world.host.exec_ok(&["systemctl", "kill", "--kill-whom=main", "--signal=HUP", UNIT]);
        world.serving() == "v3"
    });
    assert_eq!([property("MainPID"), property("NRestarts")], [pid, "0".to_owned()]);
    world.host.exec_ok(&["systemctl", "stop", UNIT]);
}
