//! The system calls by which the program changes something, as strace lists them, and how each is found again in another run.
//!
//! strace counts calls for each thread on its own. So a call's address is its number among those of its kind in its thread that
//! name one path, and it is exact when no other thread comes to that number with that path. The names of files that are still
//! being made hold the program's process number, which is therefore about the same in each run.

use std::collections::BTreeSet;
use std::fmt;

use crate::cmd::CmdResult;
use crate::host::TestHost;

/// What is listed: all that change a file, a name or a mount, what is said over sockets, where orders to systemd are, and the ends
/// of other programs. Those that not every kernel has begin with a question mark.
const LISTED: &str = "trace=?open,?creat,openat,openat2,?rename,renameat,renameat2,?link,linkat,?symlink,symlinkat,?unlink,\
    unlinkat,?rmdir,?mkdir,mkdirat,?mknod,mknodat,?chmod,fchmod,fchmodat,?chown,?lchown,fchown,fchownat,utimensat,\
    truncate,ftruncate,fallocate,write,writev,pwrite64,pwritev,copy_file_range,sendfile,fsync,fdatasync,syncfs,\
    mount,umount2,sendmsg,sendto,wait4,waitid";

/// By these something becomes durable: here, or in a program that was waited for.
const DURABLE: [&str; 4] = ["fsync", "fdatasync", "syncfs", "wait"];

/// What systemd does when it is told to, as D-Bus calls it. Questions change nothing.
const ORDERS: [&str; 7] =
    ["StartUnit", "StopUnit", "RestartUnit", "ReloadUnit", "KillUnit", "ResetFailedUnit", "\\0Reload\\0"];

/// In each name of what is still being made, or removed, before the number of the process and one of its own.
const PASSING: [&str; 2] = [".new-", ".gone-"];

/// By so much such numbers differ.
const NEAR: usize = 3;

/// In names that libgit2 makes, before some letters drawn by lot.
const DRAWN: &str = "_git2_";

/// Where the program is: whatever has a whole path is relative to it as well, and such calls are never the same number.
const ROOT: &str = "/";

/// Stands in place of a call's result when another thread comes in between.
const UNFINISHED: &str = " <unfinished ...>";

/// Stands before that result, later.
const RESUMED: &str = " resumed>";

/// One call of a listed run.
#[derive(Debug, Clone)]
struct Call {
    thread: String,
    name: String,
    /// The paths and names in its arguments.
    paths: Vec<String>,
    /// It went well, and changed something.
    changes: bool,
    /// Something may have become durable since the last one that did.
    after_sync: bool,
    /// The arguments, for messages.
    text: String,
}

impl Call {
    /// A line of strace: `226 renameat(3</etc>, "a", 3</etc>, "b") = 0`.
    fn parse(line: &str) -> Option<Self> {
        let (thread, rest) = line.split_once(' ')?;
        let (name, rest) = rest.trim_start().split_once('(')?;
        let begins = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let (arguments, result) = rest.rsplit_once(UNFINISHED).or_else(|| rest.rsplit_once(" = "))?;
        let arguments = arguments.trim_end().trim_end_matches(')');
        let paths = paths(name, arguments);
        let changes = !result.starts_with('-') && changes(name, arguments, &paths);
        let (thread, name) = (thread.to_owned(), name.to_owned());
        let text = arguments.chars().take(120).collect();
        begins.then_some(Self { thread, name, paths, changes, after_sync: false, text })
    }

    /// All of a trace.
    fn parse_all(trace: &str) -> Vec<Self> {
        let mut synced = true;
        let call = |line: &str| {
            let call = Self::parse(line).map(|call| Self { after_sync: synced, ..call });
            synced &= call.as_ref().is_none_or(|call| !call.changes);
            synced |= syncs(line);
            call
        };
        trace.lines().filter_map(call).collect()
    }

    /// Whether it is the same one in another run.
    fn is_at(&self, other: &Self) -> bool {
        let paths = |call: &Self| call.paths.iter().map(|path| unnumbered(path)).collect::<Vec<_>>();
        self.name == other.name && paths(self) == paths(other)
    }

