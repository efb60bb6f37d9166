//! Power cuts: whenever the machine dies, what comes up afterwards is one generation, whole, before any pass has run. With the
//! power goes what nobody synced.

use crate::crash::{Point, pass_dies_at};
use crate::edits::{ASKED, GATED_MIGRATION, HEALTH_GATED, MIGRATING};
use crate::oracle::{comes_back, converges, one_generation};
use crate::scenes::{ORDERS, order};
use crate::traces::until_within;
use crate::world::World;
use std::time::Duration;

const ACTIVE: &str = "/etc/portreeve/active";
const RUNTIME: &str = "/run/portreeve/bakery_pro";

/// The power goes with the program stopped at this point, and the host boots.
#[track_caller]
fn cut(world: &mut World, point: Point) {
    world.host.sync();
    pass_dies_at(world, point);
    world.host.power_cut();
    world.host.boot_again();
}

/// The same, where something had served; what serves after the boot.
#[track_caller]
fn cut_at(world: &mut World, point: Point) -> u64 {
    cut(world, point);
    comes_back(world);
    one_generation(world)
}

/// Wants `version` with a vhost of its own, so that nginx must be reloaded, and releases nothing.
fn want(world: &World, version: &str) {
    world.push_app(version, &[], version);
    world.set_vhost(version);
    world.set_rev(version);
}

#[test]
fn a_healthy_host_reboots_and_serves_without_the_agent() {
    let mut world = World::new("reboot");
    world.reconcile().ok();
    let number = one_generation(&world);
    for name in ["portreeve.service", "portreeve-reconcile.timer"] {
        assert_ne!(world.host.exec(&["systemctl", "is-enabled", name]).stdout.trim(), "enabled");
    }
    world.host.reboot();
    comes_back(&world);
    assert_eq!(one_generation(&world), number);
    assert_eq!(world.host.state(), "running", "{}", world.host.exec(&["systemctl", "--failed"]));
    converges(&world, "v1");
    assert_eq!(one_generation(&world), number);
}

#[test]
fn a_power_cut_before_or_after_the_rename_boots_one_generation() {
    let mut world = World::on_its_own_disk("power");
    world.reconcile().ok();
    let before = one_generation(&world);

    want(&world, "v2");
    let at = Point::first("before the rename", "renameat", ACTIVE);
    assert_eq!(cut_at(&mut world, at), before);
    assert_eq!(world.serving(), "v1");
    let at = Point::first("before the rename is on the disk", "fsync", ACTIVE);
    assert_eq!(cut_at(&mut world, at), before);
    assert_eq!(world.serving(), "v1");
    converges(&world, "v2");

    want(&world, "v3");
    let at = Point::first("after the rename", "renameat", RUNTIME);
    let committed = cut_at(&mut world, at);
    assert_eq!((world.serving(), world.get("/").header("x-vhost")), ("v3".to_owned(), Some("v3")));
    converges(&world, "v3");
    assert_eq!(one_generation(&world), committed, "what was committed is finished, not released again");
}

#[test]
fn a_first_release_that_the_disk_did_not_get_is_made_again() {
    let mut world = World::on_its_own_disk("first-cut");
    // The first sync makes the environment, which is absent; the second would make its first generation the active one.
    cut(&mut world, Point { nth: 2, ..Point::first("before the rename is on the disk", "fsync", ACTIVE) });
    world.host.exec_ok(&["nginx", "-t", "-q"]);
    assert_eq!(world.host.sh("readlink /etc/portreeve/active/bakery_pro").trim(), "../generations/bakery_pro/0");
    converges(&world, "v1");
}

#[test]
fn a_power_cut_during_the_effects_boots_the_new_generation() {
    let mut world = World::on_its_own_disk("effects");
    // The first release of all, too: before it, `active` led to the empty generation.
    let journal = Point::first("all but the journal", "unlinkat", "/var/lib/portreeve/journal");
    cut_at(&mut world, journal);
    assert_eq!(world.serving(), "v1");
    converges(&world, "v1");

    want(&world, "v2");
    cut_at(&mut world, Point::first("before the socket moves", "renameat", RUNTIME));
    assert_eq!(world.serving(), "v2");
    converges(&world, "v2");

    want(&world, "v3");
    cut_when_committed(&mut world, Duration::from_millis(30));
    assert_eq!(world.serving(), "v3", "the power went while nginx was reloaded");
    converges(&world, "v3");

    want(&world, "v4");
    cut_at(&mut world, journal);
    assert_eq!(world.serving(), "v4");
    converges(&world, "v4");
}

