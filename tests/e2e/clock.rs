//! A clock that is set between two passes or during one, by years in either direction, changes nothing but the ages that are
//! shown.

use std::time::{Duration, Instant};

use crate::cmd::{Background, CmdResult};
use crate::edits::{ASKED, HEALTH_GATED, IMPORT_ERROR_AT_START, NO_INDEX, OTHER_REQUIREMENTS};
use crate::http;
use crate::traces::until_within;
use crate::world::{ONLY_THE_TIME_OF_DAY, World};

/// A day, and ten years, either way.
const SET: [&str; 4] = ["+1d", "-1d", AHEAD, LATE];

const AHEAD: &str = "+3650d";
const LATE: &str = "-3650d";

/// What `--for 2m` is.
const STOCKTAKING: Duration = Duration::from_mins(2);

/// The program, by a clock that was set.
#[track_caller]
fn by_clock(world: &World, set: &str, arguments: &[&str]) -> CmdResult {
    world.set_clock(Some(set));
    let (result, year) = (world.portreeve(arguments), world.exec(&["date", "+%Y"]).stdout);
    world.set_clock(None);
    let seen = world.host.sh("cat /run/portreeve/last-*");
    assert!(arguments != ["reconcile"] || seen.contains(year.trim()), "it has the clock of {year}{seen}");
    result
}

/// What would be written by a pass that had something to do.
fn mark(world: &World) -> impl Fn() -> String {
    world.host.sh("touch /run/mark; sleep 0.05");
    || world.host.sh("find /etc /home /var/lib/portreeve -xdev -cnewer /run/mark")
}

#[test]
fn a_healthy_host_rests() {
    let world = World::new("clock");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.reconcile().ok();
    world.release("v2", &[]).ok();
    world.reconcile().ok();
    let slots = || world.host.sh("systemctl is-active portreeve-bakery_pro@a portreeve-bakery_pro@b");
    assert_eq!(slots(), "active\nactive\n", "one serves, one is warm");
    let written = mark(&world);
    for set in SET {
        let pass = by_clock(&world, set, &["reconcile"]).ok();
        assert_eq!(pass.stdout.trim(), "bakery/pro  unchanged", "{set}: {pass}");
        let status = by_clock(&world, set, &["status"]).ok();
        assert!(status.stdout.contains("v2"), "{status}");
        assert_eq!(slots(), "active\nactive\n", "{set}");
    }
    assert_eq!(world.reconcile().ok().stdout.trim(), "bakery/pro  unchanged");
    assert_eq!(written(), "");
    an_agent_that_is_dead_is_told(&world);
}

/// Each row is as the last pass saw it, three days ago.
#[track_caller]
fn an_agent_that_is_dead_is_told(world: &World) {
    by_clock(world, "+3d", &["status"]).ok();
    let status = by_clock(world, "+3d", &["status", "--exit-code"]).exits(4).stdout;
    for words in ["1 of 1 environment answers; the agent needs you\n", "; no pass for 3d: systemctl status portreeve\n"]
    {
        assert!(status.contains(words), "{status}");
    }
    assert!(status.ends_with("\nnext: systemctl status portreeve\n"), "{status}");
    let why = by_clock(world, "+3d", &["why", "bakery/pro"]).ok().stdout;
    assert!(why.contains("what serves is what the repository wanted 3d ago; nobody has looked since\n"), "{why}");
    world.portreeve(&["status", "--exit-code"]).ok();
}

#[test]
fn what_is_suspended_stays_for_its_time_and_what_is_refused_stays_refused() {
    let world = World::new("clock-hold");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.reconcile().ok();
    world.release("v2", IMPORT_ERROR_AT_START).exits(3);
    let attempts = || world.host.sh("ls /var/lib/portreeve/attempts /etc/portreeve/generations/bakery_pro");
    let before = attempts();
    for set in SET {
        let pass = by_clock(&world, set, &["reconcile"]);
        assert_eq!((world.serving().as_str(), attempts()), ("v1", before.clone()), "{set}: {pass}");
    }

    world.push_app("v3", &[], "v3");
    world.set_rev("v3");
    let begun = Instant::now();
    world.portreeve(&["suspend", "bakery/pro", "--for", "2m", "--reason", "stocktaking"]).ok();
    for set in SET {
        let pass = by_clock(&world, set, &["reconcile"]).ok();
        assert!(pass.stdout.contains("bakery/pro  suspended until "), "{set}: {pass}");
        assert_eq!(world.serving(), "v1", "{set}");
    }
    until_within(Duration::from_mins(5), "two minutes are over, by a clock that is ten years late", || {
        by_clock(&world, LATE, &["reconcile"]).ok();
        world.serving() == "v3"
    });
    assert!(begun.elapsed() >= STOCKTAKING, "{:?}", begun.elapsed());
}

