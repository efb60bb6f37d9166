//! What people type on a host, and what it exits with.

use crate::edits::NO_SUCH_PACKAGE;
use crate::world::World;

/// root reaches this host by ssh, as from another one.
pub const SSH: &str = r#"
echo '127.0.0.1 localhost' >>/etc/hosts
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
cat /root/.ssh/id_ed25519.pub >/root/.ssh/authorized_keys
printf 'localhost %s\n' "$(cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub)" >/root/.ssh/known_hosts
"#;

#[test]
fn every_command_says_what_is_so_and_exits_as_it_should() {
    let world = World::new("commands");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    a_plan_changes_nothing(&world);
    world.reconcile().ok();
    assert!(world.portreeve(&["plan"]).ok().stdout.contains("0 to release, 1 unchanged, 0 blocked"));
    where_it_stands(&world);
    commands_run_as_the_application(&world);
    a_refused_release_is_found_again(&world);
    a_restart_fails_no_request(&world);
    holds_hold(&world);
    other_words_for_the_same(&world);
    the_same_command_elsewhere(&world);
}

#[track_caller]
fn a_plan_changes_nothing(world: &World) {
    let plan = world.portreeve(&["plan", "--exit-code"]).exits(5);
    assert!(plan.stdout.contains("bakery/pro: release nothing -> v1"), "{plan}");
    assert!(plan.stdout.contains("1 to release, 0 unchanged, 0 blocked"), "{plan}");
    assert!(plan.stderr.contains("portreeve reconcile"), "{plan}");
    assert!(!world.host.has("/etc/portreeve/active/bakery_pro"), "a plan makes nothing");
    assert_eq!(world.host.exec(&["id", "foouser"]).code, 1, "nor a user");
}

#[track_caller]
fn where_it_stands(world: &World) {
    let status = world.portreeve(&["status"]).ok().stdout;
    assert!(status.starts_with("web1: 1 of 1 environment answers\n"), "{status}");
    let row = status.lines().find(|line| line.contains("bakery/pro")).unwrap_or_default();
    for cell in ["v1", "200", "ok"] {
        assert!(row.split_whitespace().any(|word| word == cell), "{cell}: {status}");
    }
    let json = world.portreeve(&["status", "--json"]).ok().stdout;
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e}: {json}"));
    let row = rows.as_array().or_else(|| rows["environments"].as_array()).and_then(|rows| rows.first());
    let row = row.unwrap_or_else(|| panic!("a row: {json}"));
    assert_eq!((&row["serves"], &row["http"], &row["state"]), (&"v1".into(), &200.into(), &"ok".into()), "{json}");
    let history = world.portreeve(&["history", "bakery/pro"]).ok().stdout;
    assert!(history.contains("released v1"), "{history}");
    let logs = world.portreeve(&["logs", "bakery/pro"]).ok().stdout;
    assert!(logs.contains("Booting worker"), "{logs}");
    logs_say_what_was_asked_for(world);
    world.portreeve(&["status", "--exit-code"]).ok();
    let plan = world.portreeve(&["plan", "-v"]).ok().stderr;
    let ran = plan.lines().find(|line| line.starts_with("ran git ls-remote ssh://git@git.example.org/"));
    assert!(ran.is_some_and(|line| line.ends_with("ms")), "{plan}");
    world.portreeve(&["wait", "bakery/pro", "--timeout", "20s"]).ok();
    let unknown = ["wait", "bakery/pro", "--commit", "0123456", "--timeout", "1s"];
    let unknown = world.portreeve(&unknown).exits(1);
    assert!(unknown.stderr.contains("bakery/pro: 0123456 is not live after 1s"), "{unknown}");
    let nobody = world.portreeve(&["history", "nobody/pro"]).exits(4);
    assert!(nobody.stderr.contains("nobody/pro is not on this host"), "{nobody}");
}

/// A follower is ended as Ctrl-C ends it, once it has told what came after it began; and another by the end of its reader.
const FOLLOWED: &str = r#"
portreeve logs bakery/pro -n 1 -f >/tmp/followed 2>&1 & follower=$!
(portreeve logs bakery/pro -n 1 -f | head -n 1 >/tmp/read) & reader=$!
until test -s /tmp/followed && test -s /tmp/read; do sleep 0.1; done
systemctl kill --kill-whom=main --signal=HUP "portreeve-bakery_pro@$(readlink /run/portreeve/bakery_pro/web.sock | cut -c1)"
until grep -q 'Handling signal: hup' /tmp/followed; do sleep 0.1; done
kill -INT "$follower"; wait "$follower"; wait "$reader"
"#;

