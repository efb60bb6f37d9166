//! Where an environment stands and why: the same in `status` and `why`, also while git is away, a release is under way, or the host
//! itself stands in the way; and all of it as JSON, as `docs/json.md` tells it.

use std::time::Duration;

use portreeve::agent::explain::Explanation;
use portreeve::cli::json;
use serde::de::DeserializeOwned;

use crate::edits::{ADDITIVE_MIGRATION, HEALTH_HANGS, NO_INDEX, OTHER_REQUIREMENTS};
use crate::traces::until_within;
use crate::world::World;

fn serving_v1(name: &str) -> World {
    let world = World::new(name);
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.reconcile().ok();
    world
}

/// What a command prints as JSON, as the type of the document. Its exit code is another test's.
#[track_caller]
fn parsed<T: DeserializeOwned>(world: &World, command: &[&str]) -> T {
    let said = world.portreeve(&[command, &["--json"]].concat());
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}\n{said}"))
}

/// What `why` says, which is a row of `status`.
#[track_caller]
fn why(world: &World) -> Explanation {
    let why: Explanation = parsed(world, &["why", "bakery/pro"]);
    let status: json::Status = parsed(world, &["status"]);
    let row = status.environments.into_iter().next().expect("a row");
    let told = |it: &Explanation| (it.state, it.class, it.needs_you, it.rule.len(), it.you.clone());
    assert_eq!(told(&row), told(&why));
    why
}

#[track_caller]
fn is(world: &World, state: &str) -> Explanation {
    let why = why(world);
    assert_eq!(why.state.as_str(), state, "{}", world.portreeve(&["why", "bakery/pro"]));
    why
}

