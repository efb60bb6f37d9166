//! What the git server may say and not be followed, and how it may fail without an effect on the host.

use std::time::{Duration, Instant};

use crate::cmd::CmdResult;
use crate::http;
use crate::idle::{Pass, told};
use crate::world::World;

const STAGE: &str = "stage.bakery.example";

/// An environment that follows the application's branch.
const STAGE_TOML: &str = "rev = \"main\"\ndomains = [\"stage.bakery.example\"]\n\n[health]\npath = \"/healthz\"\ntimeout = \"2s\"\ndeadline = \"20s\"\nbake = \"1s\"\n";

/// All of the host that a pass could change, with what it holds.
const STATE: &str = "find /etc/portreeve /etc/nginx /etc/systemd/system /home /var/log/foouser ! -name '*.lock' ! -path /etc/portreeve/staging \
                     -printf '%p %i %m %u %T@\\n' 2>/dev/null | sort";

/// Serves each repository as the file beside it says: well, or not at all well. sshd runs it for the deploy key.
const SERVER: &str = r#"#!/bin/sh
name=${SSH_ORIGINAL_COMMAND##*/}; name=${name%%.git*}
case "$(cat /srv/git/mode-$name 2>/dev/null)" in
silent) exec sleep 600 ;;
once) mkdir "/srv/git/once-$name" 2>/dev/null || { touch "/srv/git/stalls-$name"; exec sleep 600; }; exec git-shell -c "$SSH_ORIGINAL_COMMAND" ;;
trickle) git-shell -c "$SSH_ORIGINAL_COMMAND" | while IFS= read -r line; do printf '%s' "$line" | head -c 1; sleep 1; done; sleep 600 ;;
truncated) git-shell -c "$SSH_ORIGINAL_COMMAND" | stdbuf -o0 head -c 4000 ;;
*) exec git-shell -c "$SSH_ORIGINAL_COMMAND" ;;
esac
"#;