#[track_caller]
fn logs_say_what_was_asked_for(world: &World) {
    let logs = |more: &[&str]| world.portreeve(&[&["logs", "bakery/pro"], more].concat());
    let all = logs(&["--since", "-1h"]).ok().stdout;
    assert!(all.contains("Starting gunicorn") && all.lines().count() > 3, "{all}");
    let last: Vec<&str> = all.lines().rev().take(2).collect();
    let two = logs(&["--since", "-1h", "-n", "2", "-p", "web"]).ok().stdout;
    assert_eq!(two.lines().rev().collect::<Vec<_>>(), last, "{all}");
    assert_eq!(logs(&["--since", "2099-01-01"]).ok().stdout, "");
    let mistaken = logs(&["--since", "the day before"]).exits(2);
    assert!(mistaken.stderr.contains("the day before"), "{mistaken}");
    assert!(logs(&["-p", "celery"]).exits(2).stderr.contains("its processes: web"));
    logs(&["-f", "--release", "1"]).exits(2);
    world.host.sh(FOLLOWED);
}

#[track_caller]
fn commands_run_as_the_application(world: &World) {
    let run = |command: &[&str]| world.portreeve(&[&["run", "bakery/pro"], command].concat());
    let check = run(&["manage.py", "check"]).ok();
    assert!(check.said().contains("no issues"), "{check}");
    assert_eq!(run(&["sh", "-c", "id -un; exit 7"]).exits(7).stdout, "foouser\n");
    assert_eq!(run(&["sh", "-c", "test -n \"$SECRET_KEY\" && echo set"]).ok().stdout, "set\n");
    let homes = run(&["sh", "-c", "touch \"$HOME/cache\"; echo \"$HOME $XDG_RUNTIME_DIR\""]).ok().stdout;
    let slot = world.host.sh("dirname \"$(readlink /run/portreeve/bakery_pro/web.sock)\"");
    assert_eq!(homes, format!("/home/foouser/bakery/pro/data /run/portreeve/bakery_pro/{slot}"));
    let control = world.host.sh("find /run/portreeve/bakery_pro /home/foouser -name gunicorn.ctl");
    assert_eq!(control, format!("/run/portreeve/bakery_pro/{}/gunicorn.ctl\n", slot.trim()));
    run(&["manage.py", "no-such-command"]).exits(1);
    run(&["no-such-program"]).exits(2);
    world.portreeve(&["run", "nobody/pro", "true"]).exits(4);
}

#[track_caller]
fn a_refused_release_is_found_again(world: &World) {
    world.push_app("v2", NO_SUCH_PACKAGE, "v2");
    let commit = world.set_rev("v2");
    world.reconcile().exits(3);
    let waited = world.portreeve(&["wait", "bakery/pro", "--commit", &commit, "--timeout", "20s"]).exits(3);
    assert!(waited.stderr.contains("was not released"), "{waited}");
    let log = world.portreeve(&["logs", "bakery/pro", "--release", "2"]).ok().stdout;
    assert!(log.contains("no-such-package"), "{log}");
    let status = world.portreeve(&["status", "--exit-code"]).exits(4);
    assert!(status.stdout.contains("quarantined"), "{status}");
    assert!(world.portreeve(&["plan"]).said().contains("bakery/pro: quarantined"));
    world.reconcile().exits(4);
    world.portreeve(&["retry", "bakery/pro"]).ok();
    assert!(world.portreeve(&["plan"]).ok().stdout.contains("bakery/pro: release v1 -> v2"));
    world.set_rev("v1");
    world.reconcile().ok();
    assert_eq!(world.serving(), "v1");
}

#[track_caller]
fn a_restart_fails_no_request(world: &World) {
    let slot = || world.host.sh("readlink /run/portreeve/bakery_pro/web.sock");
    let before = slot();
    let load = world.visitors(8);
    load.wait_for(50);
    world.portreeve(&["restart", "bakery/pro"]).ok();
    load.wait_for(50);
    load.stop().assert_none_failed();
    assert_ne!(slot(), before, "the other slot serves");
    assert_eq!(world.serving(), "v1");
    world.portreeve(&["restart", "nobody/pro"]).exits(4);
    world.portreeve(&["restart"]).exits(2);
}

