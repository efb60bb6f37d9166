//! A host's first contact with its deploy repository.

use crate::cmd::{self, CmdResult};
use crate::git::DEPLOY;
use crate::world::World;

#[test]
fn setup_makes_a_key_trusts_no_stranger_and_applies_nothing() {
    let world = World::new("setup");
    let host = &world.host;
    host.sh("rm -r /etc/portreeve /root/.ssh");
    let setup = |more: &[&str]| world.portreeve(&[&["setup", DEPLOY, "--host", "web1"], more].concat());
    let real = host.sh("ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub").split(' ').nth(1).map(str::to_owned);
    let real = real.expect("a fingerprint");

    let unconfirmed = setup(&[]).exits(4);
    assert!(unconfirmed.stderr.contains(&real) && unconfirmed.stderr.contains("--fingerprint"), "{unconfirmed}");
    let stranger = setup(&["--fingerprint", "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]).exits(4);
    assert!(stranger.stderr.contains("none of them"), "{stranger}");
    let typed = |answer: &str| on_a_terminal(&world, &format!("portreeve setup {DEPLOY} --host web1"), answer);
    let refused = typed("n").exits(4);
    assert!(refused.stdout.contains(&real) && refused.stdout.contains("is it the right server? [y/N]"), "{refused}");
    assert!(refused.stdout.contains("was not confirmed; nothing was trusted"), "{refused}");
    assert!(!host.has("/etc/portreeve/known_hosts") && !host.has("/etc/portreeve/agent.toml"), "nothing is trusted");

    // The server doesn't know the new key yet: that is said, and the way on is to run it again.
    let first = setup(&["--fingerprint", &real]).exits(4);
    assert!(first.stderr.contains("doesn't let this host in") && first.stdout.contains("ssh-ed25519 "), "{first}");
    host.sh("rm /etc/portreeve/known_hosts");
    let confirmed = typed("y").exits(4);
    assert!(confirmed.stdout.contains("wrote /etc/portreeve/known_hosts"), "{confirmed}");
    assert_eq!(host.sh("stat -c %a-%U /etc/portreeve/deploy_key").trim(), "600-root");
    let key = host.read_file("/etc/portreeve/deploy_key");
    host.sh("cat /etc/portreeve/deploy_key.pub >/srv/git/.ssh/authorized_keys");

    let second = setup(&[]).ok();
    assert!(second.stdout.contains("bakery/pro: release nothing -> v1"), "{second}");
    assert!(second.stderr.contains("nothing was applied"), "{second}");
    assert_eq!(host.read_file("/etc/portreeve/deploy_key"), key, "the key is kept");
    assert!(!host.has("/etc/portreeve/active/bakery_pro"));
    let other = world.portreeve(&["setup", "ssh://git@git.example.org/srv/git/bakery.git"]).exits(4);
    assert!(other.stderr.contains("says otherwise"), "{other}");

    host.exec_ok(&["systemctl", "start", "nginx"]);
    world.reconcile().ok();
    assert_eq!(world.serving(), "v1");
}

/// Runs a command line with a terminal of its own, at which somebody types this line. All that it says comes on stdout.
#[track_caller]
fn on_a_terminal(world: &World, command: &str, answer: &str) -> CmdResult {
    let command = world.host.command(&["script", "--quiet", "--return", "--command", command, "/dev/null"]);
    cmd::run_with_input(command, format!("{answer}\n").as_bytes())
}
