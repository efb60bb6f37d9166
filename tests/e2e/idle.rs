//! A tick at which nothing happened does almost nothing, and anything that happened is seen.

use std::process::Command;

use crate::cmd::{self, CmdResult};
use crate::drift::writes;
use crate::edits::IMPORT_ERROR;
use crate::traces::until;
use crate::world::World;

/// So many passes are traced at a time.
const TRACED: usize = 100;

/// What a pass was: a whole one asks the interpreter for its version, an idle one starts git alone.
#[derive(Debug, PartialEq, Eq)]
pub enum Pass {
    Idle,
    Whole,
}

/// What a pass is, that goes well.
#[track_caller]
pub fn pass(world: &World) -> Pass {
    let (said, pass) = told(world);
    said.ok();
    pass
}

/// What a pass says, and what it is.
#[track_caller]
pub fn told(world: &World) -> (CmdResult, Pass) {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let inner = world.host.command(&["portreeve", "reconcile"]);
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-e", "trace=execve", "-o"]).arg(&trace).arg(inner.get_program()).args(inner.get_args());
    traced.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let said = cmd::run(traced);
    let text = std::fs::read_to_string(trace).unwrap();
    assert!(text.contains("ls-remote"), "{text}");
    (said, if text.contains("python3") { Pass::Whole } else { Pass::Idle })
}

/// Passes until nothing is left to do, three at most.
#[track_caller]
fn settle(world: &World) {
    let idle = (0..4).any(|_| pass(world) == Pass::Idle);
    assert!(idle, "passes go on being whole ones");
}

/// What a reload of nginx or of systemd changes.
const RELOADS: &str = "ps -o pid= --ppid $(cat /run/nginx.pid); systemctl show --property=UnitsLoadTimestampMonotonic";

/// So many passes exit alike, none leaves anything on a disk, and nobody reads his configuration again.
pub fn stays_at_rest(world: &World, passes: usize) -> Result<(), String> {
    let (mut codes, read) = (Vec::new(), world.host.sh(RELOADS));
    while codes.len() < passes {
        let some = TRACED.min(passes - codes.len());
        let loops = format!("for n in $(seq {some}); do portreeve reconcile >/dev/null 2>&1; echo $?; done");
        let (told, writes) = writes(world, &["sh", "-c", &loops]);
        codes.extend(told.stdout.lines().map(str::to_owned));
        if !writes.is_empty() {
            return Err(format!("an idle pass wrote:\n{}", writes.join("\n")));
        }
        if told.stdout.lines().count() != some {
            return Err(format!("not every pass came to its end: {told}"));
        }
    }
    if world.host.sh(RELOADS) != read {
        return Err(format!("an idle pass reloads: {read} became {}", world.host.sh(RELOADS)));
    }
    let alike = codes.iter().all(|code| *code == codes[0]);
    if alike { Ok(()) } else { Err(format!("idle passes exit differently: {codes:?}")) }
}

/// One environment serves, one was refused, one is gone: whatever is left to do takes two passes.
#[test]
fn an_idle_world_comes_to_rest_within_two_passes_and_writes_nothing_in_sixty_more() {
    let world = World::new("rest");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.host.put_file(
        "/etc/portreeve/agent.toml",
        world.host.read_file("/etc/portreeve/agent.toml") + "[prune]\ngrace = \"0s\"\n",
    );
    let env = |rev: &str, name: &str| format!("rev = \"{rev}\"\ndomains = [\"{name}.bakery.example\"]\n");
    let list = |names: &str| format!("environments = [{names}]\n");
    world.push_deploy(&[
        ("hosts/web1.toml", Some(&list("\"bakery/dev\", \"bakery/pro\", \"bakery/stage\""))),
        ("projects/bakery/dev.toml", Some(&env("v1", "dev"))),
        ("projects/bakery/stage.toml", Some(&env("v1", "stage"))),
    ]);
    world.reconcile().ok();
    world.push_app("v2", IMPORT_ERROR, "v2");
    world.push_deploy(&[
        ("hosts/web1.toml", Some(&list("\"bakery/dev\", \"bakery/pro\""))),
        ("projects/bakery/dev.toml", Some(&env("v2", "dev"))),
    ]);
    world.reconcile().exits(3);
    for _ in 0..2 {
        world.reconcile().exits(4);
    }
    stays_at_rest(&world, 60).unwrap_or_else(|why| panic!("{why}"));
    assert_eq!(world.serving(), "v1");
    for reload in ["systemctl daemon-reload", "systemctl reload nginx"] {
        let before = world.host.sh(RELOADS);
        world.host.sh(reload);
        until("it would have been seen", || world.host.sh(RELOADS) != before);
    }
}

