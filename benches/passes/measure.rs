//! What a process costs, and the floor of files.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use sha2::{Digest as _, Sha256};

/// A command: program and arguments.
pub type Line<'a> = Vec<&'a str>;

/// Of several runs.
pub struct Cost {
    /// Milliseconds of the quietest run.
    pub wall: f64,
    /// Milliseconds of the median.
    pub median: f64,
    /// Milliseconds of the processor in the quietest run, user and system, children included.
    pub cpu: f64,
    /// MiB at the peak of any run, of the process itself or a child of it.
    pub rss: f64,
}

/// Runs the commands in turns, so many times each after one that warms caches.
pub fn cost(runs: usize, lines: &[&Line<'_>]) -> Vec<Cost> {
    for line in lines {
        once(line);
    }
    let mut all: Vec<Vec<[f64; 3]>> = vec![Vec::new(); lines.len()];
    for _ in 0..runs {
        for (line, costs) in lines.iter().zip(&mut all) {
            costs.push(once(line));
        }
    }
    all.iter().map(|runs| of(runs)).collect()
}

fn of(runs: &[[f64; 3]]) -> Cost {
    let sorted = |column: usize| {
        let mut values: Vec<f64> = runs.iter().map(|run| run[column]).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let (wall, cpu, rss) = (sorted(0), sorted(1), sorted(2));
    Cost { wall: wall[0], median: median(&wall), cpu: cpu[0], rss: rss[rss.len() - 1] }
}

/// Of sorted values.
pub fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

/// Milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What a bench that calls itself is asked for: to run one command and tell its cost, or the floor of files.
const RUN: &str = "--run";
const FLOOR: &str = "--floor";

/// The floor of files, as a command; `list` names them.
pub fn floor<'a>(this: &'a str, list: &'a str) -> Line<'a> {
    vec![this, FLOOR, list]
}

/// Whether this process was one of the bench's own; its work is done then.
pub fn is_part(arguments: &[String]) -> bool {
    match arguments {
        [part, list] if part == FLOOR => look_at_all(Path::new(list)),
        [part, program, rest @ ..] if part == RUN => run(program, rest),
        _ => return false,
    }
    true
}

/// Wall, processor and memory of one run: by a small process of which it is the only child, because memory is inherited through
/// fork and exec, and so that the kernel's sums are of nothing else.
fn once(line: &Line<'_>) -> [f64; 3] {
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this).arg(RUN).args(line).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{line:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

fn run(program: &str, arguments: &[String]) {
    let begun = Instant::now();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).env_remove("RUST_BACKTRACE");
    let status = command.status().expect("the program starts");
    let wall = begun.elapsed();
    assert!(status.success(), "{program} {arguments:?}");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let cpu = [usage.user_time(), usage.system_time()].map(|time| {
        let (seconds, micros) = (time.tv_sec().cast_unsigned(), time.tv_usec().cast_unsigned());
        Duration::from_secs(seconds) + Duration::from_micros(micros)
    });
    let kib = u32::try_from(usage.max_rss()).unwrap();
    println!("{} {} {}", ms(wall), ms(cpu[0] + cpu[1]), f64::from(kib) / 1024.0);
}

/// An lstat and a SHA-256 of each of the listed paths.
fn look_at_all(list: &Path) {
    let text = std::fs::read_to_string(list).unwrap();
    let mut sum = 0;
    for path in text.lines() {
        let about = std::fs::symlink_metadata(path).unwrap();
        sum += u64::from(about.mode());
        if about.is_symlink() {
            sum += std::fs::read_link(path).unwrap().as_os_str().len() as u64;
        } else {
            sum += u64::from(Sha256::digest(std::fs::read(path).unwrap())[0]);
        }
    }
    assert!(sum > 0);
}
