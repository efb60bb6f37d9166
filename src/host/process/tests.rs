use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::host::{Authority, Files, Parts};
use crate::model::{Layout, Root};

const OTHER: Identity = Identity { uid: 65534, gid: 65534 };

struct Place {
    directory: tempfile::TempDir,
    processes: RealProcesses,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::new(Root::at(directory.path()));
    let parts = Parts::with_authority(&layout, Authority::Machine, Arc::default()).unwrap();
    Place { directory, processes: parts.processes }
}

fn program(program: &str, args: &[&str]) -> Run {
    Run {
        program: program.into(),
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        env: BTreeMap::new(),
        directory: "/".into(),
        identity: OTHER,
        deadline: Duration::from_mins(1),
        log: None,
        interactive: false,
    }
}

/// The tests' programs need a shell; `Run` does not.
fn shell(script: &str) -> Run {
    program("/bin/sh", &["-c", script])
}

fn stdout(run: &Run) -> String {
    let exit = place().processes.run(run).unwrap();
    assert!(exit.ok(), "{exit:?}");
    String::from_utf8(exit.stdout).unwrap()
}

#[test]
fn it_really_is_somebody_else_without_groups_or_privileges() {
    nix::unistd::setgroups(&[nix::unistd::Gid::from_raw(4)]).unwrap();
    assert_eq!(stdout(&program("/usr/bin/id", &["-u"])), "65534\n");
    assert_eq!(stdout(&program("/usr/bin/id", &["-G"])), "65534\n");
    let status = stdout(&program("/bin/cat", &["/proc/self/status"]));
    for line in ["NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"] {
        assert!(status.contains(line), "{status}");
    }
    let root = Run { identity: Identity::ROOT, ..program("/usr/bin/id", &["-u"]) };
    assert_eq!(stdout(&root), "0\n");
}

#[test]
fn nothing_is_inherited_but_what_is_given() {
    let mut run = program("/usr/bin/env", &[]);
    run.env.insert("HOME".to_owned(), "/srv/x".to_owned());
    assert_eq!(stdout(&run), "HOME=/srv/x\n");
    assert_eq!(stdout(&shell("umask; pwd; cat")), "0027\n/\n");
}

#[test]
fn neither_our_handles_nor_our_locks_go_along() {
    let place = place();
    let layout = Layout::new(Root::at(place.directory.path()));
    let files = Parts::with_authority(&layout, Authority::Machine, Arc::default()).unwrap().files;
    let _held = files.lock(&layout.locks().join("x"), Duration::ZERO).unwrap();
    let exit = place.processes.run(&program("/bin/ls", &["-l", "/proc/self/fd"])).unwrap();
    let (listing, top) = (String::from_utf8(exit.stdout).unwrap(), place.directory.path().display().to_string());
    assert!(listing.contains("/dev/null") && !listing.contains(&top), "{listing}");
}

#[test]
fn it_leads_a_session_of_its_own() {
    let text =
        stdout(&shell("read pid comm state parent group session rest </proc/$$/stat; echo $pid $group $session"));
    let ids: Vec<&str> = text.split_whitespace().collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "{text}");
}

#[test]
fn codes_and_signals() {
    let place = place();
    let code = |script: &str| place.processes.run(&shell(script)).unwrap();
    assert_eq!(code("exit 3").code, Some(3));
    let killed = code("kill -9 $$");
    assert_eq!((killed.code, killed.timed_out), (None, false));
}

#[test]
fn what_can_not_be_run_is_an_error() {
    let place = place();
    let why = |run: &Run| place.processes.run(run).unwrap_err().to_string();
    assert!(why(&program("/nowhere/x", &[])).contains("not there"));
    assert!(why(&program("/etc/passwd", &[])).contains("not executable"));
    assert!(why(&program("id", &[])).contains("not an absolute path"));
    assert!(why(&Run { directory: "/nowhere".into(), ..program("/usr/bin/id", &[]) }).contains("no such directory"));
}

#[test]
fn arguments_are_never_options_of_what_stands_before() {
    assert_eq!(stdout(&program("/bin/echo", &["--reuid=0", "a b", "$HOME"])), "--reuid=0 a b $HOME\n");
}

#[test]
fn the_deadline_kills_the_whole_session() {
    let place = place();
    let pids = place.directory.path().join("pids");
    let script = format!("sleep 1000 & echo $! >{0}; echo begun; wait", pids.display());
    let run = Run { identity: Identity::ROOT, deadline: Duration::from_millis(400), ..shell(&script) };
    let begun = Instant::now();
    let exit = place.processes.run(&run).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!((exit.code, exit.timed_out, exit.tail), (None, true, vec!["begun".to_owned()]));
    wait_until_gone(std::fs::read_to_string(pids).unwrap().trim());
}

#[test]
fn a_wish_to_stop_kills_the_whole_session_and_is_no_deadline() {
    let place = place();
    let pids = place.directory.path().join("pids");
    let script = format!("echo begun; sleep 1000 & echo $! >{0}; wait", pids.display());
    let begun = || std::fs::read_to_string(&pids).is_ok_and(|text| text.ends_with('\n'));
    let exit = place.processes.run_until(&Run { identity: Identity::ROOT, ..shell(&script) }, &begun).unwrap();
    assert_eq!((exit.code, exit.timed_out, exit.tail), (None, false, vec!["begun".to_owned()]));
    wait_until_gone(std::fs::read_to_string(pids).unwrap().trim());
}

