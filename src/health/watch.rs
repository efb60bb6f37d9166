//! Watches a slot: until it is healthy, and whether it stays so.

use std::fmt;
use std::time::Duration;

use super::verdict::{Step, Streak};
use crate::host::{Activity, Answer, Clock, Probe, Request, Result, Service, Services, SlotId};
use crate::manifest::{Expect, Health};

/// Between two looks at a release that serves.
const BAKE_PAUSE: Duration = Duration::from_secs(1);
/// One bad answer of a release that serves is asked for again after this; two in a row are a failure.
const BLIP: Duration = Duration::from_millis(250);

/// The parts of the machine that watching takes.
#[derive(Clone, Copy)]
pub struct Watcher<'a> {
    /// Asks.
    pub probe: &'a dyn Probe,
    /// Tells a dead process from a silent one.
    pub services: &'a dyn Services,
    /// Waits.
    pub clock: &'a dyn Clock,
}

/// What is watched.
#[derive(Debug, Clone, Copy)]
pub struct Check<'a> {
    /// The slot whose processes must live; `None` where only the answer counts.
    pub slot: Option<&'a SlotId>,
    /// What is asked. Its timeout is replaced by that of `health`.
    pub request: &'a Request,
    /// When it counts.
    pub health: &'a Health,
}

/// The web server that visitors come through, and the way round it: what tells its absence from a release's illness.
#[derive(Debug, Clone, Copy)]
pub struct Through<'a> {
    /// What the web server answers by itself, whatever runs behind it.
    pub itself: &'a Request,
    /// The same as is asked through it, of the slot.
    pub behind: &'a Request,
    /// How long it may be away.
    pub patience: Duration,
}

/// What came of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An answer, the wrong one when it is a verdict's last.
    Answered(Answer),
    /// None, and why, of the web server itself, while the slot's own is good.
    CutOff(String),
    /// An answer, but the slot's socket is not its own.
    Usurped {
        /// The process that made it listen; 0: one of another container.
        by: u32,
    },
    /// None, and why.
    Silent(String),
    /// The processes ended; nothing was asked.
    Exited(Service),
}

/// The end of watching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is healthy, or stayed so.
    Healthy {
        /// Since the first try's begin.
        took: Duration,
        /// How often it was asked.
        tries: u32,
    },
    /// It is not.
    Unhealthy {
        /// What was seen last, of what was wrong; a good answer only where nothing else was, and no time for another.
        last: Outcome,
        /// How often it was asked.
        tries: u32,
        /// Since the first try's begin.
        took: Duration,
    },
    /// The pass was told to end.
    Cancelled,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(answer) => write!(f, "{}", answer.status),
            Self::Usurped { by } => write!(f, "an answer of process {by}, another one"),
            Self::Silent(why) | Self::CutOff(why) => f.write_str(why),
            Self::Exited(Service { restarts: 0, .. }) => f.write_str("exited"),
            Self::Exited(_) => f.write_str("exited and was restarted"),
        }
    }
}

impl fmt::Debug for Watcher<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

