//! A host without environments, before the first and after the last, and at every point on the way: nothing of ours ever keeps
//! nginx or logrotate from working.

use crate::crash::{Point, pass_dies_at};
use crate::http;
use crate::oracle::{converges, one_generation};
use crate::world::{SITE, World};

const ACTIVE: &str = "/etc/portreeve/active";
const GENERATIONS: &str = "/etc/portreeve/generations/bakery_pro";
const JOURNAL: &str = "/var/lib/portreeve/journal";
const NGINX: &str = "/etc/nginx/sites-enabled";
const LOGROTATE: &str = "/etc/logrotate.d";
const TMPFILES: &str = "/etc/tmpfiles.d";
const UNITS: &str = "/etc/systemd/system";

/// Until there is a generation to start.
const BUILDING: [Point; 10] = [
    Point::first("nothing but the intent", "renameat", "/etc/sysusers.d"),
    Point::first("what the application goes through was just made", "mkdirat", "/etc/portreeve/generations"),
    Point::first("so was the way to its logs", "mkdirat", "/var/log/foouser"),
    Point::first("before the release's tree", "renameat2", "/home/foouser/bakery/pro/releases"),
    Point::first("before the virtual environment is complete", "renameat", "/home/foouser/bakery/pro/venvs"),
    Point::first("before it is absent", "renameat2", GENERATIONS),
    Point::first("before absence is active", "symlinkat", ACTIVE),
    Point::first("before the vhost's link", "symlinkat", NGINX),
    Point::first("before logrotate's link", "symlinkat", LOGROTATE),
    Point::first("before tmpfiles' link", "symlinkat", TMPFILES),
];

/// From there to the end.
const STARTING: [Point; 6] = [
    Point::first("before its generation", "renameat2", GENERATIONS),
    Point::first("before its slot's link", "symlinkat", "/etc/portreeve/slots/bakery_pro"),
    Point::first("before its unit", "renameat", UNITS),
    Point::first("before it is wanted at boot", "symlinkat", "/etc/systemd/system/multi-user.target.wants"),
    Point::first("before the rename", "renameat", ACTIVE),
    Point::first("after the rename", "fsync", ACTIVE),
];

/// The way back to nothing.
const REMOVING: [Point; 11] = [
    Point::first("before the rename to absence", "renameat", ACTIVE),
    Point::first("before the vhost's link goes", "unlinkat", NGINX),
    Point::first("before logrotate's link goes", "unlinkat", LOGROTATE),
    Point::first("before tmpfiles' link goes", "unlinkat", TMPFILES),
    Point::first("before the unit goes", "unlinkat", UNITS),
    Point::first("before the release goes", "renameat2", "/home/foouser/bakery/pro/releases"),
    Point::first("before the virtual environment goes", "renameat2", "/home/foouser/bakery/pro/venvs"),
    Point::first("before its number is kept", "renameat", GENERATIONS),
    Point::first("before its generation goes", "renameat2", GENERATIONS),
    Point::first("before absence goes", "renameat2", GENERATIONS),
    Point::first("before the last link goes", "unlinkat", ACTIVE),
];

/// What others run on this host goes on working.
#[track_caller]
fn others_work(world: &World, when: &str) {
    let script = "nginx -t -q
        if logrotate -d /etc/logrotate.conf 2>&1 | grep '^error:'; then exit 1; fi
        systemctl reset-failed nginx; systemctl restart nginx; systemctl is-active -q nginx";
    let works = world.host.exec(&["sh", "-euc", script]);
    assert_eq!(works.code, 0, "{when}: {works}");
}

fn host_names(world: &World, environments: &str) {
    world.push_deploy(&[("hosts/web1.toml", Some(&format!("environments = [{environments}]\n")))]);
}

#[track_caller]
fn nothing_is_there(world: &World) {
    let found = world.host.sh(
        "find /etc/nginx /etc/logrotate.d /etc/tmpfiles.d /etc/systemd/system /etc/portreeve/active /run/portreeve \
            -name '*bakery_pro*' -not -name '*.lock' -not -path '/run/portreeve/bakery_pro*' 2>/dev/null || true",
    );
    assert_eq!(found, "");
    let answer = http::get(&world.host, SITE, "/").expect("nginx answers");
    assert_eq!(answer.release(), None, "{answer:?}");
}

#[test]
fn a_first_release_killed_at_any_point_harms_nobody() {
    let world = World::new("first");
    // Nothing is listed, which is a mistake; then one that is to be gone, which is none.
    host_names(&world, "");
    world.reconcile().exits(2);
    others_work(&world, "no environment");
    host_names(&world, "\"bakery/pro\"");
    let pro = world.edit_pro(|pro| format!("removed = true\n{pro}"));
    world.reconcile().ok();
    others_work(&world, "no environment");
    nothing_is_there(&world);

    world.edit_pro(|_| pro);
    for point in BUILDING.into_iter().chain(STARTING) {
        pass_dies_at(&world, point);
        others_work(&world, point.name);
    }
    converges(&world, "v1");
    others_work(&world, "released");
}

#[test]
fn the_last_environment_goes_and_may_come_back() {
    let world = World::new("last");
    world.host.sh("printf '[prune]\\ngrace = \"0s\"\\n' >>/etc/portreeve/agent.toml");
    world.reconcile().ok();
    let number = one_generation(&world);
    world.host.sh("systemctl is-active -q portreeve-bakery_pro@a");

    host_names(&world, "");
    world.reconcile().exits(2);
    assert_eq!(world.serving(), "v1", "pro goes with a tombstone only");

    host_names(&world, "\"bakery/pro\"");
    let pro = world.edit_pro(|pro| format!("removed = true\n{pro}"));
    for point in REMOVING {
        pass_dies_at(&world, point);
        others_work(&world, point.name);
    }
    let gone = world.reconcile();
    assert_eq!(gone.code, 0, "{gone}");
    others_work(&world, "removed");
    nothing_is_there(&world);
    let units = world.host.sh("systemctl list-units --all --plain --no-legend 'portreeve-bakery_pro@*'");
    assert_eq!(units, "", "no process stays");
    assert!(world.host.has("/home/foouser/bakery/pro/data/db.sqlite3"), "data stays");
    let idle = world.reconcile();
    assert_eq!(idle.code, 0, "{idle}");

    world.edit_pro(|_| pro);
    converges(&world, "v1");
    assert!(one_generation(&world) > number);
}