#[test]
fn what_it_leaves_behind_is_killed_and_holds_nobody_up() {
    let begun = Instant::now();
    let pid = stdout(&shell("sleep 1000 & echo $!"));
    assert!(begun.elapsed() < Duration::from_secs(20));
    wait_until_gone(pid.trim());
}

#[test]
fn what_escapes_from_the_session_does_not_hold_us_up() {
    let begun = Instant::now();
    let pid = stdout(&shell("setsid sh -c 'echo $$; exec sleep 30' & sleep 0.3"));
    assert!(begun.elapsed() < Duration::from_secs(20));
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
}

/// Killed, and perhaps not yet waited for by whoever is init here.
fn wait_until_gone(pid: &str) {
    let begun = Instant::now();
    let alive = || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    while alive() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{pid} lives");
        std::thread::yield_now();
    }
}

#[test]
fn the_tail_has_both_streams_and_standard_output_is_bounded() {
    let place = place();
    let exit = place.processes.run(&shell("seq 1 500; echo problem >&2; printf unfinished")).unwrap();
    assert_eq!(exit.tail.len(), 200);
    assert!(exit.tail.contains(&"problem".to_owned()) && exit.tail.contains(&"unfinished".to_owned()));
    assert!(!String::from_utf8(exit.stdout).unwrap().contains("problem"));
    let exit = place.processes.run(&shell("head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2")).unwrap();
    assert_eq!(exit.stdout.len(), 1024 * 1024);
    assert!(exit.ok() && exit.tail.iter().all(|line| line.len() <= 4096));
}

#[test]
fn the_log_is_appended_to_and_not_through_a_link() {
    let place = place();
    let top = place.directory.path();
    let log = top.join("attempts/1");
    for _ in 0..2 {
        place.processes.run(&Run { log: Some(log.clone()), ..shell("echo out; echo err >&2") }).unwrap();
    }
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!((text.matches("out\n").count(), text.matches("err\n").count()), (2, 2));
    std::os::unix::fs::symlink("1", top.join("attempts/2")).unwrap();
    let linked = Run { log: Some(top.join("attempts/2")), ..shell("echo out") };
    place.processes.run(&linked).unwrap_err();
}

#[test]
fn below_a_root_nobody_elses_identity_is_taken() {
    assert_eq!(privileges(Authority::Own(OTHER), Identity::ROOT), ["--pdeathsig", "KILL"]);
}

#[test]
fn programs_are_found_in_the_systems_own_directories() {
    let processes = place().processes;
    assert!(processes.find(&["no-such-program", "setpriv"]).is_some_and(|path| path.is_absolute()));
    assert_eq!(processes.find(&["no-such-program"]), None);
}

/// A person's terminal, and what is said there.
struct Person {
    hand: std::fs::File,
    terminal: std::os::fd::OwnedFd,
}

impl Person {
    fn new() -> Self {
        use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let hand = openpt(flags).unwrap();
        unlockpt(&hand).unwrap();
        let terminal = ioctl_tiocgptpeer(&hand, flags).unwrap();
        Self { hand: hand.into(), terminal }
    }

    fn streams(&self) -> Streams<'_> {
        Streams { input: self.terminal.as_fd(), output: self.terminal.as_fd(), errors: self.terminal.as_fd() }
    }

    fn modes(&self) -> String {
        format!("{:?}", rustix::termios::tcgetattr(&self.terminal).unwrap())
    }

    /// All that is said until `end`.
    fn hear(&self, end: &str) -> String {
        let mut said = Vec::new();
        while !String::from_utf8_lossy(&said).contains(end) {
            let mut buffer = [0; 4096];
            let count = std::io::Read::read(&mut &self.hand, &mut buffer).unwrap();
            said.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8(said).unwrap()
    }
}

/// The program on a person's terminal; `talk` is the person.
fn conversation(script: &str, talk: impl Fn(&Person) + Sync) -> Exit {
    let (person, place) = (Person::new(), place());
    let before = person.modes();
    let exit = std::thread::scope(|scope| {
        scope.spawn(|| talk(&person));
        place.processes.converse(&shell(script), &person.streams()).unwrap()
    });
    assert_eq!(person.modes(), before);
    exit
}

#[test]
fn keys_that_nobody_takes_hold_up_nothing_that_is_said() {
    let script = "stty raw -echo; echo ready; sleep 0.2; seq 1 20000; head -c 100000 | wc -c";
    let exit = conversation(script, |person| {
        person.hear("ready");
        std::thread::scope(|scope| {
            // More than a terminal's queue has room for.
            scope.spawn(|| std::io::Write::write_all(&mut &person.hand, &vec![b'x'; 100_000]).unwrap());
            assert!(person.hear("100000").contains("19999"));
        });
    });
    assert_eq!(exit.code, Some(0));
}

#[test]
fn the_last_words_are_heard_and_what_stays_on_the_terminal_is_not_waited_for() {
    let begun = Instant::now();
    let exit = conversation("trap '' HUP; sleep 30 & seq 1 5000; exit 9", |person| {
        assert!(person.hear("5000").contains("4999"));
    });
    assert_eq!(exit.code, Some(9));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_conversation_has_a_deadline_too() {
    let (person, place) = (Person::new(), place());
    let run = Run { deadline: Duration::from_millis(300), ..shell("exec sleep 1000") };
    let exit = place.processes.converse(&run, &person.streams()).unwrap();
    assert_eq!((exit.code, exit.timed_out), (None, true));
}