impl Watcher<'_> {
    /// Asks until the candidate has passed as often in a row as `health` wants, its deadline is over, or its processes ended.
    pub fn until_healthy(&self, check: Check<'_>) -> Result<Verdict> {
        let mut streak = Streak::new(check.health.passes, check.health.deadline.duration());
        let begin = self.clock.monotonic();
        let mut bad = None;
        loop {
            if self.clock.cancelled() {
                return Ok(Verdict::Cancelled);
            }
            let patience = streak.patience(check.health.timeout.duration(), self.since(begin));
            let outcome = self.look(check, patience)?;
            let took = self.since(begin);
            let dead = matches!(outcome, Outcome::Exited(_));
            let passes = outcome.passes(check.health.expect);
            // A good answer between bad ones says nothing of why.
            let last = if passes { bad.take().unwrap_or(outcome) } else { outcome };
            match streak.count(passes, took) {
                Step::Healthy => return Ok(Verdict::Healthy { took, tries: streak.tries() }),
                Step::Again(pause) if !dead => self.clock.sleep(pause),
                _ => return Ok(self.unhealthy(last, streak.tries(), took)),
            }
            bad = Some(last).filter(|last| !last.passes(check.health.expect));
        }
    }

    /// Asks at once, and then once a second for as long as `health` says to bake; fails at the second bad answer in a row or the
    /// first exit. A web server that is away is waited for.
    pub fn bake(&self, check: Check<'_>, through: Through<'_>) -> Result<Verdict> {
        let begin = self.clock.monotonic();
        let (mut tries, mut blips, mut cut_off) = (0, 0, None);
        loop {
            if self.clock.cancelled() {
                return Ok(Verdict::Cancelled);
            }
            tries += 1;
            let outcome = self.look_through(check, through)?;
            let took = self.since(begin);
            if let Outcome::CutOff(_) = outcome {
                if took.saturating_sub(*cut_off.get_or_insert(took)) >= through.patience {
                    return Ok(self.unhealthy(outcome, tries, took));
                }
                self.clock.sleep(BLIP);
                continue;
            }
            cut_off = None;
            blips = if outcome.passes(check.health.expect) { 0 } else { blips + 1 };
            if blips > 1 || matches!(outcome, Outcome::Exited(_)) {
                return Ok(self.unhealthy(outcome, tries, took));
            }
            if took >= check.health.bake.duration() && blips == 0 {
                return Ok(Verdict::Healthy { took, tries });
            }
            self.clock.sleep(if blips > 0 { BLIP } else { BAKE_PAUSE });
        }
    }

    /// Whoever ends the pass may have ended what it watches: Ctrl-C, a host that goes down.
    fn unhealthy(&self, last: Outcome, tries: u32, took: Duration) -> Verdict {
        if self.clock.cancelled() { Verdict::Cancelled } else { Verdict::Unhealthy { last, tries, took } }
    }

    /// Where nobody answers: whether that is the web server's doing, or what the slot itself does wrong.
    fn look_through(&self, check: Check<'_>, through: Through<'_>) -> Result<Outcome> {
        let patience = check.health.timeout.duration();
        let outcome = self.look(check, patience)?;
        let Outcome::Silent(why) = outcome else { return Ok(outcome) };
        if self.probe.get(through.itself)?.is_ok() {
            return Ok(Outcome::Silent(why));
        }
        let own = self.look(Check { request: through.behind, ..check }, patience)?;
        Ok(if own.passes(check.health.expect) { Outcome::CutOff(why) } else { own })
    }

    fn since(&self, begin: Duration) -> Duration {
        self.clock.monotonic().saturating_sub(begin)
    }

    fn look(&self, check: Check<'_>, patience: Duration) -> Result<Outcome> {
        let service = check.slot.map(|slot| self.service(slot)).transpose()?;
        if let Some(service) = service.filter(ended) {
            return Ok(Outcome::Exited(service));
        }
        let request = Request { timeout: patience, ..check.request.clone() };
        Ok(match self.probe.get(&request)? {
            Ok(answer) => match usurper(service, &answer) {
                Some(by) => Outcome::Usurped { by },
                None => Outcome::Answered(answer),
            },
            Err(why) => Outcome::Silent(why),
        })
    }

    fn service(&self, slot: &SlotId) -> Result<Service> {
        let gone = Service { activity: Activity::Inactive, pid: 0, restarts: 0, masked: false };
        Ok(self.services.service(slot)?.unwrap_or(gone))
    }
}

/// Whether a slot's first processes are gone. An automatic restart counts: it hides a crash loop.
fn ended(service: &Service) -> bool {
    service.restarts > 0 || matches!(service.activity, Activity::Failed | Activity::Inactive)
}

