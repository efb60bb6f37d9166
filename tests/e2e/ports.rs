//! Ports: who holds which, and what happens when somebody else does.

use crate::traces::until;
use crate::world::World;

const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

const OVERLAPPING_STAGE: &str = "rev = \"main\"\ndomains = [\"stage.bakery.example\"]\nports = \"60000-60009\"\n";

#[test]
fn ports_are_reserved_in_the_kernel_and_a_foreign_listener_blocks() {
    let world = World::new("ports");
    world.host.exec_ok(&["systemctl", "start", "nginx"]);
    overlaps_are_errors(&world);

    world.host.sh(&format!("echo 40000,50000-50003 >{RESERVED}"));
    let pid = foreign_listener(&world, 60004);
    let blocked = world.reconcile().exits(4);
    for word in ["bakery/pro is blocked", "port 60004", "python3", &format!("pid {pid}")] {
        assert!(blocked.stderr.contains(word), "{word}:\n{blocked}");
    }
    assert!(!world.host.has("/etc/portreeve/active/bakery_pro"), "nothing was begun");

    world.host.exec_ok(&["systemctl", "stop", "intruder"]);
    world.reconcile().ok();
    assert_eq!(world.serving(), "v1");
    assert_eq!(world.host.read_file(RESERVED).trim(), "40000,50000-50003,60000-60009");
    let table = world.portreeve(&["ports"]).ok().stdout;
    assert!(table.contains("60000-60009") && table.contains("bakery/pro"), "{table}");

    the_block_moves(&world);
    what_is_gone_reserves_nothing(&world);
}

/// A block that is given up is the kernel's again; what others reserved since then stays, and a boot reserves the same.
#[track_caller]
fn the_block_moves(world: &World) {
    world.host.sh(&format!("echo 40000,50000-50003,60000-60009,47000 >{RESERVED}"));
    world.deploy.write("projects/bakery/project.toml", {
        world.deploy.read("projects/bakery/project.toml").replace("60000-60049", "59000-59049")
    });
    world.push_deploy(&[]);
    let pass = world.reconcile().ok();
    assert_eq!(world.serving(), "v1");
    assert_eq!(world.host.read_file(RESERVED).trim(), "40000,47000,50000-50003,59000-59009", "{pass}");
    let boot = world.host.read_file("/etc/sysctl.d/60-portreeve.conf");
    assert!(boot.contains("net.ipv4.ip_local_reserved_ports = "), "{boot}");
    assert!(boot.contains("59000-59009") && !boot.contains("60000-60009"), "{boot}");
}

/// What is taken off gives its block back in the pass that does it, and the next one has nothing left to write.
#[track_caller]
fn what_is_gone_reserves_nothing(world: &World) {
    let state = || (world.host.read_file(RESERVED), world.host.sh("ls /etc/sysctl.d"));
    world.edit_pro(|pro| format!("removed = true\n{pro}"));
    // While it can't be taken off, it serves, and by a host whose nginx is broken it may for long.
    let before = state();
    world.host.put_file("/etc/nginx/conf.d/broken.conf", "nonsense\n");
    let blocked = world.reconcile().exits(4);
    assert_eq!((state(), world.serving().as_str()), (before, "v1"), "{blocked}");
    world.host.sh("rm /etc/nginx/conf.d/broken.conf");
    let pass = world.reconcile().ok();
    assert_eq!(state().0.trim(), "40000,47000,50000-50003", "{pass}");
    assert!(!state().1.contains("60-portreeve.conf"), "{}", state().1);
    let before = state();
    world.reconcile().ok();
    assert_eq!(state(), before);
}

#[track_caller]
fn overlaps_are_errors(world: &World) {
    world.host.sh(&format!("git clone --quiet {} /root/deploy", crate::git::DEPLOY));
    world.host.put_file("/root/deploy/projects/bakery/stage.toml", OVERLAPPING_STAGE);
    let check = world.portreeve(&["check", "/root/deploy"]).exits(2);
    for word in ["60000-60009", "projects/bakery/stage.toml:3:9", "bakery/pro", "60010-60019"] {
        assert!(check.stdout.contains(word), "{word}:\n{check}");
    }
}

/// Somebody else's program in the middle of the block. Returns its number inside the host.
#[track_caller]
fn foreign_listener(world: &World, port: u16) -> String {
    world.host.exec_ok(&[
        "systemd-run",
        "--quiet",
        "--unit=intruder",
        "--uid=nobody",
        "python3",
        "-m",
        "http.server",
        "--bind=127.0.0.1",
        &port.to_string(),
    ]);
    until("the intruder listens", || world.host.sh("ss -Hltn").contains(&format!(":{port}")));
    world.host.sh("systemctl show --property=MainPID --value intruder").trim().to_owned()
}