/// Verified through a web server that is no longer led to it, what was committed would look broken.
#[test]
fn what_somebody_removed_is_mended_before_a_killed_pass_is_finished() {
    let world = World::new("mended");
    world.reconcile().ok();
    want(&world, "v2");
    pass_dies_at(&world, Point::first("after the rename", "fsync", ACTIVE));
    world.host.sh("rm /etc/nginx/sites-enabled/portreeve-bakery_pro.conf");
    let committed = world.host.sh("basename $(readlink /etc/portreeve/active/bakery_pro)");
    converges(&world, "v2");
    assert_eq!(one_generation(&world).to_string(), committed.trim(), "it is finished, not released again");
    let history = world.portreeve(&["history", "bakery/pro"]).ok().stdout;
    assert_eq!(history.matches("released v2").count(), 1, "{history}");
}

/// What was seen before a recovery is as old as that took.
#[test]
fn what_is_pushed_while_a_killed_pass_is_finished_is_released_by_the_same_pass() {
    let world = World::new("pushed-over");
    world.reconcile().ok();
    // Only a pass that left nothing to do lets the next one look before anything else.
    world.reconcile().ok();
    world.host.sh("mkdir -p /srv/gate; touch /srv/gate/open");
    world.push_app("v2", HEALTH_GATED, "v2");
    world.push_app("v3", &[], "v3");
    world.set_rev("v2");
    pass_dies_at(&world, Point::first("after the rename", "fsync", ACTIVE));
    world.host.sh("rm /srv/gate/open; systemctl stop portreeve-bakery_pro@b.service");
    let pass = world.host.command(&["portreeve", "reconcile"]).spawn().expect("a pass is started");
    until_within(Duration::from_mins(1), "the killed release is asked for its health", || world.host.has(ASKED));
    world.set_rev("v3");
    world.host.sh("touch /srv/gate/open");
    let ended = pass.wait_with_output().expect("it ends");
    assert_eq!((ended.status.code(), world.serving()), (Some(0), "v3".to_owned()));
}

/// What was ordered is in the database and in the dump of before, also when the power goes between the two halves of a migration.
#[test]
fn a_power_cut_in_the_middle_of_a_migration_loses_no_order_and_keeps_what_served() {
    let mut world = World::on_its_own_disk("migrating");
    world.edit_pro(|pro| format!("{pro}[django]\nmigrate = \"any\"\n"));
    world.reconcile().ok();
    let before = one_generation(&world);
    order(&world);
    world.push_app("v2", GATED_MIGRATION, "v2");
    world.set_rev("v2");
    world.host.sync();
    let mut pass = world.host.command(&["portreeve", "reconcile"]).spawn().expect("a pass is started");
    until_within(Duration::from_secs(90), "it migrates", || world.host.has(MIGRATING));
    world.host.power_cut();
    pass.wait().expect("it went with the power");
    world.host.boot_again();
    comes_back(&world);
    assert_eq!((one_generation(&world), world.serving()), (before, "v1".to_owned()));
    let dumps = "ls /var/backups/foouser/bakery/pro/before-*.sqlite3 | wc -l";
    assert_eq!(world.host.sh(dumps).trim(), "1", "it was on the disk before the first change");
    let columns =
        "sqlite3 /home/foouser/bakery/pro/data/db.sqlite3 'SELECT name FROM pragma_table_info(\"shop_order\")'";
    assert!(!world.host.sh(columns).contains("note"), "half of a migration is none");
    world.host.sh("mkdir -p /srv/gate; touch /srv/gate/open");
    converges(&world, "v2");
    assert_eq!(world.host.sh(ORDERS), "rye\n1 rye\n");
}

/// The power goes so long after visitors were led to the other slot, which comes after the rename is on the disk, with the program
/// running on.
fn cut_when_committed(world: &mut World, after: Duration) {
    world.host.sync();
    let led = || world.host.exec_ok(&["readlink", "/run/portreeve/bakery_pro/web.sock"]).stdout;
    let before = led();
    let mut pass = world.host.command(&["portreeve", "reconcile"]).spawn().expect("a pass is started");
    until_within(Duration::from_secs(90), "it is committed", || led() != before);
    std::thread::sleep(after);
    world.host.power_cut();
    pass.wait().expect("it went with the power");
    world.host.boot_again();
    comes_back(world);
    one_generation(world);
}
