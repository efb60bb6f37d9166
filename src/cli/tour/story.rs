//! What happens in the tour, in order, and what must come out of it.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::super::printer::{line, took};
use super::TourError;
use super::bakery::{self, MISSING};
use super::deploy;
use super::git::Repository;
use super::place::Place;
use super::portreeve::{self, Said};
use super::servers::Servers;
use crate::health::{Habits, Seen, Visitors};
use crate::host::Clock as _;

/// The environment of the tour.
const ENV: &str = "bakery/pro";
/// Connections of the client.
const CONNECTIONS: u32 = 32;
/// Between an answer and the next request of a connection: leaves a small machine room for a build.
const THINK: Duration = Duration::from_millis(25);
/// Before the next chapter the client goes on for so long, or for so many requests.
const PAUSE: Duration = Duration::from_secs(3);
const ENOUGH: u64 = 1000;
/// How long a release may take to answer once it is said to serve.
const SOON: Duration = Duration::from_secs(10);
/// How often the client's notes are read.
const LOOK: Duration = Duration::from_millis(5);
/// How often the deploy repository is looked at while the tour stays up.
const TICK: Duration = Duration::from_millis(500);

/// Everything that is up.
pub(super) struct Tour<'a> {
    place: &'a Place,
    deploy: Repository<'a>,
    servers: RefCell<Servers>,
    port: u16,
}

impl<'a> Tour<'a> {
    /// The repositories, the host, its servers.
    pub fn prepare(place: &'a Place) -> Result<Self, TourError> {
        let with = if place.as_root { "; you are root, so nginx and Django run as root here" } else { ", as you" };
        line(format!("real nginx, Supervisor and Django; everything stays in {}{with}", place.named.display()));
        let site = bakery::create(place)?;
        let deploy = deploy::create(place, &site)?;
        let servers = Servers::start(place)?;
        let port = servers.port;
        deploy::set_up(place, &deploy, port)?;
        Ok(Self { place, deploy, servers: RefCell::new(servers), port })
    }

    /// All four chapters; what the client saw.
    pub fn story(&self) -> Result<Seen, TourError> {
        self.first_release()?;
        let visitors = self.visitors()?;
        self.good_release(&visitors)?;
        self.broken_release(&visitors)?;
        self.rollback(&visitors)?;
        self.servers.borrow_mut().alive(self.place)?;
        Ok(visitors.leave())
    }

    fn first_release(&self) -> Result<(), TourError> {
        line("");
        line("1/4 first release");
        self.portreeve(&["plan"], &[0])?;
        let said = self.portreeve(&["reconcile"], &[0])?;
        line(format!("    v1 answers after {}: {}", took(said.took), self.url()));
        Ok(())
    }

    fn visitors(&self) -> Result<Visitors, TourError> {
        let visitors = Visitors::start(Habits {
            port: self.port,
            host: "localhost".to_owned(),
            connections: CONNECTIONS,
            think: THINK,
            page: "/".to_owned(),
            form: ("/order".to_owned(), "item=bread".to_owned()),
            release_header: "x-release",
        })?;
        line("    a client now sends requests without pause");
        self.pause(&visitors)?;
        Self::only(&visitors, "v1")?;
        Ok(visitors)
    }

    fn good_release(&self, visitors: &Visitors) -> Result<(), TourError> {
        line("");
        line("2/4 push v2");
        visitors.watch();
        deploy::want(&self.deploy, "v2")?;
        self.portreeve(&["plan"], &[0])?;
        self.portreeve(&["reconcile"], &[0])?;
        self.first_answer(visitors, "v2")?;
        self.pause(visitors)?;
        line(format!("    v2 answers; the switch took {}", silence(&visitors.seen(), "v2")));
        visitors.watch();
        self.pause(visitors)?;
        Self::only(visitors, "v2")
    }

    fn broken_release(&self, visitors: &Visitors) -> Result<(), TourError> {
        line("");
        line("3/4 push v3");
        visitors.watch();
        deploy::want(&self.deploy, "v3")?;
        let said = self.portreeve(&["reconcile"], &[3])?;
        if !said.has(MISSING) {
            return Err(TourError::Turn(format!("v3 was not released, but nothing says that it lacks {MISSING}")));
        }
        line(format!("    not released: ImportError, no module named '{MISSING}'"));
        let again = self.portreeve(&["reconcile"], &[0, 4])?;
        if again.has("(generation") {
            return Err(TourError::Turn("the next pass tried v3 again".to_owned()));
        }
        self.pause(visitors)?;
        Self::only(visitors, "v2")?;
        line("    v2 still answers; the next pass leaves v3 alone");
        Ok(())
    }

