//! Whose fault a bad end is, by what was said: a full disk and an index that is away are not the release's, and must not quarantine
//! it.

use std::path::Path;

use super::{Failure, FailureKind, Phase};
use crate::host::Exit;
use crate::policy::FailureClass;

/// How the disk, or the memory, says that there is no more of it: `strerror(3)`, and SQLite's `SQLITE_FULL`.
const HOST: [&str; 5] = [
    "No space left on device",
    "Disk quota exceeded",
    "Input/output error",
    "Cannot allocate memory",
    "database or disk is full",
];

/// How pip and uv say that their index could not be asked, or broke off. pip says it in warnings, of which the last try's counts.
const INDEX: [&str; 10] = [
    "Temporary failure in name resolution",
    "Failed to establish a new connection",
    "Read timed out",
    "ConnectTimeoutError",
    "Connection broken: ",
    "Retrying (Retry(total=0,",
    "ERROR: HTTP error 5",
    " Server Error: ",
    "error sending request for url",
    "HTTP status server error (5",
];

/// What to do about a host that lacks room, nobody knows where.
const MAKE_ROOM: &str = "make room: df -h says which disk is full, and du -xh --max-depth=2 MOUNTPOINT | sort -h | tail what is largest on it";

/// What to do about the disk of this place, which is there: homes and `/var` are often on disks of their own.
pub fn make_room(place: &Path) -> String {
    let disk = format!("$(stat -c %m {})", place.display());
    format!("make room: du -xh --max-depth=2 {disk} | sort -h | tail says what is largest on that disk")
}

/// What to do about a web server that is away.
pub const START_NGINX: &str = "systemctl start nginx; if it does not start, nginx -t says why";

/// What to do about one that runs, and answers nobody.
pub const FREE_NGINX: &str =
    "it runs: tail /var/log/nginx/error.log and ss -ltn sport = :80 say whether it has too much to do";

/// Turns a program's bad end into the failure of a phase, with the tail of what it said.
pub fn succeed(exit: Exit, phase: Phase, cause: &str) -> Result<(), Failure> {
    if exit.ok() {
        return Ok(());
    }
    if exit.killed {
        let cause = format!("{cause}: it was killed (SIGKILL), as by the kernel when memory is short");
        let help = "journalctl -k --grep=oom says what the kernel killed";
        return Err(Failure::new(FailureClass::Host, phase, cause).with_log(exit.tail).with_help(help));
    }
    let cause = if exit.timed_out { format!("{cause}: not done in time") } else { cause.to_owned() };
    let cause = crate::policy::telling(&exit.tail).map_or(cause.clone(), |line| format!("{cause}: {line}"));
    Err(by_words(phase, cause, exit.tail))
}

/// The same of a program of the host's own: none of the application's code ran, so the release has no part in it.
pub fn host_succeed(exit: Exit, phase: Phase, cause: &str) -> Result<(), Failure> {
    let kind = FailureKind::Class(FailureClass::Host);
    succeed(exit, phase, cause).map_err(|failure| Failure { kind, ..failure })
}

/// Whether a program came to its end by itself, whatever its exit code, and does not say that the host lacks something.
pub fn came_to_its_end(exit: &Exit) -> bool {
    exit.code.is_some() && !says(&exit.tail, &HOST)
}

fn says(log: &[String], signs: &[&str]) -> bool {
    log.iter().any(|line| signs.iter().any(|sign| line.contains(sign)))
}