/// Who else than the slot's main process listens on its socket: whatever runs as the application's user could, an earlier release
/// too. gunicorn's master listens itself; a server whose children do is to be told by its control group instead.
fn usurper(service: Option<Service>, answer: &Answer) -> Option<u32> {
    answer.listener.filter(|by| service.is_some_and(|service| service.pid != *by))
}

impl Outcome {
    fn passes(&self, expect: Expect) -> bool {
        matches!(self, Self::Answered(answer) if expect.accepts(answer.status))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    use super::*;
    use crate::host::{Manager, Target};
    use crate::model::{EnvName, Slot, Span};

    type Said = std::result::Result<u16, &'static str>;

    /// A machine on which each question takes 10 ms; its answers and states come from scripts, whose last line goes on for ever.
    struct Stage {
        now: Cell<Duration>,
        answers: RefCell<Vec<Said>>,
        /// What the web server says by itself, and the slot without it.
        itself: RefCell<Vec<Said>>,
        behind: RefCell<Vec<Said>>,
        states: RefCell<Vec<(Activity, u32)>>,
        cancel_at: Duration,
        listener: Cell<u32>,
        patiences: RefCell<Vec<Duration>>,
    }

    fn next<T: Clone>(script: &RefCell<Vec<T>>) -> T {
        let mut script = script.borrow_mut();
        if script.len() > 1 { script.remove(0) } else { script[0].clone() }
    }

    impl Probe for Stage {
        fn get(&self, request: &Request) -> Result<std::result::Result<Answer, String>> {
            let took = Duration::from_millis(10);
            self.now.set(self.now.get() + took);
            self.patiences.borrow_mut().push(request.timeout);
            let listener = Some(self.listener.get());
            let answer = |status| Answer { status, headers: vec![], body: vec![], listener, took };
            let script = match &request.target {
                Target::Port(1) => &self.answers,
                Target::Port(_) => &self.itself,
                Target::Socket(_) => &self.behind,
            };
            Ok(next(script).map(answer).map_err(str::to_owned))
        }
    }

    impl Clock for Stage {
        fn now(&self) -> jiff::Timestamp {
            jiff::Timestamp::UNIX_EPOCH
        }
        fn monotonic(&self) -> Duration {
            self.now.get()
        }
        fn boot(&self) -> crate::model::Boot {
            unreachable!("nothing outlives a watch")
        }
        fn sleep(&self, time: Duration) {
            self.now.set(self.now.get() + time);
        }
        fn cancelled(&self) -> bool {
            self.now.get() >= self.cancel_at
        }
    }

    impl Services for Stage {
        fn manager(&self) -> Manager {
            Manager::Systemd
        }
        fn refresh(&self, _: &[SlotId]) -> Result<()> {
            Ok(())
        }
        fn start(&self, _: &SlotId, _: Duration) -> Result<Service> {
            panic!("watching starts nothing")
        }
        fn stop(&self, _: &SlotId) -> Result<()> {
            panic!("watching stops nothing")
        }
        fn stop_within(&self, slot: &SlotId, _: Duration) -> Result<()> {
            self.stop(slot)
        }
        fn service(&self, _: &SlotId) -> Result<Option<Service>> {
            let (activity, restarts) = next(&self.states);
            Ok(Some(Service { activity, pid: 7, restarts, masked: false }))
        }
        fn services(&self) -> Result<BTreeMap<SlotId, Service>> {
            Ok(BTreeMap::new())
        }
        fn forget(&self, _: &SlotId) -> Result<()> {
            Ok(())
        }
        fn output(&self, _: &SlotId, _: usize) -> Result<Vec<String>> {
            Ok(vec![])
        }
    }

    fn stage(answers: &[Said]) -> Stage {
        Stage {
            now: Cell::default(),
            answers: RefCell::new(answers.to_vec()),
            itself: RefCell::new(vec![Ok(204)]),
            behind: RefCell::new(vec![Ok(200)]),
            states: RefCell::new(vec![(Activity::Active, 0)]),
            cancel_at: Duration::MAX,
            listener: Cell::new(7),
            patiences: RefCell::default(),
        }
    }

    fn health() -> Health {
        Health {
            path: "/".into(),
            expect: Expect::Status(200),
            timeout: Span::secs(5),
            deadline: Span::secs(30),
            passes: 2,
            bake: Span::secs(10),
        }
    }

    fn asked(target: Target) -> Request {
        let (host, path) = ("bakery.example".into(), "/".into());
        Request { target, host, path, forwarded_https: false, timeout: Duration::from_secs(99) }
    }

    fn watched<'a>(
        stage: &'a Stage,
        health: &Health,
        how: impl Fn(&Watcher<'a>, Check<'_>) -> Result<Verdict>,
    ) -> Verdict {
        let slot = SlotId { env: EnvName::parse("bakery/pro").unwrap(), slot: Slot::B };
        let request = asked(Target::Port(1));
        let watcher = Watcher { probe: stage, services: stage, clock: stage };
        how(&watcher, Check { slot: Some(&slot), request: &request, health }).unwrap()
    }

