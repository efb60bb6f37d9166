//! The transactions that are swept on a real kernel, from the host before them to what may serve after them.

use crate::edits::{ADDITIVE_MIGRATION, SMALL};
use crate::world::World;

/// A host before the program's work, the work, and what may be true afterwards.
pub struct Scene {
    pub name: &'static str,
    /// Makes the host, and what is wanted of it.
    pub before: fn(&World),
    /// What each host does once it has booted: processes end with the host that is copied.
    pub booted: fn(&World),
    /// The program's arguments.
    pub work: &'static [&'static str],
    /// What may answer before another pass has run; `None`: nothing of ours.
    pub meanwhile: &'static [Option<&'static str>],
    /// What may answer at rest; first what does if nothing goes wrong.
    pub finally: &'static [Option<&'static str>],
    /// What else is true for whoever is told that it went well, and at rest if nothing else can be.
    pub done: fn(&World),
    /// What else is true at rest, but where a disk refused to take it away.
    pub at_rest: fn(&World),
}

const RECONCILE: &[&str] = &["reconcile"];
const ROLLBACK: &[&str] = &["rollback", "bakery/pro"];

/// What of an environment's own is there, but for what people would miss.
const LEFT: &str = "cd /etc; ls -d nginx/sites-enabled/portreeve-* logrotate.d/portreeve-* tmpfiles.d/portreeve-* \
        systemd/system/portreeve-bakery_pro@* systemd/system/*.wants/portreeve-bakery_pro@* portreeve/active/bakery_pro \
        portreeve/slots/bakery_pro /home/foouser/bakery/pro/releases /home/foouser/bakery/pro/venvs 2>/dev/null || true
    systemctl list-units --state=active --plain --no-legend 'portreeve-bakery_pro@*'";

/// What was ordered before the migration: after it, and in each dump; a partial one is none.
pub const ORDERS: &str =
    "sqlite3 /home/foouser/bakery/pro/data/db.sqlite3 'SELECT item FROM shop_order WHERE note IS NULL'
    for dump in /var/backups/foouser/bakery/pro/before-*.sqlite3; do
        sqlite3 $dump 'SELECT count(*), item FROM shop_order' | tr '|' ' '
    done | sort -u";

/// Somebody orders rye.
pub fn order(world: &World) {
    world.host.sh("curl -sf -d item=rye -H 'Host: bakery.example' http://127.0.0.1/order");
}

pub const SECOND: Scene = Scene {
    name: "second release",
    before: |world| {
        released(world, &["v1"]);
        want(world, "v2");
    },
    booted: |_| (),
    work: RECONCILE,
    meanwhile: &[Some("v1"), Some("v2")],
    finally: &[Some("v2")],
    done: |_| (),
    at_rest: |_| (),
};

pub const ALL: [Scene; 8] = [
    Scene {
        name: "first release",
        before: quick,
        booted: |_| (),
        work: RECONCILE,
        meanwhile: &[None, Some("v1")],
        finally: &[Some("v1")],
        done: |_| (),
        at_rest: |_| (),
    },
    SECOND,
    Scene {
        name: "release that migrates",
        before: |world| {
            released(world, &["v1"]);
            order(world);
            world.push_app("v2", &[SMALL, ADDITIVE_MIGRATION].concat(), "v2");
            world.set_rev("v2");
        },
        booted: |_| (),
        work: RECONCILE,
        meanwhile: &[Some("v1"), Some("v2")],
        finally: &[Some("v2")],
        done: |world| assert_eq!(world.host.sh(ORDERS), "rye\n1 rye\n"),
        at_rest: |_| (),
    },
    Scene {
        name: "rollback",
        before: |world| released(world, &["v1", "v2"]),
        booted: |_| (),
        work: ROLLBACK,
        meanwhile: &[Some("v1"), Some("v2")],
        finally: &[Some("v1"), Some("v2")],
        done: |_| (),
        at_rest: |_| (),
    },
    Scene {
        name: "rollback to a slot that still runs",
        before: SECOND.before,
        booted: |world| {
            world.reconcile().ok();
        },
        work: ROLLBACK,
        meanwhile: &[Some("v1"), Some("v2")],
        finally: &[Some("v1"), Some("v2")],
        done: |_| (),
        at_rest: |_| (),
    },
    Scene {
        name: "release that prunes",
        before: |world| {
            world.edit_pro(|text| format!("keep_releases = 2\n{text}"));
            released(world, &["v1", "v2", "v3"]);
            want(world, "v4");
        },
        booted: |_| (),
        work: RECONCILE,
        meanwhile: &[Some("v3"), Some("v4")],
        finally: &[Some("v4")],
        done: |_| (),
        at_rest: |world| assert!(!world.host.has("/etc/portreeve/generations/bakery_pro/2"), "the oldest was pruned"),
    },
    Scene {
        name: "renewal of the configuration",
        before: |world| {
            released(world, &["v1"]);
            world.set_vhost("renewed");
        },
        booted: |_| (),
        work: RECONCILE,
        meanwhile: &[Some("v1")],
        finally: &[Some("v1")],
        done: |world| assert_eq!(world.get("/").header("x-vhost"), Some("renewed")),
        at_rest: |_| (),
    },
    Scene {
        name: "removal and deletion",
        before: |world| {
            released(world, &["v1"]);
            world.host.sh("printf '[prune]\\ngrace = \"0s\"\\n' >>/etc/portreeve/agent.toml");
            world.edit_pro(|text| format!("removed = true\n{text}"));
        },
        booted: |_| (),
        work: RECONCILE,
        meanwhile: &[Some("v1"), None],
        finally: &[None],
        done: |world| assert_eq!(world.host.sh(LEFT), ""),
        at_rest: |_| (),
    },
];

/// The same work in less time: packages come by uv, and few of Django's; commits from the disk, hosts boot without what nobody asks
/// for, one worker is enough, and one good answer: nothing is written during the others.
fn quick(world: &World) {
    world.host.exec_ok(&["python3", "-c", include_str!("thin_django.py")]);
    world.host.sh("python3 -m venv /opt/uv; /opt/uv/bin/pip install --quiet uv; ln -s /opt/uv/bin/uv /usr/local/bin/uv
        printf '[python]\\nwheelhouse = \"/opt/wheels\"\\n' >>/etc/portreeve/agent.toml
        sed -i '1i allow_local_git = true\ns,ssh://git@git.example.org/,file:///,' /etc/portreeve/agent.toml
        chown -R root:root /srv/git
        systemctl disable --quiet --now supervisor ssh
        systemctl mask --quiet systemd-logind systemd-user-sessions systemd-update-utmp systemd-update-utmp-runlevel
        rm /usr/lib/systemd/system-generators/*");
    let project = "projects/bakery/project.toml";
    let near = world.deploy.read(project).replace("ssh://git@git.example.org/", "file:///");
    world.push_deploy(&[(project, Some(&near))]);
    world.push_app("v1", SMALL, "v1");
    world.edit_pro(|text| text.replace("bake = \"1s\"", "bake = \"0s\"").replace("passes = 2", "passes = 1"));
    world.edit_pro(|text| format!("{text}\n[web.gunicorn]\nworkers = 1\n"));
}

fn released(world: &World, versions: &[&str]) {
    quick(world);
    for version in versions {
        want(world, version);
        world.reconcile().ok();
    }
}

/// What visitors get of the static files says whose they are.
fn want(world: &World, version: &str) {
    let style = format!("/* {version} */\n");
    world.push_app(version, &[SMALL, &[("shop/static/shop/bakery.css", Some(&style))]].concat(), version);
    world.set_rev(version);
}