#[test]
fn what_waits_for_the_network_waits_as_long_as_it_was_told() {
    let world = World::new("clock-wait");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.reconcile().ok();
    let conf = world.host.read_file("/etc/pip.conf");
    world.host.put_file("/etc/pip.conf", NO_INDEX);
    world.release("v2", OTHER_REQUIREMENTS).exits(1);
    world.host.put_file("/etc/pip.conf", conf);
    world.next_try_in(100);
    let set = |set| by_clock(&world, set, &["reconcile"]);
    for years in SET {
        let pass = set(years).exits(1);
        assert!(pass.stderr.contains("bakery/pro is waiting"), "{years}: {pass}");
    }
    world.next_try_in(10);
    until_within(Duration::from_mins(1), "it is tried again, by a clock that is ten years late", || {
        set(LATE);
        world.serving() == "v2"
    });
}

#[test]
fn what_was_removed_has_its_grace() {
    let world = World::new("clock-grace");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.reconcile().ok();
    let pro = world.edit_pro(|pro| format!("removed = true\n{pro}"));
    world.reconcile().ok();
    let release =
        || http::get(&world.host, crate::world::SITE, "/").expect("nginx answers").release().map(str::to_owned);
    assert_eq!(release(), None);
    for set in SET {
        let pass = by_clock(&world, set, &["reconcile"]).ok();
        assert!(world.host.has("/etc/portreeve/generations/bakery_pro/1"), "{set}: {pass}");
    }
    world.edit_pro(|_| pro);
    world.reconcile().ok();
    assert_eq!(release().as_deref(), Some("v1"), "it is back");
}

/// Whatever a clock does while the power is off.
#[test]
fn a_reboot_by_another_clock_changes_nothing_that_waits() {
    let mut world = World::new("clock-boot");
    world.host.exec_ok(&["systemctl", "enable", "--now", "nginx"]);
    world.reconcile().ok();
    world.push_app("v2", &[], "v2");
    world.set_rev("v2");
    let begun = Instant::now();
    by_clock(&world, AHEAD, &["suspend", "bakery/pro", "--for", "2m", "--reason", "stocktaking"]).ok();
    world.host.reboot();
    let pass = world.reconcile().ok();
    assert!(pass.stdout.contains("bakery/pro  suspended until "), "{pass}");
    until_within(Duration::from_mins(5), "two minutes are over, by a clock that was ten years ahead", || {
        world.reconcile().ok();
        world.serving() == "v2"
    });
    assert!(begun.elapsed() >= STOCKTAKING, "{:?}", begun.elapsed());

    world.edit_pro(|pro| format!("removed = true\n{pro}"));
    world.reconcile().ok();
    world.host.reboot();
    assert_eq!(world.running(), "", "a boot starts nothing of it");
    for set in SET {
        let pass = by_clock(&world, set, &["reconcile"]).ok();
        assert!(world.host.has("/etc/portreeve/generations/bakery_pro/1"), "{set}: {pass}");
    }
}

/// A pass whose clock is set while it waits for the candidate's health, and that has asked again since.
#[track_caller]
fn pass_set_while_it_waits(world: &World, set: &str) -> Background {
    let asked = || world.host.sh(&format!("rm -f /srv/gate/open; cat {ASKED} || true")).len();
    let asked_since = |before: usize| {
        until_within(Duration::from_mins(1), "the candidate is asked", || asked() > before + 1);
    };
    let clock = |set: &str| world.host.put_file("/run/clock", format!("{set}\n"));
    let before = asked();
    clock("+0d");
    let faked = "export LD_PRELOAD=$(ls /usr/lib/*/faketime/libfaketime.so.1) FAKETIME_TIMESTAMP_FILE=/run/clock \
        FAKETIME_NO_CACHE=1
        exec portreeve reconcile";
    let pass = Background::start(world.host.command(&[&ONLY_THE_TIME_OF_DAY[..], &["sh", "-euc", faked]].concat()));
    asked_since(before);
    clock(set);
    asked_since(asked());
    pass
}

#[test]
fn a_health_wait_lasts_as_long_as_it_was_told() {
    let world = World::new("clock-health");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.host.sh("mkdir -m 777 /srv/gate");
    world.reconcile().ok();
    for (version, set) in [("v2", AHEAD), ("v3", LATE)] {
        world.push_app(version, HEALTH_GATED, version);
        world.set_rev(version);
        let pass = pass_set_while_it_waits(&world, set);
        world.host.sh("touch /srv/gate/open");
        pass.end().ok();
        assert_eq!(world.serving(), version, "{set}");
    }
    // Whoever counts by a clock that was set back waits for ten years.
    world.push_app("v4", HEALTH_GATED, "v4");
    world.set_rev("v4");
    let mut pass = pass_set_while_it_waits(&world, LATE);
    until_within(Duration::from_mins(1), "the wait is over", || pass.has_ended());
    pass.end().exits(3);
    world.host.sh("touch /srv/gate/open");
    assert_eq!(world.serving(), "v3");
}
