//! The same story where Supervisor runs the processes.

use crate::edits::{HEALTH_500, IMPORT_ERROR};
use crate::world::World;

const AGENT_TOML: &str = r#"repo = "ssh://git@git.example.org/srv/git/deploy.git"
host = "web1"
manager = "supervisor"
"#;

#[test]
fn supervisor_releases_refuses_and_goes_back_with_no_failed_request() {
    let world = World::new("supervisor");
    world.host.exec_ok(&["systemctl", "start", "nginx", "supervisor"]);
    world.host.put_file("/etc/portreeve/agent.toml", AGENT_TOML);
    world.reconcile().ok();
    assert_eq!(world.serving(), "v1");
    let running = world.host.sh("supervisorctl status || true");
    assert_eq!(running.matches("RUNNING").count(), 1, "one slot runs: {running}");
    assert!(!world.host.has("/etc/systemd/system/portreeve-bakery_pro@a.service"));
    let again = world.reconcile().ok();
    assert!(again.stdout.contains("unchanged"), "{again}");

    let load = world.visitors(32);
    load.wait_for(200);
    world.release("v2", &[]).ok();
    assert_eq!(world.serving(), "v2");
    for (name, edits, cause) in [("v3", IMPORT_ERROR, "breda"), ("v4", HEALTH_500, "500")] {
        let refused = world.release(name, edits).exits(3);
        assert!(refused.stderr.contains(cause), "{refused}");
        assert_eq!(world.serving(), "v2");
        world.reconcile().exits(4);
    }
    world.portreeve(&["rollback", "bakery/pro"]).ok();
    assert_eq!(world.serving(), "v1");
    world.reconcile().ok();
    assert_eq!(world.serving(), "v1", "the next pass leaves it there");
    load.wait_for(200);
    let report = load.stop();
    report.assert_none_failed();
    assert_eq!(report.by_release.keys().collect::<Vec<_>>(), ["v1", "v2"]);

    // Supervisor restarted as by a package's update: the committed generation comes back by itself.
    world.host.exec_ok(&["systemctl", "restart", "supervisor"]);
    crate::traces::until("the site is back", || world.get("/").status == 200);
    assert_eq!(world.serving(), "v1");
}