    fn rollback(&self, visitors: &Visitors) -> Result<(), TourError> {
        line("");
        line("4/4 rollback");
        let begun = visitors.watch();
        self.portreeve(&["rollback", ENV], &[0])?;
        let first = self.first_answer(visitors, "v1")?;
        self.pause(visitors)?;
        visitors.watch();
        self.portreeve(&["reconcile"], &[0])?;
        self.pause(visitors)?;
        Self::only(visitors, "v1")?;
        let time = took(first.saturating_duration_since(begun));
        line(format!("    v1 answers after {time}; the next pass leaves it there"));
        Ok(())
    }

    /// What to type next.
    pub fn what_next(&self, stays: bool) -> Result<(), TourError> {
        let place = self.place;
        let pro = place.shown(&format!("deploy/{}", deploy::PRO));
        let program = portreeve::program()?.display().to_string();
        line("");
        if stays {
            line(format!("still up: {}", self.url()));
            line(format!("yours to try:  $EDITOR {pro}     # rev = \"v4\" is the cure"));
            line(format!("               git -C {} commit -am mine && git -C {0} push", place.shown("deploy")));
            line(format!("               {program} --root {} status", place.shown("host")));
            line(format!("a push is released at once; ctrl-c ends it; rm -r {} removes it", place.named.display()));
        } else {
            line(format!("yours to try:  {program} try {}     # on a terminal it stays up", place.named.display()));
            line(format!(
                "               {program} init deploy && {program} check deploy     # a repository of your own"
            ));
            line(format!("rm -r {} removes it", place.named.display()));
        }
        Ok(())
    }

    /// Stays up until somebody ends it; a push is a release.
    pub fn stay(&self) -> Result<(), TourError> {
        let place = self.place;
        let mut tip = self.deploy.tip()?;
        loop {
            place.parts.clock.sleep(TICK);
            if place.parts.clock.cancelled() {
                return Ok(());
            }
            self.servers.borrow_mut().alive(place)?;
            let now = self.deploy.tip()?;
            if now != tip {
                tip = now;
                match portreeve::run(place, &["reconcile"]) {
                    Err(TourError::Cancelled) => return Ok(()),
                    said => drop(said?),
                }
            }
        }
    }

    fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Runs a command that must end with one of these codes.
    fn portreeve(&self, args: &[&str], codes: &[i32]) -> Result<Said, TourError> {
        let said = portreeve::run(self.place, args)?;
        if said.code.is_some_and(|code| codes.contains(&code)) {
            return Ok(said);
        }
        let how = said.code.map_or_else(|| "was killed".to_owned(), |code| format!("ended with {code}"));
        let logs = self.place.shown("logs");
        Err(TourError::Turn(format!("portreeve {} {how}, not {}; logs are in {logs}", args.join(" "), codes[0])))
    }

    /// Lets the client go on for a while.
    fn pause(&self, visitors: &Visitors) -> Result<(), TourError> {
        let begun = visitors.seen().requests;
        self.until(PAUSE, || (visitors.seen().requests >= begun + ENOUGH).then_some(()))?;
        if visitors.seen().requests > begun {
            Ok(())
        } else {
            Err(TourError::Turn("the client gets no answers".to_owned()))
        }
    }

    fn first_answer(&self, visitors: &Visitors, release: &str) -> Result<Instant, TourError> {
        let first = || visitors.seen().releases.get(release).map(|span| span.first);
        self.until(SOON, first)?.ok_or_else(|| TourError::Turn(format!("{release} does not answer")))
    }

    /// Waits for something that the client will see.
    fn until<T>(&self, time: Duration, mut there: impl FnMut() -> Option<T>) -> Result<Option<T>, TourError> {
        let clock = &self.place.parts.clock;
        let begun = clock.monotonic();
        while clock.monotonic().saturating_sub(begun) < time {
            self.place.go_on()?;
            if let Some(found) = there() {
                return Ok(Some(found));
            }
            clock.sleep(LOOK);
        }
        Ok(None)
    }

    /// Since the last `watch` nobody else has answered. What was asked before may still have been the old one's: callers pause.
    fn only(visitors: &Visitors, release: &str) -> Result<(), TourError> {
        let seen = visitors.seen();
        match seen.releases.keys().find(|other| *other != release) {
            None => Ok(()),
            Some(other) => Err(TourError::Turn(format!("{other} answered where {release} serves"))),
        }
    }
}

/// How long the client went without any answer before the new release's first one.
fn silence(seen: &Seen, release: &str) -> String {
    let silence = seen.releases.get(release).map_or(Duration::ZERO, |span| span.silence);
    format!("{:.1}ms", silence.as_secs_f64() * 1000.0)
}
