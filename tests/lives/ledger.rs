//! What must hold in an environment's life, judged from beside the host: by what visitors get, by which release was started, by
//! where one link leads, and by a ledger of what people ordered and were told. The program's own records are not asked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use portreeve::policy::Until;

/// So many contents are remembered as failed; it is no promise for older ones.
const REMEMBERED: usize = 100;

/// What people order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Rollback(Until),
    /// For so long; `None`: until somebody resumes it.
    Suspend(Option<Duration>),
    Resume,
    Retry,
    Stop,
    Start,
    Restart,
}

impl Order {
    /// One of each kind.
    pub const KINDS: [Self; 7] = [
        Self::Rollback(Until::Change),
        Self::Suspend(None),
        Self::Resume,
        Self::Retry,
        Self::Stop,
        Self::Start,
        Self::Restart,
    ];

    /// As people type it.
    fn word(self) -> &'static str {
        match self {
            Self::Rollback(_) => "rollback",
            Self::Suspend(_) => "suspend",
            Self::Resume => "resume",
            Self::Retry => "retry",
            Self::Stop => "stop",
            Self::Start => "start",
            Self::Restart => "restart",
        }
    }
}

/// What can be seen of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Where `active` leads.
    pub active: String,
    /// Some release answers on the front page, however badly.
    pub answers: bool,
    /// The release that answers well there.
    pub front: Option<String>,
    /// Whether its health check passes too, for visitors.
    pub healthy: bool,
    /// A killed pass has left something to end.
    pub open: bool,
}

/// What became of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Became {
    Killed,
    Failed,
    Released,
    /// What was wanted failed by its own fault, or had done so before.
    Refused,
    /// It was as it should be, repaired, or left alone.
    Over,
}

/// What the repository asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// That can't be known, or must not be followed.
    Unknown,
    /// That there is none.
    Gone,
    /// A release.
    Release(&'a str),
}

impl<'a> Wanted<'a> {
    fn release(self) -> Option<&'a str> {
        if let Self::Release(version) = self { Some(version) } else { None }
    }
}

/// A pass, as somebody saw it.
#[derive(Debug)]
pub struct Passed<'a> {
    pub wanted: Wanted<'a>,
    /// Packages or room may be lacking, or what failed for that may still wait for its next try.
    pub hindered: bool,
    pub before: &'a Seen,
    pub after: &'a Seen,
    /// The releases that were started meanwhile.
    pub started: &'a [String],
    /// When it began, since the environment's life did, by a clock that nobody sets.
    pub now: Duration,
    pub became: Became,
}

/// What of the host is to agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All, and nothing is left of what was under way.
    Whole,
    /// All but what was being built when something failed.
    Settled,
    /// The same, and it runs no sooner than somebody starts it.
    Stopped,
    /// Nothing that serves is known of.
    Nothing,
}

/// How often something was looked at, over one life or many.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Steps with a pass after them, and the promises after that.
    pub steps: usize,
    /// Those after which all of the host agreed on what serves.
    pub agreed: usize,
    /// Passes that were killed at work.
    pub died: usize,
    /// Orders that were.
    pub cut_short: usize,
    obeyed: BTreeMap<&'static str, usize>,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.agreed += other.agreed;
        self.died += other.died;
        self.cut_short += other.cut_short;
        other.obeyed.iter().for_each(|(word, times)| *self.obeyed.entry(word).or_default() += times);
    }

    /// How often such an order was obeyed.
    pub fn obeyed(&self, order: Order) -> usize {
        self.obeyed.get(order.word()).copied().unwrap_or_default()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, agreed, died, cut_short, obeyed: _ } = self;
        write!(
            f,
            "{steps} steps, {agreed} with all of the host in agreement, {died} passes and {cut_short} orders that died at work, \
             obeyed"
        )?;
        let word = |(at, order): (usize, Order)| {
            write!(f, "{} {} {}", if at == 0 { "" } else { "," }, self.obeyed(order), order.word())
        };
        Order::KINDS.into_iter().enumerate().try_for_each(word)
    }
}

/// Somebody went back, and what was there then is not to come back by itself.
#[derive(Debug, Clone)]
struct Back {
    until: Until,
    excludes: BTreeSet<String>,
}

