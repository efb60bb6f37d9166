//! What is no longer this host's: stopped at once, back at once within its grace, deleted after it; and what is not ours stays.

use crate::cmd::CmdResult;
use crate::http;
use crate::idle::{Pass, pass};
use crate::world::World;

const PRO: &str = "bakery.example";
const STAGE: &str = "stage.bakery.example";
const DEV: &str = "dev.bakery.example";

const DEV_HOME: &str = "/home/foouser-dev/bakery/dev";
const VHOST: &str = "/etc/nginx/sites-enabled/portreeve-bakery_dev.conf";
const UNIT: &str = "/etc/systemd/system/portreeve-bakery_dev@a.service";

/// An environment that follows a tag, so that nothing but the deploy repository moves it.
fn toml(domain: &str) -> String {
    format!(
        "rev = \"v1\"\ndomains = [\"{domain}\"]\n\n[health]\npath = \"/healthz\"\ntimeout = \"2s\"\ndeadline = \"20s\"\nbake = \"1s\"\n"
    )
}

fn hosts(world: &World, environments: &[&str]) {
    let listed: Vec<String> = environments.iter().map(|name| format!("\"bakery/{name}\"")).collect();
    world.push_deploy(&[("hosts/web1.toml", Some(&format!("environments = [{}]\n", listed.join(", "))))]);
}

fn world_of(name: &str, environments: &[(&str, &str)]) -> World {
    let world = World::new(name);
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    for (environment, domain) in environments {
        world.push_deploy(&[(&format!("projects/bakery/{environment}.toml"), Some(&toml(domain)))]);
    }
    let names: Vec<&str> = ["pro"].into_iter().chain(environments.iter().map(|(name, _)| *name)).collect();
    hosts(&world, &names);
    world
}

/// Which release answers for a domain, if one does.
fn release(world: &World, domain: &str) -> Option<String> {
    let answer = http::get(&world.host, domain, "/").expect("nginx answers");
    answer.release().map(str::to_owned)
}

fn units(world: &World) -> String {
    world.host.sh("systemctl list-units --all --plain --no-legend --state=running 'portreeve-bakery_dev@*'")
}

#[test]
fn what_is_no_longer_listed_stops_and_comes_back_at_once_within_its_grace() {
    let world = world_of("grace", &[("stage", STAGE), ("dev", DEV)]);
    world.reconcile().ok();
    let all = || [PRO, STAGE, DEV].map(|domain| release(&world, domain).is_some());
    assert_eq!(all(), [true; 3]);

    // Most of the host at once is a mistake, until it is said again in pieces; pro goes with a tombstone only.
    hosts(&world, &["pro"]);
    let many = world.reconcile().exits(4);
    assert!(many.stderr.contains("bakery/dev is blocked: more than half of this host's"), "{many}");
    assert_eq!(all(), [true; 3], "{many}");
    hosts(&world, &["stage", "dev"]);
    let pro = world.reconcile().exits(4);
    assert!(pro.stderr.contains("bakery/pro is blocked") && pro.stderr.contains("removed = true"), "{pro}");
    assert_eq!(all(), [true; 3], "{pro}");
    // A project that can't be read is not absent.
    let sound = world.deploy.read("projects/bakery/dev.toml");
    hosts(&world, &["pro", "stage", "dev"]);
    world.push_deploy(&[("projects/bakery/dev.toml", Some("domains = [\n"))]);
    world.reconcile().exits(2);
    assert_eq!(all(), [true; 3], "nothing went");

    world.push_deploy(&[("projects/bakery/dev.toml", Some(&sound))]);
    hosts(&world, &["pro", "stage"]);
    let gone = world.reconcile().ok();
    where_it_stays_is_said(&gone);
    assert_eq!((all(), units(&world)), ([true, true, false], String::new()));
    world.host.exec_ok(&["nginx", "-t", "-q"]);
    assert!(world.host.has(&format!("{DEV_HOME}/releases")) && world.host.has(UNIT), "its grace lasts");
    let status = world.portreeve(&["status", "--exit-code"]).ok();
    assert!(status.stdout.contains("stopped") && status.stdout.contains(&format!("{DEV_HOME}/data")), "{status}");
    for _ in 0..2 {
        let idle = world.reconcile().ok();
        assert!(idle.stdout.contains("bakery/dev  removed ") && !idle.stdout.contains("deleted"), "{idle}");
    }
    let status = world.portreeve(&["status", "--exit-code"]).ok();
    assert!(status.stdout.contains("stopped") && status.stdout.contains("its files go"), "{status}");
    assert_eq!(pass(&world), Pass::Idle, "waiting costs no whole passes");

    hosts(&world, &["pro", "stage", "dev"]);
    let back = world.reconcile().ok();
    assert!(back.said().contains("venv reused"), "{back}");
    assert_eq!(all(), [true; 3]);

    hosts(&world, &["pro", "stage"]);
    world.reconcile().ok();
    let stays = gone_for(&world, 23);
    assert!(stays.stdout.contains("bakery/dev  removed "), "{stays}");
    let deleted = gone_for(&world, 25);
    assert!(deleted.stdout.contains("bakery/dev  deleted from this host; "), "{deleted}");
    assert_eq!(all(), [true, true, false]);
}