    /// Whether it has the name, and one of the paths, if there are any.
    fn is_like(&self, other: &Self, paths: &[String]) -> bool {
        self.name == other.name && (paths.is_empty() || self.paths.iter().any(|own| paths.contains(own)))
    }
}

/// Whether it is one that makes something durable, or its end: `226 <... fsync resumed>) = 0`.
fn syncs(line: &str) -> bool {
    let name = line.split_once(' ').map_or("", |(_, rest)| rest.trim_start());
    let name = name.strip_prefix("<... ").unwrap_or(name);
    DURABLE.iter().any(|call| name.starts_with(call))
}

fn carries_data(name: &str) -> bool {
    name.starts_with("write") || name.starts_with("pwrite") || name.starts_with("send")
}

/// Where handles lead, and names as they were given. Data that is written looks like anything.
fn paths(name: &str, arguments: &str) -> Vec<String> {
    let (first, others) = arguments.split_once(", ").unwrap_or((arguments, ""));
    let arguments = match name {
        // strace looks at no second path of these.
        "rename" | "link" => first,
        _ if carries_data(name) => first,
        // Where a link is to lead is no path to strace.
        "symlink" | "symlinkat" => others,
        _ => arguments,
    };
    let handles = arguments.split('<').skip(1).filter_map(|rest| Some(rest.split_once('>')?.0));
    let names = arguments.split('"').skip(1).step_by(2);
    let mut paths: Vec<String> = handles.filter(|path| path.starts_with('/')).chain(names).map(str::to_owned).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// A path without the numbers that another run has others for.
fn unnumbered(path: &str) -> String {
    let name = |name| {
        PASSING.into_iter().chain([DRAWN]).find_map(|mark| str::split_once(name, mark)).map_or(name, |(name, _)| name)
    };
    path.split('/').map(name).collect::<Vec<_>>().join("/")
}

/// What a path may be in another run: where processes and threads start in another order, the numbers in a name that is being made
/// are others, by a few. In one run each is given once.
fn likely(path: &str) -> Vec<String> {
    let parts = || {
        let (mark, (before, rest)) = PASSING.iter().find_map(|mark| Some((mark, path.split_once(mark)?)))?;
        let (process, rest) = rest.split_once('-')?;
        let (own, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        Some((format!("{before}{mark}"), process.parse::<usize>().ok()?, own.parse::<usize>().ok()?, after))
    };
    let Some((before, process, own, after)) = parts() else { return vec![path.to_owned()] };
    let near = |number: usize| number.saturating_sub(NEAR)..=number + NEAR;
    let pairs = near(process).flat_map(|process| near(own).map(move |own| (process, own)));
    pairs.map(|(process, own)| format!("{before}{process}-{own}{after}")).collect()
}

fn changes(name: &str, arguments: &str, paths: &[String]) -> bool {
    let on_disk = || paths.iter().any(|path| !path.starts_with("/dev/") && !path.starts_with("/proc/"));
    if name.starts_with("open") {
        return on_disk() && ["O_CREAT", "O_TRUNC"].iter().any(|flag| arguments.contains(flag));
    }
    if name.starts_with("wait") {
        return false;
    }
    if name.starts_with("send") {
        return ORDERS.iter().any(|order| arguments.contains(order));
    }
    !carries_data(name) || on_disk()
}

/// A call that changes something, and where it is.
#[derive(Debug, Clone)]
pub struct Point {
    call: Call,
    path: Option<String>,
    nth: usize,
    reach: Reach,
    /// A power cut before it may leave more than one before the point that came before.
    pub after_sync: bool,
}

/// What else has a point's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// Nothing.
    Alone,
    /// A call of another thread, later: it is not killed first, but an error comes to both.
    First,
    /// A call of another thread, earlier.
    Later,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.call.name, self.call.text)
    }
}

impl Point {
    /// Whether it is this call about this path or name.
    pub fn is(&self, call: &str, path: &str) -> bool {
        self.call.name == call && self.call.paths.iter().any(|own| own == path)
    }

    /// Whether a kill strikes it and no other first.
    pub fn can_be_killed(&self) -> bool {
        self.reach != Reach::Later
    }