#[track_caller]
fn holds_hold(world: &World) {
    world.push_app("v3", &[], "v3");
    let commit = world.set_rev("v3");
    world.portreeve(&["suspend", "bakery/pro", "--for", "2h", "--reason", "moving the database"]).ok();
    nobody_waits_for_what_will_not_move(world, &commit);
    let pass = world.reconcile().ok();
    assert!(pass.stdout.contains("suspended") && pass.stdout.contains("moving the database"), "{pass}");
    assert_eq!(world.serving(), "v1");
    world.portreeve(&["resume", "bakery/pro"]).ok();
    world.portreeve(&["stop", "bakery/pro"]).ok();
    assert_ne!(world.get("/").status, 200);
    world.reconcile().ok();
    assert_ne!(world.get("/").status, 200, "a pass leaves it stopped");
    what_was_stopped_is_started_first(world);
    for was_started in [true, false] {
        let start = world.portreeve(&["start", "bakery/pro"]).ok();
        assert_eq!(start.said().contains("was not running and was started"), was_started, "{start}");
        assert_eq!(world.get("/").status, 200);
    }
    world.reconcile().ok();
    assert_eq!(world.serving(), "v3");
}

/// Each of these would take an hour otherwise.
#[track_caller]
fn nobody_waits_for_what_will_not_move(world: &World, commit: &str) {
    let wait = |commit: &str| world.portreeve(&["wait", "bakery/pro", "--commit", commit, "--timeout", "1h"]);
    world.push_deploy(&[("README.md", Some("what runs where\n"))]);
    let suspended = wait(commit).exits(4);
    assert!(suspended.stderr.contains("was not released: it is suspended, until "), "{suspended}");
    assert!(suspended.stderr.contains("moving the database\"\nhelp: portreeve resume bakery/pro"), "{suspended}");
    let sound = world.deploy.read("projects/bakery/pro.toml");
    let broken = world.push_deploy(&[("projects/bakery/pro.toml", Some(&format!("no_such_key = 1\n{sound}")))]);
    let mistaken = wait(&broken).exits(2);
    assert!(mistaken.stderr.contains("no_such_key") && mistaken.stderr.contains("portreeve check"), "{mistaken}");
    let earlier = sound.replace("rev = \"v3\"", "rev = \"v1\"");
    let other = world.push_deploy(&[("projects/bakery/pro.toml", Some(&earlier))]);
    let overtaken = wait(commit).exits(4);
    assert!(overtaken.stderr.contains(&format!("{} came on top of {}", &other[..7], &commit[..7])), "{overtaken}");
    world.push_deploy(&[("projects/bakery/pro.toml", Some(&sound))]);
}

/// New processes, of this release or another, are not what somebody who stopped them expects.
#[track_caller]
fn what_was_stopped_is_started_first(world: &World) {
    let state = "readlink active/bakery_pro; ls generations/bakery_pro; cat policy/bakery_pro.json
        ls /var/lib/portreeve/journal; systemctl list-units --plain --no-legend --state=active 'portreeve-bakery_pro@*'";
    let state = || world.host.sh(&format!("cd /etc/portreeve; {state}"));
    let before = state();
    for order in ["restart", "rollback"] {
        let refused = world.portreeve(&[order, "bakery/pro"]).exits(4);
        let words = "bakery/pro is stopped, by root; portreeve start bakery/pro comes first";
        assert!(refused.stderr.contains(words), "{refused}");
        assert_eq!(state(), before, "{refused}");
    }
}

#[track_caller]
fn other_words_for_the_same(world: &World) {
    for word in ["deploy", "apply", "sync"] {
        let hint = world.portreeve(&[word, "bakery/pro"]).exits(2);
        assert!(hint.stderr.contains("portreeve reconcile"), "{hint}");
    }
    let hint = world.portreeve(&["reconcile", "--dry-run"]).exits(2);
    assert!(hint.stderr.contains("portreeve plan"), "{hint}");
    world.portreeve(&["reconcile", "nobody/pro"]).exits(2);
    world.portreeve(&["reconcile", "Bad Name"]).exits(2);
}

#[track_caller]
fn the_same_command_elsewhere(world: &World) {
    world.host.sh(SSH);
    let there = world.portreeve(&["-H", "localhost", "status"]).ok();
    assert!(there.stdout.starts_with("web1: 1 of 1") && there.stdout.contains("bakery/pro"), "{there}");
    let run = world.portreeve(&["-H", "localhost", "run", "bakery/pro", "sh", "-c", "echo \"two  words\"; exit 7"]);
    assert_eq!(run.exits(7).stdout, "two  words\n");
    world.portreeve(&["-H", "-oProxyCommand=true", "status"]).exits(2);
    world.portreeve(&["-H", "nowhere.example", "status"]).exits(1);
}
