//! One environment's life, step by step: pushes, orders, accidents, and a pass after each. Whatever comes, the promises hold.

use std::path::Path;
use std::time::Duration;

use portreeve::agent::{self, Left, Outcome, Target};
use portreeve::host::Host as _;
use portreeve::model::{Slot, SlotId};
use portreeve::plan::Want;
use portreeve::policy::{Hold, HoldKind};

use crate::front::visit;
use crate::host::boot;
use crate::ledger::{Became, Counts, Extent, Ledger, Order, Passed, Seen, Wanted};
use crate::machine::{Point, State};
use crate::oracle::{Judgement, MINE, active, at_rest, is_edited, serving, settled};
use crate::program::{give, pass_within};
use crate::scenarios::standing;
use crate::site::{Release, SITE, Stage, bare, layout, name};
use crate::step::{Accident, Behaviour, SAME_PACKAGES, Step};
use crate::storage::Storage;

/// The environment's world.
pub struct World {
    pub state: State,
    /// What was pushed, oldest first.
    pushed: Vec<Release>,
    rewritten: bool,
    /// It is to be gone.
    removed: bool,
    grace: Duration,
    git: bool,
    /// Until then what failed for a lack may wait for its next try.
    lacking: Duration,
    ledger: Ledger,
    /// Since when it is off the host and can come back at once.
    gone: Option<Duration>,
    /// How the next pass ends, or the next order.
    doom: Option<Doom>,
}

/// A pass, or an order, that ends in the middle, so far on; with the power, these files and directories are lost.
struct Doom {
    share: u16,
    lost: Option<u64>,
}

impl Doom {
    /// Half of them come to an order, where one is given before the pass.
    fn strikes_orders(&self) -> bool {
        self.share % 2 == 1
    }

    /// As the machine is then; `None`: the pass has nothing to do.
    fn moment(&self, points: Vec<Point>) -> Option<State> {
        let at = points.len() * usize::from(self.share) / (usize::from(u16::MAX) + 1);
        points.into_iter().nth(at).map(|point| point.state)
    }
}

/// A pass every so often.
const MINUTE: Duration = Duration::from_mins(1);
/// For so many seconds a slot that was left runs on: for a few passes.
const WARM: u64 = 150;
/// Longer than any wait for the next try, and than a slot is warm.
const LINGERS: Duration = Duration::from_mins(4);

impl World {
    pub fn new() -> Self {
        let (pushed, ledger, doom, lacking) = (Vec::new(), Ledger::default(), None, Duration::ZERO);
        let (rewritten, removed, grace) = (false, false, Duration::ZERO);
        let gone = None;
        Self { state: bare(), pushed, rewritten, removed, grace, git: true, lacking, ledger, gone, doom }
    }

    fn want(&self) -> Want {
        match self.pushed.last() {
            _ if !self.git => Want::Unknown("no answer".to_owned()),
            None => Want::Unusable("nothing was pushed".to_owned()),
            Some(_) if self.diverged() => Want::Diverged("the branch was rewritten".to_owned()),
            Some(_) if self.removed => Want::Absent { tombstone: true },
            Some(release) => Want::Wanted(Box::new(release.wanted())),
        }
    }

    /// What nobody has followed yet can't be rewritten.
    fn diverged(&self) -> bool {
        self.rewritten && self.ledger.followed
    }

    fn push(&mut self, behaviour: Behaviour) {
        let push = u32::try_from(self.pushed.len()).expect("few");
        let title = format!("v{push}-{}", behaviour.word());
        let new = Release::new(&title, behaviour);
        self.pushed.push(Release { push, packages: push / SAME_PACKAGES, keep: 3, warm: WARM, ..new });
    }

    fn push_again(&mut self, back: usize) {
        let at = self.pushed.len().checked_sub(1 + back);
        if let Some(old) = at.map(|at| self.pushed[at].clone()) {
            let push = u32::try_from(self.pushed.len()).expect("few");
            self.pushed.push(Release { push, ..old });
        }
    }

    /// What happens, and the pass that comes next.
    pub fn live(&mut self, step: &Step) -> Judgement<()> {
        match *step {
            Step::Kill(share) => self.doom = Some(Doom { share, lost: None }),
            Step::PowerCut(share, bits) => self.doom = Some(Doom { share, lost: Some(bits) }),
            _ => {
                self.happen(step)?;
                return self.tick();
            }
        }
        Ok(())
    }

