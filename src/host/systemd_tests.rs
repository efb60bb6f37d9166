//! What can be known without systemd, and, on a machine that it booted, the real thing.

#![expect(clippy::disallowed_methods, reason = "the tests write units and kill their processes")]

use std::fs;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::model::{EnvName, Root, Slot};

const WAIT: Duration = Duration::from_secs(5);

#[test]
fn a_unit_about_to_be_restarted_is_not_active() {
    assert_eq!(activity("activating"), Activity::Changing);
    assert_eq!(activity("reloading"), Activity::Active);
    assert_eq!(activity("failed"), Activity::Failed);
    assert_eq!(hex(&[0x0a, 0xff]), "0aff");
}

#[test]
fn where_there_is_no_bus_it_says_so() {
    let systemd = Systemd::at(Layout::new(Root::system()), "/nonexistent/bus".into()).unwrap();
    let error = systemd.services().unwrap_err().to_string();
    assert!(error.starts_with("systemd: can't reach its bus"), "{error}");
}

/// Units in /run, which a reboot clears; gone with the value.
struct Units(Systemd);

impl Drop for Units {
    fn drop(&mut self) {
        for name in ["steady", "broken", "silent", "missing"] {
            self.0.stop(&slot(name)).ok();
            fs::remove_file(file(name)).ok();
            self.0.forget(&slot(name)).ok();
        }
        fs::remove_file(FLAG).ok();
    }
}

const FLAG: &str = "/run/portreeve-selftest-flag";

fn slot(name: &str) -> SlotId {
    SlotId { env: EnvName::parse(&format!("selftest/{name}")).unwrap(), slot: Slot::A }
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(format!("/run/systemd/system/portreeve-selftest_{name}@a.service"))
}

fn units() -> Units {
    let write = |name: &str, text: &str| fs::write(file(name), text).unwrap();
    let steady = "ExecStart=/bin/sh -c 'echo steady; exec sleep 1000'\nRestart=always\nRestartSec=100ms\n";
    write("steady", &format!("[Unit]\nConditionPathExists={FLAG}\n[Service]\n{steady}"));
    write("broken", "[Service]\nExecStart=/bin/sh -c 'echo ImportError: breda; exit 3'\n");
    write("silent", "[Service]\nType=notify\nExecStart=/bin/sleep 1000\n");
    write("missing", "[Service]\nExecStart=/no/such/program\n");
    let units = Units(Systemd::new(Layout::new(Root::system())).unwrap());
    units.0.refresh(&[]).unwrap();
    units
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..400 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(25));
    }
    panic!("{what}: not within 10 s");
}

#[test]
#[ignore = "needs root on a machine that systemd booted"]
fn a_slot_lives_under_the_real_systemd() {
    let units = units();
    let systemd = &units.0;
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
#[ignore = "needs root on a machine that systemd booted"]
fn failures_under_the_real_systemd_are_told_apart() {
    let units = units();
    let systemd = &units.0;
    let failed = |name: &str| {
        systemd.start(&slot(name), WAIT).unwrap();
        until("it failed", || systemd.service(&slot(name)).unwrap().unwrap().activity == Activity::Failed);
        systemd.output(&slot(name), 1).unwrap().pop().unwrap()
    };
    assert_eq!(failed("broken"), "ImportError: breda");
    let words = failed("missing");
    assert!(words.contains("/no/such/program"), "{words}");

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
