//! A clock that is set between two passes, by years in either direction, changes nothing but the ages that are shown.

use std::time::Duration;

use crate::cmd::CmdResult;
use crate::edits::{IMPORT_ERROR_AT_START, NO_INDEX, OTHER_REQUIREMENTS};
use crate::http;
use crate::traces::until_within;
use crate::world::World;

/// Ten years, either way.
const YEARS: [&str; 2] = ["+3650d", "-3650d"];

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
    for set in YEARS {
        let pass = by_clock(&world, set, &["reconcile"]).ok();
        assert_eq!(pass.stdout.trim(), "bakery/pro  unchanged", "{set}: {pass}");
        let status = by_clock(&world, set, &["status"]).ok();
        assert!(status.stdout.contains("v2"), "{status}");
        assert_eq!(slots(), "active\nactive\n", "{set}");
    }
    assert_eq!(world.reconcile().ok().stdout.trim(), "bakery/pro  unchanged");
    assert_eq!(written(), "");
}

#[test]
fn what_is_suspended_stays_for_its_time_and_what_is_refused_stays_refused() {
    let world = World::new("clock-hold");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.reconcile().ok();
    world.release("v2", IMPORT_ERROR_AT_START).exits(3);
    let attempts = || world.host.sh("ls /var/lib/portreeve/attempts /etc/portreeve/generations/bakery_pro");
    let before = attempts();
    for set in YEARS {
        let pass = by_clock(&world, set, &["reconcile"]);
        assert_eq!((world.serving().as_str(), attempts()), ("v1", before.clone()), "{set}: {pass}");
    }

    world.push_app("v3", &[], "v3");
    world.set_rev("v3");
    world.portreeve(&["suspend", "bakery/pro", "--for", "1m", "--reason", "stocktaking"]).ok();
    for set in YEARS {
        let pass = by_clock(&world, set, &["reconcile"]).ok();
        assert!(pass.stdout.contains("bakery/pro  suspended until "), "{set}: {pass}");
        assert_eq!(world.serving(), "v1", "{set}");
    }
    until_within(Duration::from_mins(3), "a minute is over, by a clock that is ten years late", || {
        by_clock(&world, YEARS[1], &["reconcile"]).ok();
        world.serving() == "v3"
    });
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
    for years in YEARS {
        let pass = set(years).exits(1);
        assert!(pass.stderr.contains("bakery/pro is waiting"), "{years}: {pass}");
    }
    world.next_try_in(10);
    until_within(Duration::from_mins(1), "it is tried again, by a clock that is ten years late", || {
        set(YEARS[1]);
        world.serving() == "v2"
    });
}

#[test]
fn what_was_removed_has_its_grace() {
    let world = World::new("clock-grace");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.reconcile().ok();
    let text = world.deploy.read("projects/bakery/pro.toml");
    world.push_deploy(&[("projects/bakery/pro.toml", Some(&format!("removed = true\n{text}")))]);
    world.reconcile().ok();
    let release =
        || http::get(&world.host, crate::world::SITE, "/").expect("nginx answers").release().map(str::to_owned);
    assert_eq!(release(), None);
    for set in YEARS {
        let pass = by_clock(&world, set, &["reconcile"]).ok();
        assert!(world.host.has("/etc/portreeve/generations/bakery_pro/1"), "{set}: {pass}");
    }
    world.push_deploy(&[("projects/bakery/pro.toml", Some(&text))]);
    world.reconcile().ok();
    assert_eq!(release().as_deref(), Some("v1"), "it is back");
}
