//! Two slots at once: each keeps its own code, settings and unit, and comes back by itself, whoever dies and when.

use std::time::{Duration, Instant};

use crate::crash::{Point, pass_dies_at};
use crate::edits::HASHED;
use crate::health::{BACK, timed};
use crate::idle::{Pass, pass};
use crate::oracle::{comes_back, converges, one_generation};
use crate::traces::{until, until_within};
use crate::world::World;

/// Says in each response which settings its process has.
const MIDDLEWARE: &str = r#"
import os

from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage

from bakery import RELEASE


def release(get_response):
    def middleware(request):
        response = get_response(request)
        response["X-Release"] = RELEASE
        response["X-Settings"] = f"{settings.OVEN} {os.environ['OVEN']} {os.getpid()}"
        response["X-Style"] = staticfiles_storage.url("shop/bakery.css")
        return response

    return middleware
"#;

/// Wants `version` with settings, variables and a number of workers of its own.
fn want(world: &World, version: &str, workers: u32) {
    let style = format!("/* {version} */\n");
    let files = [("bakery/middleware.py", Some(MIDDLEWARE)), HASHED, ("shop/static/shop/bakery.css", Some(&*style))];
    world.push_app(version, &files, version);
    let text = world.deploy.read("projects/bakery/pro.toml");
    let text = text.split("\n[web.gunicorn]").next().expect("a text").trim_end();
    let own = format!(
        "{text}\n\n[web.gunicorn]\nworkers = {workers}\n[settings]\nOVEN = \"{version}\"\n[env]\nOVEN = \"{version}\"\n"
    );
    world.deploy.write("projects/bakery/pro.toml", own);
    world.set_rev(version);
}

/// What a slot's processes answer themselves.
fn asks(world: &World, slot: &str) -> Option<Answer> {
    let socket = format!("/run/portreeve/bakery_pro/{slot}/s");
    let asked = ["curl", "-si", "--max-time", "10", "--unix-socket", &socket, "-H", "Host: bakery.example"];
    let answer = world.host.exec(&[&asked[..], &["http://localhost/healthz"]].concat()).stdout;
    let header = |name: &str| {
        let line = answer.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
        Some(line.split_once(": ")?.1.trim().to_owned())
    };
    let settings = header("x-settings")?;
    let mut words = settings.split(' ').map(str::to_owned);
    Some(Answer {
        release: header("x-release")?,
        setting: words.next()?,
        variable: words.next()?,
        worker: words.next()?,
        style: style_at(world, &header("x-style")?)?,
    })
}

/// What nginx serves at the link to a style sheet says whose it is.
fn style_at(world: &World, url: &str) -> Option<String> {
    let url = format!("http://localhost{url}");
    let sheet = world.host.exec(&["curl", "-s", "--max-time", "10", "-H", "Host: bakery.example", &url]).stdout;
    Some(sheet.strip_prefix("/* ")?.split(' ').next()?.to_owned())
}

#[derive(Debug)]
struct Answer {
    release: String,
    setting: String,
    variable: String,
    worker: String,
    /// The version whose style sheet it links to.
    style: String,
}

impl Answer {
    fn is_all(&self, version: &str) -> bool {
        [&self.release, &self.setting, &self.variable, &self.style].into_iter().all(|value| value == version)
    }
}

/// The slot answers with `version`, code and settings alike; it may still be starting.
#[track_caller]
fn runs(world: &World, slot: &str, version: &str) {
    let mut seen = None;
    until("the slot answers", || {
        seen = asks(world, slot);
        seen.is_some()
    });
    let answer = seen.expect("it answered");
    assert!(answer.is_all(version), "slot {slot} should be {version}: {answer:?}");
}

fn master(world: &World, slot: &str) -> String {
    let unit = format!("portreeve-bakery_pro@{slot}.service");
    world.host.sh(&format!("systemctl show --property=MainPID --value {unit}")).trim().to_owned()
}

fn workers(world: &World, slot: &str) -> Vec<String> {
    let listed = world.host.sh(&format!("pgrep -P {} || true", master(world, slot)));
    listed.lines().map(str::to_owned).collect()
}

/// Kills a slot's master, and waits until systemd has brought another.
#[track_caller]
fn kill_master(world: &World, slot: &str, version: &str) {
    let before = master(world, slot);
    world.host.exec_ok(&["kill", "-9", &before]);
    until("systemd has started another master", || !["0", &before].contains(&master(world, slot).as_str()));
    runs(world, slot, version);
}

/// Kills all workers of a slot, and waits until its master has as many others.
#[track_caller]
fn kill_workers(world: &World, slot: &str, version: &str) {
    let before = workers(world, slot);
    world.host.sh(&format!("kill -9 {}", before.join(" ")));
    until("the master has other workers", || {
        let now = workers(world, slot);
        now.len() == before.len() && now.iter().all(|worker| !before.contains(worker))
    });
    runs(world, slot, version);
    let answer = asks(world, slot).expect("it answers");
    assert!(!before.contains(&answer.worker), "{answer:?}");
}