    fn ask(stage: &Stage) -> Verdict {
        watched(stage, &health(), Watcher::until_healthy)
    }

    fn bake(stage: &Stage) -> Verdict {
        watched(stage, &health(), baked)
    }

    fn baked(watcher: &Watcher<'_>, check: Check<'_>) -> Result<Verdict> {
        let (itself, behind) = (asked(Target::Port(2)), asked(Target::Socket("/s".into())));
        watcher.bake(check, Through { itself: &itself, behind: &behind, patience: Duration::from_secs(30) })
    }

    /// Nobody answers for a while, but who comes round the web server.
    fn cut_off(answers: usize) -> Stage {
        let mut script = vec![Err("connection refused"); answers];
        script.push(Ok(200));
        let stage = stage(&script);
        *stage.itself.borrow_mut() = vec![Err("connection refused")];
        stage
    }

    #[test]
    fn a_program_that_boots_becomes_healthy() {
        let verdict = ask(&stage(&[Err("no socket"), Err("connection refused"), Ok(200), Ok(503), Ok(200)]));
        assert!(matches!(verdict, Verdict::Healthy { tries: 6, .. }), "{verdict:?}");
    }

    #[test]
    fn the_wrong_answer_is_kept_to_the_deadline() {
        let stage = stage(&[Ok(500)]);
        let Verdict::Unhealthy { last, took, .. } = ask(&stage) else { panic!("healthy") };
        assert_eq!(last.to_string(), "500");
        assert!(took > Duration::from_secs(28) && took <= Duration::from_secs(30), "{took:?}");
        let patiences = stage.patiences.borrow();
        assert_eq!(patiences[0], Duration::from_secs(5));
        assert!(patiences.last() < patiences.first(), "the last try ends with the deadline");
    }

    #[test]
    fn who_died_is_not_waited_for() {
        for (state, words) in [
            ((Activity::Failed, 0), "exited"),
            ((Activity::Inactive, 0), "exited"),
            ((Activity::Active, 1), "exited and was restarted"),
        ] {
            let stage = stage(&[Err("no socket")]);
            *stage.states.borrow_mut() = vec![(Activity::Active, 0), state];
            let Verdict::Unhealthy { last, took, tries } = ask(&stage) else { panic!("healthy") };
            assert_eq!((last.to_string().as_str(), tries), (words, 2));
            assert!(took < Duration::from_secs(1));
        }
    }

    #[test]
    fn an_answer_of_another_process_is_none() {
        let usurped = stage(&[Ok(200)]);
        usurped.listener.set(8);
        for verdict in [ask(&usurped), bake(&usurped)] {
            assert!(matches!(verdict, Verdict::Unhealthy { last: Outcome::Usurped { by: 8 }, .. }), "{verdict:?}");
        }
    }