/// All that people would miss.
#[track_caller]
fn where_it_stays_is_said(gone: &CmdResult) {
    let below = ["/var/log", "/var/backups"].map(|below| format!("{below}/foouser-dev/bakery/dev"));
    for path in ["data", "media"].map(|path| format!("{DEV_HOME}/{path}")).into_iter().chain(below) {
        assert!(gone.stdout.contains(&path), "where {path} stays is said: {gone}");
    }
}

/// A pass when dev has been away for so many hours, by the clock of its note.
#[track_caller]
fn gone_for(world: &World, hours: u32) -> CmdResult {
    let since = world.host.sh(&format!("date -u -d '{hours} hours ago' +%Y-%m-%dT%H:%M:%SZ"));
    let edit = format!("s/\"since\":\"[^\"]*\"/\"since\":\"{}\"/", since.trim());
    let note = "/etc/portreeve/generations/bakery_dev/removed.json";
    world.host.sh(&format!("sed -i '{edit}' {note}; rm -f /run/portreeve/pass"));
    world.reconcile().ok()
}

#[test]
fn only_what_is_ours_and_unchanged_is_deleted_or_taken_over() {
    let world = world_of("prune", &[("dev", DEV)]);
    what_was_there_before_blocks_until_it_is_adopted(&world);
    world.host.sh(&format!(
        "echo upload >{DEV_HOME}/media/cake.txt; echo row >/var/backups/foouser-dev/bakery/dev/before-1.sqlite3
        echo line >/var/log/foouser-dev/bakery/dev/own.log; echo '# mine' >>{UNIT}; touch /etc/portreeve/active/bakery_dev/mine
        printf '[prune]\\ngrace = \"0s\"\\n' >>/etc/portreeve/agent.toml"
    ));
    let number = || -> u64 {
        let target = world.host.sh("readlink /etc/portreeve/active/bakery_dev");
        target.trim().rsplit('/').next().and_then(|number| number.parse().ok()).expect("a number")
    };
    let before = number();
    hosts(&world, &["pro"]);
    let deleted = world.reconcile().ok();
    assert!(deleted.stdout.contains("left, because changed: ") && deleted.stdout.contains(UNIT), "{deleted}");
    assert!(deleted.stdout.contains(&format!("generations/bakery_dev/{before}/mine")), "{deleted}");
    where_it_stays_is_said(&deleted);
    assert_eq!((release(&world, PRO).is_some(), release(&world, DEV), units(&world)), (true, None, String::new()));
    what_is_peoples_stays_and_all_else_is_gone(&world);
    assert_eq!(world.reconcile().ok().stdout.trim(), "bakery/pro  unchanged");

    // It comes back as a first release, with a number of its own, once the unit is out of the way.
    hosts(&world, &["pro", "dev"]);
    world.reconcile().exits(4);
    world.portreeve(&["adopt", UNIT]).ok();
    world.reconcile().ok();
    assert!(release(&world, DEV).is_some());
    assert!(number() > before, "no number is used twice");
    assert_eq!(world.host.read_file(&format!("{DEV_HOME}/media/cake.txt")), "upload\n");
    what_is_on_another_disk_goes_as_well(&world);
}

