//! What a release costs beside its application, how long a switch takes, and how soon a warm rollback answers, as a table.
//!
//! Real nginx, gunicorn, Django and Supervisor, as `portreeve try` lays them out and whoever runs this; visitors ask all the while.
//! `cargo bench --bench switch`. Needs what `make try` needs, and `script` (bsdutils) for the tour's terminal.

#![expect(clippy::disallowed_methods, reason = "a bench is made of processes, files and clocks")]
#![expect(clippy::print_stdout, reason = "its table is what it is for")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench that can't go on ends")]

#[path = "switch/site.rs"]
mod site;
#[path = "switch/stopwatch.rs"]
mod stopwatch;
#[path = "switch/tour.rs"]
mod tour;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use portreeve::health::{Habits, Visitors};
use portreeve::transaction::Phase;

use site::{PROGRAM, Site};
use tour::Tour;

const RELEASES: usize = 6;
const SWITCHES: usize = 60;
const ROLLBACKS: usize = 24;

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let tour = Tour::start(directory.path());
    let mut site = Site::take(&tour);
    println!("\na release, a switch and a rollback, with real nginx, gunicorn, Django and Supervisor");
    println!("{:<54} {:>5} {:>9} {:>9} {:>9}", "milliseconds", "of", "quietest", "median", "p99");
    releases(&mut site);
    let visitors = visitors(tour.port);
    switches(&site, &visitors);
    rollbacks(&site, &visitors);
    let seen = visitors.leave();
    println!("visitors: {} requests, {} failed {:?}", seen.requests, seen.failed, seen.failures);
    assert_eq!(seen.failed, 0, "nobody may notice");
}

fn row(what: &str, times: &[Duration]) {
    let mut sorted: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1000.0).collect();
    sorted.sort_by(f64::total_cmp);
    let at = |share: usize| sorted[(sorted.len() * share).div_ceil(100) - 1];
    println!("{what:<54} {:>5} {:>9.1} {:>9.1} {:>9.1}", sorted.len(), sorted[0], at(50), at(99));
}

/// Releases of nothing but code, told by their parts. What the application does itself is not ours: its start, its migrations,
/// its own commands.
fn releases(site: &mut Site) {
    let mut parts: [Vec<Duration>; 5] = Default::default();
    for _ in 0..RELEASES {
        site.push_code();
        site.stop_spare();
        site.watch.forget();
        let begun = Instant::now();
        site.pass();
        let total = begun.elapsed();
        assert!(!site.watch.phase(Phase::Start).is_zero(), "the watch saw nothing");
        let boot = site.watch.phase(Phase::Start) + site.watch.phase(Phase::Health);
        let migrate = site.watch.phase(Phase::Migrate);
        let commands = site.watch.programs(Some(Phase::Migrate));
        let rest = total.saturating_sub(boot + migrate + commands);
        for (part, time) in parts.iter_mut().zip([total, boot, migrate, commands, rest]) {
            part.push(time);
        }
    }
    let names = [
        "a code-only release, whole",
        "  its start, until it is healthy",
        "  migrate: what is pending",
        "  its own commands: collectstatic, check, settings",
        "  the rest: git, files, nginx -t, logrotate -d, switch",
    ];
    names.iter().zip(&parts).for_each(|(name, part)| row(name, part));
}

fn visitors(port: u16) -> Visitors {
    let visitors = Visitors::start(Habits {
        port,
        host: "localhost".to_owned(),
        connections: 4,
        think: Duration::from_millis(2),
        page: "/healthz".to_owned(),
        form: ("/order".to_owned(), "item=bread".to_owned()),
        release_header: "x-release",
    });
    let visitors = visitors.unwrap();
    until(|| visitors.seen().requests > 200);
    visitors
}

fn until(there: impl Fn() -> bool) {
    let begun = Instant::now();
    while !there() {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing happens");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// When a release answered first since the visitors began to watch.
fn first(visitors: &Visitors, release: &str) -> Instant {
    until(|| visitors.seen().releases.contains_key(release));
    visitors.seen().releases[release].first
}

/// Lets the old release's last answers come, and the machine come to rest.
fn rest() {
    std::thread::sleep(Duration::from_millis(60));
}

/// From before the rename until a visitor holds the other release's answer.
fn switches(site: &Site, visitors: &Visitors) {
    let mut times = Vec::new();
    for turn in 0..SWITCHES {
        let (number, release) = site.other(turn);
        rest();
        visitors.watch();
        site.watch.forget();
        site.roll(number);
        let begun = site.watch.begin(Phase::Switch);
        times.push(first(visitors, release).saturating_duration_since(begun));
    }
    row("a switch: rename to first new answer", &times);
}

/// From the command's start until a visitor holds the old release's answer.
fn rollbacks(site: &Site, visitors: &Visitors) {
    let (mut answers, mut ends) = (Vec::new(), Vec::new());
    for turn in 0..ROLLBACKS {
        let (number, release) = site.other(turn);
        rest();
        visitors.watch();
        let begun = Instant::now();
        let mut command = Command::new(PROGRAM);
        command.arg("--root").arg(&site.root).args(["--quiet", "rollback", site::ENV, "--to", &number.to_string()]);
        assert!(command.stdout(Stdio::null()).status().unwrap().success());
        ends.push(begun.elapsed());
        answers.push(first(visitors, release).saturating_duration_since(begun));
    }
    row("a warm rollback: command to first old answer", &answers);
    row("  its command's end", &ends);
}
