//! Several environments on one host: what is wrong with one never keeps another from its release.

use std::time::{Duration, Instant};

use crate::cmd::Background;
use crate::edits::IMPORT_ERROR;
use crate::http;
use crate::source_rules::serve_as_told;
use crate::traces::until_within;
use crate::world::World;

/// A second environment of the bakery, which follows the branch.
const STAGE_TOML: &str = r#"rev = "main"
domains = ["stage.bakery.example"]

[health]
path = "/healthz"
timeout = "2s"
deadline = "20s"
bake = "1s"
"#;

/// A second project, of the same code.
const CAFE_TOML: &str = r#"user = "cafeuser"
ports = "60050-60099"

[source]
git = "ssh://git@git.example.org/srv/git/bakery.git"

[web.gunicorn]
app = "bakery.wsgi:application"
workers = 1

[django]
settings = "bakery.settings"
"#;

const CAFE_PRO_TOML: &str = r#"rev = "v1"
domains = ["cafe.example"]

[health]
path = "/healthz"
timeout = "2s"
deadline = "20s"
bake = "1s"
"#;

const SITES: [&str; 3] = ["bakery.example", "stage.bakery.example", "cafe.example"];

/// The release that answers for a domain, which must answer well.
#[track_caller]
fn serving(world: &World, domain: &str) -> String {
    let response = http::get(&world.host, domain, "/").unwrap_or_else(|e| panic!("{domain}: {e}"));
    assert_eq!(response.status, 200, "{domain}: {response:?}");
    response.release().expect("a release id").to_owned()
}

#[track_caller]
fn all_serving(world: &World) -> [String; 3] {
    SITES.map(|domain| serving(world, domain))
}

fn three_environments(name: &str) -> World {
    let world = World::new(name);
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.push_deploy(&[
        ("hosts/web1.toml", Some("environments = [\"bakery/pro\", \"bakery/stage\", \"cafe/pro\"]\n")),
        ("projects/bakery/stage.toml", Some(STAGE_TOML)),
        ("projects/cafe/project.toml", Some(CAFE_TOML)),
        ("projects/cafe/pro.toml", Some(CAFE_PRO_TOML)),
    ]);
    world
}

#[test]
fn one_environment_is_broken_and_the_others_release_in_the_same_pass() {
    let world = three_environments("fleet");
    world.reconcile().ok();
    assert_eq!(all_serving(&world), ["v1", "v1", "v1"]);
    each_runs_as_its_own_user(&world);

    // The branch is broken, the tags are good.
    world.push_app("v2", &[], "v2");
    world.push_app("v3", IMPORT_ERROR, "v3");
    world.deploy.write("projects/cafe/pro.toml", CAFE_PRO_TOML.replace("\"v1\"", "\"v2\""));
    world.set_rev("v2");
    let pass = world.reconcile().exits(3);
    assert!(pass.stderr.contains("No module named 'breda'"), "{pass}");
    assert!(pass.stderr.contains("users still get main"), "{pass}");
    assert_eq!(all_serving(&world), ["v2", "v1", "v2"]);

    // The branch is mended, one tag is missing, and one project can't be read.
    world.push_app("v4", &[], "v4");
    world.deploy.write("projects/cafe/pro.toml", CAFE_PRO_TOML.replace("domains", "domain"));
    world.set_rev("v99");
    let pass = world.reconcile().exits(2);
    assert!(pass.said().contains("did you mean `domains`?"), "{pass}");
    assert!(pass.stderr.contains("bakery/pro is blocked: ") && pass.stderr.contains("v99"), "{pass}");
    assert_eq!(all_serving(&world), ["v2", "v4", "v2"]);

    world.deploy.write("projects/cafe/pro.toml", CAFE_PRO_TOML.replace("\"v1\"", "\"v4\""));
    world.set_rev("v4");
    world.reconcile().ok();
    assert_eq!(all_serving(&world), ["v4", "v4", "v4"]);
    assert!(!world.uids().iter().any(|line| line.ends_with("-0")), "{:?}", world.uids());
}

