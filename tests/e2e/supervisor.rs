//! The same story where Supervisor runs the processes.

use crate::crash::{Point, pass_dies_at};
use crate::edits::{HEALTH_500, IMPORT_ERROR};
use crate::world::World;

const AGENT_TOML: &str = r#"repo = "ssh://git@git.example.org/srv/git/deploy.git"
host = "web1"
manager = "supervisor"
"#;

fn serving_v1(name: &str) -> World {
    let world = World::new(name);
    world.host.exec_ok(&["systemctl", "start", "nginx", "supervisor"]);
    world.host.put_file("/etc/portreeve/agent.toml", AGENT_TOML);
    world.reconcile().ok();
    assert_eq!(world.serving(), "v1");
    world
}

#[track_caller]
fn unchanged(world: &World) {
    assert_eq!(world.reconcile().ok().stdout.trim(), "bakery/pro  unchanged");
}

#[test]
fn what_people_do_by_hand_is_repaired_under_supervisor_too() {
    let world = serving_v1("sup-drift");
    let (active, program) = ("/etc/portreeve/active/bakery_pro", "/etc/supervisor/conf.d/portreeve-bakery_pro-a.conf");
    for (accident, words) in [
        (format!("echo '# mine' >>{active}/nginx.conf"), "nginx.conf was changed"),
        ("rm /etc/logrotate.d/portreeve-bakery_pro".to_owned(), "/etc/logrotate.d/portreeve-bakery_pro was deleted"),
        (format!("chmod 644 {active}/settings_local.py"), "settings_local.py had mode 644, not 440"),
        ("supervisorctl stop portreeve-bakery_pro-a".to_owned(), "slot a was not running and was started"),
        (format!("echo '; mine' >>{program}"), "portreeve-bakery_pro-a.conf was changed"),
    ] {
        world.host.sh(&accident);
        let pass = world.reconcile().ok();
        assert!(pass.said().contains(words), "expected `{words}`: {pass}");
        assert_eq!(world.serving(), "v1");
        unchanged(&world);
    }
    for (order, status) in [("restart", 200), ("stop", 502), ("start", 200)] {
        world.portreeve(&[order, "bakery/pro"]).ok();
        assert_eq!(world.get("/").status, status, "{order}");
    }
    assert!(world.portreeve(&["logs", "bakery/pro"]).ok().stdout.contains("Booting worker"));
}

#[test]
fn a_pass_that_is_killed_under_supervisor_is_ended_by_the_next() {
    let world = serving_v1("sup-killed");
    let active = "/etc/portreeve/active";
    for (version, before, point) in [
        ("v2", "v1", Point::first("before the rename", "renameat", active)),
        ("v3", "v2", Point::first("after the rename", "fsync", active)),
    ] {
        world.push_app(version, &[], version);
        world.set_rev(version);
        pass_dies_at(&world, point);
        assert_eq!(world.serving(), before, "{}", point.name);
        world.host.exec_ok(&["nginx", "-t", "-q"]);
        world.host.exec_ok(&["systemctl", "restart", "supervisor"]);
        crate::traces::until("the site is back", || world.get("/").status == 200);
        world.reconcile().ok();
        assert_eq!(world.serving(), version);
        unchanged(&world);
    }
}

#[test]
fn supervisor_releases_refuses_and_goes_back_with_no_failed_request() {
    let world = serving_v1("supervisor");
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

/// Nobody reads tmpfiles.d at a boot where systemd is not PID 1.
#[test]
fn what_a_boot_takes_away_is_made_again() {
    let mut world = serving_v1("sup-reboot");
    world.host.sh("systemctl mask systemd-tmpfiles-setup.service; systemctl enable nginx supervisor");
    world.host.reboot();
    assert!(!world.host.has("/run/portreeve/bakery_pro"), "nobody has made it");
    let pass = world.reconcile().ok();
    assert!(pass.said().contains("/run/portreeve/bakery_pro/web.sock was deleted"), "{pass}");
    // Supervisor never gives up, and gunicorn tries once a second.
    crate::traces::until("the site is back", || world.get("/").status == 200);
    assert_eq!(world.serving(), "v1");
    unchanged(&world);
}
