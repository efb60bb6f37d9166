//! A first pass, and what it could not do without: bytes on the disk.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::machine;
use super::measure::{median, ms};
use super::repositories::{Bench, make};

const RUNS: usize = 9;

/// The table.
pub fn print(counts: &[usize]) {
    println!(
        "\na first pass without venvs and applications' starts, beside a clone, a write and a syncfs of the same bytes"
    );
    println!("(quietest of {RUNS} runs; pip, nginx, gunicorn and the service manager are stood in for)");
    println!("{:>5}  {:<24} {:>8} {:>9}", "envs", "", "wall ms", "(median)");
    for &count in counts {
        // Deleted only at the end: a disk that discards what was deleted is slow for a while.
        let directories: Vec<_> = (0..RUNS).map(|_| tempfile::tempdir().unwrap()).collect();
        let runs = directories.iter().map(|directory| one(directory.path(), count));
        let (mut passes, mut floors): (Vec<f64>, Vec<f64>) = runs.unzip();
        passes.sort_by(f64::total_cmp);
        floors.sort_by(f64::total_cmp);
        let ratio = passes[0] / floors[0];
        println!("{count:>5}  {:<24} {:>8.1} {:>9.1}  {ratio:.2} x", "first pass", passes[0], median(&passes));
        println!("{count:>5}  {:<24} {:>8.1} {:>9.1}", "clone + write + syncfs", floors[0], median(&floors));
    }
}

fn one(directory: &Path, count: usize) -> (f64, f64) {
    let bench = make(directory, count);
    let before = entries(&bench.root);
    settle(&bench.root);
    let begun = Instant::now();
    machine::release(&bench);
    let pass = ms(begun.elapsed());
    let clones = bench.root.join("var/lib/portreeve");
    let mut made = entries(&bench.root);
    made.retain(|path| !(before.contains(path) || path.starts_with(&clones) && is_of_a_clone(path)));
    let made: Vec<Made> = made.iter().map(|path| Made::read(&bench.root, path)).collect();
    let target = directory.join("floor");
    fs::create_dir(&target).unwrap();
    settle(&bench.root);
    (pass, floor(&bench, &made, &target))
}

fn is_of_a_clone(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().to_string_lossy().ends_with(".git"))
}

/// Nobody's earlier writes are waited for.
fn settle(root: &Path) {
    let handle = fs::File::open(root).unwrap();
    rustix::fs::syncfs(handle).unwrap();
}

/// Everything below a directory, parents first.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        all.push(entry.path());
        if entry.file_type().unwrap().is_dir() {
            all.extend(entries(&entry.path()));
        }
    }
    all
}

enum What {
    Directory,
    File(Vec<u8>),
    Link(PathBuf),
}

/// Something that the pass left.
struct Made {
    path: PathBuf,
    mode: u32,
    what: What,
}

impl Made {
    fn read(root: &Path, path: &Path) -> Self {
        let about = fs::symlink_metadata(path).unwrap();
        let what = if about.is_dir() {
            What::Directory
        } else if about.is_symlink() {
            What::Link(fs::read_link(path).unwrap())
        } else {
            What::File(fs::read(path).unwrap())
        };
        Self { path: path.strip_prefix(root).unwrap().to_owned(), mode: about.permissions().mode(), what }
    }

    fn write(&self, target: &Path) {
        let path = target.join(&self.path);
        let mode = fs::Permissions::from_mode(self.mode);
        match &self.what {
            What::Directory => {
                fs::create_dir_all(&path).unwrap();
                fs::set_permissions(&path, mode).unwrap();
            }
            What::File(bytes) => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, bytes).unwrap();
                fs::set_permissions(&path, mode).unwrap();
            }
            What::Link(text) => {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                symlink(text, &path).unwrap();
            }
        }
    }
}

fn floor(bench: &Bench, made: &[Made], target: &Path) -> f64 {
    let begun = Instant::now();
    for (repository, name) in [(&bench.deploy, "deploy.git"), (&bench.app, "app.git")] {
        let mut git = Command::new("/usr/bin/git");
        git.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent").current_dir(target);
        git.args(["clone", "--quiet", "--bare", "--", &format!("file://{}", repository.display()), name]);
        assert!(git.status().unwrap().success());
    }
    for file in made {
        file.write(target);
    }
    settle(target);
    ms(begun.elapsed())
}
