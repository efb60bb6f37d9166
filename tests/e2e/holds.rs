//! What people order outlasts ticks, pushes, reboots and the loss of whatever may be lost; and it ends as it was said to end.

use std::time::Duration;

use crate::cmd::CmdResult;
use crate::oracle::comes_back;
use crate::traces::until_within;
use crate::world::{Edits, World};

/// The site's addresses, healthy under a condition.
macro_rules! urls {
    ($healthy:literal) => {
        concat!(
            "import os\n\nfrom django.conf import settings\nfrom django.http import HttpResponse\n",
            "from django.urls import path\n\nfrom shop import views\n\n\n",
            "def healthz(request):\n    return HttpResponse(status=200 if ",
            $healthy,
            " else 500)\n\n\n",
            "urlpatterns = [path('', views.index), path('healthz', healthz), path('order', views.order)]\n"
        )
    };
}

/// A second environment, which may be suspended without a reason.
const STAGE_TOML: &str =
    "rev = \"main\"\ndomains = [\"stage.bakery.example\"]\n[health]\npath = \"/healthz\"\nbake = \"0s\"\n";

/// A release whose health depends on something outside of it.
const NEEDS_A_CACHE: Edits<'static> = &[("bakery/urls.py", Some(urls!("os.path.exists('/srv/cache')")))];

/// A release that takes one key only.
const NEEDS_THE_KEY: Edits<'static> =
    &[("bakery/urls.py", Some(urls!("settings.SECRET_KEY == 'corrected-' + 60 * 'k'")))];

fn serving_v1(name: &str) -> World {
    let world = World::new(name);
    world.host.exec_ok(&["systemctl", "enable", "--now", "nginx"]);
    world.reconcile().ok();
    assert_eq!(world.serving(), "v1");
    world
}

/// What `why --json` says of a key.
#[track_caller]
fn told(world: &World, key: &str) -> serde_json::Value {
    let text = world.portreeve(&["why", "bakery/pro", "--json"]).ok().stdout;
    let told: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    told.get(key).unwrap_or_else(|| panic!("no {key}: {text}")).clone()
}

/// A pass that leaves the environment as it is, because a person said so.
#[track_caller]
fn holds(world: &World, serving: &str) {
    let pass = world.reconcile().ok();
    assert!(pass.stdout.contains("bakery/pro  held by "), "{pass}");
    assert_eq!((world.serving().as_str(), told(world, "state")), (serving, "held".into()), "{pass}");
}

/// The git server goes, and all that may be lost is lost.
fn lose_everything(world: &World) {
    world.host.sh("systemctl stop ssh.socket ssh.service 2>/dev/null || systemctl stop ssh; rm -rf /var/lib/portreeve");
}

#[test]
fn a_rollback_stays_until_this_environments_content_changes() {
    let mut world = serving_v1("rolled");
    world.release("v2", &[]).ok();
    lose_everything(&world);
    let back = world.portreeve(&["rollback", "bakery/pro", "--reason", "cart broken"]).ok();
    assert!(!back.said().contains("error"), "{back}");
    assert_eq!(world.serving(), "v1");
    assert_eq!(world.reconcile().code, 1, "the repository can't be read");
    assert_eq!((world.serving().as_str(), told(&world, "state")), ("v1", "held".into()));
    let status = world.portreeve(&["status"]).ok();
    assert!(status.stdout.contains("held   by root, ") && status.stdout.contains("\"cart broken\""), "{status}");
    lose_everything(&world);
    assert_eq!(world.reconcile().code, 1, "the repository can't be read");
    assert_eq!((world.serving().as_str(), told(&world, "state")), ("v1", "held".into()), "what it lost was no order");

    lose_everything(&world);
    world.host.reboot();
    comes_back(&world);
    assert_eq!((world.serving().as_str(), told(&world, "state")), ("v1", "held".into()), "before any pass");
    holds(&world, "v1");
    world.push_deploy(&[("README.md", Some("an unrelated commit\n"))]);
    holds(&world, "v1");
    world.set_rev("v1");
    world.set_rev("v2");
    holds(&world, "v1");

    world.release("v3", &[]).ok();
    assert_eq!((world.serving().as_str(), told(&world, "state")), ("v3", "ok".into()));
    let history = world.portreeve(&["history", "bakery/pro"]).ok();
    assert!(history.stdout.contains("the rollback by root ended: other content is wanted"), "{history}");
    world.set_rev("v2");
    world.reconcile().ok();
    assert_eq!(world.serving(), "v2", "a hold that has ended does not come back");
}

