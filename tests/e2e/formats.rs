//! State that a newer portreeve wrote: refused by name, left alone, and the sites serve on. A history that is lost, damaged,
//! newer, or on a disk that nobody can write fails no release.

use crate::cmd::{Background, CmdResult};
use crate::idle::{Pass, pass};
use crate::traces::until;
use crate::world::World;

const STAGE_TOML: &str = "rev = \"v1\"\ndomains = [\"stage.bakery.example\"]\n";

#[test]
fn newer_state_is_refused_by_name_and_the_sites_serve_on() {
    let mut world = World::new("formats");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.push_deploy(&[
        ("hosts/web1.toml", Some("environments = [\"bakery/pro\", \"bakery/stage\"]\n")),
        ("projects/bakery/stage.toml", Some(STAGE_TOML)),
    ]);
    world.reconcile().ok();
    generation(&mut world);
    standing(&world);
    journal(&world);
    floors(&world);
    disposable(&world);
    removal(&world);
}

/// Puts a number into the place of the format and runs what is asked, which leaves it alone; then the old bytes come back.
#[track_caller]
fn as_newer<T>(world: &World, path: &str, edit: &str, then: impl FnOnce() -> T) -> T {
    world.host.sh(&format!(
        "cp -p {path} /root/kept; sed -i '{edit}' {path}; ! cmp -s {path} /root/kept; cp -p {path} /root/newer"
    ));
    let result = then();
    world.host.sh(&format!("cmp {path} /root/newer; mv /root/kept {path}"));
    result
}

#[track_caller]
fn is_refused(result: &CmdResult, path: &str) {
    assert_eq!(result.code, 4, "{result}");
    let said = result.said();
    let words = format!("{path}: format 7, of a newer portreeve (this one knows ");
    assert!(said.contains(&words), "{result}");
}

fn generation(world: &mut World) {
    const ACTIVE: &str = "/etc/portreeve/generations/bakery_pro/1/generation.toml";
    world.push_app("v2", &[], "v2");
    world.set_rev("v2");
    world.push_deploy(&[("projects/bakery/stage.toml", Some(&STAGE_TOML.replace("v1", "v2")))]);
    let results = as_newer(world, ACTIVE, "s/^format = 1$/format = 7/", || {
        let pass = world.reconcile();
        let status = world.portreeve(&["status", "bakery/pro"]).ok();
        assert!(status.stdout.contains("blocked") && status.stdout.contains("format 7"), "{status}");
        let order = world.portreeve(&["rollback", "bakery/pro"]);
        (pass, order)
    });
    is_refused(&results.0, ACTIVE);
    is_refused(&results.1, ACTIVE);
    assert_eq!(world.serving(), "v1", "the site serves");
    let stage = crate::http::get(&world.host, "stage.bakery.example", "/").expect("an answer");
    assert_eq!(stage.release(), Some("v2"), "another environment is not kept from moving");

    world.host.sh(&format!("sed -i 's/^format = 1$/format = 7/' {ACTIVE}"));
    world.host.reboot();
    until("the site serves after a boot too", || world.get("/").status == 200);
    is_refused(&world.reconcile(), ACTIVE);
    assert_eq!(world.serving(), "v1");
    world.host.sh(&format!("sed -i 's/^format = 7$/format = 1/' {ACTIVE}"));
    world.reconcile().ok();
    assert_eq!(world.serving(), "v2", "the newer version is installed again");
}

fn standing(world: &World) {
    const HELD: &str = "/etc/portreeve/policy/bakery_pro.json";
    world.portreeve(&["suspend", "bakery/pro", "--for", "1h", "--reason", "looking"]).ok();
    is_refused(&as_newer(world, HELD, "s/\"format\": [0-9]*,/\"format\": 7,/", || world.reconcile()), HELD);
    cut(world, HELD);
    world.portreeve(&["resume", "bakery/pro"]).ok();

    // What the first one wrote means what it meant.
    let first = r#"{"format":1,"standing":{"hold":{"kind":"stopped","by":"anna","since":"2026-11-21T02:31:00Z"}}}"#;
    world.host.put_file(HELD, first);
    let stopped = world.reconcile().ok();
    assert!(stopped.stdout.contains("bakery/pro  stopped"), "{stopped}");
    world.portreeve(&["start", "bakery/pro"]).ok();
    world.reconcile().ok();
    assert_eq!(world.serving(), "v2");
}