/// The link to it is somebody's, and stays.
#[track_caller]
fn what_is_on_another_disk_goes_as_well(world: &World) {
    let venvs = format!("{DEV_HOME}/venvs");
    world.host.sh(&format!("mkdir /srv/big; mv {venvs} /srv/big; ln -s /srv/big/venvs {venvs}"));
    hosts(world, &["pro"]);
    let deleted = world.reconcile().ok();
    assert!(deleted.stdout.contains("deleted from this host"), "{deleted}");
    assert_eq!(world.host.sh(&format!("ls -A /srv/big/venvs; readlink {venvs}")).trim(), "/srv/big/venvs");
    assert!(!world.host.has("/etc/portreeve/active/bakery_dev"));
    assert_eq!(world.reconcile().ok().stdout.trim(), "bakery/pro  unchanged");
}

/// Two files of somebody's keep dev from its first release, and nobody else.
#[track_caller]
fn what_was_there_before_blocks_until_it_is_adopted(world: &World) {
    world.host.put_file(VHOST, "# by hand\n");
    world.host.put_file(&format!("{DEV_HOME}/current/index.html"), "by hand\n");
    for path in [VHOST.to_owned(), format!("{DEV_HOME}/current")] {
        let blocked = world.reconcile().exits(4);
        assert!(blocked.stderr.contains(&format!("{path} is there already and is not ours")), "{blocked}");
        assert_eq!((release(world, PRO).is_some(), release(world, DEV)), (true, None));
        let adopted = world.portreeve(&["adopt", &path]).ok();
        assert!(!world.host.has(&path), "{adopted}");
        let copy = adopted.stdout.trim().rsplit(' ').next().expect("where it is").to_owned();
        let found = world.host.sh(&format!("cat {copy} {copy}/index.html 2>/dev/null || true"));
        assert!(found.contains("by hand"), "{adopted}{found}");
    }
    world.portreeve(&["adopt", "/etc/passwd"]).exits(2);
    world.reconcile().ok();
    assert!(release(world, DEV).is_some());
    world.portreeve(&["adopt", VHOST]).exits(4);
}

#[track_caller]
fn what_is_peoples_stays_and_all_else_is_gone(world: &World) {
    let home = |path: &str| format!("{DEV_HOME}/{path}");
    let other = |path: &str| path.to_owned();
    let stays =
        ["/var/log/foouser-dev/bakery/dev/own.log", "/var/backups/foouser-dev/bakery/dev/before-1.sqlite3", UNIT];
    let stays = stays.map(other).into_iter().chain(["data/db.sqlite3", "media/cake.txt"].map(home));
    for path in stays.chain([other("/etc/portreeve/secrets/bakery_dev")]) {
        assert!(world.host.has(&path), "{path} stays");
    }
    let goes = ["active", "slots"].map(|link| format!("/etc/portreeve/{link}/bakery_dev"));
    let goes = goes.into_iter().chain(["releases", "venvs", "current", "etc"].map(home));
    for path in goes.chain([VHOST, "/etc/logrotate.d/portreeve-bakery_dev"].map(other)) {
        assert!(!world.host.has(&path), "{path} goes");
    }
    world.host.exec_ok(&["nginx", "-t", "-q"]);
}