/// The failure whose evidence is this log.
pub fn by_words(phase: Phase, cause: String, log: Vec<String>) -> Failure {
    let failure = if says(&log, &HOST) {
        Failure::new(FailureClass::Host, phase, cause).with_help(MAKE_ROOM)
    } else if !phase.is_of_processes() && says(&log, &INDEX) {
        Failure::new(FailureClass::Transient, phase, cause)
    } else {
        Failure::release(phase, cause)
    };
    failure.with_log(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(phase: Phase, said: &str) -> FailureKind {
        by_words(phase, String::new(), said.lines().map(str::to_owned).collect()).kind
    }

    /// Word for word what pip 23.0 and uv 0.13.8 say.
    #[test]
    fn an_index_that_is_away_is_nobodys_fault() {
        for said in [
            "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by \
             'NewConnectionError('<pip._vendor.urllib3.connection.HTTPConnection object at 0x7f>: Failed to establish a new \
             connection: [Errno 111] Connection refused')': /simple/x/
ERROR: Could not find a version that satisfies the requirement x==1.0 (from versions: none)",
            "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by \
             'RemoteDisconnected('Remote end closed connection without response')': /simple/x/",
            "ERROR: HTTP error 503 while getting http://127.0.0.1:9/x-1.0-py3-none-any.whl",
            "pip._vendor.urllib3.exceptions.ProtocolError: ('Connection broken: IncompleteRead(9 bytes read)', IncompleteRead())",
            "error: Request failed after 3 retries in 8.4s
  cause: Failed to fetch: http://no.such.host.invalid/simple/x/
  cause: error sending request for url (http://no.such.host.invalid/simple/x/)
  cause: failed to lookup address information: Name or service not known",
        ] {
            assert_eq!(class(Phase::Build, said), FailureKind::Class(FailureClass::Transient), "{said}");
        }
    }

    #[test]
    fn whom_the_application_itself_did_not_reach_while_it_ran_is_its_own_affair() {
        let said = "ConnectionError: Failed to establish a new connection: [Errno 111] Connection refused";
        assert_eq!(class(Phase::Health, said), FailureKind::Class(FailureClass::Release));
        for phase in [Phase::Validate, Phase::Migrate] {
            assert_eq!(class(phase, said), FailureKind::Class(FailureClass::Transient));
        }
    }

    #[test]
    fn a_package_that_is_not_there_is_the_releases_fault() {
        let said = "Using Python 3.11.2 environment at: t
error: No solution found when resolving dependencies
  cause: Because x was not found in the provided package locations and you require x==1.0, we can conclude";
        assert_eq!(class(Phase::Build, said), FailureKind::Class(FailureClass::Release));
        let words: Vec<String> = said.lines().map(str::to_owned).collect();
        assert!(crate::policy::telling(&words).unwrap().starts_with("Because x was not found"));
    }

    #[test]
    fn what_the_host_lacks_is_the_hosts_fault_in_every_phase() {
        let full = "OSError: [Errno 28] No space left on device: '/home/foo/bakery/pro/venvs/x'";
        for phase in [Phase::Build, Phase::Migrate, Phase::Start, Phase::Health] {
            assert_eq!(class(phase, full), FailureKind::Class(FailureClass::Host));
        }
        let sqlite = "sqlite3.OperationalError: database or disk is full";
        assert_eq!(class(Phase::Migrate, sqlite), FailureKind::Class(FailureClass::Host));
    }

    #[test]
    fn who_lacks_room_is_told_to_look_at_the_disk_that_is_full() {
        let cure = make_room(Path::new("/home/foouser"));
        assert!(cure.contains(" du -xh --max-depth=2 $(stat -c %m /home/foouser) | "), "{cure}");
        let unknown = by_words(Phase::Build, String::new(), vec!["No space left on device".to_owned()]).help.unwrap();
        assert!(unknown.contains("df -h") && !unknown.contains(" / "), "{unknown}");
    }

    #[test]
    fn what_was_killed_is_the_hosts_fault_and_what_crashed_is_not() {
        let exit = |killed| Exit { code: None, killed, timed_out: false, stdout: Vec::new(), tail: Vec::new() };
        let kind = |killed| succeed(exit(killed), Phase::Build, "no venv").unwrap_err().kind;
        assert_eq!(kind(true), FailureKind::Class(FailureClass::Host));
        assert_eq!(kind(false), FailureKind::Class(FailureClass::Release));
    }
}