    fn of(calls: &[Call], at: usize) -> Self {
        let call = &calls[at];
        // Names that are the same in each run before those with a number in them. Of what carries data, and of what opens, there
        // is not the same number in each run.
        let known = call.paths.iter().map(|path| &**path).filter(|path| !path.contains(DRAWN) && *path != ROOT);
        let (passing, lasting): (Vec<&str>, Vec<&str>) =
            known.partition(|path| PASSING.iter().any(|mark| path.contains(mark)));
        let counts = !carries_data(&call.name) && !call.name.starts_with("open");
        let named = !lasting.is_empty() || !passing.is_empty();
        let (passing, lasting) = (passing.into_iter().map(Some), lasting.into_iter().map(Some));
        let paths = lasting.chain((counts || !named).then_some(None)).chain(passing);
        let addresses = paths.map(|path| (reach(calls, at, path), path));
        let ((reach, nth), path) = addresses.min_by_key(|((reach, _), _)| *reach).expect("one without a path");
        Self { call: call.clone(), path: path.map(str::to_owned), nth, reach, after_sync: call.after_sync }
    }
}

/// The number of a call among those of its thread with what this path may be in another run, and who else comes to that number.
fn reach(calls: &[Call], at: usize, path: Option<&str>) -> (Reach, usize) {
    let call = &calls[at];
    let paths = path.map(likely).unwrap_or_default();
    let count = |calls: &[Call], thread: &str| {
        calls.iter().filter(|other| other.thread == thread && other.is_like(call, &paths)).count()
    };
    let nth = count(&calls[..=at], &call.thread);
    let others: BTreeSet<&str> =
        calls.iter().map(|other| &*other.thread).filter(|other| *other != call.thread).collect();
    let reached = |calls: &[Call]| others.iter().any(|other| count(calls, other) >= nth);
    let reach = match (reached(&calls[..at]), reached(calls)) {
        (true, _) => Reach::Later,
        (false, true) => Reach::First,
        (false, false) => Reach::Alone,
    };
    (reach, nth)
}

/// Runs the program to its end, and lists its points in the order of their begin.
#[track_caller]
pub fn list(host: &TestHost, number: u32, arguments: &[&str]) -> (CmdResult, Vec<Point>) {
    let result = traced(host, number, &["-s", "400", "-e", LISTED], arguments);
    let calls = Call::parse_all(&host.read_file("/run/trace"));
    let changing = (0..calls.len()).filter(|at| calls[*at].changes);
    (result, changing.map(|at| Point::of(&calls, at)).collect())
}

/// All but those that another thread's call hides: most of them sync, and so leave what the next one finds.
pub fn killable(points: &[Point]) -> Vec<Point> {
    let mut synced = false;
    let mut killable = Vec::new();
    for point in points {
        synced |= point.after_sync;
        if point.can_be_killed() {
            killable.push(Point { after_sync: std::mem::take(&mut synced), ..point.clone() });
        }
    }
    killable
}

