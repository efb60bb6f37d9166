//! What a process costs, and the floor of files.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use sha2::{Digest as _, Sha256};

/// Medians of several runs.
pub struct Cost {
    /// Milliseconds.
    pub wall: f64,
    /// Milliseconds, user and system, children included.
    pub cpu: f64,
    /// MiB at the peak, of the process itself or a child of it.
    pub rss: f64,
}

/// Runs the program so often, after one run that warms caches unless it is to run once.
pub fn cost(runs: usize, program: &str, arguments: &[&str]) -> Cost {
    if runs > 1 {
        once(program, arguments);
    }
    let all: Vec<Cost> = (0..runs).map(|_| once(program, arguments)).collect();
    let median = |of: fn(&Cost) -> f64| {
        let mut values: Vec<f64> = all.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Cost { wall: median(|cost| cost.wall), cpu: mean(&all), rss: peak_of(program, arguments) }
}

/// The clock of /proc ticks a hundred times a second: only a mean says more.
fn mean(all: &[Cost]) -> f64 {
    all.iter().map(|cost| cost.cpu).sum::<f64>() / f64::from(u32::try_from(all.len()).unwrap())
}

/// What a bench that calls itself is asked for: the peak of memory of one program.
pub const PEAK: &str = "--peak";

/// Runs the program as the only child of this process, and prints what its memory came to, in KiB.
pub fn peak(program: &str, arguments: &[String]) {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).status().unwrap();
    assert!(status.success());
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).unwrap();
    println!("{}", usage.max_rss());
}

fn peak_of(program: &str, arguments: &[&str]) -> f64 {
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this).args([PEAK, program]).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().parse::<f64>().map_or(f64::NAN, |kib| kib / 1024.0)
}

/// The processor's time is read from /proc while the process is a zombie, its children's with it.
fn once(program: &str, arguments: &[&str]) -> Cost {
    let begun = Instant::now();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).env_remove("RUST_BACKTRACE");
    let mut child = command.spawn().expect("the program starts");
    let pid = rustix::process::Pid::from_child(&child);
    let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
    rustix::process::waitid(rustix::process::WaitId::Pid(pid), options).expect("it is waited for");
    let wall = begun.elapsed().as_secs_f64() * 1000.0;
    let cpu = cpu_of(child.id());
    assert!(child.wait().unwrap().success(), "{program} {arguments:?}");
    Cost { wall, cpu, rss: 0.0 }
}

fn cpu_of(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<f64> =
        stat.rsplit(')').next().unwrap_or("").split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // state is no number: utime, stime, cutime, cstime are the 11th to 14th after it, in hundredths of a second.
    fields.get(10..14).map_or(0.0, |times| times.iter().sum::<f64>() * 10.0)
}

/// An lstat and a SHA-256 of each of the listed paths.
pub fn floor(list: &Path) {
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