/// What somebody beside the host would write down. It never says more than was seen: where it is silent, all is allowed.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// Something healthy served, and was not taken off the host since.
    pub served: bool,
    /// Something served here, once. What was followed then stays the measure of what is.
    pub followed: bool,
    /// Something happened to the host, and no pass has had the time to put it right.
    pub drifted: bool,
    /// What was tried and was not kept, oldest first.
    refused: Vec<String>,
    still: Still,
    back: Option<Back>,
    /// What people went back from, and what has not been released since.
    fled: BTreeSet<String>,
    pub counts: Counts,
}

/// Orders to move nothing.
#[derive(Debug, Clone, Default)]
struct Still {
    stopped: bool,
    /// Somebody tried to stop it, or to end that, in vain: a pass may stop it.
    doubtful: bool,
    suspended: Option<Suspended>,
}

#[derive(Debug, Clone, Copy)]
struct Suspended {
    until: Option<Duration>,
    /// For how long it was ordered.
    length: Option<Duration>,
    /// The clock on the wall was set since.
    set: bool,
    /// It may be over already: this is its last second, or the host was booted since.
    unsure: bool,
}

impl Ledger {
    /// An order was given, and this is what was to be seen before and after it.
    /// The promise that was broken, if any.
    pub fn ordered(
        &mut self,
        order: Order,
        obeyed: bool,
        now: Duration,
        (before, after): (&Seen, &Seen),
    ) -> Result<(), String> {
        if obeyed {
            *self.counts.obeyed.entry(order.word()).or_default() += 1;
        }
        match order {
            // What was not started well may no longer be meant to be stopped.
            Order::Start => {
                self.still.doubtful = !obeyed && (self.still.stopped || self.still.doubtful);
                self.still.stopped = false;
            }
            Order::Stop if !obeyed => self.still.doubtful |= before.answers,
            _ if !obeyed => {}
            Order::Stop => self.still.stopped = true,
            Order::Suspend(length) => {
                let suspended =
                    Suspended { until: length.map(|length| now + length), length, set: false, unsure: false };
                self.still.suspended = Some(suspended);
            }
            Order::Retry => self.refused.clear(),
            Order::Restart => {}
            Order::Resume => (self.still.suspended, self.back) = (None, None),
            Order::Rollback(until) => {
                let moved = before.front.is_some() && before.front != after.front;
                let left = before.front.iter().filter(|_| moved);
                let fled = |version: &&String| self.fled.contains(*version);
                if let Some(again) = after.front.as_ref().filter(|_| moved).filter(fled) {
                    return Err(format!("{again} was gone back from, and going back led to it"));
                }
                self.fled.extend(left.clone().cloned());
                let earlier = self.back.take().map(|back| back.excludes).unwrap_or_default();
                let mut excludes: BTreeSet<String> = earlier.into_iter().chain(left.cloned()).collect();
                excludes.extend(self.quarantine().map(str::to_owned));
                excludes.retain(|version| after.front.as_ref() != Some(version));
                self.back = Some(Back { until, excludes });
            }
        }
        Ok(())
    }

    fn quarantine(&self) -> impl Iterator<Item = &str> {
        self.refused.iter().rev().take(REMEMBERED).map(String::as_str)
    }

    /// Somebody has set the clock on the wall.
    pub fn clock_was_set(&mut self) {
        self.still.suspended.iter_mut().for_each(|suspended| suspended.set = true);
    }

    /// The host was booted, and only the wall tells how long that took: what was to end in two hours ends two hours later at the
    /// latest.
    pub fn booted(&mut self, now: Duration) {
        if let Some(Suspended { until: Some(until), length: Some(length), set: true, unsure }) =
            &mut self.still.suspended
        {
            (*until, *unsure) = (now + *length, true);
        }
    }

    /// A pass was made. The promise that it broke, if any. `agreed` finds out whether so much of the host agrees on what serves.
    pub fn judged(
        &mut self,
        pass: &Passed<'_>,
        agreed: impl FnOnce(Extent) -> Result<(), String>,
    ) -> Result<(), String> {
        self.counts.steps += 1;
        if let Some(again) = self.quarantine().find(|refused| pass.started.iter().any(|started| started == refused)) {
            return Err(format!("{again} is in quarantine and was started again"));
        }
        self.ends(pass);
        self.stays(pass)?;
        self.wants(pass.wanted);
        self.doubts(pass);
        self.fled
            .retain(|version| pass.wanted != Wanted::Release(version) || pass.after.front.as_ref() != Some(version));
        if pass.became == Became::Killed {
            self.counts.died += 1;
            return self.survives(pass);
        }
        self.ended(pass)?;
        let (rests, before) = (!self.is_still() && !pass.hindered, self.served);
        if !self.may_go(pass.wanted) {
            self.serves(pass, rests)?;
        } else if rests {
            self.is_gone(pass.after)?;
        } else if !pass.after.answers {
            (self.served, self.back) = (false, None);
        }
        self.agrees(pass, rests, before, agreed)?;
        if rests { self.arrives(pass) } else { Ok(()) }
    }

