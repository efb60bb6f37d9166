//! A host's first contact with its deploy repository.

use crate::cmd::{self, CmdResult};
use crate::edits::NO_SUCH_PACKAGE;
use crate::git::DEPLOY;
use crate::world::World;

#[test]
fn setup_makes_a_key_trusts_no_stranger_and_applies_nothing() {
    let world = World::new("setup");
    let host = &world.host;
    // As where only the program was copied, to where people copy programs.
    host.sh("rm -r /etc/portreeve /root/.ssh /usr/lib/systemd/system/portreeve*; mv /usr/bin/portreeve /usr/local/bin");
    let setup = |more: &[&str]| world.portreeve(&[&["setup", DEPLOY, "--host", "web1"], more].concat());
    let real = host.sh("ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub").split(' ').nth(1).map(str::to_owned);
    let real = real.expect("a fingerprint");

    what_is_missing_is_named(&world);
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
    assert!(!second.stdout.contains("wrote /etc/systemd"), "{second}");
    assert!(first.stdout.contains("wrote /etc/systemd/system/portreeve.service, which was not installed"), "{first}");
    host.exec_ok(&["systemctl", "enable", "portreeve.service"]);
    let program = host.sh("systemctl show --property=ExecStart --value portreeve.service portreeve-reconcile.service");
    assert_eq!(program.matches("path=/usr/local/bin/portreeve ").count(), 2, "{program}");
    assert!(!host.has("/etc/portreeve/active/bakery_pro"));
    let other = world.portreeve(&["setup", "ssh://git@git.example.org/srv/git/bakery.git"]).exits(4);
    assert!(other.stderr.contains("says otherwise"), "{other}");

    host.exec_ok(&["systemctl", "start", "nginx"]);
    world.release("v2", NO_SUCH_PACKAGE).exits(3);
    let logs = world.portreeve(&["logs", "bakery/pro"]).ok();
    assert!(logs.stdout.contains("no-such-package"), "{logs}");
    assert!(
        logs.stderr.contains("bakery/pro serves nothing; this is the log of generation 1, its last attempt"),
        "{logs}"
    );
    assert!(world.portreeve(&["logs", "nobody/pro"]).exits(4).stderr.contains("is not on this host"));
    world.set_rev("v1");
    world.reconcile().ok();
    assert_eq!(world.serving(), "v1");
    servers_are_trusted_by_the_printed_cure(&world);
}

/// The deploy repository's server has a new host key, and then the application's repository moves to a server of its own.
#[track_caller]
fn servers_are_trusted_by_the_printed_cure(world: &World) {
    world.host.sh("rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
        printf '%s\\n' 'Port 22' 'Port 2222' >>/etc/ssh/sshd_config.d/git.conf; systemctl restart ssh
        echo '127.0.0.1 apps.example.org' >>/etc/hosts");
    let other_key = world.reconcile().exits(4);
    carry_out(world, &other_key, "portreeve setup --trust git.example.org");
    world.reconcile().ok();
    let project = world.deploy.read("projects/bakery/project.toml");
    let moved = project.replace("git.example.org", "apps.example.org:2222");
    world.push_deploy(&[("projects/bakery/project.toml", Some(&moved))]);
    let other_server = world.reconcile().exits(4);
    carry_out(world, &other_server, "portreeve setup --trust apps.example.org:2222");
    world.reconcile().ok();
    let known = world.host.read_file("/etc/portreeve/known_hosts");
    assert_eq!(known.lines().count(), 2, "the old key is gone: {known}");
}

/// Types what is printed, as somebody does who knows the server's fingerprint.
#[track_caller]
fn carry_out(world: &World, told: &CmdResult, cure: &str) {
    assert!(told.stderr.contains(&format!("{cure} ")), "{told}");
    let real = world.host.sh("ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub");
    let real = real.split(' ').nth(1).expect("a fingerprint");
    let words: Vec<&str> = cure.split(' ').chain(["--fingerprint", real]).collect();
    world.exec(&words).ok();
}

/// Each with the package that has it. Nothing is written until all are there.
#[track_caller]
fn what_is_missing_is_named(world: &World) {
    let away = "mv /usr/sbin/logrotate /srv; mv /usr/lib/python3.*/ensurepip /srv";
    world.host.sh(away);
    let missing = world.portreeve(&["setup", DEPLOY, "--host", "web1"]).exits(4);
    for line in [
        "error: logrotate is not installed\nhelp: apt-get install logrotate\n",
        "error: python3 can't make virtual environments: it has no ensurepip\nhelp: apt-get install python3-venv\n",
    ] {
        assert!(missing.stderr.contains(line), "{missing}");
    }
    assert!(!world.host.has("/etc/portreeve/agent.toml") && !world.host.has("/etc/systemd/system/portreeve.service"));
    world.host.sh("mv /srv/logrotate /usr/sbin; mv /srv/ensurepip /usr/lib/python3.*/");
}

/// Runs a command line with a terminal of its own, at which somebody types this line. All that it says comes on stdout.
#[track_caller]
fn on_a_terminal(world: &World, command: &str, answer: &str) -> CmdResult {
    let command = world.host.command(&["script", "--quiet", "--return", "--command", command, "/dev/null"]);
    cmd::run_with_input(command, format!("{answer}\n").as_bytes())
}