/// From now on both repositories are served as the files say, and a server that is silent is waited for 4 s.
#[track_caller]
pub fn serve_as_told(world: &World) {
    world.host.put_file("/srv/git/serve", SERVER);
    world.host.sh("chmod +x /srv/git/serve; usermod -s /bin/sh git; git config --global --add safe.directory '*'
        sed -i 's,^restrict ,restrict\\,command=\"/srv/git/serve\" ,' /srv/git/.ssh/authorized_keys
        printf '[git]\\ndeadline = \"4s\"\\n' >>/etc/portreeve/agent.toml");
}

/// The server drops what no branch leads to.
const FORGETS: &str = "git config --global --add safe.directory '*'; cd /srv/git/deploy.git
    git reflog expire --expire=now --all; git gc --quiet --prune=now; chown -R git:git .";

/// The host loses all that is not beside the generations.
const LOSS: &str = "rm -r /var/lib/portreeve; install -d -m 0700 /var/lib/portreeve";

fn short(commit: &str) -> &str {
    &commit[..7]
}

/// A person agrees, in the words that the pass, or `status`, gave him.
fn accept(world: &World, environment: &str, commit: &str) {
    let said = world.portreeve(&["accept", environment, commit]).ok();
    assert!(said.stdout.contains(&format!("{} is accepted", short(commit))), "{said}");
}

/// The pass refuses, naming both commits, and nothing moves.
#[track_caller]
fn refused(world: &World, words: &str, floor: &str, tip: &str) -> CmdResult {
    let before = world.host.sh(STATE);
    let pass = world.reconcile().exits(4);
    assert!(pass.stderr.contains("bakery/pro is diverged: ") && pass.stderr.contains(words), "{pass}");
    assert!(pass.stderr.contains(short(floor)) && pass.stderr.contains(short(tip)), "{pass}");
    assert!(pass.stderr.contains(&format!("portreeve accept bakery/pro {tip}")), "{pass}");
    assert_eq!(world.host.sh(STATE), before, "{pass}");
    let status = world.portreeve(&["status", "--exit-code"]).exits(4);
    assert!(status.stdout.contains("diverged") && status.stdout.contains(short(tip)), "{status}");
    world.set_clock(Some("+3d"));
    let later = world.portreeve(&["status", "--exit-code"]).exits(4);
    world.set_clock(None);
    assert!(later.stdout.contains("for 3d: "), "{later}");
    assert_eq!(world.serving(), "v1");
    pass
}

#[test]
fn a_deploy_repository_that_goes_back_or_is_rewritten_is_refused_whatever_was_lost() {
    let world = World::new("rewritten");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    world.push_app("v2", &[], "v2");
    world.reconcile().ok();
    let wants = world.set_rev("v2");
    // Taken back before any pass saw it: nothing changes for pro, and yet this is where it is now.
    let floor = world.set_rev("v1");
    world.reconcile().ok();

    // An older tip, also one that no generation was made for.
    world.deploy.git(&["reset", "--quiet", "--hard", &wants]);
    world.deploy.push_forced();
    refused(&world, "main went back to", &floor, &wants);

    // Another history, with everything in it that would help: a weaker policy, a tombstone, another version.
    world.deploy.git(&["checkout", "--quiet", "--orphan", "other"]);
    let pro = world.deploy.read("projects/bakery/pro.toml");
    world.deploy.write("projects/bakery/pro.toml", format!("removed = true\n{pro}"));
    let other = world.deploy.commit("rewritten");
    world.deploy.push_forced();
    refused(&world, "main was rewritten; ", &floor, &other);
    assert_eq!(world.portreeve(&["plan", "bakery/pro"]).code, 0);

    // The same without the cache, and without all that is not beside the generations. The server has neither commit.
    world.host.sh(FORGETS);
    world.host.sh("rm -r /var/lib/portreeve/deploy.git");
    refused(&world, "no longer has", &floor, &other);
    world.host.sh(LOSS);
    refused(&world, "no longer has", &floor, &other);

    // A person agrees; what is built on it is followed, and there is no way back to it.
    world.deploy.write("projects/bakery/pro.toml", pro.replace("\"v1\"", "\"v2\""));
    let agreed = world.deploy.commit("v2, agreed to");
    world.deploy.push();
    refused(&world, "no longer has", &floor, &agreed);
    accept(&world, "bakery/pro", &agreed);
    world.reconcile().ok();
    assert_eq!(world.serving(), "v2");
    world.set_rev("v1");
    world.reconcile().ok();
    assert_eq!(world.serving(), "v1");
    let newest = world.deploy.git(&["rev-parse", "HEAD"]).stdout.trim().to_owned();
    world.deploy.git(&["reset", "--quiet", "--hard", &agreed]);
    world.deploy.push_forced();
    refused(&world, "main went back to", &newest, &agreed);

    // Nor when nobody can tell any more that it would be one, nor when only the generations still know how far it was.
    world.host.sh(FORGETS);
    world.host.sh(LOSS);
    refused(&world, "no longer has", &newest, &agreed);
    world.host.sh("rm /etc/portreeve/floors.json");
    world.host.sh(LOSS);
    refused(&world, "no longer has", &newest, &agreed);
}

#[test]
fn a_moved_tag_and_a_rewritten_branch_of_an_application_are_told_of_and_not_followed() {
    let world = World::new("tags");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    let was = world.app.git(&["rev-parse", "v1"]).stdout.trim().to_owned();
    world.push_deploy(&[
        ("hosts/web1.toml", Some("environments = [\"bakery/pro\", \"bakery/stage\"]\n")),
        ("projects/bakery/stage.toml", Some(STAGE_TOML)),
    ]);
    world.reconcile().ok();
    for _ in 0..2 {
        world.reconcile().ok();
    }
    let stage = || http::get(&world.host, STAGE, "/").expect("nginx answers").release().map(str::to_owned);
    assert_eq!((world.serving(), stage()), ("v1".to_owned(), Some("v1".to_owned())));

    // The tag moves, and no branch does: an idle pass has looked less than an hour ago, and then more.
    let now = world.app.git(&["commit-tree", "-m", "other", "HEAD^{tree}"]).stdout.trim().to_owned();
    world.app.git(&["tag", "--force", "v1", &now]);
    world.app.push();
    assert_eq!(told(&world).1, Pass::Idle);
    world.reconcile().ok();
    world.host.sh("echo 2026-01-01T00:00:00Z >/run/portreeve/tags-looked");
    for _ in 0..2 {
        let pass = world.reconcile().exits(4);
        let words = format!("bakery/pro is diverged: tag v1 moved from {} to {}", short(&was), short(&now));
        assert!(pass.stderr.contains(&words) && pass.stderr.contains(&format!("rev = \"{now}\"")), "{pass}");
    }
    assert_eq!(told(&world).1, Pass::Idle, "telling of it costs no whole passes");
    let status = world.portreeve(&["status", "--exit-code"]).exits(4);
    assert!(status.stdout.contains("diverged") && status.stdout.contains("tag v1 moved from"), "{status}");

    // Other changes of its environment go on, from the commit that was released.
    world.set_vhost("new");
    world.reconcile();
    assert_eq!((world.serving(), world.get("/").header("x-vhost")), ("v1".to_owned(), Some("new")));
    let released =
        world.host.sh("sed -n 's/^commit = \"\\(.*\\)\"$/\\1/p' /etc/portreeve/active/bakery_pro/generation.toml");
    assert_eq!(released.trim(), was);

    // Stage's branch is rewritten.
    world.app.git(&["checkout", "--quiet", "--orphan", "other"]);
    world.app.write("bakery/__init__.py", "RELEASE = \"v9\"\n");
    let rewritten = world.app.commit("v9");
    world.app.push_forced();
    let pass = world.reconcile().exits(4);
    assert!(pass.stderr.contains("bakery/stage is diverged: main of ssh://"), "{pass}");
    assert!(pass.stderr.contains(&format!("portreeve accept bakery/stage {rewritten}")), "{pass}");
    assert_eq!(stage().as_deref(), Some("v1"));
    accept(&world, "bakery/stage", &rewritten);
    world.reconcile();
    assert_eq!(stage().as_deref(), Some("v9"));
    a_new_name_of_what_serves_is_held_to_it(&world, &was, &now);
}

/// Nothing is released for it, and it stays where it was all the same.
#[track_caller]
fn a_new_name_of_what_serves_is_held_to_it(world: &World, was: &str, now: &str) {
    world.app.git(&["tag", "v1-final", was]);
    world.app.push();
    world.set_rev("v1-final");
    world.reconcile().ok();
    world.app.git(&["tag", "--force", "v1-final", now]);
    world.app.push();
    world.host.sh("echo 2026-01-01T00:00:00Z >/run/portreeve/tags-looked");
    for _ in 0..2 {
        let pass = world.reconcile().exits(4);
        let words = format!("bakery/pro is diverged: tag v1-final moved from {} to {}", short(was), short(now));
        assert!(pass.stderr.contains(&words), "{pass}");
    }
}

/// Whose history is rewritten every day is not asked every day; pro, in the same repository, is.
#[test]
fn dev_follows_a_rewritten_branch_and_pro_beside_it_does_not() {
    const DEV: &str = "dev.bakery.example";
    let world = World::new("dev-rewritten");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    let env = STAGE_TOML.replace(STAGE, DEV);
    world.push_deploy(&[
        ("hosts/web1.toml", Some("environments = [\"bakery/dev\", \"bakery/pro\"]\n")),
        ("projects/bakery/dev.toml", Some(&env)),
    ]);
    world.reconcile().ok();
    let dev = || http::get(&world.host, DEV, "/").expect("nginx answers").release().map(str::to_owned);
    assert_eq!((world.serving(), dev()), ("v1".to_owned(), Some("v1".to_owned())));

    // The application's branch.
    world.app.git(&["checkout", "--quiet", "--orphan", "other"]);
    world.app.write("bakery/__init__.py", "RELEASE = \"v9\"\n");
    world.app.commit("v9");
    world.app.push_forced();
    world.reconcile().ok();
    assert_eq!((world.serving(), dev()), ("v1".to_owned(), Some("v9".to_owned())));

    // The deploy repository's, with news for both.
    world.app.git(&["tag", "v9"]);
    world.app.push();
    let floor = world.deploy.git(&["rev-parse", "HEAD"]).stdout.trim().to_owned();
    world.deploy.git(&["checkout", "--quiet", "--orphan", "other"]);
    world.deploy.write("projects/bakery/dev.toml", env.replace("\"main\"", "\"v1\""));
    let pro = world.deploy.read("projects/bakery/pro.toml");
    world.deploy.write("projects/bakery/pro.toml", pro.replace("\"v1\"", "\"v9\""));
    let tip = world.deploy.commit("rewritten");
    world.deploy.push_forced();
    let pass = world.reconcile().exits(4);
    let words = format!("bakery/pro is diverged: main was rewritten; {} (applied)", short(&floor));
    assert!(pass.stderr.contains(&words) && !pass.stderr.contains("bakery/dev is"), "{pass}");
    assert!(pass.stderr.contains(&format!("portreeve accept bakery/pro {tip}")), "{pass}");
    assert_eq!((world.serving(), dev()), ("v1".to_owned(), Some("v1".to_owned())));
}

/// A server that fails in some way, what is said of it, and the exit code.
struct Failure {
    name: &'static str,
    begin: &'static str,
    end: &'static str,
    says: &'static str,
    code: i32,
}

const FAILURES: &[Failure] = &[
    Failure {
        name: "it accepts and says nothing",
        begin: "echo silent >/srv/git/mode-deploy",
        end: "rm /srv/git/mode-deploy",
        says: "did not answer within 4s",
        code: 1,
    },
    Failure {
        name: "it trickles",
        begin: "echo trickle >/srv/git/mode-deploy",
        end: "rm /srv/git/mode-deploy",
        says: "did not answer within 4s",
        code: 1,
    },
    Failure {
        name: "its pack is truncated",
        begin: "echo truncated >/srv/git/mode-deploy",
        end: "rm /srv/git/mode-deploy",
        says: "ssh://git@git.example.org/srv/git/deploy.git can't be reached: ",
        code: 1,
    },
    Failure {
        name: "it is down",
        begin: "systemctl stop ssh",
        end: "systemctl start ssh",
        says: "Connection refused",
        code: 1,
    },
    Failure {
        name: "it has too many connections",
        begin: "echo MaxStartups 1:100:1 >/etc/ssh/sshd_config.d/busy.conf; systemctl restart ssh
            systemd-run --quiet --unit=idler bash -c 'exec 3<>/dev/tcp/git.example.org/22; read -r <&3; sleep infinity'
            until ss -Htn state established '( dport = :22 )' | grep -q .; do :; done",
        end: "systemctl stop idler; rm /etc/ssh/sshd_config.d/busy.conf; systemctl restart ssh",
        says: "ssh://git@git.example.org/srv/git/deploy.git can't be reached: kex_exchange_identification: ",
        code: 1,
    },
    Failure {
        name: "what it sends finds no room here",
        begin: "cp -a /var/lib/portreeve/deploy.git /srv/clone; cd /var/lib/portreeve/deploy.git
            mount -t tmpfs -o size=$(($(du -sk . | cut -f1) + 64))k tmpfs .; cp -a /srv/clone/. /var/lib/portreeve/deploy.git",
        end: "umount /var/lib/portreeve/deploy.git; rm -r /srv/clone",
        says: "can't be written here: write error: No space left on device; df -h",
        code: 4,
    },
    Failure {
        name: "its host key is another",
        begin: "mv /etc/portreeve/known_hosts /run/known_hosts; ssh-keygen -q -t ed25519 -N '' -f /run/other
            printf 'git.example.org %s\\n' \"$(cut -d' ' -f1,2 /run/other.pub)\" >/etc/portreeve/known_hosts",
        end: "mv /run/known_hosts /etc/portreeve/known_hosts",
        says: "the host key of ssh://git@git.example.org/srv/git/deploy.git is not the one in known_hosts",
        code: 4,
    },
    Failure {
        name: "the branch is deleted",
        begin: "git -C /srv/git/deploy.git update-ref refs/heads/trunk main; git -C /srv/git/deploy.git update-ref -d refs/heads/main",
        end: "git -C /srv/git/deploy.git update-ref refs/heads/main trunk; git -C /srv/git/deploy.git update-ref -d refs/heads/trunk",
        says: "has no branch `main`",
        code: 4,
    },
    Failure {
        name: "the repository is empty",
        begin: "mv /srv/git/deploy.git /srv/git/full; git init --quiet --bare /srv/git/deploy.git; chown -R git /srv/git/deploy.git",
        end: "rm -r /srv/git/deploy.git; mv /srv/git/full /srv/git/deploy.git",
        says: "is empty",
        code: 4,
    },
];

impl Failure {
    /// It begins, and a pass ends as it should, in time, and changes nothing on the host.
    #[track_caller]
    fn befalls(&self, world: &World) -> CmdResult {
        let Self { name, begin, code, .. } = self;
        world.host.sh(begin);
        let before = world.host.sh(STATE);
        let begun = Instant::now();
        let pass = world.reconcile();
        assert_eq!(pass.code, *code, "{name}: {pass}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{name}: {:?}", begun.elapsed());
        assert_eq!(world.host.sh(STATE), before, "{name}: {pass}");
        pass
    }
}

#[test]
fn a_git_server_that_fails_changes_nothing_and_its_age_is_told_until_it_is_well() {
    let mut world = World::new("gitfails");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    serve_as_told(&world);
    world.reconcile().ok();
    // What the server fails to hand over: another version, in a commit that does not fit into one packet.
    world.push_app("v2", &[], "v2");
    let noise = (0_u64..20_000).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    world.deploy.write("noise", noise.collect::<Vec<_>>());
    world.set_rev("v2");

    for failure in FAILURES {
        let name = failure.name;
        let pass = failure.befalls(&world);
        assert!(pass.stderr.contains(failure.says), "{name}: {pass}");
        assert_eq!(world.serving(), "v1", "{name}");
        let status = world.portreeve(&["status", "--exit-code"]).exits(4);
        assert!(status.stdout.contains("repo  main ") && status.stdout.contains(", not read for "), "{name}: {status}");
        assert!(
            status.stdout.contains("  for ") && status.stdout.contains("ssh://git@git.example.org"),
            "{name}: {status}"
        );
        world.set_clock(Some("+3d"));
        let later = world.portreeve(&["status", "--exit-code"]).exits(4);
        world.set_clock(None);
        let told = later.stdout.lines().find(|line| line.contains(", not read for 3d")).unwrap_or_default();
        assert!(told.contains(failure.says), "{name}: {later}");
        world.host.sh(failure.end);
    }

    // Its age outlives a reboot, and ends with the first fetch that works.
    world.host.sh("echo silent >/srv/git/mode-deploy");
    world.reconcile().exits(1);
    let since = world.host.read_file("/var/lib/portreeve/troubles.json");
    world.host.reboot();
    crate::oracle::comes_back(&world);
    let status = world.portreeve(&["status"]).ok();
    assert!(status.stdout.contains("not read for "), "{status}");
    world.reconcile().exits(1);
    assert_eq!(world.host.read_file("/var/lib/portreeve/troubles.json"), since);
    world.host.sh("rm /srv/git/mode-deploy");
    world.reconcile().ok();
    assert_eq!(world.serving(), "v2");
    let status = world.portreeve(&["status", "--exit-code"]).ok();
    assert!(status.stdout.contains(", fetched ") && !world.host.has("/var/lib/portreeve/troubles.json"), "{status}");
}

/// The application's repository, by another name of its server than the deploy repository's.
const APPS: &str = "echo '127.0.0.1 apps.example.org' >>/etc/hosts
    sed -i 's/^Host .*/& apps.example.org/' /root/.ssh/config; sed -i 'p; s/^git/apps/' /etc/portreeve/known_hosts";

/// The same of an application's repository: the deploy repository is well.
const APP_FAILURES: &[Failure] = &[
    Failure {
        name: "it is down",
        begin: "cp -p /root/.ssh/config /run/config; sed -i '1i Host apps.example.org\\n  Port 1\\n' /root/.ssh/config",
        end: "mv /run/config /root/.ssh/config",
        says: "ssh://git@apps.example.org/srv/git/bakery.git can't be reached: ssh: connect to host apps.example.org port 1: Connection refused",
        code: 1,
    },
    Failure {
        name: "it accepts and says nothing",
        begin: "echo silent >/srv/git/mode-bakery",
        end: "rm /srv/git/mode-bakery",
        says: "ssh://git@apps.example.org/srv/git/bakery.git did not answer within 4s",
        code: 1,
    },
    Failure {
        name: "its pack is truncated",
        begin: "echo truncated >/srv/git/mode-bakery",
        end: "rm /srv/git/mode-bakery",
        says: "ssh://git@apps.example.org/srv/git/bakery.git can't be reached: ",
        code: 1,
    },
    Failure {
        name: "its host key is another",
        begin: "cp -p /etc/portreeve/known_hosts /run/known_hosts; ssh-keygen -q -t ed25519 -N '' -f /run/other
            sed -i \"s,^apps.*,apps.example.org $(cut -d' ' -f1,2 /run/other.pub),\" /etc/portreeve/known_hosts",
        end: "mv /run/known_hosts /etc/portreeve/known_hosts",
        says: "the host key of ssh://git@apps.example.org/srv/git/bakery.git is not the one in known_hosts",
        code: 4,
    },
    Failure {
        name: "the branch is deleted",
        begin: "git -C /srv/git/bakery.git update-ref refs/heads/trunk main; git -C /srv/git/bakery.git update-ref -d refs/heads/main",
        end: "git -C /srv/git/bakery.git update-ref refs/heads/main trunk; git -C /srv/git/bakery.git update-ref -d refs/heads/trunk",
        says: "projects/bakery/stage.toml: no tag or branch `main`",
        code: 4,
    },
    Failure {
        name: "the repository is empty",
        begin: "mv /srv/git/bakery.git /srv/git/full; git init --quiet --bare /srv/git/bakery.git; chown -R git /srv/git/bakery.git",
        end: "rm -r /srv/git/bakery.git; mv /srv/git/full /srv/git/bakery.git",
        says: "ssh://git@apps.example.org/srv/git/bakery.git is empty",
        code: 4,
    },
];

/// A world in which `bakery/stage` follows the application's branch, from a server that does as it is told.
#[track_caller]
fn stage_follows(name: &str) -> World {
    let world = World::new(name);
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    serve_as_told(&world);
    world.host.sh(APPS);
    let project = world.deploy.read("projects/bakery/project.toml").replace("@git.example", "@apps.example");
    world.push_deploy(&[
        ("hosts/web1.toml", Some("environments = [\"bakery/pro\", \"bakery/stage\"]\n")),
        ("projects/bakery/project.toml", Some(&project)),
        ("projects/bakery/stage.toml", Some(STAGE_TOML)),
    ]);
    world.reconcile().ok();
    assert_eq!(both_serve(&world), ["v1", "v1"]);
    world
}

/// What `bakery/pro` and `bakery/stage` serve.
#[track_caller]
fn both_serve(world: &World) -> [String; 2] {
    let stage = http::get(&world.host, STAGE, "/").expect("nginx answers");
    [world.serving(), stage.release().expect("a release id").to_owned()]
}

/// A person who comes three days later reads what is wrong, and for how long it has been.
#[track_caller]
fn is_told_with_its_age(world: &World, failure: &Failure) {
    let Failure { name, says, code, .. } = failure;
    let state = if *code == 1 { "stale" } else { "blocked" };
    world.set_clock(Some("+3d"));
    let status = world.portreeve(&["status", "--exit-code"]).exits(4);
    let row = status.stdout.lines().find(|line| line.starts_with("bakery/stage")).unwrap_or_default();
    assert!(row.contains(&format!(" {state} ")) && row.contains("for 3d: ") && row.contains(says), "{name}: {status}");
    let why = world.portreeve(&["why", "bakery/stage"]).ok();
    world.set_clock(None);
    let rule = why.stdout.lines().find(|line| line.starts_with("rule ")).unwrap_or_default();
    assert!(rule.contains(&format!("{state}: ")) && rule.contains(says), "{name}: {why}");
    assert!(*code == 4 || rule.ends_with("; not read for 3d"), "{name}: {why}");
}

#[test]
fn an_applications_repository_that_fails_changes_nothing_and_is_told_with_its_age() {
    let world = stage_follows("appfails");
    // What the server fails to hand over does not fit into one packet.
    let noise = (0_u64..20_000).map(|n| format!("{:x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    world.push_app("v2", &[("noise", Some(&noise.collect::<Vec<_>>().concat()))], "v2");

    for failure in APP_FAILURES {
        let name = failure.name;
        let pass = failure.befalls(&world);
        assert!(pass.said().contains("bakery/stage ") && pass.said().contains(failure.says), "{name}: {pass}");
        assert_eq!(both_serve(&world), ["v1", "v1"], "{name}");
        is_told_with_its_age(&world, failure);
        world.host.sh(failure.end);
    }

    world.reconcile().ok();
    assert_eq!(both_serve(&world), ["v1", "v2"]);
    world.portreeve(&["status", "--exit-code"]).ok();
    assert!(!world.host.has("/var/lib/portreeve/troubles.json"));
}