#[test]
fn a_server_of_one_application_that_stalls_keeps_no_other_from_its_release() {
    let world = three_environments("stalls");
    two_servers(&world);
    world.host.sh("echo silent >/srv/git/mode-bakery");
    want_v2(&world);
    let begun = Instant::now();
    let pass = world.reconcile().exits(1);
    assert!(
        pass.said().contains("bakery/pro  stale: ssh://git@git.example.org/srv/git/bakery.git did not answer"),
        "{pass}"
    );
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}: {pass}", begun.elapsed());
    assert_eq!(all_serving(&world), ["v1", "v1", "v2"], "{pass}");

    world.host.sh("rm /srv/git/mode-bakery");
    until_within(Duration::from_mins(1), "what stalled is released", || {
        world.reconcile();
        all_serving(&world) == ["v2", "v2", "v2"]
    });
}

#[test]
fn a_fetch_that_stalls_holds_up_its_own_application_only_and_once() {
    let world = three_environments("fetches");
    two_servers(&world);
    world.host.sh(
        "sed -i 's,deadline = \"4s\",deadline = \"60s\",' /etc/portreeve/agent.toml; echo once >/srv/git/mode-bakery
        chmod 777 /srv/git",
    );
    want_v2(&world);
    let begun = Instant::now();
    let mut stalled = Background::start(world.host.command(&["portreeve", "reconcile"]));
    until_within(Duration::from_secs(30), "the fetch stalls", || world.host.has("/srv/git/stalls-bakery"));

    world.host.sh("rm /srv/git/mode-bakery");
    let busy = world.portreeve(&["reconcile", "bakery/pro", "--wait", "1s"]).exits(1);
    assert!(busy.said().contains("is at work on the mirror of ssh://git@git.example.org/srv/git/bakery.git"), "{busy}");
    let cafe = world.portreeve(&["reconcile", "cafe/pro"]).ok();
    assert!(!stalled.has_ended(), "it did not wait for the fetch: {cafe}");
    assert_eq!(all_serving(&world), ["v1", "v1", "v2"], "{cafe}");

    let stalled = stalled.end().exits(1);
    // Two environments want two commits of it.
    assert!(begun.elapsed() < Duration::from_secs(110), "{:?}: {stalled}", begun.elapsed());
    for name in ["bakery/pro", "bakery/stage"] {
        assert!(stalled.said().contains(&format!("{name}  stale: ssh://")), "{stalled}");
    }
}

/// The café's code has a server of its own, which is served as told like the bakery's; both have a `v2`.
#[track_caller]
fn two_servers(world: &World) {
    serve_as_told(world);
    world.host.sh("git clone --quiet --bare /srv/git/bakery.git /srv/git/cafe.git; chown -R git /srv/git/cafe.git");
    world.push_deploy(&[("projects/cafe/project.toml", Some(&CAFE_TOML.replace("git/bakery.git", "git/cafe.git")))]);
    world.reconcile().ok();
    assert_eq!(all_serving(world), ["v1", "v1", "v1"]);
    world.push_app("v2", &[], "v2");
    world.host.sh("cd /srv/git/cafe.git; git fetch --quiet ../bakery.git '+refs/*:refs/*'; chown -R git .");
}

fn want_v2(world: &World) {
    world.deploy.write("projects/cafe/pro.toml", CAFE_PRO_TOML.replace("\"v1\"", "\"v2\""));
    world.set_rev("v2");
}