/// Half a record may have held the environment: nothing is done to it, and nothing is written over what is left.
fn cut(world: &World, held: &str) {
    world.host.sh(&format!("cp -p {held} /root/whole; truncate -s 60 {held}; cp -p {held} /root/half"));
    let words = format!("{held}: not a record of holds and quarantine: correct it, or remove it to forget them");
    for order in [&["reconcile"][..], &["rollback", "bakery/pro"], &["resume", "bakery/pro"]] {
        let refused = world.portreeve(order).exits(4);
        assert!(refused.said().contains(&words), "{refused}");
    }
    let status = world.portreeve(&["status", "bakery/pro"]).ok();
    assert!(status.stdout.contains(&words), "{status}");
    assert_eq!(world.serving(), "v2");
    world.host.sh(&format!("cmp {held} /root/half; mv /root/whole {held}"));
}

fn journal(world: &World) {
    const OPEN: &str = "/var/lib/portreeve/journal/bakery_pro.json";
    world.host.put_file(OPEN, "{\"format\":7,\"shape\":\"unknown here\"}");
    is_refused(&world.reconcile(), OPEN);
    assert_eq!(world.host.read_file(OPEN), "{\"format\":7,\"shape\":\"unknown here\"}", "left alone");
    world.host.sh(&format!("rm {OPEN}"));

    // One that was cut says nothing, and what to do about it is said in its place.
    world.host.put_file(OPEN, "{\"format\":2,\"env\":\"bakery");
    let (pass, order) = (world.reconcile().exits(4), world.portreeve(&["rollback", "bakery/pro"]).exits(4));
    for refused in [&pass, &order] {
        let said = &refused.stderr;
        assert!(said.contains(&format!("{OPEN}: not a journal that portreeve wrote")), "{refused}");
        assert!(said.contains("what serves serves on") && said.contains(&format!("mv {OPEN} /root")), "{refused}");
    }
    assert_eq!(world.serving(), "v2");
    world.host.sh(&format!("mv {OPEN} /root"));
    world.reconcile().ok();
}

/// It says below what nothing goes back: nothing follows from the repository, and nothing is written over it, wherever it lies.
fn floors(world: &World) {
    const FLOORS: &str = "/etc/portreeve/floors.json";
    const FORMER: &str = "/var/lib/portreeve/floors.json";
    for (path, text) in [(FLOORS, "an unrelated commit\n"), (FORMER, "and another\n")] {
        world.push_deploy(&[("README.md", Some(text))]);
        world.host.sh(&format!("test {path} = {FLOORS} || mv {FLOORS} {path}"));
        is_refused(&as_newer(world, path, "s/\"format\":1/\"format\":7/", || world.reconcile()), path);
        assert_eq!(world.serving(), "v2");
        world.reconcile().ok();
        assert!(world.host.has(FLOORS) && !world.host.has(FORMER), "it is where the loss of state does not take it");
    }
}

/// Its grace does not begin again.
fn removal(world: &World) {
    const NOTE: &str = "/etc/portreeve/generations/bakery_stage/removed.json";
    world.push_deploy(&[("hosts/web1.toml", Some("environments = [\"bakery/pro\"]\n"))]);
    world.reconcile().ok();
    is_refused(&as_newer(world, NOTE, "s/\"format\":1/\"format\":7/", || world.reconcile()), NOTE);
    assert_eq!(world.serving(), "v2");
}