    /// How a pass may end.
    fn ended(&mut self, pass: &Passed<'_>) -> Result<(), String> {
        let wanted = pass.wanted.release();
        match pass.became {
            Became::Refused if pass.hindered && wanted.is_some_and(good) => {
                Err("a good release is refused for what the host or the network lacks".to_owned())
            }
            Became::Failed if !pass.hindered => Err("the pass fails".to_owned()),
            Became::Released if !pass.started.iter().any(|started| wanted == Some(started)) => {
                Err("something was released, and nobody saw it start".to_owned())
            }
            Became::Refused => {
                let new = wanted.filter(|wanted| self.quarantine().all(|refused| refused != *wanted));
                self.refused.extend(new.map(str::to_owned));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether somebody ordered that nothing is done here, as far as is known.
    fn is_still(&self) -> bool {
        self.still.stopped || self.still.suspended.is_some()
    }

    fn is_suspended(&self) -> bool {
        self.still.suspended.is_some_and(|suspended| !suspended.unsure)
    }

    /// Whether a pass may take it off the host, if nothing keeps that one from its work.
    fn may_go(&self, wanted: Wanted<'_>) -> bool {
        self.goes(wanted) && !self.still.stopped && !self.is_suspended()
    }

    /// Something healthy serves, if anything ever did.
    fn serves(&mut self, pass: &Passed<'_>, rests: bool) -> Result<(), String> {
        let after = pass.after;
        let other = pass.before.front.is_some() && pass.before.front != after.front;
        if self.is_suspended() && other && !pass.before.open && !self.still.doubtful {
            return Err("it is suspended, and serves something else".to_owned());
        }
        self.served |= after.healthy;
        self.followed |= self.served;
        if self.served && !after.healthy && !self.still.stopped && !self.is_excused(pass, rests) {
            return Err("nothing healthy serves".to_owned());
        }
        Ok(())
    }

    /// Whether an accident, or an order that failed, has left what this pass was not to put right, or had no means to. The way back
    /// to what was well needs none.
    fn is_excused(&self, pass: &Passed<'_>, rests: bool) -> bool {
        let stuck = pass.hindered && pass.after.open && (pass.after.healthy || !pass.before.healthy);
        !rests && (self.drifted || self.still.doubtful) || stuck
    }

    /// What serves belongs to one generation.
    fn agrees(
        &mut self,
        pass: &Passed<'_>,
        rests: bool,
        served: bool,
        agreed: impl FnOnce(Extent) -> Result<(), String>,
    ) -> Result<(), String> {
        let extent = match (self.still.stopped, self.served) {
            (true, _) => Extent::Stopped,
            (false, false) => Extent::Nothing,
            // A first release that came to no record says nothing of where it was built; the next one knows.
            (false, true) if rests && served => Extent::Whole,
            (false, true) => Extent::Settled,
        };
        match agreed(extent) {
            Ok(()) => self.counts.agreed += 1,
            Err(_) if self.is_excused(pass, rests) => return Ok(()),
            Err(why) => return Err(format!("not one generation: {why}")),
        }
        self.drifted = false;
        if pass.after.open && !pass.hindered { Err("something is left to end".to_owned()) } else { Ok(()) }
    }

    /// Whether nothing keeps it from being taken off the host. Who went back until he says otherwise has not said so.
    fn goes(&self, wanted: Wanted<'_>) -> bool {
        wanted == Wanted::Gone && self.back.as_ref().is_none_or(|back| back.until == Until::Change)
    }

    /// To be gone is other content than any that somebody went back from.
    fn is_gone(&mut self, after: &Seen) -> Result<(), String> {
        (self.served, self.back) = (false, None);
        match after {
            Seen { answers: true, .. } => Err("it is to be gone, and answers".to_owned()),
            Seen { open: true, .. } => Err("it is gone, and something is left to end".to_owned()),
            _ => Ok(()),
        }
    }

    /// Of an order to stop that failed a pass that has all it needs shows what became of it, unless it was taken off the host meanwhile
    /// and may answer nobody for that.
    fn doubts(&mut self, pass: &Passed<'_>) {
        // Who is taken off leads nowhere any more.
        let stays = pass.before.answers && pass.before.active == pass.after.active;
        let shows =
            pass.after.answers || stays || self.served && self.still.suspended.is_none() && !self.goes(pass.wanted);
        if self.still.doubtful && shows && !pass.hindered && pass.became != Became::Killed {
            (self.still.stopped, self.still.doubtful) = (!pass.after.answers, false);
        }
    }

    /// A suspension ends by itself, within a second: it is written down in whole ones. A pass that was killed, or had no room, may have
    /// left that to the next one, and a boot by an earlier clock comes before it.
    fn ends(&mut self, pass: &Passed<'_>) {
        let over = |suspended: &Suspended, by| suspended.until.is_some_and(|until| until + by <= pass.now);
        let written = pass.became != Became::Killed && !pass.hindered;
        self.still.suspended.take_if(|suspended| written && over(suspended, Duration::from_secs(1)));
        self.still.suspended.iter_mut().for_each(|suspended| suspended.unsure |= over(suspended, Duration::ZERO));
    }

    /// What is held does not move.
    fn stays(&self, pass: &Passed<'_>) -> Result<(), String> {
        let moved = !pass.before.open && pass.before.active != pass.after.active;
        if moved && self.holds(pass.wanted) { Err("it is held, and moved".to_owned()) } else { Ok(()) }
    }

    /// The power went after that, and what is to be seen now nobody but the host has a hand in. Whether it is to serve.
    pub fn comes_back(&self, pass: &Passed<'_>, removed: bool) -> Result<bool, String> {
        self.stays(pass)?;
        // What is to be gone may be gone already.
        let serves = self.served && !self.drifted && !removed && pass.before.answers;
        let bad = pass.before.front.is_none() || pass.wanted.release().is_some_and(|wanted| !good(wanted));
        let well = pass.after.front.is_some() || pass.after.answers && bad;
        if serves && !well {
            return Err(format!("{:?} served, and nothing since the power went", pass.before.front));
        }
        Ok(serves)
    }

    /// Whether a pass may not move it, when this is wanted.
    fn holds(&self, wanted: Wanted<'_>) -> bool {
        let back = self.back.as_ref().is_some_and(|back| {
            back.until == Until::Resume || wanted.release().is_some_and(|wanted| back.excludes.contains(wanted))
        });
        let unknown = wanted == Wanted::Unknown && self.served;
        self.still.stopped || self.is_suspended() || back || unknown
    }

    /// A rollback that waits for other content may end by this, or holds for reasons that were not seen: nothing more is said of it.
    fn wants(&mut self, wanted: Wanted<'_>) {
        if let (Some(back), Some(wanted)) = (&mut self.back, wanted.release())
            && back.until == Until::Change
            && !back.excludes.contains(wanted)
        {
            back.excludes.clear();
        }
    }

    /// Visitors don't notice that a pass was killed, unless what it verified by then answers nobody but itself well. A first
    /// release that turns out to be bad is taken away again.
    fn survives(&mut self, pass: &Passed<'_>) -> Result<(), String> {
        if self.goes(pass.wanted) {
            // Whether that was decided will be seen.
            self.served = false;
            return Ok(());
        }
        let bad = pass.wanted.release().is_some_and(|wanted| !good(wanted));
        let well = pass.after.front.is_some() || pass.after.answers && bad;
        match &pass.before.front {
            Some(served) if self.served && !well && !self.still.doubtful => {
                Err(format!("{served} served, and nothing since a pass was killed"))
            }
            _ => Ok(()),
        }
    }

    /// What is wanted and good serves, unless a person or its own failure keeps it from that.
    fn arrives(&mut self, pass: &Passed<'_>) -> Result<(), String> {
        let Some(wanted) = pass.wanted.release() else { return Ok(()) };
        let good = good(wanted);
        if pass.after.front.as_deref() == Some(wanted) {
            self.back.take_if(|back| back.until == Until::Change);
            return if good { Ok(()) } else { Err(format!("{wanted} serves")) };
        }
        if good && self.back.is_none() {
            return Err(format!("{wanted} is good, nothing holds it, and it does not serve"));
        }
        Ok(())
    }
}

fn good(version: &str) -> bool {
    version.ends_with("-well")
}