    fn happen(&mut self, step: &Step) -> Judgement<()> {
        match step {
            Step::Push(behaviour) => self.push(*behaviour),
            Step::PushSame => self.push_again(0),
            Step::PushOld(back) => self.push_again(*back),
            Step::ForcePush => {
                self.push(Behaviour::Well);
                self.rewritten = true;
            }
            Step::PutBack => self.rewritten = false,
            Step::Remove(minutes) => self.remove(*minutes),
            Step::Name => self.removed = false,
            Step::Rollback(until) => self.order(Order::Rollback(*until))?,
            Step::Suspend(hours) => {
                self.order(Order::Suspend(hours.map(|hours| Duration::from_hours(hours.unsigned_abs()))))?;
            }
            Step::Resume => self.order(Order::Resume)?,
            Step::Retry => self.order(Order::Retry)?,
            Step::Stop => self.order(Order::Stop)?,
            Step::Start => self.order(Order::Start)?,
            Step::Restart => self.order(Order::Restart)?,
            Step::Kill(_) | Step::PowerCut(..) => {}
            Step::Reboot(days) => {
                self.state.storage.sync_all();
                self.set_clock(*days);
                self.power_cut(0);
            }
            Step::Drift(accident) => self.befall(*accident),
            Step::Clock(days) => self.set_clock(*days),
            Step::Git(answers) => self.git = *answers,
            Step::Index(answers) => self.state.offline = !answers,
            Step::Room(more) => self.state.storage.room = *more,
            Step::Wait(minutes) => self.state.clock += MINUTE * u32::try_from(*minutes).expect("few"),
        }
        self.state.storage.collect();
        Ok(())
    }

    fn set_clock(&mut self, days: i64) {
        if days == 0 {
            return;
        }
        self.state.set = self.state.set.saturating_add(days * 86_400);
        self.ledger.clock_was_set();
        if !self.state.storage.exists(&layout().boot_note()) {
            // No pass knows how this boot was found.
            self.ledger.booted(self.state.clock);
        }
    }

    fn power_cut(&mut self, bits: u64) {
        power_cut(&mut self.state, bits);
        self.ledger.booted(self.state.clock);
    }

    /// What somebody changed would be left, and be in the way of whoever comes back: that is another tale.
    fn remove(&mut self, minutes: u64) {
        if !self.ledger.drifted && !Slot::BOTH.into_iter().any(|slot| is_edited(&self.state, slot)) {
            (self.removed, self.grace) = (true, Duration::from_mins(minutes));
        }
    }

    fn befall(&mut self, accident: Accident) {
        if !self.removed {
            let before = self.state.clone();
            befall(&mut self.state, accident);
            self.ledger.drifted |= !self.state.is_same(&before);
        }
    }

    /// What visitors get.
    pub fn serves(&self) -> Option<String> {
        serving(&self.state).expect("all of the host agrees")
    }

    fn now(&self) -> jiff::Timestamp {
        Stage::new(self.state.clone()).host.clock().now()
    }

    /// Refused or not: what it said is judged elsewhere.
    fn order(&mut self, order: Order) -> Judgement<()> {
        let (before, now) = (self.see()?, self.state.clock);
        let doom = self.doom.take_if(|doom| doom.strikes_orders() && self.state.storage.room.is_none());
        if let Some(doom) = &doom {
            self.cut_short(order, doom).map_err(|why| format!("the order was cut short: {why}"))?;
        }
        let stage = Stage::new(self.state.clone());
        let obeyed = give(&stage, self.words(order)).is_ok();
        self.state = stage.state();
        let after = self.see()?;
        // An order ends a removal that was killed, and its grace begins.
        self.has_its_grace(now)?;
        // What was cut short may have done its work.
        let perhaps = doom.is_some() && !obeyed;
        let obeyed = obeyed || perhaps && matches!(order, Order::Retry | Order::Resume);
        self.ledger.ordered(order, obeyed, self.state.clock, (&before, &after))?;
        match order {
            Order::Rollback(_) | Order::Suspend(_) if perhaps => self.order(Order::Resume),
            _ => Ok(()),
        }
    }

    /// An order that comes to no end, and is to be given again.
    fn cut_short(&mut self, order: Order, doom: &Doom) -> Judgement<()> {
        let stage = Stage::new(self.state.clone());
        stage.host.machine.watch();
        drop(give(&stage, self.words(order)));
        let Some(state) = doom.moment(stage.host.machine.points()) else { return Ok(()) };
        self.state = state;
        self.ledger.counts.cut_short += 1;
        self.see()?;
        if let Some(bits) = doom.lost {
            self.power_cut(bits);
            self.see()?;
        }
        self.state.storage.collect();
        Ok(())
    }

    /// The order, as the program takes it.
    fn words(&self, order: Order) -> agent::Order {
        match order {
            Order::Rollback(until) => agent::Order::Rollback { to: Target::Previous, until },
            Order::Suspend(length) => agent::Order::Suspend { until: length.map(|length| self.now() + length) },
            Order::Resume => agent::Order::Resume,
            Order::Retry => agent::Order::Retry,
            Order::Stop => agent::Order::Stop,
            Order::Start => agent::Order::Start,
            Order::Restart => agent::Order::Restart,
        }
    }