    #[test]
    fn a_cancelled_pass_is_no_verdict() {
        let stage = Stage { cancel_at: Duration::from_secs(3), ..stage(&[Ok(500)]) };
        assert_eq!(ask(&stage), Verdict::Cancelled);
        assert!(stage.now.get() < Duration::from_secs(5));
    }

    #[test]
    fn what_went_wrong_while_the_pass_was_ended_is_no_verdict() {
        let hasty = Health { deadline: Span::secs(0), ..health() };
        let stage = |cancel_at| Stage { cancel_at: Duration::from_millis(cancel_at), ..stage(&[Ok(500)]) };
        assert_eq!(watched(&stage(5), &hasty, Watcher::until_healthy), Verdict::Cancelled);
        assert_eq!(bake(&stage(265)), Verdict::Cancelled, "at the second bad answer");
    }

    #[test]
    fn one_bad_answer_while_it_bakes_is_a_blip() {
        let verdict = bake(&stage(&[Ok(200), Ok(502), Ok(200)]));
        assert!(matches!(verdict, Verdict::Healthy { took, .. } if took >= Duration::from_secs(10)), "{verdict:?}");
    }

    #[test]
    fn two_in_a_row_or_a_death_while_it_bakes_are_a_failure() {
        let verdict = bake(&stage(&[Ok(200), Ok(502), Ok(500)]));
        assert!(
            matches!(&verdict, Verdict::Unhealthy { last, tries: 3, .. } if last.to_string() == "500"),
            "{verdict:?}"
        );
        let crashed = stage(&[Ok(200)]);
        *crashed.states.borrow_mut() = vec![(Activity::Active, 0), (Activity::Active, 1)];
        assert!(matches!(bake(&crashed), Verdict::Unhealthy { tries: 2, .. }));
    }

    #[test]
    fn without_time_to_bake_it_is_asked_once() {
        let health = Health { bake: Span::secs(0), ..health() };
        let baked = |answers| watched(&stage(answers), &health, baked);
        assert!(matches!(baked(&[Ok(200), Ok(500)]), Verdict::Healthy { tries: 1, .. }));
        assert!(matches!(baked(&[Ok(500)]), Verdict::Unhealthy { tries: 2, .. }));
    }

    #[test]
    fn a_web_server_that_comes_back_was_not_the_releases_fault() {
        let verdict = bake(&cut_off(20));
        assert!(matches!(verdict, Verdict::Healthy { tries: 26.., .. }), "{verdict:?}");
    }

    #[test]
    fn a_web_server_that_stays_away_is_waited_for_and_no_longer() {
        let Verdict::Unhealthy { last: Outcome::CutOff(why), took, .. } = bake(&cut_off(1_000)) else { panic!() };
        assert_eq!(why, "connection refused");
        assert!(took >= Duration::from_secs(30) && took < Duration::from_secs(31), "{took:?}");
    }

    #[test]
    fn who_is_ill_behind_a_web_server_that_is_away_is_ill() {
        let stage = cut_off(1_000);
        *stage.behind.borrow_mut() = vec![Ok(200), Ok(500)];
        let Verdict::Unhealthy { last, took, .. } = bake(&stage) else { panic!("healthy") };
        assert!(last.to_string() == "500" && took < Duration::from_secs(1), "{last:?} {took:?}");
    }

    #[test]
    fn who_keeps_a_web_server_waiting_that_answers_is_ill() {
        let stage = stage(&[Ok(200), Err("no answer within 5s")]);
        let Verdict::Unhealthy { last, .. } = bake(&stage) else { panic!("healthy") };
        assert!(matches!(last, Outcome::Silent(_)), "{last:?}");
    }

    #[test]
    fn a_blip_at_the_end_of_the_bake_is_looked_into() {
        let mut script = vec![Ok(200); 9];
        script.extend([Ok(502), Ok(502)]);
        let verdict = bake(&stage(&script));
        assert!(matches!(verdict, Verdict::Unhealthy { .. }), "{verdict:?}");
    }
}
