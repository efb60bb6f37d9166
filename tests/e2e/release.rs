//! Releases under load: none fails a request, and the broken ones are never seen.

#![expect(clippy::print_stdout, reason = "what is printed is read by people when a test fails")]

use crate::cmd::CmdResult;
use crate::edits::{self, BROKEN, Broken};
use crate::load::Load;
use crate::world::{Edits, World};

/// What a proof of "no failed request" takes.
const ENOUGH: u64 = 10_000;

/// The environment.
const ENV: &str = "bakery/pro";

/// Short waits, so that a release that hangs is known for it soon; long enough for a busy machine to boot gunicorn.
const HEALTH: &str = r#"
[health]
path = "/healthz"
status = 200
timeout = "2s"
deadline = "8s"
passes = 2
bake = "0s"
"#;

/// Each page takes a while, and so visitors queue.
const SLOW: Edits<'static> = &[(
    "shop/views.py",
    Some(concat!(
        include_str!("../bakery/shop/views.py"),
        "\n\n@require_GET\ndef index(request, quick=index):\n    import time\n    time.sleep(0.4)\n    return quick(request)\n"
    )),
)];

/// A world whose nginx runs, with `v1` released and waits that fit a test.
#[track_caller]
fn serving_v1(name: &str) -> World {
    let world = World::new(name);
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    write_pro(&world, "v1", "\"bakery.example\", \"www.bakery.example\"");
    world.reconcile().ok();
    assert_eq!(world.serving(), "v1");
    world
}

/// The environment's file, with these domains.
fn write_pro(world: &World, rev: &str, domains: &str) {
    let text = format!("rev = \"{rev}\"\nwarm = \"0s\"\ndomains = [{domains}]\n{HEALTH}");
    world.edit_pro(|_| text);
}

/// Lets the visitors ask until it is enough, and none of them may have been failed.
#[track_caller]
fn conclude(load: Load) -> crate::load::Report {
    while load.answered() < ENOUGH {
        load.wait_for(100);
    }
    let report = load.stop();
    println!("{report}");
    report.assert_none_failed();
    assert!(report.requests >= ENOUGH, "{report}");
    report
}

/// These, and no other release.
#[track_caller]
fn saw(load: Load, releases: [&str; 2]) {
    assert_eq!(conclude(load).by_release.keys().collect::<Vec<_>>(), releases);
}

#[test]
fn a_good_release_ten_in_a_row_and_a_rollback_fail_no_request() {
    let world = serving_v1("release");
    let again = world.reconcile().ok();
    assert!(again.stdout.contains("unchanged"), "{again}");
    let load = world.visitors(32);
    load.wait_for(200);
    for number in 2..=12 {
        let version = format!("v{number}");
        world.release(&version, &[]).ok();
        assert_eq!(world.serving(), version);
    }
    let back = world.portreeve(&["rollback", ENV]).ok();
    assert_eq!(world.serving(), "v11", "{back}");
    let held = world.reconcile().ok();
    assert!(held.stdout.contains("held"), "{held}");
    assert_eq!(world.serving(), "v11");
    let report = conclude(load);
    for number in 1..=12 {
        assert!(report.by_release.contains_key(&format!("v{number}")), "v{number} was seen: {report}");
    }
    // Each release ends where the next one begins: no visitor is sent back and forth.
    for number in 1..=10 {
        let (old, new) = (report.last[&format!("v{number}")], report.first[&format!("v{}", number + 1)]);
        assert!(old < new + std::time::Duration::from_secs(1), "v{number} answered long after its end: {report}");
    }
}

/// Without a wait for its queue the old slot drops those whom it has not accepted.
#[test]
fn whoever_queued_for_the_old_release_is_answered_by_it() {
    let world = serving_v1("queue");
    world.release("slow", SLOW).ok();
    let load = world.visitors(32);
    load.wait_for(40);
    world.release("v3", &[]).ok();
    assert_eq!(world.serving(), "v3");
    let report = load.stop();
    println!("{report}");
    report.assert_none_failed();
    assert!(report.slowest > std::time::Duration::from_secs(3), "nobody queued: {report}");
    assert_eq!(
        world.host.sh("systemctl is-active 'portreeve-bakery_pro@*'").trim(),
        "active",
        "the old slot is retired"
    );
}