/// The processes of each environment are another user's, and none of them can read what is another's.
#[track_caller]
fn each_runs_as_its_own_user(world: &World) {
    let users = world.host.sh("ps -eo user:32,args | grep '[g]unicorn' | cut -d' ' -f1 | sort -u");
    assert_eq!(users.lines().collect::<Vec<_>>(), ["cafeuser", "foouser", "foouser-stage"]);
    let may_read = |user: &str, path: &str| world.host.exec(&["runuser", "-u", user, "--", "cat", path]).code == 0;
    for file in ["settings_local.py", "env.conf"] {
        let path = format!("/etc/portreeve/active/bakery_pro/{file}");
        assert!(may_read("foouser", &path), "{file} is its own");
        assert!(!may_read("foouser-stage", &path), "{file} is pro's");
        assert!(!may_read("cafeuser", &path), "{file} is the bakery's");
    }
    let data = "/home/foouser/bakery/pro/data";
    world.host.exec_ok(&["runuser", "-u", "foouser", "--", "ls", data]);
    assert_ne!(world.host.exec(&["runuser", "-u", "foouser-stage", "--", "ls", data]).code, 0);
}

/// Each application has a repository of its own, on a server that refuses whoever comes while four have not said who they are.
#[test]
fn a_server_is_not_asked_for_more_than_it_answers_at_once() {
    let world = World::new("startups");
    world.host.sh("echo 'MaxStartups 4:100:4' >>/etc/ssh/sshd_config.d/git.conf; systemctl restart ssh
        git config --global --add safe.directory '*'; cd /srv/git
        for n in $(seq 12); do git clone --quiet --bare bakery.git \"cafe$n.git\"; done; chown -R git .");
    let names: Vec<String> = (1..=12).map(|n| format!("cafe{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        let ports = format!("{}-{}", 50_000 + 50 * n, 50_049 + 50 * n);
        let project = CAFE_TOML.replace("60050-60099", &ports).replace("bakery.git", &format!("{name}.git"));
        world.deploy.write(&format!("projects/{name}/project.toml"), project);
        let domain = CAFE_PRO_TOML.replace("cafe.example", &format!("{name}.example"));
        world.deploy.write(&format!("projects/{name}/pro.toml"), domain);
    }
    let listed: Vec<String> = names.iter().map(|name| format!("\"{name}/pro\"")).collect();
    world.push_deploy(&[("hosts/web1.toml", Some(&format!("environments = [{}]\n", listed.join(", "))))]);
    let plan = world.portreeve(&["plan"]).ok();
    for name in names {
        assert!(plan.stdout.contains(&format!("{name}/pro: release nothing -> v1")), "{plan}");
    }
}

/// Its name sorts first, and so does its vhost.
#[test]
fn a_newcomer_takes_no_domain_from_who_serves_it_and_gets_it_once_that_lets_go() {
    let world = World::new("newcomer");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.push_app("v2", &[], "v2");
    world.push_app("v3", &[], "v3");
    world.reconcile().ok();

    let newcomer = CAFE_PRO_TOML.replace("\"v1\"", "\"v2\"").replace("cafe.example", "bakery.example");
    world.push_deploy(&[
        ("hosts/web1.toml", Some("environments = [\"aaa/pro\", \"bakery/pro\"]\n")),
        ("projects/aaa/project.toml", Some(&CAFE_TOML.replace("cafeuser", "aaauser"))),
        ("projects/aaa/pro.toml", Some(&newcomer)),
    ]);
    world.set_rev("v3");
    let refused = world.reconcile();
    assert!(refused.said().contains("served by bakery/pro here (projects/bakery/pro.toml)"), "{refused}");
    assert_eq!(serving(&world, "bakery.example"), "v3", "it is released for its own changes, and keeps its visitors");

    world.edit_pro(|pro| pro.replace("\"bakery.example\", ", ""));
    let waits = world.reconcile();
    assert!(waits.said().contains("until that is released without it"), "{waits}");
    world.reconcile().ok();
    let domains = ["bakery.example", "www.bakery.example"];
    assert_eq!(domains.map(|domain| serving(&world, domain)), ["v2", "v3"]);

    // To a generation that had it, in a slot that is warm: no configuration would be tested.
    let back = world.portreeve(&["rollback", "bakery/pro"]).exits(4);
    assert!(back.said().contains("bakery.example is served by aaa/pro now"), "{back}");
    assert_eq!(domains.map(|domain| serving(&world, domain)), ["v2", "v3"]);
}