/// `parts` in this order.
#[track_caller]
fn says(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("`{part}` is not said, or not there:\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn json_is_what_the_document_says() {
    let world = serving_v1("json");
    world.host.sh(&format!("git clone --quiet {} /root/deploy", crate::git::DEPLOY));
    world.release("v2", crate::edits::IMPORT_ERROR);
    world.portreeve(&["rollback", "bakery/pro"]);
    let status: json::Status = parsed(&world, &["status"]);
    assert_eq!((status.answering, status.need_you, status.environments.len()), (1, 1, 1));
    assert_eq!(status.repository.tip, status.environments[0].deploy.as_ref().map(|deploy| deploy.commit.clone()));
    let events: Vec<json::Event> = parsed(&world, &["history"]);
    assert!(events.iter().any(|event| event.rev.as_deref() == Some("v2") && event.why.is_some()), "{events:?}");
    let planned: Vec<json::Planned> = parsed(&world, &["plan"]);
    assert_eq!(planned[0].action, "quarantined");
    let pass: json::Pass = parsed(&world, &["reconcile"]);
    assert_eq!((pass.environments[0].outcome.as_str(), pass.environments[0].exit_code), ("quarantined", 4));
    for (command, complaint) in [("plan", "note: bakery/pro: quarantined: "), ("reconcile", "is quarantined: ")] {
        let said = world.portreeve(&[command, "--json"]);
        assert!(said.stderr.contains(complaint), "{said}");
    }
    let ports: Vec<json::Ports> = parsed(&world, &["ports"]);
    assert_eq!(ports.len(), 1);
    let complaints: Vec<json::Complaint> = parsed(&world, &["check", "/root/deploy"]);
    assert!(complaints.is_empty());
    world.host.put_file("/root/deploy/projects/bakery/pro.toml", "rev = \"v1\"\ndomain = [\"x\"]\n");
    let complaints: Vec<json::Complaint> = parsed(&world, &["check", "/root/deploy"]);
    assert!(complaints.iter().any(|complaint| complaint.message.contains("domain")), "{complaints:?}");
    let since = world.host.sh("cd /root/deploy && git fetch --quiet && git reset --quiet --hard origin/main && portreeve plan --since HEAD~1 --json");
    let since: Vec<json::Since> = serde_json::from_str(&since).expect("rows");
    assert_eq!(since[0].files, ["projects/bakery/pro.toml"]);
}

#[test]
fn a_refused_release_is_explained_in_the_order_that_a_tired_person_asks() {
    let world = serving_v1("why");
    let calm = world.portreeve(&["why", "bakery/pro"]).ok();
    says(
        &calm.stdout,
        &[
            "bakery/pro serves v1 (generation 1, 200 in ",
            "ms)\n\nwanted   v1, deploy commit ",
            "\nchanged  nothing\nrule     ok: ",
            "\nnext     ",
            "\nyou      nothing\n",
        ],
    );
    world.release("v2", crate::edits::HEALTH_500).exits(3);
    let why = world.portreeve(&["why", "bakery/pro"]).ok();
    says(
        &why.stdout,
        &[
            "bakery/pro serves v1 (generation 1, 200 in ",
            "ms); users are not affected\n\n",
            "wanted   v2, deploy commit ",
            " \"deploy\", Anna, ",
            "\nchanged  rev v1 -> v2; nothing else\n",
            "rule     quarantined: generation 2 failed health at ",
            " ago)\n         health answered 500, expected 200",
            "\nnext     not tried again until its content changes; drift is still corrected\n",
            "you      portreeve logs bakery/pro --release 2\n",
            "         push a fix, or, if the cause lay outside: portreeve retry bakery/pro\n",
        ],
    );
    world.portreeve(&["why", "nobody/pro"]).exits(4);
    git_is_not_asked(&world);
}

/// Neither its servers nor its program, up or down.
#[track_caller]
fn git_is_not_asked(world: &World) {
    world.host.sh("systemctl stop ssh.socket ssh.service 2>/dev/null || systemctl stop ssh");
    for command in [&["why", "bakery/pro"][..], &["status"]] {
        let traced = ["strace", "-f", "-qq", "-o", "/run/trace", "-e", "trace=execve,connect", "portreeve"];
        world.host.exec_ok(&[&traced[..], command].concat());
        let trace = world.host.read_file("/run/trace");
        assert!(trace.contains("execve(\"/usr/bin/portreeve\""), "the tracer saw it: {trace}");
        let asked =
            trace.lines().find(|line| line.contains("/git\"") || line.contains("/ssh\"") || line.contains("htons(22)"));
        assert_eq!(asked, None, "{command:?}");
    }
    assert_eq!(world.reconcile().code, 1);
    let quarantined = is(world, "quarantined");
    assert_eq!(quarantined.wants.as_deref(), Some("v2"), "what was wanted last is still known");
    world.portreeve(&["retry", "bakery/pro"]).ok();
    let stale = is(world, "stale");
    assert!(stale.needs_you && stale.users == "users are not affected", "{stale:?}");
    assert_eq!(stale.you, ["nothing for users; rollback and restart work without git"]);
    let status = world.portreeve(&["status"]).ok();
    says(&status.stdout, &["1 needs you\n", ", not read for ", "stale", "next: portreeve why bakery/pro"]);
}

#[test]
fn a_release_under_way_is_told_with_its_phase() {
    let world = serving_v1("moving");
    world.push_app("v2", HEALTH_HANGS, "v2");
    world.set_rev("v2");
    let mut pass = world.host.command(&["portreeve", "reconcile", "--quiet"]).spawn().expect("a pass is started");
    let at_health = || {
        let why: Explanation = parsed(&world, &["why", "bakery/pro"]);
        why.state.as_str() == "releasing" && why.rule[0].ends_with("now at health")
    };
    until_within(Duration::from_secs(90), "the release is asked for its health", at_health);
    let moving = is(&world, "releasing");
    assert!(moving.rule[0].starts_with("releasing: v2 (generation 2) since ") && !moving.needs_you, "{moving:?}");
    assert!(moving.rule[1].starts_with("by portreeve"), "{moving:?}");
    assert_eq!(moving.serves.as_deref(), Some("v1"));
    assert_eq!(pass.wait().expect("it ends").code(), Some(3));
    is(&world, "quarantined");
}

#[test]
fn what_the_host_or_the_network_did_is_told_with_its_cure_and_never_quarantined() {
    let world = serving_v1("faults");
    the_disk_is_full(&world);
    the_index_is_away(&world);
    somebody_has_the_port(&world);
    the_record_is_damaged(&world);
}

/// `nginx -t` finds nothing wrong, `reload` ends with 0, and nginx goes on as it was: only after the switch is it known.
#[test]
fn a_release_whose_reload_is_dropped_comes_and_goes_three_times_at_most() {
    let world = serving_v1("dropped");
    intrude(&world, "intruder", "8099");
    world.host.put_file("/etc/nginx/conf.d/other.conf", "server { listen 8099; }\n");
    world.push_app("v2", &[], "v2");
    world.set_vhost("v2");
    world.set_rev("v2");
    for times in ["once", "2 times", "3 times"] {
        world.reconcile().exits(4);
        let dropped = is(&world, "blocked");
        assert!(dropped.rule[0].contains("goes on with its old configuration"), "{dropped:?}");
        assert!(dropped.next.contains(&format!("failed {times}")), "{dropped:?}");
        assert_eq!((dropped.retry_at.is_some(), world.serving()), (times != "3 times", "v1".to_owned()), "{dropped:?}");
        world.next_try_in(0);
    }
    let generations = || world.host.sh("ls /etc/portreeve/generations/bakery_pro");
    let before = generations();
    let blocked = world.reconcile().exits(4);
    assert!(blocked.stderr.contains("when that is put right: portreeve retry bakery/pro"), "{blocked}");
    assert_eq!(generations(), before, "time alone is no reason");
    intrude(&world, "stranger", "9191");
    world.reconcile().exits(4);
    assert_eq!(generations(), before, "nor is somebody who is not in the way");
    world.portreeve(&["wait", "bakery/pro"]).exits(4);

    world.host.exec_ok(&["systemctl", "stop", "intruder"]);
    world.reconcile().ok();
    assert_eq!((world.serving(), world.get("/").header("x-vhost")), ("v2".to_owned(), Some("v2")));
}

#[test]
fn a_disk_that_fills_while_a_release_is_made_is_no_fault_of_the_release() {
    let world = serving_v1("fills");
    let places = [
        ("v2", "/home/foouser/bakery/pro/venvs", OTHER_REQUIREMENTS),
        ("v3", "/var/backups/foouser/bakery/pro", ADDITIVE_MIGRATION),
    ];
    for (version, place, edits) in places {
        let before = world.serving();
        // What is there, and a little room.
        world.host.sh(&format!(
            "cp -a {place} /srv/{version}; size=$(($(du -sk {place} | cut -f1) * 17 / 16 + 64))k
            mount -t tmpfs -o size=$size tmpfs {place}; cp -a /srv/{version}/. {place}"
        ));
        let pass = world.release(version, edits).exits(4);
        let full = is(&world, "blocked");
        assert_eq!(full.class.map(|class| format!("{class:?}")).as_deref(), Some("Host"), "{pass}{full:?}");
        assert!(full.rule.iter().any(|line| line.contains("full") || line.contains("No space left")), "{full:?}");
        assert!(full.you[0].contains("du "), "it says how to find what takes the room: {full:?}");
        assert!(!full.you[0].contains("--max-depth=2 / "), "on the disk that is full: {full:?}");
        assert_eq!(world.serving(), before);
        world.host.sh(&format!("umount {place}"));
        world.portreeve(&["retry", "bakery/pro"]).ok();
        world.reconcile().ok();
        assert_eq!(world.serving(), version);
    }
}

#[track_caller]
fn the_disk_is_full(world: &World) {
    world.host.sh("mount -t tmpfs -o size=20m,mode=0700 tmpfs /var/lib/portreeve");
    world.release("v2", &[]).exits(4);
    let full = is(world, "blocked");
    assert_eq!((full.class.map(|class| format!("{class:?}")), full.needs_you), (Some("Host".to_owned()), true));
    assert!(full.rule[0].contains("MB free; this release needs about") && full.retry_at.is_some(), "{full:?}");
    assert!(
        full.you[0].contains("du -xh --max-depth=2 $(stat -c %m /var/lib/portreeve) "),
        "on its own disk: {full:?}"
    );

    world.next_try_in(0);
    world.reconcile().exits(4);
    assert!(is(world, "blocked").next.contains("failed 2 times"));
    let events: Vec<json::Event> = parsed(world, &["history", "bakery/pro"]);
    let told = events.iter().filter(|event| event.rev.as_deref() == Some("v2")).count();
    assert_eq!(told, 1, "however often it is tried: {events:?}");

    // As if it had failed many times: the wait is as long as it gets.
    world.next_try_in(170);
    let waiting = world.reconcile().exits(4);
    assert!(waiting.stderr.contains("bakery/pro is blocked") && waiting.stderr.contains("; again after "), "{waiting}");
    world.host.sh("umount /var/lib/portreeve");
    world.reconcile().ok();
    assert_eq!(world.serving(), "v2", "the host has changed, so nothing waits");
}

#[track_caller]
fn the_index_is_away(world: &World) {
    let conf = world.host.read_file("/etc/pip.conf");
    world.host.put_file("/etc/pip.conf", NO_INDEX);
    world.release("v3", OTHER_REQUIREMENTS).exits(1);
    let away = is(world, "blocked");
    assert_eq!((away.class.map(|class| format!("{class:?}")), away.needs_you), (Some("Transient".to_owned()), false));
    assert!(away.next.contains("failed once; waits double up to 3m"), "{away:?}");
    world.host.put_file("/etc/pip.conf", conf);
    world.next_try_in(170);
    world.reconcile().exits(1);
    world.release("v3-newer", OTHER_REQUIREMENTS).ok();
    assert_eq!(world.serving(), "v3-newer", "what is new does not wait for what is old");
}

/// Another program takes this port.
#[track_caller]
fn intrude(world: &World, unit: &str, port: &str) {
    let unit_option = format!("--unit={unit}");
    let listen = ["systemd-run", "--quiet", &unit_option, "--uid=nobody", "python3", "-m", "http.server", port];
    world.host.exec_ok(&listen);
    let listens = || world.host.sh("ss -Hltn").contains(&format!(":{port}"));
    until_within(Duration::from_secs(20), "it listens", listens);
}

#[track_caller]
fn somebody_has_the_port(world: &World) {
    intrude(world, "intruder", "60004");
    world.release("v4", &[]).exits(4);
    let held = is(world, "blocked");
    assert!(held.rule[0].starts_with("blocked: port 60004 is held by python3 (pid "), "{held:?}");
    assert!(held.rule[0].contains(", user nobody)"), "{held:?}");
    assert!(held.needs_you && held.you[0].starts_with("stop pid "), "{held:?}");
    world.host.exec_ok(&["systemctl", "stop", "intruder"]);
    world.reconcile().ok();
    assert_eq!(world.serving(), "v4");
}

/// It keeps the environment as it is, and says what to do.
#[track_caller]
fn the_record_is_damaged(world: &World) {
    world.host.put_file("/etc/portreeve/policy/bakery_pro.json", "{");
    let damaged = is(world, "blocked");
    assert!(damaged.rule[0].contains("bakery_pro.json") && damaged.needs_you, "{damaged:?}");
    world.host.sh("rm /etc/portreeve/policy/bakery_pro.json");
    is(world, "ok");
}