#[test]
fn what_cannot_be_built_is_never_seen() {
    let world = serving_v1("unbuilt");
    let load = world.visitors(32);
    let early =
        ["import-error", "syntax-error", "check-deploy", "failing-migration", "no-such-package", "no-requirements"];
    let mut last = 1;
    for broken in BROKEN.iter().filter(|broken| early.contains(&broken.name)) {
        let this = is_refused(&world, broken, "v1");
        assert!(this > last, "attempt {this} has its own number and log, and {last} has been");
        last = this;
    }
    too_long_for_nginx(&world);
    blocked_by_an_operators_include(&world);
    write_pro(&world, "v1", "\"bakery.example\", \"www.bakery.example\"");
    world.release("v2", &[]).ok();
    assert_eq!(world.serving(), "v2");
    saw(load, ["v1", "v2"]);
    with_room_it_is_released(&world);
}

#[test]
fn what_does_not_start_well_is_never_seen() {
    let world = serving_v1("unwell");
    // With both slots used, the slot of the broken one has something to get back.
    world.release("v2", &[]).ok();
    let load = world.visitors(32);
    let at_start =
        Broken { name: "import-at-start", edits: edits::IMPORT_ERROR_AT_START, cause: "No module named 'breda'" };
    is_refused(&world, &at_start, "v2");
    let late = ["health-500", "health-hangs", "never-binds"];
    for broken in BROKEN.iter().filter(|broken| late.contains(&broken.name)) {
        is_refused(&world, broken, "v2");
    }
    assert_eq!(world.host.state(), "running", "no unit is left failed");
    world.release("v3", &[]).ok();
    assert_eq!(world.serving(), "v3");
    saw(load, ["v2", "v3"]);
}

/// Releases it; then all is as before but for what is remembered of it, and the next pass leaves it alone. The attempt's number.
#[track_caller]
fn is_refused(world: &World, broken: &Broken, serving: &str) -> u64 {
    let before = state(world);
    let result = world.release(broken.name, broken.edits);
    assert_refused(world, &result, broken, serving);
    assert_eq!(state(world), before, "{}: {result}", broken.name);
    nothing_of_it_runs(world);
    world.host.exec_ok(&["nginx", "-t", "-q"]);
    is_left_alone(world, serving);
    number(&result)
}

#[track_caller]
fn assert_refused(world: &World, result: &CmdResult, broken: &Broken, serving: &str) {
    println!("{result}");
    assert_eq!(result.code, 3, "{result}");
    assert!(result.said().contains(broken.cause), "{} is not named: {result}", broken.cause);
    let error = result.stderr.lines().position(|line| line.starts_with("error: ")).expect("an error");
    let lines: Vec<&str> = result.stderr.lines().skip(error).collect();
    assert!(lines[0].contains(&format!("{} not released: ", broken.name)), "{result}");
    assert!(lines[1].starts_with(&format!("  users still get {serving}; ")), "{result}");
    let log = lines.iter().filter(|line| line.starts_with("  log ")).count();
    assert!(log > 0 || broken.name == "no-requirements", "the tail of the log is shown: {result}");
    let note = lines.iter().position(|line| line.starts_with("note: quarantined")).expect("a note");
    assert!(lines[note..].iter().any(|line| line.starts_with("help: portreeve ")), "{result}");
    assert_eq!(world.serving(), serving, "{result}");
    let kept = world.portreeve(&["logs", ENV, "-n", "200", "--release", &number(result).to_string()]);
    assert!(
        log == 0 || lines.iter().any(|line| kept.stdout.lines().any(|kept| !kept.is_empty() && line.ends_with(kept))),
        "{kept}"
    );
}

/// The number of the attempt.
#[track_caller]
fn number(result: &CmdResult) -> u64 {
    let (_, rest) = result.stdout.split_once("(generation ").expect("a generation");
    rest.split_once(')').expect("its number").0.parse().expect("a number")
}

/// The pass after a refusal: a reason, no attempt.
#[track_caller]
fn is_left_alone(world: &World, serving: &str) {
    let attempts = attempts(world);
    let next = world.reconcile().exits(4);
    assert!(next.said().contains("quarantined"), "{next}");
    assert_eq!(self::attempts(world), attempts, "{next}");
    assert_eq!(world.serving(), serving);
}

fn attempts(world: &World) -> String {
    world.host.sh("ls /etc/portreeve/generations/bakery_pro; ls -l --time-style=full-iso /var/lib/portreeve/attempts")
}

/// All that a half-done release could have left. Files with a hash in their names are nobody's but whoever asks for them, and are
/// collected by their age.
fn state(world: &World) -> String {
    let hashed = r".*\.[0-9a-f]{12}\.?[^/]*";
    let plain = format!("find static -regextype posix-extended -not -regex '{hashed}' | sort");
    let built = world.host.sh(&format!("cd /home/foouser/bakery/pro; ls -A venvs releases static-releases; {plain}"));
    live(world) + &built
}

