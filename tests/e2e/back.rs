//! Going back, and back once more: to what served before, never to what was left, and nothing comes after it by itself.

use crate::edits::{HEALTH_GATED, NO_INDEX, OTHER_REQUIREMENTS};
use crate::oracle::one_generation;
use crate::world::World;

const ENV: &str = "bakery/pro";

/// `v1`, `v2` and `v3` have served, and each slot stays warm for longer than this lasts.
fn serving_v3(name: &str) -> World {
    let world = World::new(name);
    world.host.exec_ok(&["systemctl", "enable", "--now", "nginx"]);
    world.edit_pro(|text| format!("warm = \"1h\"\n{text}"));
    world.reconcile().ok();
    for version in ["v2", "v3"] {
        world.release(version, &[]).ok();
    }
    world
}

#[track_caller]
fn serves(world: &World, version: &str) {
    assert_eq!(world.serving(), version);
    one_generation(world);
    let pass = world.reconcile().ok();
    assert!(pass.stdout.contains("held"), "{pass}");
    assert_eq!(world.serving(), version, "{pass}");
    one_generation(world);
}

#[test]
fn whoever_goes_back_twice_is_two_releases_back() {
    let world = serving_v3("twice");
    for version in ["v2", "v1"] {
        let back = world.portreeve(&["rollback", ENV, "--reason", "cart broken"]).ok();
        assert!(back.stdout.contains(&format!("{version} serves again")), "{back}");
        serves(&world, version);
    }
    // New processes are another generation of the same, and what was left is not what was before it.
    world.portreeve(&["restart", ENV]).ok();
    let none = world.portreeve(&["rollback", ENV]).exits(4);
    assert!(none.stderr.contains("there is no earlier release on this host"), "{none}");
    serves(&world, "v1");
}

#[test]
fn nothing_comes_by_itself_that_was_wanted_before_somebody_went_back() {
    let mut world = serving_v3("waited");
    let conf = world.host.read_file("/etc/pip.conf");
    world.host.put_file("/etc/pip.conf", NO_INDEX);
    world.release("v4", OTHER_REQUIREMENTS).exits(1);
    world.portreeve(&["rollback", ENV, "--to", "v2"]).ok();
    world.host.put_file("/etc/pip.conf", conf);
    world.next_try_in(0);
    serves(&world, "v2");
    // What serves already can be meant as well.
    let stays = world.portreeve(&["rollback", ENV, "--to", "v2", "--until-resume"]).ok();
    assert!(stays.stdout.contains("v2 serves already; later passes leave it there"), "{stays}");
    world.host.reboot();
    serves(&world, "v2");
    world.portreeve(&["resume", ENV]).ok();
    world.reconcile().ok();
    assert_eq!(world.serving(), "v4");

    for empty in [["--to", ""], ["--reason", " "]] {
        let refused = world.portreeve(&[&["rollback", ENV], &empty[..]].concat()).exits(2);
        assert!(refused.stderr.contains("it is empty"), "{refused}");
    }
    world.portreeve(&["wait", ENV, "--commit", ""]).exits(2);
}

#[test]
fn an_order_that_failed_is_in_the_history_with_who_gave_it() {
    let world = World::new("failed-order");
    world.host.exec_ok(&["systemctl", "enable", "--now", "nginx"]);
    world.host.sh("mkdir -m 777 /srv/gate; touch /srv/gate/open");
    world.edit_pro(|pro| pro.replace("deadline = \"20s\"", "deadline = \"8s\""));
    world.release("v2", HEALTH_GATED).ok();
    world.host.sh("rm /srv/gate/open");
    let failed = world.portreeve(&["restart", ENV]).exits(3);
    assert!(failed.stderr.contains("help: portreeve why bakery/pro"), "{failed}");
    assert_eq!(world.serving(), "v2");
    let history = world.portreeve(&["history", ENV, "--json"]).ok().stdout;
    let events: serde_json::Value = serde_json::from_str(&history).expect("events");
    let event = &events[0];
    assert_eq!((&event["event"], &event["by"], &event["rev"]), (&"not-released".into(), &"root".into(), &"v2".into()));
    assert!(event["generation"].is_u64(), "{history}");
}
