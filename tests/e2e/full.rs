//! Where nothing can be written, what is there serves on, and is started.

use crate::traces::until;
use crate::world::World;

/// Our records and our units.
const PLACES: [&str; 2] = ["/etc/portreeve", "/etc/systemd/system"];

/// How a disk refuses, and how it is well again; `D` is a place on it.
struct Refusal {
    words: &'static str,
    begin: &'static str,
    end: &'static str,
}

const REFUSALS: [Refusal; 2] = [
    Refusal {
        words: "No space left on device",
        begin: "mkdir -p /srv/there; cp -aT D /srv/there/$(basename D)
            mount -t tmpfs -o size=2m tmpfs D; cp -aT /srv/there/$(basename D) D; ! cat /dev/zero >D/full",
        end: "umount D; rm -r /srv/there/$(basename D)",
    },
    Refusal { words: "Read-only file system", begin: "mount --bind D D; mount -o remount,bind,ro D", end: "umount D" },
];

fn everywhere(world: &World, command: &str) {
    for place in PLACES {
        world.host.sh(&command.replace('D', place));
    }
}

fn stop(world: &World) {
    world.host.sh("systemctl stop portreeve-bakery_pro@a.service");
}

#[test]
fn a_disk_that_takes_nothing_keeps_nobody_from_starting_what_is_there() {
    let world = World::new("full");
    world.reconcile().ok();
    // Otherwise there is hardly a record to write.
    world.release("v2", crate::edits::HEALTH_500).exits(3);
    for refusal in &REFUSALS {
        starts(&world, refusal);
        starts_where_a_hold_ends(&world, refusal);
    }
    REFUSALS
        .iter()
        .zip(["v3", "v4"])
        .for_each(|(refusal, version)| starts_what_is_to_be_left(&world, refusal, version));
}

#[track_caller]
fn starts(world: &World, refusal: &Refusal) {
    everywhere(world, refusal.begin);
    stop(world);
    let start = world.portreeve(&["start", "bakery/pro"]).ok();
    assert_eq!(world.serving(), "v1", "{start}");
    stop(world);
    let pass = world.reconcile().exits(4);
    assert!(pass.said().contains("was started"), "{pass}");
    assert_eq!(world.serving(), "v1", "{pass}");
    everywhere(world, refusal.end);
}

/// Nothing moves by its end.
#[track_caller]
fn starts_where_a_hold_ends(world: &World, refusal: &Refusal) {
    world.portreeve(&["suspend", "bakery/pro", "--for", "1s", "--reason", "db move"]).ok();
    everywhere(world, refusal.begin);
    stop(world);
    until("it has ended, and is started", || world.reconcile().said().contains("was started"));
    let said = world.reconcile();
    assert!(said.said().contains(refusal.words), "{said}");
    assert_eq!(world.serving(), "v1");
    everywhere(world, refusal.end);
}

/// Something else is wanted, and it can't be begun.
#[track_caller]
fn starts_what_is_to_be_left(world: &World, refusal: &Refusal, version: &str) {
    let before = world.serving();
    world.push_app(version, &[], version);
    world.set_rev(version);
    world.portreeve(&["plan"]).ok();
    everywhere(world, refusal.begin);
    world.host.sh("systemctl stop 'portreeve-bakery_pro@*.service'");
    let pass = world.reconcile().exits(4);
    assert!(pass.said().contains(refusal.words), "{pass}");
    assert_eq!(world.serving(), before, "{pass}");
    everywhere(world, refusal.end);
    world.reconcile().ok();
    assert_eq!(world.serving(), version);
}
