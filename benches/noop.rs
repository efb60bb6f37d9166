//! A tick at which nothing happened, at 1, 10, 100 and 1000 environments, beside its two floors: `git ls-remote` of the same
//! repository, and an lstat and SHA-256 of the same managed files. Whole processes, wall clock, processor and memory.
//!
//! `cargo bench --bench noop [-- COUNT…]`. The hosts are real below `--root`: every file is made by a real pass. Only programs
//! (pip, nginx) and processes (gunicorn) are stood in for; a small server answers in Supervisor's place.

#![expect(clippy::disallowed_methods, reason = "a bench is made of processes, files and clocks")]
#![expect(clippy::print_stdout, reason = "its table is what it is for")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench that can't go on ends")]

#[path = "noop/machine.rs"]
mod machine;
#[path = "noop/measure.rs"]
mod measure;
#[path = "noop/repositories.rs"]
mod repositories;
#[path = "noop/supervisor.rs"]
mod supervisor;

use std::path::Path;

use measure::{Cost, PEAK, cost, floor, peak};

/// What a bench that calls itself is asked for: the floor of files.
const FLOOR: &str = "--floor";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [flag, list] = arguments.as_slice()
        && flag == FLOOR
    {
        return floor(Path::new(list));
    }
    if let [flag, program, rest @ ..] = arguments.as_slice()
        && flag == PEAK
    {
        return peak(program, rest);
    }
    let counts: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    println!("{:>5} {:>6}  {:<16} {:>9} {:>9} {:>9}", "envs", "paths", "", "wall ms", "cpu ms", "rss MiB");
    for count in if counts.is_empty() { vec![1, 10, 100, 1000] } else { counts } {
        one(count);
    }
}

fn one(count: usize) {
    let directory = tempfile::tempdir().unwrap();
    let bench = repositories::make(directory.path(), count);
    let paths = machine::release(&bench);
    let _supervisor = supervisor::serve(&bench);
    let program = env!("CARGO_BIN_EXE_portreeve");
    let root = bench.root.to_str().unwrap();
    let pass = ["--root", root, "--quiet", "reconcile"];
    // The first one is a whole pass, which leaves the record.
    let whole = cost(1, program, &pass);
    let idle = cost(15, program, &pass);
    let address = format!("file://{}", bench.deploy.display());
    let look = cost(15, "/usr/bin/git", &["ls-remote", "--quiet", "--", &address, "refs/heads/main"]);
    let list = directory.path().join("paths");
    std::fs::write(&list, paths.join("\n")).unwrap();
    let this = std::env::current_exe().unwrap();
    let files = cost(15, this.to_str().unwrap(), &[FLOOR, list.to_str().unwrap()]);
    let floors = look.wall + files.wall;
    let row = |what: &str, cost: &Cost, end: String| {
        let Cost { wall, cpu, rss } = cost;
        println!("{count:>5} {:>6}  {what:<16} {wall:>9.2} {cpu:>9.2} {rss:>9.1} {end}", paths.len());
    };
    row("idle pass", &idle, format!("  {:.2} x the floors ({floors:.2} ms)", idle.wall / floors));
    row("git ls-remote", &look, String::new());
    row("lstat + SHA-256", &files, String::new());
    row("a whole pass", &whole, String::new());
}