#[test]
fn whoever_dies_at_whatever_moment_comes_back_as_what_he_was() {
    let world = World::new("slots");
    want(&world, "v1", 1);
    world.reconcile().ok();
    kill_master(&world, "a", "v1");
    comes_back(&world);

    // Before the commit: the candidate is healthy and the program is gone.
    want(&world, "v2", 3);
    pass_dies_at(&world, Point::first("before the rename", "renameat", "/etc/portreeve/active"));
    assert_eq!((workers(&world, "a").len(), workers(&world, "b").len()), (1, 3), "each runs its own unit");
    for (slot, version) in [("a", "v1"), ("b", "v2")] {
        kill_workers(&world, slot, version);
        kill_master(&world, slot, version);
    }
    comes_back(&world);
    assert_eq!(world.serving(), "v1");

    // Committed, the socket not moved, neither retired.
    pass_dies_at(&world, Point::first("after the rename", "fsync", "/etc/portreeve/active"));
    for (slot, version) in [("a", "v1"), ("b", "v2")] {
        kill_workers(&world, slot, version);
        kill_master(&world, slot, version);
    }
    assert_eq!(world.serving(), "v1", "the socket still leads there");
    world.reconcile().ok();
    assert_eq!(world.serving(), "v2");
    one_generation(&world);

    // Warm: the old one stays for a rollback, and is what it was.
    for (slot, version) in [("a", "v1"), ("b", "v2")] {
        kill_workers(&world, slot, version);
        kill_master(&world, slot, version);
    }
    comes_back(&world);
    converges(&world, "v2");
    world.portreeve(&["rollback", "bakery/pro"]).ok();
    assert_eq!(world.serving(), "v1");
    one_generation(&world);
}

#[test]
fn who_serves_comes_back_whenever_it_dies_while_a_release_is_under_way() {
    let world = World::new("deaths");
    want(&world, "v1", 1);
    world.reconcile().ok();
    want(&world, "v2", 1);
    let mut pass = world.host.command(&["portreeve", "reconcile"]).spawn().expect("a pass begins");
    let mut deaths = 0;
    while pass.try_wait().expect("it is ours").is_none() && deaths < 5 {
        kill_master(&world, "a", "v1");
        deaths += 1;
    }
    assert!(deaths >= 2, "they come back faster than a release is made");
    assert!(pass.wait().expect("it ends").success());
    assert_eq!(world.serving(), "v2");
    one_generation(&world);
    converges(&world, "v2");
}

/// gunicorn reads this file: a worker that is told to waits for the other slot's socket, and answers there itself.
const USURPER: &str = r#"
import os, socket, threading, time


def post_worker_init(worker):
    own = worker.sockets[0].getsockname()
    other = f"/run/portreeve/bakery_pro/{'b' if '/a/' in own else 'a'}/s"

    def answer():
        while not os.path.exists(other):
            time.sleep(0.01)
        os.unlink(other)
        server = socket.socket(socket.AF_UNIX)
        server.bind(other)
        server.listen()
        while True:
            client, _ = server.accept()
            client.recv(65536)
            client.sendall(b"HTTP/1.1 200 OK\r\nX-Release: v1\r\nContent-Length: 0\r\n\r\n")
            client.close()

    if os.path.exists("/srv/usurp"):
        threading.Thread(target=answer, daemon=True).start()
"#;

#[test]
fn who_answers_in_place_of_a_candidate_does_not_make_it_healthy() {
    let world = World::new("usurper");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.edit_pro(|pro| format!("{pro}\n[web.gunicorn]\nworkers = 1\n"));
    world.host.sh("touch /srv/usurp");
    world.release("v1", &[("gunicorn.conf.py", Some(USURPER))]).ok();
    let usurper = workers(&world, "a").concat();

    // Nothing is known of the new release, so that it is not its fault.
    let (pass, took) = timed(&world, "v2", &[]);
    let pass = pass.exits(4);
    assert!(took < Duration::from_secs(20) + BACK, "{took:?}: {pass}");
    let words = format!("another process ({usurper}) answers on the socket of slot b, not the one that was started");
    assert!(pass.stderr.contains(&words), "{pass}");
    assert_eq!((world.serving().as_str(), one_generation(&world)), ("v1", 1), "{pass}");
    let next = world.reconcile().exits(4);
    assert!(next.said().contains("blocked: health: another process"), "{next}");

    world.host.sh(&format!("rm /srv/usurp; kill {usurper}"));
    until("it is gone", || !world.host.has(&format!("/proc/{usurper}")));
    world.portreeve(&["retry", "bakery/pro"]).ok();
    world.reconcile().ok();
    assert_eq!(world.serving(), "v2");
    one_generation(&world);
}

/// Time enough for the pass that goes back and the one after it, on a busy machine.
const WARM: Duration = Duration::from_secs(20);

#[test]
fn a_slot_that_was_left_is_warm_for_its_time_and_no_longer() {
    let world = World::new("warm");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.edit_pro(|pro| format!("warm = \"{}s\"\n{pro}", WARM.as_secs()));
    world.reconcile().ok();
    let other = |slot: &str| {
        let unit = format!("portreeve-bakery_pro@{slot}.service");
        world.host.exec(&["systemctl", "is-active", &unit]).stdout.trim() == "active"
    };
    let cools = |slot: &str, left: Instant| {
        until_within(Duration::from_mins(1), "the slot's time has come", || {
            world.reconcile().ok();
            !other(slot)
        });
        assert!(left.elapsed() >= WARM, "{:?}", left.elapsed());
        world.reconcile().ok();
        assert_eq!(pass(&world), Pass::Idle, "nothing is waited for any more");
    };
    let left = Instant::now();
    world.release("v2", &[]).ok();
    assert!(other("a") && other("b"), "both run after a release");
    cools("a", left);

    // Whoever goes back leaves a slot too, however long ago the one he goes back to was released.
    let left = Instant::now();
    world.portreeve(&["rollback", "bakery/pro", "--reason", "cart broken"]).ok();
    world.reconcile().ok();
    assert!(other("a") && other("b"), "both run after a rollback");
    cools("b", left);
    assert_eq!(world.serving(), "v1");
    assert!(world.portreeve(&["status"]).stdout.contains("held"), "it was a hold that lasted");
}