#[test]
fn until_resume_outlasts_new_content_and_the_content_that_serves() {
    let mut world = serving_v1("until");
    world.release("v2", &[]).ok();
    world.portreeve(&["rollback", "bakery/pro", "--until-resume"]).ok();
    lose_everything(&world);
    world.host.reboot();
    comes_back(&world);
    let pass = world.release("v3", &[]).ok();
    assert!(pass.stdout.contains("held"), "{pass}");
    holds(&world, "v1");
    world.host.exec_ok(&["systemctl", "stop", "ssh"]);
    let resumed = world.portreeve(&["resume", "bakery/pro"]).ok();
    assert!(resumed.stdout.contains("goes on at the next pass"), "{resumed}");
    world.host.exec_ok(&["systemctl", "start", "ssh"]);
    world.reconcile().ok();
    assert_eq!(world.serving(), "v3");
    assert!(world.portreeve(&["resume", "bakery/pro"]).ok().stdout.contains("nothing held it"));
    wanted_again_is_released(&world);
}

/// The repository itself goes back to what serves: that ends the hold, though there is nothing to release.
#[track_caller]
fn wanted_again_is_released(world: &World) {
    world.portreeve(&["rollback", "bakery/pro", "--to", "v1"]).ok();
    world.set_rev("v1");
    let pass = world.reconcile().ok();
    assert!(pass.stdout.contains("unchanged"), "{pass}");
    world.set_rev("v3");
    world.reconcile().ok();
    assert_eq!(world.serving(), "v3");
}

#[test]
fn a_suspension_ends_by_itself_and_needs_a_reason_on_pro() {
    let mut world = serving_v1("suspended");
    let refused = world.portreeve(&["suspend", "bakery/pro", "--for", "2h"]).exits(4);
    assert!(refused.stderr.contains("--reason"), "{refused}");
    world.portreeve(&["suspend", "--for", "2h", "--reason", "x"]).exits(2);
    lose_everything(&world);
    let order = world.portreeve(&["suspend", "bakery/pro", "--for", "2h", "--reason", "db move"]).ok();
    assert!(order.stdout.contains("bakery/pro  suspended until "), "{order}");
    let status = world.portreeve(&["status", "--exit-code"]).ok();
    assert!(status.stdout.contains("suspended  until ") && status.stdout.contains("by root: \"db move\""), "{status}");
    lose_everything(&world);
    world.reconcile().exits(1);
    assert_eq!(
        (world.serving().as_str(), told(&world, "state")),
        ("v1", "suspended".into()),
        "what it lost was no order"
    );

    lose_everything(&world);
    world.host.reboot();
    comes_back(&world);
    assert_eq!(told(&world, "state"), "suspended");
    let pass = world.release("v2", &[]).ok();
    assert!(pass.stdout.contains("suspended") && world.serving() == "v1", "{pass}");

    world.portreeve(&["suspend", "bakery/pro", "--for", "4s", "--reason", "almost done"]).ok();
    until_within(Duration::from_mins(1), "it ends by itself", || told(&world, "state") != "suspended");
    world.reconcile().ok();
    assert_eq!((world.serving().as_str(), told(&world, "state")), ("v2", "ok".into()));
    let history = world.portreeve(&["history", "bakery/pro"]).ok();
    assert!(history.stdout.contains("the suspension by root ended: its time was over"), "{history}");
    ends_below_a_stop(&world);
    several_at_once(&world);
    ends_where_nobody_looks(&world);
}

/// Nothing shows it but the history; a record that kept it would begin it again by a clock that was set back.
#[track_caller]
fn ends_below_a_stop(world: &World) {
    let ends = || world.portreeve(&["history", "bakery/pro"]).ok().stdout.matches("its time was over").count();
    let before = ends();
    world.portreeve(&["suspend", "bakery/pro", "--for", "15s", "--reason", "soon stopped"]).ok();
    world.portreeve(&["stop", "bakery/pro"]).ok();
    world.reconcile();
    until_within(Duration::from_mins(1), "a pass sees it end", || {
        world.reconcile();
        ends() > before
    });
    world.portreeve(&["start", "bakery/pro"]).ok();
}