/// All that it could have left changed: links, units, flags, the journal, and who runs.
fn live(world: &World) -> String {
    world.host.sh("
        readlink /etc/portreeve/active/bakery_pro /run/portreeve/bakery_pro/web.sock
        find /etc/portreeve/slots/bakery_pro -type l -printf '%p -> %l\\n' | sort
        find /etc/systemd/system -name 'portreeve-bakery_pro*' -printf '%p %l %s\\n' | sort
        cat /etc/systemd/system/portreeve-bakery_pro@*.service
        find /run/portreeve/bakery_pro /var/lib/portreeve/journal /etc/portreeve/staging \\
            -mindepth 1 -maxdepth 1 -printf '%p\\n' | sort
        for slot in a b; do systemctl show --property=ActiveState,MainPID portreeve-bakery_pro@$slot; done
        find /etc/portreeve/generations/bakery_pro -mindepth 1 -maxdepth 1 -type d -printf '%f\\n' | sort
        ")
}

/// Every process of the application's user is one of the slot that nginx is led to.
#[track_caller]
fn nothing_of_it_runs(world: &World) {
    let slot = world.host.sh("dirname $(readlink /run/portreeve/bakery_pro/web.sock)");
    let unit = format!("portreeve-bakery_pro@{}.service", slot.trim());
    let processes = world.host.sh("ps -ww -u foouser -o pid=,cgroup:200=,args=");
    assert!(processes.lines().count() >= 3, "{processes}");
    for process in processes.lines() {
        assert!(process.contains(&unit), "{process} runs, and only {unit} should");
    }
}

/// nginx takes no name that is longer than a line of its hash; `check` can't know how long that is on a host.
#[track_caller]
fn too_long_for_nginx(world: &World) {
    let before = live(world);
    write_pro(world, "v1", &domains_with_a_long_one());
    let result = world.reconcile().exits(4);
    println!("{result}");
    assert!(result.said().contains("a domain of this environment is longer than nginx has room for"), "{result}");
    assert!(result.said().contains("'server_names_hash_bucket_size 512;' >/etc/nginx/conf.d/"), "{result}");
    assert_eq!(live(world), before, "{result}");
    world.host.exec_ok(&["nginx", "-t", "-q"]);
}

/// As it was told: without visitors, because a reload closes connections that nobody uses.
#[track_caller]
fn with_room_it_is_released(world: &World) {
    world.host.put_file("/etc/nginx/conf.d/server_names_hash.conf", "server_names_hash_bucket_size 512;\n");
    write_pro(world, "v2", &domains_with_a_long_one());
    world.reconcile().ok();
    assert_eq!(world.serving(), "v2");
}

fn domains_with_a_long_one() -> String {
    format!("\"bakery.example\", \"{}.{}.bakery.example\"", "a".repeat(60), "b".repeat(40))
}

/// The host's fault, not the release's: it waits, and is not quarantined.
#[track_caller]
fn blocked_by_an_operators_include(world: &World) {
    // What was built stays for the next try.
    let before = live(world);
    world.host.put_file("/etc/portreeve/local/bakery_pro/nginx.d/x.conf", "no_such_directive on;\n");
    write_pro(world, "v1", "\"bakery.example\", \"shop.bakery.example\"");
    let result = world.reconcile().exits(4);
    println!("{result}");
    assert!(result.said().contains("no_such_directive"), "{result}");
    assert!(result.said().contains("nginx.d/x.conf"), "{result}");
    assert!(!result.said().contains("quarantined"), "{result}");
    assert_eq!(live(world), before, "{result}");
    assert_eq!(world.serving(), "v1");
    world.host.exec_ok(&["rm", "/etc/portreeve/local/bakery_pro/nginx.d/x.conf"]);
}

#[test]
fn a_source_package_is_not_built_by_root() {
    let world = World::new("uids");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.release("v1", edits::SOURCE_PACKAGE).ok();
    assert_eq!(world.serving(), "v1");
    let uids = world.uids();
    for which in ["manage.py", "settings.py", "setup.py"] {
        let seen: Vec<&String> = uids.iter().filter(|line| line.starts_with(which)).collect();
        assert!(!seen.is_empty(), "{which} has run: {uids:?}");
        assert!(seen.iter().all(|line| !line.ends_with("-0")), "{which} ran as root: {uids:?}");
    }
}
