//! What systemd says of a slot, by its own bus: these tests run inside a host that it booted, as its root.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use portreeve::host::{Services, Systemd};
use portreeve::model::{Activity, EnvName, Layout, Root, Slot, SlotId};
use rustix::process::{Pid, Signal, kill_process};

use crate::host::{Storage, TestHost};
use crate::traces::until;

const WAIT: Duration = Duration::from_secs(5);

#[test]
fn what_systemd_says_of_a_slot_is_understood() {
    let host = TestHost::boot("systemd", Storage::Shared);
    let itself = env::current_exe().unwrap();
    fs::copy(itself, host.path("/root/inside")).unwrap();
    let inside = host.exec_ok(&["/root/inside", "--ignored", "--test-threads=1", "systemd::"]);
    assert!(inside.stdout.contains("3 passed; 0 failed"), "{inside}");
}

const FLAG: &str = "/run/portreeve-selftest-flag";

fn slot(name: &str) -> SlotId {
    SlotId { env: EnvName::parse(&format!("selftest/{name}")).unwrap(), slot: Slot::A }
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(format!("/run/systemd/system/portreeve-selftest_{name}@a.service"))
}

/// Units for these names, of which systemd knows.
fn with_units() -> Systemd {
    let write = |name: &str, text: &str| fs::write(file(name), text).unwrap();
    let steady = "ExecStart=/bin/sh -c 'echo steady; exec sleep 1000'\nRestart=always\nRestartSec=100ms\n";
    write("steady", &format!("[Unit]\nConditionPathExists={FLAG}\n[Service]\n{steady}"));
    write("broken", "[Service]\nExecStart=/bin/sh -c 'echo ImportError: breda; exit 3'\n");
    write("silent", "[Service]\nType=notify\nExecStart=/bin/sleep 1000\n");
    let deaf = "trap \"\" TERM; touch /run/deaf; sleep 1000 & sleep 1000";
    write("deaf", &format!("[Service]\nTimeoutStopSec=90\nExecStart=/bin/sh -c '{deaf}'\n"));
    write("missing", "[Service]\nExecStart=/no/such/program\n");
    let systemd = Systemd::new(Layout::new(Root::system())).unwrap();
    systemd.refresh(&[]).unwrap();
    systemd
}

#[test]
#[ignore = "inside a host: what_systemd_says_of_a_slot_is_understood runs it there"]
fn a_slot_lives_under_the_real_systemd() {
    let systemd = with_units();
    let steady = slot("steady");
    let now = || systemd.service(&steady).unwrap().unwrap();
    assert_eq!(systemd.start(&steady, WAIT).unwrap().activity, Activity::Inactive, "its condition does not hold");

    fs::write(FLAG, "").unwrap();
    let started = systemd.start(&steady, WAIT).unwrap();
    assert_eq!((started.activity, started.restarts), (Activity::Active, 0));
    assert_eq!(systemd.services().unwrap()[&steady].activity, Activity::Active);
    until("it printed", || systemd.output(&steady, 9).unwrap() == ["steady"]);

    kill_process(Pid::from_raw(i32::try_from(started.pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    until("it was restarted", || now().restarts == 1);
    systemd.stop(&steady).unwrap();
    systemd.stop(&steady).unwrap();
    assert_eq!(now().activity, Activity::Inactive);
    assert_eq!(systemd.start(&steady, WAIT).unwrap().restarts, 0, "a new attempt counts anew");
}

#[test]
#[ignore = "inside a host: what_systemd_says_of_a_slot_is_understood runs it there"]
fn who_does_not_end_within_its_grace_is_killed_with_all_its_processes() {
    let systemd = with_units();
    let deaf = slot("deaf");
    systemd.start(&deaf, WAIT).unwrap();
    until("it is deaf", || fs::exists("/run/deaf").unwrap());
    let begin = Instant::now();
    systemd.stop_within(&deaf, Duration::from_millis(200)).unwrap();
    assert!(begin.elapsed() < WAIT, "{:?}", begin.elapsed());
    assert_eq!(systemd.service(&deaf).unwrap().unwrap().activity, Activity::Inactive, "no unit is left failed");
    systemd.stop_within(&deaf, WAIT).unwrap();
    systemd.stop_within(&slot("unknown"), WAIT).unwrap();
}

#[test]
#[ignore = "inside a host: what_systemd_says_of_a_slot_is_understood runs it there"]
fn failures_under_the_real_systemd_are_told_apart() {
    let systemd = with_units();
    let failed = |name: &str| {
        systemd.start(&slot(name), WAIT).unwrap();
        until("it failed", || systemd.service(&slot(name)).unwrap().unwrap().activity == Activity::Failed);
        systemd.output(&slot(name), 9).unwrap()
    };
    assert_eq!(failed("broken"), ["ImportError: breda"]);
    // What the child says and what systemd says of it come in either order.
    let words = failed("missing");
    assert!(words.iter().any(|line| line.contains("/no/such/program")), "{words:?}");

    let silent = systemd.start(&slot("silent"), Duration::from_millis(200)).unwrap();
    assert_eq!(silent.activity, Activity::Changing, "it never said that it was ready");
    systemd.stop(&slot("silent")).unwrap();

    assert_eq!(systemd.service(&slot("unknown")).unwrap(), None);
    systemd.stop(&slot("unknown")).unwrap();
    assert!(systemd.start(&slot("unknown"), WAIT).is_err());
    fs::remove_file(file("broken")).unwrap();
    systemd.forget(&slot("broken")).unwrap();
    assert_eq!(systemd.service(&slot("broken")).unwrap(), None);
}