/// Each on its own, and the worst code counts.
#[track_caller]
fn several_at_once(world: &World) {
    world.push_deploy(&[
        ("hosts/web1.toml", Some("environments = [\"bakery/pro\", \"bakery/stage\"]\n")),
        ("projects/bakery/stage.toml", Some(STAGE_TOML)),
    ]);
    world.reconcile().ok();
    let one_refused = world.portreeve(&["suspend", "--all", "--for", "1h"]).exits(4);
    assert!(one_refused.stdout.starts_with("bakery/stage  suspended until "), "{one_refused}");
    assert!(one_refused.stderr.contains("bakery/pro is not suspended without a reason"), "{one_refused}");
    let one_unknown = world.portreeve(&["resume", "bakery/stage", "nobody/pro"]).exits(4);
    assert!(one_unknown.stdout.contains("bakery/stage  goes on"), "{one_unknown}");
    world.portreeve(&["suspend", "--all", "--for", "1h", "--reason", "kernel"]).ok();
    let resumed = world.portreeve(&["resume", "--all"]).ok();
    assert_eq!(resumed.stdout.matches("goes on at the next pass").count(), 2, "{resumed}");
    world.portreeve(&["resume", "--all", "bakery/pro"]).exits(2);
}

/// It was never here, and is on this host's list no more: its suspension is told of until it ends, and ends for good.
#[track_caller]
fn ends_where_nobody_looks(world: &World) {
    let listed = |names: &str| format!("environments = [\"bakery/pro\", \"bakery/stage\"{names}]\n");
    let nowhere = STAGE_TOML.replace("\"main\"", "\"nowhere\"").replace("stage.", "dev.");
    world.push_deploy(&[
        ("hosts/web1.toml", Some(&listed(", \"bakery/dev\""))),
        ("projects/bakery/dev.toml", Some(&nowhere)),
    ]);
    world.reconcile();
    world.portreeve(&["suspend", "bakery/dev", "--for", "20s", "--reason", "not yet"]).ok();
    world.push_deploy(&[("hosts/web1.toml", Some(&listed("")))]);
    world.reconcile().ok();
    let status = || world.portreeve(&["status"]).ok().stdout;
    let meanwhile = status();
    until_within(Duration::from_mins(1), "a pass sees it end", || {
        world.reconcile();
        world.portreeve(&["history", "bakery/dev"]).stdout.contains("its time was over")
    });
    assert!(meanwhile.contains("bakery/dev") && meanwhile.contains("\"not yet\""), "{meanwhile}");
    assert!(!status().contains("bakery/dev"), "{}", status());
}

/// Attempts that this host has made: numbers are never used twice.
fn attempts(world: &World) -> u64 {
    let newest = world.host.sh("ls /etc/portreeve/generations/bakery_pro | sed 's/[.].*//' | sort -n | tail -1");
    newest.trim().parse().expect("a number")
}

#[track_caller]
fn is_refused(world: &World, pass: &CmdResult) {
    assert_eq!(pass.code, 3, "{pass}");
    assert!(pass.stderr.contains("help: portreeve why bakery/pro"), "{pass}");
    assert_eq!((told(world, "state"), told(world, "class")), ("quarantined".into(), "release".into()));
}

#[test]
fn what_failed_is_tried_again_for_a_person_and_for_a_corrected_secret() {
    let world = serving_v1("retry");
    is_refused(&world, &world.release("v2", NEEDS_A_CACHE));
    let tried = attempts(&world);
    world.host.sh("touch /srv/cache");
    world.push_deploy(&[("README.md", Some("an unrelated commit\n"))]);
    for _ in 0..2 {
        world.reconcile().exits(4);
    }
    assert_eq!(attempts(&world), tried, "a pass tries nothing twice");
    let other = world.release("other", &[]).ok();
    world.set_rev("v2");
    let before = attempts(&world);
    world.reconcile().exits(4);
    assert_eq!(
        (attempts(&world), world.serving().as_str()),
        (before, "other"),
        "a success between is no reason: {other}"
    );
    let why = world.portreeve(&["why", "bakery/pro"]).ok();
    assert!(why.stdout.contains(&format!("portreeve logs bakery/pro --release {tried}")), "{why}");
    assert!(why.stdout.contains("portreeve retry bakery/pro"), "{why}");
    world.portreeve(&["retry", "bakery/pro"]).ok();
    world.reconcile().ok();
    assert_eq!(world.serving(), "v2");
    assert!(world.portreeve(&["retry", "bakery/pro"]).ok().stdout.contains("nothing is quarantined"));

    is_refused(&world, &world.release("v3", NEEDS_THE_KEY));
    world.reconcile().exits(4);
    world.host.sh("printf 'corrected-%060d' 0 | tr 0 k >/etc/portreeve/secrets/bakery_pro/SECRET_KEY");
    world.reconcile().ok();
    assert_eq!(world.serving(), "v3", "another secret is other content");
}