    fn see(&self) -> Judgement<Seen> {
        let served = serving(&self.state)?;
        let answers = served.is_some();
        let front = served.filter(|_| visit(&self.state, SITE).0 == 200);
        Ok(Seen {
            active: active(&self.state).unwrap_or_default().display().to_string(),
            healthy: front.is_some(),
            answers,
            front,
            open: self.state.storage.names(&layout().journal()).iter().any(|name| name == "bakery_pro.json"),
        })
    }

    /// Time goes by until the next pass. What that knows of before: what is to be seen, since when, and whether it may lack something.
    fn next_pass(&mut self) -> Judgement<(Seen, Duration, bool)> {
        self.state.clock += MINUTE;
        let now = self.state.clock;
        if self.state.offline || self.state.storage.room.is_some() {
            self.lacking = now + LINGERS;
        }
        Ok((self.see()?, now, now <= self.lacking))
    }

    /// The last release that was pushed.
    fn pushed(&self) -> Option<String> {
        self.pushed.last().map(|release| release.code.release.clone())
    }

    /// A pass, which may end in the middle, and the promises after it.
    pub fn tick(&mut self) -> Judgement<()> {
        let (before, now, hindered) = self.next_pass()?;
        let (want, pushed) = (self.want(), self.pushed());
        let wanted = as_ledger(&want, pushed.as_deref());
        let (stage, doom) = (Stage::new(self.state.clone()), self.doom.take());
        if doom.is_some() {
            stage.host.machine.watch();
        }
        let outcome = pass_within(&stage, want, self.grace);
        let death = doom.as_ref().and_then(|doom| doom.moment(stage.host.machine.points()));
        let became = if death.is_some() { Became::Killed } else { became(&outcome) };
        self.state = death.unwrap_or_else(|| stage.state());
        self.has_its_grace(now)?;
        let after = self.see().map_err(|why| format!("{became:?}: {why}"))?;
        let started = stage.host.machine.started.borrow();
        let mut pass = Passed { wanted, hindered, before: &before, after: &after, started: &started, now, became };
        let judged = self.ledger.judged(&pass, |extent| agreed(&self.state, extent));
        judged.map_err(|why| format!("{why}; the pass: {outcome:?}\n{pass:#?}\n{:#?}", self.ledger))?;
        if let Some(bits) = doom.and_then(|doom| doom.lost) {
            self.power_cut(bits);
            let back = self.see().map_err(|why| format!("the power went: {why}"))?;
            pass.after = &back;
            self.ledger.comes_back(&pass, self.removed)?;
        }
        self.state.storage.collect();
        Ok(())
    }

    /// What was counted so far.
    pub fn counts(&self) -> &Counts {
        &self.ledger.counts
    }

    /// A pass was made then, or an order given. What was taken off the host is deleted when its time has come, and never before.
    fn has_its_grace(&mut self, now: Duration) -> Judgement<()> {
        let noted = self.state.storage.exists(&layout().removed_note(&name()));
        let gone = self.gone;
        self.gone = noted.then(|| gone.unwrap_or(now));
        match gone {
            Some(gone) if !noted && self.removed && now < gone + self.grace => Err("its grace is cut short".to_owned()),
            _ => Ok(()),
        }
    }

    /// Nobody does anything any more: it comes to rest within two passes, and then so many change nothing.
    pub fn rests(&mut self, passes: usize) -> Judgement<()> {
        (self.git, self.state.offline, self.state.storage.room) = (true, false, None);
        self.state.clock += LINGERS;
        self.doom = None;
        let timed = |hold: &Hold| matches!(hold.kind, HoldKind::Suspended { until: Some(_) });
        if standing(&self.state).holds().any(timed) {
            self.order(Order::Resume)?;
        }
        self.tick()?;
        // The slot that is left cools down.
        self.state.clock += LINGERS;
        self.tick()?;
        // In what is suspended nothing is touched.
        let suspended = standing(&self.state).holds().any(|hold| matches!(hold.kind, HoldKind::Suspended { .. }));
        let running = self.state.services.running().count();
        if running > 1 && !suspended {
            return Err(format!("{running} slots run in an idle world"));
        }
        let stage = Stage::new(self.state.clone());
        stage.host.machine.watch();
        let mut idle = None;
        for pass in 0..passes {
            {
                let mut state = stage.host.machine.state.borrow_mut();
                state.clock += MINUTE;
                // Ten years there and back again: nothing but displayed ages may follow from it.
                state.set = [0, 3650, 0, -3650][pass / 8 % 4] * 86_400;
            }
            let outcome = pass_within(&stage, self.want(), self.grace);
            let kind = (std::mem::discriminant(&outcome), outcome.left().map(std::mem::discriminant));
            if matches!(outcome, Outcome::Failed(_)) || *idle.get_or_insert(kind) != kind {
                return Err(format!("pass {pass} of an idle world ends so: {outcome:?}"));
            }
            if stage.host.machine.calls() > 0 {
                let log = stage.host.machine.log.borrow().clone();
                return Err(format!("pass {pass} of an idle world changes something: {log:?}"));
            }
        }
        match stage.host.machine.points().first() {
            Some(point) => Err(format!("an idle world does something: {}", point.what)),
            None => Ok(()),
        }
    }
}

