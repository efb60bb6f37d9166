//! First releases that fail: nothing serves yet, and nobody may be shut in by that.

use crate::crash::{Point, pass_dies_at};
use crate::edits::HEALTH_500;
use crate::world::World;

/// What is printed as the cure is one.
#[test]
fn where_nothing_serves_yet_a_rewritten_branch_is_accepted_too() {
    let world = World::new("first-accept");
    world.push_app("bad", HEALTH_500, "bad");
    world.set_rev("bad");
    world.reconcile().exits(3);
    world.deploy.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    let pro = world.deploy.read("projects/bakery/pro.toml");
    world.deploy.write("projects/bakery/pro.toml", format!("# another way\n{pro}"));
    let tip = world.deploy.commit("another way");
    world.deploy.push_forced();
    let pass = world.reconcile().exits(4);
    let cure = ["accept", "bakery/pro", &tip];
    assert!(pass.stderr.contains(&format!("portreeve {}", cure.join(" "))), "{pass}");
    world.portreeve(&cure).ok();
    world.reconcile().ok();
    assert_eq!(world.serving(), "v1");
}

/// What is the host's own and wrong: it is named, and the release comes as soon as that is put right.
#[test]
fn what_is_wrong_with_the_host_is_not_the_first_release_s_fault() {
    let world = World::new("first-host");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.host.put_file("/var/lib/logrotate/status", "what a full disk left\n");
    let own = "/etc/portreeve/local/bakery_pro/nginx.d/own.conf";
    world.host.put_file(own, "frobnicate on;\n");
    let pass = world.reconcile().exits(4);
    assert!(pass.stderr.contains(&format!("nginx refuses {own}:1: unknown directive \"frobnicate\"")), "{pass}");
    world.host.exec_ok(&["rm", own]);
    world.reconcile().ok();
    assert_eq!(world.serving(), "v1");
}

/// On many a host `/var` is small, and what grows in it is a link.
#[test]
fn a_state_directory_that_is_a_link_is_as_good() {
    let world = World::new("first-linked");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world
        .host
        .sh("install -d -m 700 /srv/portreeve; rm -rf /var/lib/portreeve; ln -s /srv/portreeve /var/lib/portreeve");
    pass_dies_at(&world, Point::first("active is about to move", "renameat", "/etc/portreeve/active"));
    let pass = world.reconcile().ok();
    assert!(!pass.said().contains("symbolic links"), "{pass}");
    assert_eq!((world.serving().as_str(), world.host.sh("ls -A /srv/portreeve/journal").as_str()), ("v1", ""));
    assert!(world.portreeve(&["history"]).ok().stdout.contains("released v1"));
}

/// nginx can't be reloaded because of what others wrote, and has nothing of ours to forget.
#[test]
fn somebody_else_s_broken_vhost_keeps_no_first_release_from_being_given_up() {
    let world = World::new("first-vhost");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.host.put_file("/etc/nginx/sites-enabled/broken.conf", "nonsense;\n");
    let pass = world.reconcile().exits(4);
    assert!(pass.stderr.contains("broken.conf"), "{pass}");
    assert_eq!(world.host.sh("ls -A /var/lib/portreeve/journal"), "", "{pass}");
    let status = world.portreeve(&["status", "--exit-code"]).exits(4);
    assert!(status.stdout.contains("broken.conf"), "{status}");
    world.portreeve(&["suspend", "bakery/pro", "--for", "1h", "--reason", "nginx is broken"]).ok();
    world.portreeve(&["resume", "bakery/pro"]).ok();
    world.host.exec_ok(&["rm", "/etc/nginx/sites-enabled/broken.conf"]);
    world.reconcile().ok();
    assert_eq!(world.serving(), "v1");
}
