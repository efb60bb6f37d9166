//! Records that somebody damaged or deleted: the site serves on throughout, the next release heals it, and what can't be gone back
//! to is said.

use crate::oracle::one_generation;
use crate::world::{Edits, World};

const RECORD: &str = "/etc/portreeve/generations/bakery_pro/1/generation.toml";

/// It starts, and is not well.
const SICK: Edits<'static> = &[(
    "bakery/urls.py",
    Some(
        "from django.http import HttpResponse\nfrom django.urls import path\n\nfrom shop import views\n\n\n\
         def healthz(request):\n    return HttpResponse(status=500)\n\n\n\
         urlpatterns = [path('', views.index), path('healthz', healthz), path('order', views.order)]\n",
    ),
)];

fn serving_v1(name: &str) -> World {
    let world = World::new(name);
    world.host.exec_ok(&["systemctl", "enable", "--now", "nginx"]);
    world.reconcile().ok();
    world
}

/// Numbers of attempts, active or refused; of what went wrong nothing is open.
#[track_caller]
fn attempts(world: &World) -> String {
    assert_eq!(world.host.sh("ls -A /var/lib/portreeve/journal"), "", "the journal is closed");
    world.host.sh("ls /etc/portreeve/generations/bakery_pro | sed 's/[.].*//' | sort -nu | tail -1")
}

/// Two passes that try nothing, and leave this serving.
#[track_caller]
fn rests(world: &World, serving: &str) {
    let tried = attempts(world);
    for _ in 0..2 {
        world.reconcile();
        assert_eq!((attempts(world), world.serving().as_str()), (tried.clone(), serving));
    }
}

#[test]
fn a_damaged_record_takes_nothing_down_and_the_next_release_heals_it() {
    let world = serving_v1("damaged");
    let visitors = world.visitors(32);
    visitors.wait_for(200);
    world.host.sh(&format!("truncate -s 40 {RECORD}"));
    where_nothing_says_which_slot(&world);

    let bad = world.reconcile().exits(3);
    assert!(bad.stderr.contains("v2 not released") && bad.stderr.contains("users still get generation 1"), "{bad}");
    assert_eq!(world.host.sh("readlink /etc/portreeve/active/bakery_pro"), "../generations/bakery_pro/1\n");
    rests(&world, "v1");
    world.reconcile().exits(4);
    let why = world.portreeve(&["why", "bakery/pro"]).ok();
    assert!(why.stdout.contains("quarantined: ") && why.stdout.contains(RECORD), "{why}");

    world.host.sh(&format!("rm {RECORD}"));
    world.release("v3", &[]).ok();
    assert_eq!(world.serving(), "v3");
    one_generation(&world);
    assert_eq!(world.reconcile().ok().stdout.trim(), "bakery/pro  unchanged");
    visitors.wait_for(200);
    let report = visitors.stop();
    println!("{report}");
    report.assert_none_failed();
}

/// Nothing is touched, and what is to be typed heals it.
#[track_caller]
fn where_nothing_says_which_slot(world: &World) {
    world.host.sh("cd /etc/portreeve; rm slots/bakery_pro/a generations/bakery_pro/1/slot-a");
    world.push_app("v2", SICK, "v2");
    world.set_rev("v2");
    let before = world.host.sh("cd /etc/portreeve; find generations slots active -printf '%p %i %l\\n' | sort");
    let blocked = world.reconcile().exits(4);
    assert!(blocked.stderr.contains("bakery/pro is blocked: ") && blocked.stderr.contains(RECORD), "{blocked}");
    assert_eq!(before, world.host.sh("cd /etc/portreeve; find generations slots active -printf '%p %i %l\\n' | sort"));
    let typed = "ln -sfn ../../generations/bakery_pro/1 /etc/portreeve/slots/bakery_pro/SLOT";
    assert!(blocked.stderr.contains(typed), "{blocked}");
    let slot = world.host.sh("readlink /run/portreeve/bakery_pro/web.sock");
    world.host.sh(&typed.replace("SLOT", slot.split('/').next().expect("a slot")));
}

#[test]
fn what_cannot_be_gone_back_to_is_said_and_nothing_moves() {
    let world = serving_v1("noreturn");
    world.release("v2", &[]).ok();
    world.release("v3", &[]).ok();
    let rollback = |to: &str| world.portreeve(&["rollback", "bakery/pro", "--to", to, "--reason", "cart broken"]);

    let missing = rollback("9").exits(4);
    assert!(missing.stderr.contains("generation 9 is not on this host"), "{missing}");
    assert!(missing.stderr.contains("portreeve history bakery/pro"), "{missing}");
    world.host.sh(&format!("truncate -s 40 {RECORD}"));
    let damaged = rollback("1").exits(4);
    assert!(damaged.stderr.contains(&format!("{RECORD} is damaged")), "{damaged}");
    world.host.sh("rm -r /etc/portreeve/generations/bakery_pro/1");
    let collected = rollback("1").exits(4);
    assert!(collected.stderr.contains("generation 1 is not on this host"), "{collected}");
    rests(&world, "v3");

    // Its slot is cold, and its tree was taken away: no process of it can start.
    world
        .host
        .sh("systemctl stop portreeve-bakery_pro@b.service; rm /run/portreeve/bakery_pro/b.run 2>/dev/null || true
        rm -rf \"$(readlink -f /etc/portreeve/generations/bakery_pro/2/release)\"");
    let broken = rollback("2").exits(3);
    assert!(broken.stderr.contains("the processes ended before they were healthy; v3 serves on"), "{broken}");
    rests(&world, "v3");
    assert_eq!(world.reconcile().ok().stdout.trim(), "bakery/pro  unchanged", "no hold is left of it");
}
