//! Against a real supervisord, in a directory of its own.

#![expect(clippy::disallowed_methods, reason = "the tests start supervisord and write its programs")]

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process, test_kill_process_group};

use super::*;
use crate::model::{EnvName, Root, Slot};

const PROGRAM: &str = "/usr/bin/supervisord";

/// A supervisord. It and its programs end with the value.
struct Daemon {
    dir: tempfile::TempDir,
    layout: Layout,
    process: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // TERM: it stops its programs before it ends.
        kill_process(Pid::from_child(&self.process), Signal::TERM).ok();
        self.process.wait().unwrap();
    }
}

fn daemon() -> Daemon {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(Root::at(dir.path()));
    fs::create_dir_all(layout.supervisor_conf_d()).unwrap();
    fs::create_dir_all(dir.path().join("run")).unwrap();
    let conf = dir.path().join("supervisord.conf");
    fs::write(&conf, conf_of(&dir, &layout)).unwrap();
    let process = Command::new(PROGRAM)
        .arg("--nodaemon")
        .arg("--configuration")
        .arg(conf)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let daemon = Daemon { dir, layout, process };
    until("supervisord answers", || daemon.supervisor().services().is_ok());
    daemon
}

fn conf_of(dir: &tempfile::TempDir, layout: &Layout) -> String {
    format!(
        "[supervisord]\nlogfile={0}/supervisord.log\npidfile={0}/supervisord.pid\nchildlogdir={0}\n\
         [unix_http_server]\nfile={1}\nchmod=0700\n\
         [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
         [include]\nfiles={2}/*.conf\n",
        dir.path().display(),
        layout.supervisor_socket().display(),
        layout.supervisor_conf_d().display()
    )
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

fn slot(name: Slot) -> SlotId {
    SlotId { env: EnvName::parse("bakery/pro").unwrap(), slot: name }
}

impl Daemon {
    fn supervisor(&self) -> Supervisor {
        Supervisor::new(self.layout.clone(), self.layout.supervisor_socket()).unwrap()
    }

    fn log(&self, slot: &SlotId) -> PathBuf {
        self.dir.path().join(format!("{}.log", slot.slot))
    }

    fn may_run(&self, slot: &SlotId) -> PathBuf {
        self.dir.path().join(format!("run/may-{}", slot.slot))
    }

    /// A program as they all are: it may run only while its flag is there.
    fn write(&self, slot: &SlotId, script: &str) {
        let launcher = self.dir.path().join(format!("launch-{}", slot.slot));
        let flag = self.may_run(slot);
        fs::write(&launcher, format!("test -e {} || exit 0\n{script}\n", flag.display())).unwrap();
        let text = format!(
            "[program:{}]\ncommand=/bin/sh {}\nautostart=true\nstartsecs=0\nautorestart=unexpected\n\
             redirect_stderr=true\nstdout_logfile={}\nstopwaitsecs=5\n",
            self.layout.program_name(&slot.env, slot.slot),
            launcher.display(),
            self.log(slot).display()
        );
        fs::write(self.layout.program_file(&slot.env, slot.slot), text).unwrap();
    }

    fn allow(&self, slot: &SlotId) {
        fs::write(self.may_run(slot), "").unwrap();
    }
}

const WAIT: Duration = Duration::from_secs(5);

#[test]
fn a_slot_lives_and_is_forgotten() {
    let daemon = daemon();
    let supervisor = daemon.supervisor();
    let (a, b) = (slot(Slot::A), slot(Slot::B));
    assert_eq!(supervisor.service(&a).unwrap(), None);
    assert!(supervisor.start(&a, WAIT).unwrap_err().to_string().contains("no program portreeve-bakery_pro-a"));
    supervisor.stop(&a).unwrap();

    daemon.write(&a, "exec sleep 60");
    supervisor.refresh(&[a.clone(), b.clone()]).unwrap();
    let added = supervisor.service(&a).unwrap().unwrap();
    assert_eq!((added.activity, added.pid), (Activity::Inactive, 0), "its launcher ended");

    daemon.allow(&a);
    let started = supervisor.start(&a, WAIT).unwrap();
    assert_eq!((started.activity, started.restarts), (Activity::Active, 0));
    assert!(started.pid > 1);
    assert_eq!(supervisor.start(&a, WAIT).unwrap(), started, "a second start is nothing");
    assert_eq!(supervisor.services().unwrap(), BTreeMap::from([(a.clone(), started)]));

    supervisor.stop(&a).unwrap();
    supervisor.stop(&a).unwrap();
    assert_eq!(supervisor.service(&a).unwrap().unwrap().pid, 0);
    fs::remove_file(daemon.layout.program_file(&a.env, a.slot)).unwrap();
    supervisor.forget(&a).unwrap();
    supervisor.forget(&a).unwrap();
    assert_eq!(supervisor.services().unwrap(), BTreeMap::new());
}

#[test]
fn who_does_not_end_within_its_grace_is_killed_with_all_its_processes() {
    let daemon = daemon();
    let supervisor = daemon.supervisor();
    let a = slot(Slot::A);
    supervisor.stop_within(&a, WAIT).unwrap();
    daemon.write(&a, "trap '' TERM; echo deaf; sleep 60 & sleep 60");
    daemon.allow(&a);
    supervisor.refresh(std::slice::from_ref(&a)).unwrap();
    let pid = Pid::from_raw(i32::try_from(supervisor.start(&a, WAIT).unwrap().pid).unwrap()).unwrap();
    until("it is deaf", || !supervisor.output(&a, 1).unwrap().is_empty());
    let begin = Instant::now();
    supervisor.stop_within(&a, Duration::from_millis(200)).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}: Supervisor itself kills after 5 s", begin.elapsed());
    until("all its processes are gone", || test_kill_process_group(pid).is_err());
    supervisor.stop_within(&a, WAIT).unwrap();
}

#[test]
fn a_running_program_is_never_touched_by_a_refresh() {
    let daemon = daemon();
    let supervisor = daemon.supervisor();
    let (a, b) = (slot(Slot::A), slot(Slot::B));
    daemon.write(&a, "exec sleep 60");
    daemon.allow(&a);
    supervisor.refresh(std::slice::from_ref(&a)).unwrap();
    let before = supervisor.start(&a, WAIT).unwrap();

    daemon.write(&b, "exec sleep 60");
    let file = daemon.layout.program_file(&a.env, a.slot);
    let changed =
        fs::read_to_string(&file).unwrap().replace("stopwaitsecs=5", "environment=GREETING=\"two\"\nstopwaitsecs=5");
    fs::write(&file, changed).unwrap();
    supervisor.refresh(&[a.clone(), b]).unwrap();
    assert_eq!(supervisor.service(&a).unwrap().unwrap(), before, "same process, no restart");

    supervisor.stop(&a).unwrap();
    supervisor.refresh(std::slice::from_ref(&a)).unwrap();
    let pid = supervisor.start(&a, WAIT).unwrap().pid;
    let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    assert!(environment.contains("GREETING=two"), "stopped, it took its new text: {environment}");
}

#[test]
fn a_crash_shows_as_a_restart_and_a_death_as_such() {
    let daemon = daemon();
    let supervisor = daemon.supervisor();
    let a = slot(Slot::A);
    daemon.write(&a, "exec sleep 60");
    daemon.allow(&a);
    supervisor.refresh(std::slice::from_ref(&a)).unwrap();
    let started = supervisor.start(&a, WAIT).unwrap();
    kill_process(Pid::from_raw(i32::try_from(started.pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    until("it was restarted", || supervisor.service(&a).unwrap().unwrap().restarts == 1);
    supervisor.stop(&a).unwrap();
    assert_eq!(supervisor.start(&a, WAIT).unwrap().restarts, 0, "a new attempt counts anew");

    supervisor.stop(&a).unwrap();
    fs::remove_file(daemon.may_run(&a)).unwrap();
    supervisor.start(&a, WAIT).unwrap();
    until("it ended", || supervisor.service(&a).unwrap().unwrap().activity == Activity::Inactive);
}

/// Gives the slot a program that is not there.
fn cannot_run(daemon: &Daemon, supervisor: &Supervisor, slot: &SlotId) {
    let text = format!("[program:{}]\ncommand=/no/such/program\n", daemon.layout.program_name(&slot.env, slot.slot));
    fs::write(daemon.layout.program_file(&slot.env, slot.slot), text).unwrap();
    supervisor.refresh(std::slice::from_ref(slot)).unwrap();
}

/// As after a launcher that is gone: Supervisor tries to spawn it again for some seconds.
#[test]
fn what_can_not_be_spawned_takes_its_new_text() {
    let daemon = daemon();
    let supervisor = daemon.supervisor();
    let a = slot(Slot::A);
    cannot_run(&daemon, &supervisor, &a);
    assert_eq!(supervisor.service(&a).unwrap().unwrap().activity, Activity::Waiting, "it backs off");
    daemon.write(&a, "exec sleep 60");
    daemon.allow(&a);
    supervisor.refresh(std::slice::from_ref(&a)).unwrap();
    assert_eq!(supervisor.start(&a, WAIT).unwrap().activity, Activity::Active);
}

#[test]
fn the_output_is_that_of_the_last_attempt() {
    let daemon = daemon();
    let supervisor = daemon.supervisor();
    let a = slot(Slot::A);
    assert_eq!(supervisor.output(&a, 9).unwrap(), [""; 0]);
    daemon.write(&a, "echo first attempt; exec sleep 60");
    daemon.allow(&a);
    supervisor.refresh(std::slice::from_ref(&a)).unwrap();
    supervisor.start(&a, WAIT).unwrap();
    until("it printed", || supervisor.output(&a, 9).unwrap().iter().any(|line| line == "first attempt"));
    supervisor.stop(&a).unwrap();

    daemon.write(&a, "printf 'bad \\377 byte\\nImportError: breda\\n'; exec sleep 60");
    supervisor.start(&a, WAIT).unwrap();
    until("it printed again", || !supervisor.output(&a, 9).unwrap().is_empty());
    assert_eq!(supervisor.output(&a, 9).unwrap(), ["bad \u{fffd} byte", "ImportError: breda"]);
    assert_eq!(supervisor.output(&a, 1).unwrap(), ["ImportError: breda"]);
}

#[test]
fn a_program_that_cannot_run_is_said() {
    let daemon = daemon();
    let supervisor = daemon.supervisor();
    let a = slot(Slot::A);
    cannot_run(&daemon, &supervisor, &a);
    let error = supervisor.start(&a, WAIT).unwrap_err().to_string();
    assert!(error.contains("NO_FILE"), "{error}");
    fs::write(daemon.layout.program_file(&a.env, a.slot), "[program:broken\n").unwrap();
    let error = supervisor.refresh(&[a]).unwrap_err().to_string();
    assert!(error.contains("reloadConfig"), "{error}");
}

#[test]
fn without_a_daemon_it_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(Root::at(dir.path()));
    let error =
        Supervisor::new(layout.clone(), layout.supervisor_socket()).unwrap().services().unwrap_err().to_string();
    assert!(error.ends_with("no socket; is supervisord running?"), "{error}");
}
