//! A tick at which nothing happened.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::measure::{Cost, Line, cost, floor};
use super::repositories::{Bench, make};
use super::{machine, supervisor};

const RUNS: usize = 25;
const PROGRAM: &str = env!("CARGO_BIN_EXE_portreeve");

/// The table, and what each further environment costs.
pub fn print(counts: &[usize]) {
    println!("\nan idle pass, beside its floors (quietest of {RUNS} runs)");
    println!(
        "{:>5} {:>6}  {:<16} {:>8} {:>9} {:>8} {:>8}",
        "envs", "paths", "", "wall ms", "(median)", "cpu ms", "rss MiB"
    );
    let walls: Vec<(usize, f64)> = counts.iter().map(|&count| (count, one(count))).collect();
    for pair in walls.windows(2) {
        let [(few, quick), (many, slow)] = pair else { continue };
        let more = f64::from(u32::try_from(many - few).unwrap());
        println!("from {few} to {many}: {:.3} ms for each further environment", (slow - quick) / more);
    }
}

/// The wall clock's milliseconds.
fn one(count: usize) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let bench = make(directory.path(), count);
    let paths = machine::paths(&bench, &machine::release(&bench));
    let _supervisor = supervisor::serve(&bench);
    let host = Host { bench: &bench, last: bench.root.join("run/portreeve/last-pass.json") };
    host.settle();
    let address = format!("file://{}", bench.deploy.display());
    let look = vec!["/usr/bin/git", "ls-remote", "--quiet", "--", &address, "refs/heads/main"];
    let list = directory.path().join("paths");
    fs::write(&list, paths.join("\n")).unwrap();
    let this = std::env::current_exe().unwrap();
    let files = floor(this.to_str().unwrap(), list.to_str().unwrap());
    let before = host.saw();
    let costs = cost(RUNS, &[&host.pass(), &look, &files]);
    assert_eq!(before, host.saw(), "every one of them was idle");
    let [idle, look, files] = costs.as_slice() else { unreachable!() };
    let floors = look.wall + files.wall;
    let row = |what: &str, cost: &Cost, end: String| {
        let Cost { wall, median, cpu, rss } = cost;
        println!("{count:>5} {:>6}  {what:<16} {wall:>8.2} {median:>9.2} {cpu:>8.2} {rss:>8.1} {end}", paths.len());
    };
    let share = idle.cpu / (look.cpu + files.cpu);
    row("idle pass", idle, format!(" {:.2} x the floors ({floors:.2} ms); processor {share:.2} x", idle.wall / floors));
    row("git ls-remote", look, String::new());
    row("lstat + SHA-256", files, String::new());
    host.notices(&paths);
    idle.wall
}

/// A host under measurement.
struct Host<'a> {
    bench: &'a Bench,
    last: PathBuf,
}

/// What somebody does to a file.
type Tamper = fn(&Path);

impl Host<'_> {
    fn pass(&self) -> Line<'_> {
        vec![PROGRAM, "--root", self.bench.root.to_str().unwrap(), "--quiet", "reconcile"]
    }

    /// The record of what the last pass that was not idle saw: an idle one leaves it alone.
    fn saw(&self) -> Vec<u8> {
        fs::read(&self.last).unwrap()
    }

    /// What a pass says of each environment: `unchanged`, `repaired`.
    fn outcomes(&self) -> Vec<String> {
        let line = self.pass();
        let output = Command::new(line[0]).args(&line[1..]).arg("--json").stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let each = said["environments"].as_array().unwrap().iter();
        each.map(|environment| environment["outcome"].as_str().unwrap().to_owned()).collect()
    }

    /// A whole pass, which leaves the record; then one that finds it.
    fn settle(&self) {
        let unchanged = vec!["unchanged"; self.bench.projects.len()];
        assert_eq!(self.outcomes(), unchanged);
        let before = self.saw();
        assert_eq!(self.outcomes(), unchanged);
        assert_eq!(before, self.saw(), "the pass after it was idle");
    }

    /// What is changed behind our back must not be idle: bytes, a mode, a link, in the last environment.
    fn notices(&self, paths: &[String]) {
        let last = |end: &str| paths.iter().rfind(|path| path.ends_with(end)).map(PathBuf::from).unwrap();
        let tampered: [(&str, Tamper); 3] = [
            ("/nginx.conf", |path| fs::write(path, "#\n").unwrap()),
            ("/env.conf", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap()),
            ("/current", |path| {
                fs::remove_file(path).unwrap();
                std::os::unix::fs::symlink("/tmp", path).unwrap();
            }),
        ];
        for (end, tamper) in tampered {
            tamper(&last(end));
            let repaired = self.outcomes().iter().filter(|outcome| *outcome == "repaired").count();
            assert_eq!(repaired, 1, "{end} was changed");
            self.settle();
        }
    }
}
