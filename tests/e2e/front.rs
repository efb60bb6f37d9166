//! nginx goes away while a release is being judged through it: that is the host's trouble, and told as such.

use crate::cmd::Background;
use crate::edits::health;
use crate::oracle::one_generation;
use crate::traces::until;
use crate::world::{Edits, World};

const ENV: &str = "bakery/pro";
const ASKED: &str = "/home/foouser/bakery/pro/data/asked";
const JOURNAL: &str = "ls -A /var/lib/portreeve/journal";

/// Notes that somebody came round nginx.
const NOTES_WHO_ASKS: Edits<'static> = &[(
    "bakery/urls.py",
    Some(health!(
        "if 'HTTP_X_REAL_IP' not in request.META:
        open('/home/foouser/bakery/pro/data/asked', 'w').close()
    return HttpResponse()"
    )),
)];

fn world(name: &str) -> World {
    let world = World::new(name);
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.edit_pro(|text| text.replace("bake = \"1s\"", "bake = \"3s\""));
    world.reconcile().ok();
    world
}

/// A pass that has switched to v2.
fn switched(world: &World) -> Background {
    world.push_app("v2", NOTES_WHO_ASKS, "v2");
    world.set_rev("v2");
    let pass = Background::start(world.host.command(&["portreeve", "reconcile"]));
    until("v2 is active", || world.host.sh("readlink /etc/portreeve/active/bakery_pro").trim().ends_with("/2"));
    pass
}

#[test]
fn an_nginx_that_is_restarted_in_the_bake_is_waited_for() {
    let world = world("front-restart");
    let pass = switched(&world);
    world.host.sh(&format!("systemctl stop nginx; rm -f {ASKED}"));
    until("the slot is asked itself", || world.host.has(ASKED));
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    pass.end().ok();
    assert_eq!(world.serving(), "v2");
    one_generation(&world);
}

#[test]
fn an_nginx_that_is_not_there_after_a_power_cut_leaves_the_verdict_open() {
    let mut world = world("front-boot");
    let pass = switched(&world);
    world.host.sh("systemctl -q disable nginx; sync -f /");
    world.host.power_cut();
    pass.end();
    world.host.boot_again();
    for _ in 0..2 {
        let pass = world.reconcile().exits(4);
        assert!(pass.stderr.contains("nginx does not answer"), "{pass}");
        assert!(pass.stderr.contains("systemctl start nginx"), "{pass}");
    }
    assert_eq!(world.host.sh(JOURNAL).trim(), "bakery_pro.json");
    let status = world.portreeve(&["status", "--exit-code"]).exits(4);
    assert!(status.stdout.contains("blocked"), "{status}");
    let why = world.portreeve(&["why", ENV]);
    assert!(why.stdout.contains("nginx does not answer") && !why.stdout.contains("quarantined"), "{why}");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.reconcile().ok();
    assert_eq!((world.serving().as_str(), world.host.sh(JOURNAL).as_str()), ("v2", ""));
    one_generation(&world);
}

#[test]
fn an_nginx_that_runs_and_answers_nobody_is_no_reason_to_take_a_release_back() {
    let world = world("front-silent");
    let pass = switched(&world);
    world.host.sh("pkill -STOP -x nginx");
    for pass in [pass.end().exits(4), world.reconcile().exits(4)] {
        assert!(pass.stderr.contains("nginx does not answer"), "{pass}");
        assert!(pass.stderr.contains("it runs: tail /var/log/nginx/error.log"), "{pass}");
        assert_eq!(world.host.sh(JOURNAL).trim(), "bakery_pro.json", "the verdict is open");
    }
    world.host.sh("pkill -CONT -x nginx");
    world.reconcile().ok();
    assert_eq!((world.serving().as_str(), world.host.sh(JOURNAL).as_str()), ("v2", ""));
    one_generation(&world);
}
