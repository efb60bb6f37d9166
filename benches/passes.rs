//! What a pass costs, as tables:
//!
//! - `idle`: nothing happened, at 1, 10, 100 and 1000 environments, beside its two floors: `git ls-remote` of the same repository, and
//!   an lstat and SHA-256 of the same managed files. Whole processes: wall clock, processor and memory.
//! - `first`: everything is released, beside a clone, a write and one `syncfs(2)` of the same bytes.
//! - `changed`: one environment of many changed, or none of this host's.
//!
//! `cargo bench --bench passes [-- TABLE] [-- COUNT…]`. The hosts are real below `--root`: every file is made by a real pass. Only
//! programs (pip, nginx, logrotate) and processes (gunicorn, supervisord) are stood in for.
//!
//! A machine has other things to do: each number is that of the quietest of several runs, taken in turns; medians stand beside it.

#![expect(clippy::disallowed_methods, reason = "a bench is made of processes, files and clocks")]
#![expect(clippy::print_stdout, reason = "its tables are what it is for")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench that can't go on ends")]

#[path = "passes/changed.rs"]
mod changed;
#[path = "passes/first.rs"]
mod first;
#[path = "passes/idle.rs"]
mod idle;
#[path = "passes/machine.rs"]
mod machine;
#[path = "passes/measure.rs"]
mod measure;
#[path = "passes/repositories.rs"]
mod repositories;
#[path = "passes/supervisor.rs"]
mod supervisor;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if measure::is_part(&arguments) {
        return;
    }
    let counts: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let or = |usual: &[usize]| if counts.is_empty() { usual.to_vec() } else { counts.clone() };
    let tables = ["idle", "first", "changed"];
    let all = !arguments.iter().any(|argument| tables.contains(&argument.as_str()));
    let asked = |table: &str| all || arguments.iter().any(|argument| argument == table);
    if asked("idle") {
        idle::print(&or(&[1, 10, 100, 1000]));
    }
    if asked("first") {
        first::print(&or(&[100]));
    }
    if asked("changed") {
        changed::print(&or(&[1, 10, 100]));
    }
}