/// Nothing else about the host would change any more, and it would never be kept.
#[test]
fn a_floor_that_can_t_be_kept_is_tried_again_at_the_next_pass() {
    let world = World::new("floor");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.reconcile().ok();
    settle(&world);
    world.host.sh("rm /etc/portreeve/floors.json; mkdir /etc/portreeve/floors.json");
    world.push_deploy(&[("README.md", Some("hello\n"))]);
    for _ in 0..2 {
        assert_eq!(pass(&world), Pass::Whole, "it is not kept yet");
    }
    world.host.sh("rmdir /etc/portreeve/floors.json");
    settle(&world);
    world.host.sh("test -f /etc/portreeve/floors.json");
}

/// Without it the next boot would start what somebody stopped.
#[test]
fn a_stopped_flag_that_is_gone_is_seen_and_put_back() {
    let world = World::new("flag");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.reconcile().ok();
    world.portreeve(&["stop", "bakery/pro"]).ok();
    settle(&world);
    world.host.sh("rm /etc/portreeve/stopped/bakery_pro");
    assert_eq!(pass(&world), Pass::Whole);
    world.host.sh("test -f /etc/portreeve/stopped/bakery_pro");
    settle(&world);
}

#[test]
fn an_idle_pass_writes_nothing_and_sees_every_change() {
    let world = World::new("idle");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.reconcile().ok();
    assert_eq!(pass(&world), Pass::Whole, "what the release changed is looked at once");
    assert_eq!(
        world.host.sh("ls /etc/portreeve/generations/bakery_pro | grep -v '[.]'"),
        "0\n1\n",
        "one release is enough"
    );
    assert_eq!(pass(&world), Pass::Idle);

    world.host.sh("touch /run/mark; sleep 0.05");
    assert_eq!(pass(&world), Pass::Idle);
    assert_eq!(world.host.sh("find /etc /home /var /usr -xdev -newer /run/mark ! -path '/var/log/journal*'"), "");

    let cases = [
        ("its record is damaged", "truncate -s -1 /run/portreeve/pass"),
        ("its record is gone", "rm /run/portreeve/pass"),
        ("a vhost is edited", "echo >>/etc/portreeve/active/bakery_pro/nginx.conf"),
        ("a mode is changed", "chmod 444 /etc/portreeve/active/bakery_pro/settings_local.py"),
        ("an owner is changed", "chown www-data /etc/portreeve/active/bakery_pro/env.conf"),
        ("a link is gone", "rm /etc/logrotate.d/portreeve-bakery_pro"),
        ("a link leads elsewhere", "ln -sfn / /home/foouser/bakery/pro/current"),
        ("a unit is edited", "echo >>/etc/systemd/system/portreeve-bakery_pro@a.service"),
        ("a slot is stopped", "systemctl stop portreeve-bakery_pro@a"),
        (
            "an include is added",
            "mkdir -p /etc/portreeve/local/bakery_pro/nginx.d; cd /etc/portreeve/local/bakery_pro/nginx.d; touch x.conf",
        ),
        ("agent.toml is edited", "echo 'jitter = \"7s\"' >>/etc/portreeve/agent.toml"),
        ("a user is added", "useradd --system newcomer"),
        ("the interpreter is replaced", "cp -p /usr/bin/python3.11 /usr/bin/p; mv /usr/bin/p /usr/bin/python3.11"),
        ("it is held", "portreeve suspend bakery/pro --for 1h --reason look"),
    ];
    for (what, script) in cases {
        world.host.sh(script);
        assert_eq!(pass(&world), Pass::Whole, "{what}");
        if what == "it is held" {
            assert_eq!(pass(&world), Pass::Whole, "a hold that ends by time is looked at");
            world.portreeve(&["resume", "bakery/pro"]).ok();
        }
        settle(&world);
    }

    world.push_deploy(&[("README.md", Some("hello\n"))]);
    assert_eq!(pass(&world), Pass::Whole, "the tip moved");
    settle(&world);
    let before = world.host.sh("readlink /etc/portreeve/active/bakery_pro");
    world.host.sh("head -c 40 /dev/urandom | base64 >/etc/portreeve/secrets/bakery_pro/SECRET_KEY");
    assert_eq!(pass(&world), Pass::Whole, "a secret changed");
    assert_ne!(world.host.sh("readlink /etc/portreeve/active/bakery_pro"), before, "and was released");
    assert_eq!(world.serving(), "v1");
}
