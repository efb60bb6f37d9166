//! Visitors: connections that ask without a pause longer than a blink, and remember every answer that was not right.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::host::TestHost;
use crate::http::{Client, Request, Response, enter};
use crate::traces::until;

/// How long a visitor looks at an answer: enough to leave two cores some room for a build.
const THINK: Duration = Duration::from_millis(20);

/// One request in so many is a POST.
const POST_EVERY: u64 = 4;

/// So many failures are kept in words; all are counted.
const KEPT: usize = 20;

/// Visitors at work.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    visitors: Vec<JoinHandle<Report>>,
}

#[derive(Debug)]
struct Shared {
    network: OwnedFd,
    host: String,
    port: u16,
    begun: Instant,
    stop: AtomicBool,
    answered: AtomicU64,
}

/// What the visitors saw.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// How many were sent.
    pub requests: u64,
    /// How many did not get a 200 with a release id over a whole connection.
    pub failed: u64,
    /// The first of those, each with the time since the start.
    pub failures: Vec<(Duration, String)>,
    /// Good answers, by release.
    pub by_release: BTreeMap<String, u64>,
    /// The time, since the start, of each release's first answer.
    pub first: BTreeMap<String, Duration>,
    /// And of its last.
    pub last: BTreeMap<String, Duration>,
    /// The longest that a visitor waited.
    pub slowest: Duration,
}

impl Load {
    /// `connections` visitors of the site `host` at `port` inside `machine`.
    pub fn start(machine: &TestHost, host: &str, port: u16, connections: u64) -> Self {
        let shared = Arc::new(Shared {
            network: machine.network(),
            host: host.to_owned(),
            port,
            begun: Instant::now(),
            stop: AtomicBool::new(false),
            answered: AtomicU64::new(0),
        });
        let visitor = |number| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || visit(&shared, number))
        };
        let visitors = (0..connections).map(visitor).collect();
        Self { shared, visitors }
    }

    /// Waits until so many more requests have been answered, well or not.
    #[track_caller]
    pub fn wait_for(&self, more: u64) {
        let goal = self.shared.answered.load(Ordering::Relaxed) + more;
        until("the visitors have their answers", || self.shared.answered.load(Ordering::Relaxed) >= goal);
    }

    /// How many requests have been answered so far, well or not.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// How long they have been at it: the clock of the report's times.
    pub fn elapsed(&self) -> Duration {
        self.shared.begun.elapsed()
    }

    /// Lets each finish its request, and adds up.
    pub fn stop(self) -> Report {
        self.shared.stop.store(true, Ordering::Relaxed);
        let reports = self.visitors.into_iter().map(|visitor| visitor.join().expect("a visitor does not panic"));
        reports.fold(Report::default(), Report::and)
    }
}

impl Report {
    /// Fails the test unless every request was answered as it should.
    #[track_caller]
    pub fn assert_none_failed(&self) {
        assert!(self.failed == 0 && self.requests > 0, "{self}");
    }

    fn add(&mut self, at: Duration, took: Duration, answer: Result<String, String>) {
        self.requests += 1;
        self.slowest = self.slowest.max(took);
        match answer {
            Ok(release) => {
                *self.by_release.entry(release.clone()).or_default() += 1;
                self.first.entry(release.clone()).or_insert(at);
                self.last.insert(release, at);
            }
            Err(why) => {
                self.failed += 1;
                if self.failures.len() < KEPT {
                    self.failures.push((at, why));
                }
            }
        }
    }

    fn and(mut self, other: Self) -> Self {
        self.requests += other.requests;
        self.failed += other.failed;
        self.slowest = self.slowest.max(other.slowest);
        self.failures.extend(other.failures);
        self.failures.sort_unstable();
        self.failures.truncate(KEPT);
        for (release, count) in other.by_release {
            *self.by_release.entry(release).or_default() += count;
        }
        for (release, at) in other.first {
            self.first.entry(release).and_modify(|first| *first = at.min(*first)).or_insert(at);
        }
        for (release, at) in other.last {
            self.last.entry(release).and_modify(|last| *last = at.max(*last)).or_insert(at);
        }
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} requests, {} failed, slowest {:.1?}", self.requests, self.failed, self.slowest)?;
        for (release, count) in &self.by_release {
            writeln!(f, "  {release}: {count}, from {:.3?} to {:.3?}", self.first[release], self.last[release])?;
        }
        self.failures.iter().try_for_each(|(at, why)| writeln!(f, "  failed at {at:.3?}: {why}"))
    }
}

fn visit(shared: &Shared, visitor: u64) -> Report {
    enter(shared.network.as_fd());
    let mut client = Client::new(shared.port);
    let mut report = Report::default();
    let mut turn = visitor;
    while !shared.stop.load(Ordering::Relaxed) {
        let request = request(&shared.host, turn);
        let sent = Instant::now();
        let answer = client.send(&request).map_err(|error| error.to_string()).and_then(|response| judge(&response));
        let at = sent.duration_since(shared.begun);
        report.add(at, sent.elapsed(), answer);
        shared.answered.fetch_add(1, Ordering::Relaxed);
        turn += 1;
        std::thread::sleep(THINK);
    }
    report
}

fn request(host: &str, turn: u64) -> Request {
    if turn.is_multiple_of(POST_EVERY) { Request::post(host, "/order", "item=bread") } else { Request::get(host, "/") }
}

fn judge(response: &Response) -> Result<String, String> {
    match (response.status, response.release()) {
        (200, Some(release)) => Ok(release.to_owned()),
        (200, None) => Err("200 without X-Release".to_owned()),
        (status, _) => Err(format!("{status}: {}", response.body.chars().take(200).collect::<String>())),
    }
}

#[test]
fn what_is_not_right_is_counted() {
    let mut report = Report::default();
    let second = Duration::from_secs(1);
    report.add(second, second, Ok("v1".into()));
    report.add(second * 2, second, Err("502: bad gateway".into()));
    let mut other = Report::default();
    other.add(second * 3, second * 4, Ok("v1".into()));
    let sum = other.and(report);
    assert_eq!((sum.requests, sum.failed, sum.slowest), (3, 1, second * 4));
    assert_eq!((sum.first["v1"], sum.last["v1"]), (second, second * 3));
    assert!(std::panic::catch_unwind(|| sum.assert_none_failed()).is_err());
}
