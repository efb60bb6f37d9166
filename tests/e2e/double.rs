//! A double failure: a release fails while it is watched, and what it goes back to does not start any more.

use crate::cmd::Background;
use crate::edits::HEALTH_GOES;
use crate::traces::until;
use crate::world::World;

const V1: &str = "$(readlink -f /etc/portreeve/generations/bakery_pro/1/release)/bakery/wsgi.py";

#[test]
fn when_what_is_gone_back_to_does_not_start_it_is_said_and_serves_as_soon_as_it_can() {
    let world = World::new("double");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.host.sh("mkdir -m 777 /srv/gate");
    world.reconcile().ok();
    world.push_app("v2", HEALTH_GOES, "v2");
    world.edit_pro(|pro| pro.replace("\"v1\"", "\"v2\"").replace("bake = \"1s\"", "bake = \"10m\""));
    let release = Background::start(world.host.command(&["portreeve", "reconcile"]));
    until("it is switched to", || world.get("/").release() == Some("v2"));
    world.host.sh(&format!("mv {V1} {V1}.away; systemctl stop portreeve-bakery_pro@a; touch /srv/gate/ill"));
    let failed = release.end();
    assert!(![0, 2].contains(&failed.code), "{failed}");
    for words in ["health answered 500", "v1 is back, and not well: "] {
        assert!(failed.said().contains(words), "{words}: {failed}");
    }
    for _ in 0..2 {
        let pass = world.reconcile();
        assert!(![0, 2].contains(&pass.code) && !pass.said().contains("v2 released"), "{pass}");
        assert_eq!(world.get("/").status, 502, "nobody is led to what failed: {pass}");
        assert!(world.host.sh("readlink /etc/portreeve/active/bakery_pro").trim().ends_with("/1"));
        assert_eq!(world.host.sh("ls -A /var/lib/portreeve/journal"), "", "{pass}");
    }
    world.host.sh(&format!("mv {V1}.away {V1}"));
    // Whoever starts it, the pass or systemd, which tries by itself: a server's sockets answer once its workers are there.
    let mended = world.reconcile();
    until(&format!("it serves again: {mended}"), || world.get("/").release() == Some("v1"));
    let why = world.portreeve(&["why", "bakery/pro"]);
    assert!(why.said().contains("quarantined"), "{why}");
    let history = world.portreeve(&["history", "bakery/pro"]).ok();
    assert!(history.stdout.contains("v2 rolled back: health answered 500"), "{history}");
}