fn as_ledger<'a>(want: &Want, pushed: Option<&'a str>) -> Wanted<'a> {
    match (want, pushed) {
        (Want::Wanted(_), Some(pushed)) => Wanted::Release(pushed),
        (Want::Absent { .. }, _) => Wanted::Gone,
        _ => Wanted::Unknown,
    }
}

fn became(outcome: &Outcome) -> Became {
    match outcome {
        Outcome::Failed(_) => Became::Failed,
        Outcome::Released { .. } => Became::Released,
        Outcome::NotReleased { .. } if outcome.exit_code() == 3 => Became::Refused,
        // A recovery may have found that.
        Outcome::Left(Left::Quarantined(_)) => Became::Refused,
        _ => Became::Over,
    }
}

/// Whether so much of the machine agrees.
fn agreed(state: &State, extent: Extent) -> Judgement<()> {
    match extent {
        Extent::Whole => at_rest(state).map(drop),
        Extent::Settled | Extent::Nothing => settled(state).map(drop),
        Extent::Stopped => stopped(state),
    }
}

/// Nothing runs, and once somebody starts what is active all of the machine agrees.
fn stopped(state: &State) -> Judgement<()> {
    if let Some(slot) = state.services.running().next() {
        return Err(format!("it is stopped, and {slot:?} runs"));
    }
    let mut state = state.clone();
    forget(&mut state.storage, &layout().stopped_flag(&name()));
    let stage = Stage::new(state);
    for slot in Slot::BOTH {
        let slot = SlotId { env: name(), slot };
        if stage.host.machine.look(|state| state.storage.exists(&layout().wants_link(&name(), slot.slot))) {
            stage.host.services().start(&slot, Duration::ZERO).map_err(|error| error.to_string())?;
        }
    }
    settled(&stage.state()).map(drop)
}

fn power_cut(state: &mut State, bits: u64) {
    let risk = state.storage.at_risk();
    let lost = risk.iter().enumerate().filter(|(at, _)| bits >> (at % 64) & 1 == 1).map(|(_, id)| *id).collect();
    state.storage = state.storage.after_power_cut(&lost);
    boot(state, &layout());
}

fn befall(state: &mut State, accident: Accident) {
    let (layout, name) = (layout(), name());
    let Some(generation) = active(state) else { return };
    let serves = |slot: &Slot| state.storage.real(&layout.slot_link(&name, *slot)).as_ref() == Some(&generation);
    let slot = Slot::BOTH.into_iter().find(serves);
    let storage = &mut state.storage;
    match (accident, slot) {
        (Accident::NginxLinkGone, _) => forget(storage, &layout.nginx_link(&name)),
        (Accident::LogrotateLinkGone, _) => forget(storage, &layout.logrotate_link(&name)),
        (Accident::SocketMoved, _) => forget(storage, &layout.web_socket(&name)),
        (Accident::VhostEdited, _) => edit(storage, &generation.join("nginx.conf")),
        (Accident::SettingsReadable, _) => {
            if let Some(id) = storage.find(&generation.join("settings_local.py"), false) {
                storage.change(id, |face| face.mode = 0o644);
            }
        }
        (Accident::UnitEdited, Some(slot)) => edit(storage, &layout.unit_file(&name, slot)),
        (Accident::SlotStopped, Some(slot)) => state.services.halt(&SlotId { env: name, slot }),
        (Accident::UnitEdited | Accident::SlotStopped, None) => {}
    }
}

pub fn forget(storage: &mut Storage, path: &Path) {
    let parent = path.parent().and_then(|parent| storage.find(parent, true));
    if let (Some(parent), Some(_)) = (parent, storage.find(path, false)) {
        storage.name(parent, path.file_name().expect("a name"), None);
    }
}

/// Somebody's editor, where there is a file. It syncs what it writes: what a power cut empties is nobody's work.
fn edit(storage: &mut Storage, path: &Path) {
    if storage.exists(path) {
        storage.write(path, MINE);
        storage.find(path, false).into_iter().for_each(|file| storage.sync(file));
    }
}
