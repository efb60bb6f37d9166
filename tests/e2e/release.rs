//! Releases under load: none fails a request, and the broken ones are never seen.

use crate::world::World;

#[test]
fn a_push_releases_with_no_failed_request() {
    let world = World::new("release");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    let first = world.reconcile();
    assert_eq!(first.code, 0, "{}", first.said());
    assert_eq!(world.serving(), "v1");
    let again = world.reconcile();
    assert_eq!(again.code, 0, "{}", again.said());
    let load = world.visitors(32);
    load.wait_for(200);
    let second = world.release("v2", &[]);
    assert_eq!(second.code, 0, "{}", second.said());
    assert_eq!(world.serving(), "v2");
    let back = world.portreeve(&["rollback", "bakery/pro"]);
    assert_eq!(back.code, 0, "{}", back.said());
    assert_eq!(world.serving(), "v1");
    let held = world.reconcile();
    assert_eq!(held.code, 0, "{}", held.said());
    assert_eq!(world.serving(), "v1");
    load.stop().assert_none_failed();
}
