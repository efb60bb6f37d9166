//! What is answered to those who mistype, wait, and look for a crash.

use std::time::Duration;

use crate::traces::until_within;
use crate::world::World;

/// A step of a release, or a restart by systemd, on a busy machine.
const A_STEP: Duration = Duration::from_mins(1);

#[test]
fn nobody_is_told_less_than_what_is_so() {
    let world = World::new("answers");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    a_name_that_is_mistyped_hides_no_outcome(&world);
    the_run_that_crashed_is_shown_with_the_one_after(&world);
    what_is_stopped_is_not_live(&world);
}

#[track_caller]
fn a_name_that_is_mistyped_hides_no_outcome(world: &World) {
    let pass = world.portreeve(&["reconcile", "bakery/pro", "bakery/por"]).exits(2);
    assert!(pass.stdout.contains("bakery/pro  v1 released after "), "{pass}");
    assert!(pass.stderr.contains("bakery/por is not in hosts/web1.toml"), "{pass}");
    let alone = world.portreeve(&["reconcile", "bakery/por"]).exits(2);
    assert!(alone.stdout.is_empty() && alone.stderr.contains("bakery/por is not in"), "{alone}");
}

#[track_caller]
fn the_run_that_crashed_is_shown_with_the_one_after(world: &World) {
    let runs = || world.portreeve(&["logs", "bakery/pro"]).ok().stdout.matches("Listening at").count();
    until_within(A_STEP, "it has said that it listens", || runs() == 1);
    world.host.exec_ok(&["systemctl", "kill", "--kill-whom=main", "--signal=KILL", "portreeve-bakery_pro@a.service"]);
    until_within(A_STEP, "both runs are shown", || runs() == 2);
    assert_eq!(world.portreeve(&["logs", "bakery/pro", "-n", "1"]).ok().stdout.lines().count(), 1);
}

#[track_caller]
fn what_is_stopped_is_not_live(world: &World) {
    world.portreeve(&["wait", "bakery/pro", "--timeout", "20s"]).ok();
    world.portreeve(&["stop", "bakery/pro"]).ok();
    let waited = world.portreeve(&["wait", "bakery/pro", "--timeout", "20s"]).exits(4);
    assert!(waited.stderr.contains("it is stopped, by root") && waited.stderr.contains("portreeve start"), "{waited}");
}

/// Of a release whose slot was never started nothing is known.
#[test]
fn a_start_that_something_else_prevents_is_not_the_releases_fault() {
    const DROP_IN: &str = "/etc/systemd/system/portreeve-bakery_pro@b.service.d/needs.conf";
    let world = World::new("prevented");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.reconcile().ok();
    world.host.put_file("/etc/systemd/system/nas.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n");
    world.host.put_file(DROP_IN, "[Unit]\nRequires=nas.service\nAfter=nas.service\n");
    let pass = world.release("v2", &[]).exits(4);
    assert!(pass.stderr.contains("@b.service: a unit that it requires did not start"), "{pass}");
    assert!(pass.stderr.contains("users still get v1") && !pass.stderr.contains("quarantined"), "{pass}");
    assert_eq!(world.serving(), "v1");
    world.host.exec_ok(&["rm", DROP_IN]);
    world.portreeve(&["retry", "bakery/pro"]).ok();
    world.reconcile().ok();
    assert_eq!(world.serving(), "v2");
}
