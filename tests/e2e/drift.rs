//! What people do to a host by hand: repaired and reported, or respected.

use crate::cmd::CmdResult;
use crate::oracle::{comes_back, one_generation};
use crate::traces::until;
use crate::world::World;

const NAME: &str = "portreeve-bakery_pro";

/// One pass that repairs something, and says `words`; the next one has nothing to do.
#[track_caller]
fn repairs(world: &World, words: &str) {
    let pass = world.reconcile();
    assert_eq!(pass.code, 0, "{pass}");
    assert!(pass.said().contains(words), "expected `{words}`:\n{pass}");
    one_generation(world);
    unchanged(world);
}

#[track_caller]
fn unchanged(world: &World) {
    let idle = world.reconcile();
    assert_eq!((idle.code, idle.stdout.trim()), (0, "bakery/pro  unchanged"), "{idle}");
}

/// A pass that leaves it as it is, and says `words`.
#[track_caller]
fn is_blocked(world: &World, words: &str) {
    let pass = world.reconcile();
    assert_eq!(pass.code, 4, "{pass}");
    assert!(pass.said().contains("bakery/pro is blocked: ") && pass.said().contains(words), "{pass}");
}

#[test]
fn drift_is_repaired_and_told_and_an_idle_pass_writes_nothing() {
    let world = World::new("drift");
    world.reconcile().ok();
    let number = one_generation(&world);
    writes_nothing(&world);

    world.host.sh(&format!("echo '# mine' >>/etc/nginx/sites-enabled/{NAME}.conf; systemctl reload nginx"));
    repairs(&world, "nginx.conf was changed");
    assert!(!world.host.read_file(&format!("/etc/nginx/sites-enabled/{NAME}.conf")).contains("mine"));

    world.host.sh(&format!("rm /etc/logrotate.d/{NAME}"));
    repairs(&world, &format!("/etc/logrotate.d/{NAME} was deleted"));

    world.host.sh(&format!("systemctl stop {NAME}@a.service"));
    repairs(&world, "slot a was not running and was started; portreeve stop bakery/pro keeps it stopped");

    // What died and only waits for its next try, however long, serves nobody.
    world.host.sh(&format!(
        "mkdir -p /run/systemd/system/{NAME}@a.service.d
        printf '[Service]\\nRestart=always\\nRestartSec=1h\\n' >/run/systemd/system/{NAME}@a.service.d/wait.conf
        systemctl daemon-reload; systemctl kill --signal=KILL {NAME}@a.service"
    ));
    let state = format!("systemctl show --property=SubState --value {NAME}@a.service");
    until("it waits for its next try", || world.host.sh(&state).trim() == "auto-restart");
    repairs(&world, "slot a was not running and was started");
    world.host.sh(&format!("rm -r /run/systemd/system/{NAME}@a.service.d; systemctl daemon-reload"));

    // Also where its unit, which is as it should be, could not be written.
    world.host.sh(&format!(
        "cp -a /etc/systemd/system /srv/units; mount -t tmpfs -o size=1m tmpfs /etc/systemd/system
        cp -a /srv/units/. /etc/systemd/system; ! cat /dev/zero >/etc/systemd/system/full; systemctl stop {NAME}@a.service"
    ));
    repairs(&world, "slot a was not running and was started");
    world.host.sh("umount /etc/systemd/system");

    let settings = "/etc/portreeve/active/bakery_pro/settings_local.py";
    let before = world.host.sh(&format!("stat -L -c '%a %U %G' {settings}"));
    assert_eq!(before, "440 root foouser\n");
    world.host.sh(&format!("chmod 644 {settings}"));
    repairs(&world, "settings_local.py had mode 644, not 440");
    assert_eq!(world.host.sh(&format!("stat -L -c '%a %U %G' {settings}")), before);

    // No version of the program makes the same record again: it names the boot that it was made in.
    world.host.sh("chmod 640 /etc/portreeve/active/bakery_pro/generation.toml");
    repairs(&world, "generation.toml had mode 640, not 600");

    world.host.sh("rm /run/portreeve/bakery_pro/web.sock");
    repairs(&world, "web.sock was deleted");

    world.host.sh(&format!("echo '[Service]' >>/etc/systemd/system/{NAME}@a.service; systemctl daemon-reload"));
    repairs(&world, &format!("{NAME}@a.service was changed"));
    assert_eq!(one_generation(&world), number, "a repair is no release");
    assert_eq!(world.serving(), "v1");
    writes_nothing(&world);
}