/// What can be found out again is.
fn disposable(world: &World) {
    world.reconcile().ok();
    assert_eq!(pass(world), Pass::Idle);
    world.host.sh("cd /run/portreeve; rm last-look; for record in last-pass.json pass; do
        sed -i 's/\"format\":[0-9]*/\"format\":7/' $record; grep -aq '\"format\":7' $record
    done");
    let status = world.portreeve(&["status"]).ok();
    assert!(status.stdout.contains("not read since the host started"), "{status}");
    assert_eq!(pass(world), Pass::Whole);
    let status = world.portreeve(&["status"]).ok();
    assert!(status.stdout.contains("fetched "), "{status}");
    assert_eq!(world.serving(), "v2");
}

const HISTORY: &str = "/var/lib/portreeve/history.sqlite";

#[test]
fn no_harm_to_the_history_fails_a_release() {
    let world = World::new("history");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.reconcile().ok();
    world.release("v2", &[]).ok();
    who_reads_does_not_wait_for_who_writes(&world);

    let lost = harmed(&world, "v3", &format!("rm {HISTORY}*"));
    assert!(lost.stderr.contains(": rebuilt from what this host still knows: 2 events\n"), "{lost}");
    says(&world, &["released v3", "rebuilt from what this host still knows", "released v2", "released v1"]);
    let quiet = world.release("v4", &[]).ok();
    assert!(!quiet.said().contains("history"), "said once: {quiet}");

    world.host.sh(&format!("rm -f {HISTORY}-*; head -c 4000 /dev/urandom >{HISTORY}"));
    let read = world.portreeve(&["history"]).ok();
    assert!(read.stderr.contains("is damaged") && read.stdout.contains("released v4"), "{read}");
    let garbage = harmed(&world, "v5", "true");
    assert!(garbage.stderr.contains("the one before was damaged") && garbage.stderr.contains(".corrupt-"), "{garbage}");

    let cut = harmed(
        &world,
        "v6",
        &format!("sqlite3 {HISTORY} 'PRAGMA wal_checkpoint(TRUNCATE)'; truncate -s 5000 {HISTORY}"),
    );
    assert!(cut.stderr.contains("rebuilt from what this host still knows"), "{cut}");

    // Seen as it is on a disk that nobody can write, and not written.
    let read_only = format!("mount --bind {HISTORY} {HISTORY}; mount -o remount,bind,ro {HISTORY}");
    let still = harmed(&world, "v7", &read_only);
    assert!(still.stderr.contains("the history was not written: "), "{still}");
    says(&world, &["released v6"]);
    world.host.sh(&format!("umount {HISTORY}"));

    let newer = harmed(&world, "v8", &format!("sqlite3 {HISTORY} 'PRAGMA user_version = 7'"));
    let words = format!("{HISTORY} is of a newer portreeve (schema 7, this one knows 1): install that version again");
    assert!(newer.stderr.contains(&words), "{newer}");
    let refused = world.portreeve(&["history"]).exits(4);
    assert!(refused.stderr.contains(&words), "{refused}");
    world.host.sh(&format!("sqlite3 {HISTORY} 'PRAGMA user_version = 1'"));

    let directory = "mount --bind /var/lib/portreeve /mnt; mount -o remount,bind,ro /mnt";
    world.host.sh(directory);
    let whole = world
        .host
        .exec(&["sqlite3", "-readonly", "file:/mnt/history.sqlite?immutable=1", "SELECT count(*) FROM event"])
        .ok();
    assert!(whole.stdout.trim().parse::<u32>().is_ok_and(|count| count > 3), "{whole}");
    world.host.sh("umount /mnt");
}

#[track_caller]
fn who_reads_does_not_wait_for_who_writes(world: &World) {
    let script =
        "(echo 'BEGIN EXCLUSIVE;'; echo '.shell touch /run/writes'; until test -e /run/read; do sleep 0.1; done)";
    let writer = Background::start(world.host.command(&["sh", "-c", &format!("{script} | sqlite3 {HISTORY}")]));
    until("somebody writes", || world.host.has("/run/writes"));
    says(world, &["released v2", ": rev v1 -> v2"]);
    world.host.sh("touch /run/read");
    writer.end().ok();
}

/// Releases `version` after the harm: nothing of it may fail.
#[track_caller]
fn harmed(world: &World, version: &str, harm: &str) -> CmdResult {
    world.host.sh(harm);
    let result = world.release(version, &[]).ok();
    assert_eq!(world.serving(), version);
    result
}

#[track_caller]
fn says(world: &World, parts: &[&str]) {
    let history = world.portreeve(&["history"]).ok();
    let mut rest = history.stdout.as_str();
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("`{part}` is not said, or not there:\n{history}"));
        rest = &rest[at + part.len()..];
    }
}
