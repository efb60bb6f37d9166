//! A new binary takes over between passes; what is no binary doesn't.

use std::time::Duration;

use crate::edits::{ASKED, HEALTH_GATED};
use crate::traces::until_within;
use crate::world::World;

const UNIT: &str = "portreeve.service";

/// A pass a minute, none of it by chance.
const AGENT_TOML: &str = r#"repo = "ssh://git@git.example.org/srv/git/deploy.git"
host = "web1"
schedule = "* * * * *"
jitter = "0s"
"#;

const A_PASS: Duration = Duration::from_secs(150);

fn property(world: &World, name: &str) -> String {
    world.host.exec_ok(&["systemctl", "show", "--value", &format!("--property={name}"), UNIT]).stdout.trim().to_owned()
}

/// What the agent's process runs: the inode of its program, and whether that is still installed.
fn runs(world: &World, pid: &str) -> (String, bool) {
    let inode = world.host.sh(&format!("stat -L -c %i /proc/{pid}/exe"));
    let installed = world.host.sh("stat -c %i /usr/bin/portreeve");
    (inode.clone(), inode == installed)
}

/// A world whose agent has released `v1`, and the agent's process.
#[track_caller]
fn agent_at_work(name: &str) -> (World, String) {
    let world = World::new(name);
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.host.put_file("/etc/portreeve/agent.toml", AGENT_TOML);
    world.host.exec_ok(&["systemctl", "start", UNIT]);
    let tip = world.deploy.git(&["rev-parse", "HEAD"]).ok().stdout;
    world.portreeve(&["wait", "bakery/pro", "--commit", tip.trim(), "--timeout", "150s"]).ok();
    assert_eq!(world.serving(), "v1");
    let pid = property(&world, "MainPID");
    (world, pid)
}

/// Waits until the gated candidate is asked for its health, again if it was before.
#[track_caller]
fn until_asked(world: &World) {
    world.host.exec_ok(&["rm", "-f", ASKED]);
    until_within(A_PASS, "the candidate is asked for its health", || world.host.has(ASKED));
}

/// Waits until the agent begins one more pass; between two it may give way.
#[track_caller]
fn until_the_next_pass(world: &World) {
    let announced = property(world, "StatusText");
    assert!(announced.starts_with("next pass "), "{announced}");
    until_within(A_PASS, "another pass begins", || property(world, "StatusText") != announced);
}

#[test]
fn a_new_binary_takes_over_between_passes_and_the_unit_does_not_restart() {
    let (world, pid) = agent_at_work("takeover");
    let (first, _) = runs(&world, &pid);

    // Something that is no program of ours: it is not run, it is said once, and passes go on.
    world.host.sh("cp -p /usr/bin/portreeve /root/good; printf '#!/bin/sh\\nexit 1\\n' >/root/bad
         chmod 755 /root/bad; mv /root/bad /usr/bin/portreeve");
    let refused = || world.host.journal(UNIT).contains("was replaced by what does not run (--version ended with 1: )");
    until_within(A_PASS, "the agent says that it is not replaced", refused);
    // After one pass it may still be the same round's; after another there was a chance to say it again.
    (0..2).for_each(|_| until_the_next_pass(&world));
    assert_eq!(runs(&world, &pid), (first.clone(), false), "the old one goes on");
    assert_eq!(property(&world, "MainPID"), pid);

    // A program with other bytes: the one that runs from now on, in the same process.
    world.host.sh("printf later >>/root/good; mv /root/good /usr/bin/portreeve");
    world.push_app("v2", &[], "v2");
    let commit = world.set_rev("v2");
    until_within(A_PASS, "the new binary runs", || runs(&world, &pid).1);
    assert_ne!(runs(&world, &pid).0, first);
    let journal = world.host.journal(UNIT);
    assert!(journal.contains("/usr/bin/portreeve was replaced: portreeve "), "{journal}");
    assert_eq!(journal.matches("does not run").count(), 1, "{journal}");
    world.host.exec(&["/usr/bin/portreeve", "wait", "bakery/pro", "--commit", &commit, "--timeout", "150s"]).ok();
    assert_eq!(world.serving(), "v2", "it makes the passes now");
    let unit = ["MainPID", "NRestarts", "ActiveState", "Result"].map(|name| property(&world, name));
    assert_eq!(unit, [pid.as_str(), "0", "active", "success"]);
    world.host.exec_ok(&["systemctl", "stop", UNIT]);
    assert_eq!(property(&world, "Result"), "success", "it hears SIGTERM");
}

#[test]
fn a_new_binary_waits_for_the_end_of_the_release_that_is_under_way() {
    let (world, pid) = agent_at_work("takeoverlater");
    let (first, _) = runs(&world, &pid);
    world.host.sh("mkdir -m 777 /srv/gate");
    world.push_app("v2", HEALTH_GATED, "v2");
    world.edit_pro(|pro| pro.replace("\"v1\"", "\"v2\"").replace("deadline = \"20s\"", "deadline = \"10m\""));
    until_asked(&world);

    world.host.sh("cp -p /usr/bin/portreeve /root/good; printf later >>/root/good; mv /root/good /usr/bin/portreeve");
    until_the_next_pass(&world);
    assert_eq!(runs(&world, &pid), (first, false), "the release is the old one's to end");
    until_asked(&world);
    assert_eq!(world.serving(), "v1");

    world.host.sh("touch /srv/gate/open");
    until_within(A_PASS, "the new binary runs", || runs(&world, &pid).1);
    assert_eq!(world.serving(), "v2");
    let journal = world.host.journal(UNIT);
    assert!(!journal.contains("interrupted") && !journal.contains("not released"), "{journal}");
    let history = world.portreeve(&["history", "bakery/pro"]).ok().stdout;
    assert_eq!(history.matches("released v2 after ").count(), 1, "{history}");
    assert_eq!(["MainPID", "NRestarts"].map(|name| property(&world, name)), [pid.as_str(), "0"]);
    world.host.exec_ok(&["systemctl", "stop", UNIT]);
}