/// What befalls the program at a point.
#[derive(Debug, Clone, Copy)]
pub enum Blow {
    /// The kernel ends it on entering the call, which does not take place.
    Kill,
    /// The call does nothing but fail with this.
    Error(&'static str),
}

/// The lines of a trace, each call in one.
fn whole(trace: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in trace.lines() {
        let thread = line.split(' ').next();
        let of_thread = |begun: &&mut String| begun.ends_with(UNFINISHED) && begun.split(' ').next() == thread;
        let begun = lines.iter_mut().rev().find(of_thread);
        match (begun, line.split_once(RESUMED)) {
            (Some(begun), Some((_, result))) => *begun = begun.replace(UNFINISHED, result),
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

/// Runs the program with a blow at `point`. If the run went another way, and it struck nothing or something else: what strace saw.
pub fn strike(
    host: &TestHost,
    number: u32,
    arguments: &[&str],
    point: &Point,
    blow: Blow,
) -> Result<CmdResult, String> {
    let Point { call, path, nth, reach, .. } = point;
    let what = match blow {
        Blow::Kill => "signal=KILL".to_owned(),
        Blow::Error(errno) => format!("error={errno}"),
    };
    let trace = format!("trace={}", call.name);
    let inject = format!("inject={}:{what}:when={nth}", call.name);
    let mut flags = vec!["-e", &trace, "-e", &inject];
    let paths: Vec<String> = path.iter().flat_map(|path| likely(path)).collect();
    flags.extend(paths.iter().flat_map(|path| ["-P", path]));
    let result = traced(host, number, &flags, arguments);
    let trace = host.read_file("/run/trace");
    let mark = if matches!(blow, Blow::Kill) { " = ?" } else { "(INJECTED)" };
    let struck = whole(&trace).into_iter().filter(|line| line.ends_with(mark));
    let struck: Vec<Call> = struck.filter_map(|line| Call::parse(&line)).collect();
    let alone = struck.len() == 1 || *reach != Reach::Alone;
    let right = alone && struck.first().is_some_and(|first| first.is_at(call));
    if right { Ok(result) } else { Err(format!("not struck: {nth} of {path:?}\n{trace}{result}")) }
}

/// Runs the program under strace, which lets go of the programs that it starts. `number` is the process number.
fn traced(host: &TestHost, number: u32, flags: &[&str], arguments: &[&str]) -> CmdResult {
    let strace = ["strace", "-f", "-b", "execve", "-y", "-qq", "-o", "/run/trace"];
    host.exec_numbering(number, &[&strace, flags, &["portreeve"], arguments].concat())
}

#[test]
fn a_call_is_told_from_the_same_one_of_another_thread() {
    let lines = [
        "7 openat(3</run>, \"x\", O_RDONLY) = 4</run/x>",
        "7 openat(3</etc>, \"a\", O_WRONLY|O_CREAT, 0600) = 4</etc/a>",
        "8 openat(3</etc>, \"b\", O_WRONLY|O_CREAT, 0600) = 4</etc/b>",
        "8 write(4</etc/b>, \"</etc/a>\", 8) = 8",
        "7 write(5<pipe:[12]>, \"x\", 1) = 1",
        "8 rename(\"/srv/e\", \"/etc\") = 0",
        "8 symlinkat(\"/etc/b\", 3</srv>, \"d\") = 0",
        "8 renameat(3</etc>, \"b\", 3</etc>, \"c\" <unfinished ...>",
        "7 unlink(\"/etc/b\") = -1 ENOENT (No such file or directory)",
        "8 <... renameat resumed>) = 0",
        "7 <... wait4 resumed>NULL, 0, NULL) = 9",
        "8 fsync(3</etc>)       = 0",
        "7 fsync(3</etc>) = 0",
    ];
    let calls = Call::parse_all(&lines.join("\n"));
    let after_sync: Vec<&str> = calls.iter().filter(|call| call.after_sync).map(|call| &*call.name).collect();
    assert_eq!(after_sync, ["openat", "openat", "fsync", "fsync"]);
    let points = (0..calls.len()).filter(|at| calls[*at].changes).map(|at| Point::of(&calls, at));
    let found: Vec<_> =
        points.map(|point| (point.call.name, point.path.unwrap_or_default(), point.nth, point.reach)).collect();
    let point = |call: &str, path: &str, reach| (call.to_owned(), path.to_owned(), 1, reach);
    let expected = [
        point("openat", "a", Reach::Alone),
        point("openat", "b", Reach::Alone),
        point("write", "/etc/b", Reach::Alone),
        point("rename", "/srv/e", Reach::Alone),
        point("symlinkat", "/srv", Reach::Alone),
        point("renameat", "/etc", Reach::Alone),
        point("fsync", "/etc", Reach::First),
        point("fsync", "/etc", Reach::Later),
    ];
    assert_eq!(found, expected);

    let cut = ["7 unlink(\"/a\" <unfinished ...>", "8 mkdir(\"/b\") = 0", "7 <... unlink resumed>)   = ?"].join("\n");
    assert_eq!(whole(&cut), ["7 unlink(\"/a\")   = ?", "8 mkdir(\"/b\") = 0"]);

    let same = ["/srv/.a.new-20003-7/b", "/srv/.a.new-20004-8/b"];
    assert_eq!(unnumbered(same[0]), unnumbered(same[1]));
    assert_eq!(same.map(|path| likely(path).contains(&same[0].to_owned())), [true; 2]);
    assert!(!likely("/srv/.a.new-20003-11/b").contains(&same[0].to_owned()));
    assert_eq!(likely("/srv/b"), ["/srv/b"]);
}