#[test]
fn a_first_release_that_failed_is_tried_again_for_a_person() {
    let world = World::new("first");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.push_app("v1", NEEDS_A_CACHE, "v1");
    world.push_deploy(&[]);
    is_refused(&world, &world.reconcile());
    let why = world.portreeve(&["why", "bakery/pro"]).ok();
    assert!(why.stdout.starts_with("bakery/pro: nothing of it serves yet\n"), "{why}");
    world.portreeve(&["rollback", "bakery/pro"]).exits(4);
    world.host.sh("touch /srv/cache");
    world.portreeve(&["retry", "bakery/pro"]).ok();
    world.reconcile().ok();
    assert_eq!(world.serving(), "v1");
}

#[test]
fn a_rewritten_branch_waits_until_it_is_accepted() {
    let mut world = serving_v1("accept");
    let applied = world.deploy.git(&["rev-parse", "HEAD"]).stdout.trim().to_owned();
    let refused = world.portreeve(&["accept", "bakery/pro", &applied]).exits(4);
    assert!(refused.stderr.contains("is not diverged"), "{refused}");
    let ahead = world.push_deploy(&[("README.md", Some("on top\n"))]);
    world.reconcile().ok();
    world.portreeve(&["accept", "bakery/pro", &ahead]).exits(4);

    // Built on what serves, but not on what was followed since.
    world.deploy.git(&["reset", "--quiet", "--hard", &applied]);
    world.push_app("v2", &[], "v2");
    let text = world.deploy.read("projects/bakery/pro.toml").replace("\"v1\"", "\"v2\"");
    world.deploy.write("projects/bakery/pro.toml", text);
    let tip = world.deploy.commit("rewritten");
    world.deploy.push_forced();
    let pass = world.reconcile().exits(4);
    assert!(pass.stderr.contains("bakery/pro is diverged"), "{pass}");
    assert_eq!(world.serving(), "v1");
    let why = world.portreeve(&["why", "bakery/pro"]).ok();
    let (from, to) = (&ahead[..7], &tip[..7]);
    assert!(
        why.stdout.contains(&format!("main was rewritten; {from} (applied) is no ancestor of {to} (Anna, ")),
        "{why}"
    );
    assert!(why.stdout.contains(&format!("portreeve accept bakery/pro {to}")), "{why}");

    let mistaken = world.portreeve(&["accept", "bakery/pro", "main"]).exits(2);
    assert!(mistaken.stderr.contains("a commit has 7 to 40 hexadecimal digits"), "{mistaken}");
    for (word, said) in [("0000000", "no commit that this host has seen"), (&ahead, "is not diverged")] {
        let refused = world.portreeve(&["accept", "bakery/pro", word]).exits(4);
        assert!(refused.stderr.contains(said), "{said}: {refused}");
    }
    world.reconcile().exits(4);
    // What the last pass said is forgotten: by a reboot, or because the one after it was told nothing.
    world.host.exec_ok(&["rm", "/run/portreeve/last-pass.json"]);
    world.portreeve(&["accept", "bakery/pro", to]).ok();
    world.host.reboot();
    comes_back(&world);
    world.reconcile().ok();
    assert_eq!((world.serving().as_str(), told(&world, "state")), ("v2", "ok".into()));
    let history = world.portreeve(&["history", "bakery/pro"]).ok();
    assert!(history.stdout.contains(&format!("{to} is accepted")) && history.stdout.contains("by root"), "{history}");
}