/// Somebody put a directory where our link was: each try would be written down first.
#[test]
fn a_repair_that_fails_waits_like_any_failure_of_the_host() {
    let world = World::new("irreparable");
    world.reconcile().ok();
    let link = format!("/etc/logrotate.d/{NAME}");
    world.host.sh(&format!("rm {link}; mkdir {link}"));
    let fails = |(pass, writes): (CmdResult, Vec<String>)| {
        assert!(pass.exits(4).stderr.contains(&link));
        writes
    };
    let reconcile = || fails(writes(&world, &["portreeve", "reconcile"]));
    assert!(!reconcile().is_empty(), "it is tried");
    world.host.sh("python3 -c \"import datetime, json
path = '/run/portreeve/bakery_pro/repair.json'
record = json.load(open(path))
due = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=2)
record['standing']['retry']['next'] = due.strftime('%Y-%m-%dT%H:%M:%SZ')
json.dump(record, open(path, 'w'))\"");
    assert_eq!(reconcile(), [""; 0]);
    world.host.sh(&format!("rmdir {link}"));
    repairs(&world, &format!("{link} was deleted"));
    assert!(!world.host.has("/run/portreeve/bakery_pro/repair.json"));
}

/// An idle pass leaves nothing on a disk.
#[track_caller]
fn writes_nothing(world: &World) {
    let (pass, writes) = writes(world, &["portreeve", "reconcile"]);
    assert_eq!((pass.code, pass.stdout.trim()), (0, "bakery/pro  unchanged"), "{pass}");
    assert!(writes.is_empty(), "an idle pass wrote:\n{}", writes.join("\n"));
}

/// Watches every system call of a command that could leave something on a disk; those that did.
#[track_caller]
pub fn writes(world: &World, command: &[&str]) -> (CmdResult, Vec<String>) {
    let calls = "trace=openat,openat2,open,creat,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,symlink,\
        symlinkat,link,linkat,truncate,ftruncate,chmod,fchmod,fchmodat,chown,fchown,fchownat,utimensat,mknod,mknodat";
    let traced = ["strace", "-f", "--seccomp-bpf", "-y", "-qq", "-z", "-o", "/run/trace", "-e", calls];
    let told = world.host.exec(&[&traced[..], command].concat());
    let trace = world.host.read_file("/run/trace");
    assert!(trace.lines().count() > 50, "the tracer saw it: {trace}");
    (told, trace.lines().filter(|line| leaves_something(line)).map(str::to_owned).collect())
}

/// A line of strace about a successful call that changes something outside of /run, /dev and /proc.
fn leaves_something(line: &str) -> bool {
    let Some((_, call)) = line.split_once(' ') else { return false };
    let call = call.trim_start();
    if call.starts_with("+++") || call.starts_with("---") {
        return false;
    }
    let opens = call.starts_with("open");
    let for_reading = opens && !["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| call.contains(flag));
    let volatile = ["/run/", "/dev/", "/proc/"];
    let harmless =
        volatile.iter().any(|place| call.contains(&format!("\"{place}")) || call.contains(&format!("<{place}")));
    !for_reading && !harmless
}

#[test]
fn what_an_operator_says_to_the_init_system_is_respected() {
    let mut world = World::new("intent");
    world.reconcile().ok();
    let unit = format!("{NAME}@a.service");

    world.host.exec_ok(&["systemctl", "disable", &unit]);
    is_blocked(&world, "systemctl disable");
    assert!(!world.host.has(&format!("/etc/systemd/system/multi-user.target.wants/{unit}")), "not repaired");
    assert_eq!(world.serving(), "v1", "what runs runs on");
    world.host.exec_ok(&["systemctl", "enable", &unit]);
    world.reconcile().ok();
    unchanged(&world);

    world.host.exec_ok(&["systemctl", "mask", "--runtime", &unit]);
    world.host.exec_ok(&["systemctl", "stop", &unit]);
    is_blocked(&world, &format!("{unit} is masked"));
    assert_eq!(world.host.sh(&format!("systemctl is-active {unit} || true")), "inactive\n");
    world.host.exec_ok(&["systemctl", "unmask", "--runtime", &unit]);
    repairs(&world, "was started");

    world.host.exec_ok(&["systemctl", "mask", &format!("{NAME}@b.service")]);
    world.push_app("v2", &[], "v2");
    world.set_rev("v2");
    is_blocked(&world, "@b.service is masked");
    assert_eq!(world.serving(), "v1");
    world.host.exec_ok(&["systemctl", "unmask", &format!("{NAME}@b.service")]);
    world.reconcile().ok();
    assert_eq!(world.serving(), "v2");

    stop_is_a_hold(&mut world);
}

/// `portreeve stop` outlives ticks and reboots; `start` ends it.
fn stop_is_a_hold(world: &mut World) {
    let stopped = |world: &World| {
        let pass = world.reconcile();
        assert_eq!(pass.code, 0, "{pass}");
        assert!(pass.said().contains("stopped by root"), "{pass}");
        assert_eq!(world.get("/").status, 502);
        assert_eq!(world.running(), "");
    };
    world.portreeve(&["stop", "bakery/pro"]).ok();
    assert_eq!(world.running(), "");
    stopped(world);
    world.host.reboot();
    assert_eq!(world.running(), "");
    stopped(world);
    world.portreeve(&["start", "bakery/pro"]).ok();
    assert_eq!(world.serving(), "v2");
    unchanged(world);
    world.host.reboot();
    comes_back(world);
    one_generation(world);
}
