//! The other installer: used where it is, unless the host tells pip where packages come from.

use crate::edits::{NO_SUCH_PACKAGE, OTHER_REQUIREMENTS};
use crate::world::World;

const VENVS: &str = "/home/foouser/bakery/pro/venvs";

#[test]
fn uv_installs_where_it_is_and_pip_where_it_was_told_how() {
    let world = World::new("uv");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.host.sh(
        "python3 -m venv /opt/uv; /opt/uv/bin/pip install --quiet uv; ln -s /opt/uv/bin/uv /usr/local/bin/uv; uv --version",
    );
    // The host's /etc/pip.conf names an index of its own, which uv would not ask.
    world.reconcile().ok();
    assert_eq!(world.serving(), "v1");
    assert_eq!(with_pip(&world), [true]);

    let agent = world.host.read_file("/etc/portreeve/agent.toml") + "[python]\nwheelhouse = \"/opt/wheels\"\n";
    world.host.put_file("/etc/portreeve/agent.toml", agent);
    let result = world.release("v2", &[]).ok();
    assert!(result.stdout.contains("venv built"), "another installer makes another environment: {result}");
    assert_eq!(world.serving(), "v2");
    assert_eq!(with_pip(&world), [false, true]);
    let version =
        world.portreeve(&["run", "bakery/pro", "python", "-c", "import gunicorn; print(gunicorn.__version__)"]);
    assert_eq!(version.ok().stdout.trim(), "27.0.1");

    a_hold_outlasts_the_installer(&world);

    let refused = world.release("v3", NO_SUCH_PACKAGE).exits(3);
    let cause = "the requirements can't be installed: Because no-such-package was not found";
    assert!(refused.stderr.contains(cause), "{refused}");
    assert_eq!(with_pip(&world), [false, true], "nothing is left of it");
    not_from_elsewhere(&world);
    assert!(world.uids().iter().all(|line| !line.ends_with("-0")), "{:?}", world.uids());
}

/// What is held until something changes does not go on because packages are installed in another way.
#[track_caller]
fn a_hold_outlasts_the_installer(world: &World) {
    world.portreeve(&["rollback", "bakery/pro", "--reason", "cart broken"]).ok();
    world.host.sh("rm /usr/local/bin/uv");
    let held = world.reconcile().ok();
    assert!(held.stdout.contains("held") && world.serving() == "v1", "{held}");
    world.host.sh("ln -s /opt/uv/bin/uv /usr/local/bin/uv");
    world.portreeve(&["resume", "bakery/pro"]).ok();
    world.reconcile().ok();
    assert_eq!(world.serving(), "v2");
}

/// Where packages come from is said in a variable for pip: the public index must not be asked in its place.
#[track_caller]
fn not_from_elsewhere(world: &World) {
    world.host.sh("mv /etc/pip.conf /srv; sed -i '/^.python./,$d' /etc/portreeve/agent.toml");
    world.push_app("v4", OTHER_REQUIREMENTS, "v4");
    world.set_rev("v4");
    let unread = world.exec(&["env", "PIP_INDEX_URL=http://127.0.0.1:9/simple", "portreeve", "reconcile"]).exits(4);
    assert!(unread.stderr.contains("PIP_INDEX_URL says where packages come from, and uv"), "{unread}");
    assert!(unread.stderr.contains("help: say it in /etc/pip.conf"), "{unread}");
    assert_eq!(world.serving(), "v2");
    world.host.sh("mv /srv/pip.conf /etc");
    world.reconcile().ok();
    assert_eq!(world.serving(), "v4");
}

/// Whether pip is in each virtual environment; `uv venv` puts none there.
fn with_pip(world: &World) -> Vec<bool> {
    let pips = format!("for venv in {VENVS}/*/; do test -e $venv/bin/pip && echo true || echo false; done");
    let mut found: Vec<bool> = world.host.sh(&pips).lines().map(|line| line == "true").collect();
    found.sort_unstable();
    found
}
