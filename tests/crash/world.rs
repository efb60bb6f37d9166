//! One environment's life, step by step: pushes, orders, accidents, and a pass after each. Whatever comes, the promises hold.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portreeve::agent::{Order, Outcome, Target};
use portreeve::host::Host as _;
use portreeve::model::{Digest, Slot, SlotId};
use portreeve::plan::Want;
use portreeve::policy::{Hold, HoldKind, Until};

use crate::host::boot;
use crate::machine::{Point, State};
use crate::oracle::{Judgement, active, at_rest, serving, settled};
use crate::program::{give, pass_for};
use crate::scenarios::standing;
use crate::site::{Release, Stage, bare, layout, name};
use crate::step::{Accident, Behaviour, Step};
use crate::storage::Storage;

/// The environment's world.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about the world, and all combinations occur"
)]
pub struct World {
    pub state: State,
    /// What was pushed, oldest first.
    pushed: Vec<Release>,
    rewritten: bool,
    git: bool,
    /// Whether anything ever served well.
    served: bool,
    /// Something happened to the host, and no pass has put it right yet.
    drifted: bool,
    /// How the next pass ends.
    doom: Option<Doom>,
    /// Passes that died in the middle of something.
    pub died: usize,
}

/// A pass that ends in the middle, so far on; with the power, these files and directories are lost.
struct Doom {
    share: u16,
    lost: Option<u64>,
}

/// A pass every so often.
const MINUTE: Duration = Duration::from_mins(1);

impl World {
    pub fn new() -> Self {
        let (pushed, doom) = (Vec::new(), None);
        Self { state: bare(), pushed, rewritten: false, git: true, served: false, drifted: false, doom, died: 0 }
    }

    fn want(&self) -> Want {
        match self.pushed.last() {
            _ if !self.git => Want::Unknown("no answer".to_owned()),
            None => Want::Unusable("nothing was pushed".to_owned()),
            Some(_) if self.rewritten && self.served => Want::Diverged("the branch was rewritten".to_owned()),
            Some(release) => Want::Wanted(Box::new(release.wanted())),
        }
    }

    fn push(&mut self, behaviour: Behaviour) {
        let push = u32::try_from(self.pushed.len()).expect("few");
        let title = format!("v{push}-{}", behaviour.word());
        self.pushed.push(Release { push, keep: 2, ..Release::new(&title, behaviour) });
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
                self.happen(step);
                return match self.doom.take() {
                    Some(doom) => self.die(&doom),
                    None => self.tick(),
                };
            }
        }
        Ok(())
    }

    fn happen(&mut self, step: &Step) {
        match step {
            Step::Push(behaviour) => self.push(*behaviour),
            Step::PushSame => self.push_again(0),
            Step::PushOld(back) => self.push_again(*back),
            Step::ForcePush => {
                self.push(Behaviour::Well);
                self.rewritten = true;
            }
            Step::PutBack => self.rewritten = false,
            Step::Rollback(until) => self.order(Order::Rollback { to: Target::Previous, until: *until }),
            Step::Suspend(hours) => {
                let now = self.now();
                let until = hours.map(|hours| now + jiff::SignedDuration::from_hours(hours));
                self.order(Order::Suspend { until });
            }
            Step::Resume => self.order(Order::Resume),
            Step::Retry => self.order(Order::Retry),
            Step::Stop => self.order(Order::Stop),
            Step::Start => self.order(Order::Start),
            Step::Restart => self.order(Order::Restart),
            Step::Kill(_) | Step::PowerCut(..) => {}
            Step::Reboot => {
                self.state.storage.sync_all();
                power_cut(&mut self.state, 0);
            }
            Step::Drift(accident) => {
                self.drifted = true;
                befall(&mut self.state, *accident);
            }
            Step::Clock(days) => self.state.set = self.state.set.saturating_add(days * 86_400),
            Step::Git(answers) => self.git = *answers,
            Step::Wait(minutes) => self.state.clock += MINUTE * u32::try_from(*minutes).expect("few"),
        }
        self.state.storage.collect();
    }

    /// What visitors get.
    pub fn serves(&self) -> Option<String> {
        serving(&self.state).expect("all of the host agrees")
    }

    fn now(&self) -> jiff::Timestamp {
        Stage::new(self.state.clone()).host.clock().now()
    }

    /// Refused or not: what it said is judged elsewhere.
    fn order(&mut self, order: Order) {
        let stage = Stage::new(self.state.clone());
        drop(give(&stage, order));
        self.state = stage.state();
    }

    /// A pass that ends in the middle. Visitors don't notice, but for the power.
    fn die(&mut self, doom: &Doom) -> Judgement<()> {
        self.state.clock += MINUTE;
        let before = Before::of(self)?;
        let stage = Stage::new(self.state.clone());
        stage.host.machine.watch();
        drop(pass_for(&stage, self.want()));
        before.keeps_out(&stage.host.machine.started.borrow())?;
        let points: Vec<Point> = stage.host.machine.points();
        let at = points.len() * usize::from(doom.share) / (usize::from(u16::MAX) + 1);
        if let Some(point) = points.into_iter().nth(at) {
            self.died += 1;
            self.state = point.state;
        }
        let serves = serving(&self.state).map_err(|why| format!("a pass died: {why}"))?;
        // A first release that turns out to be bad is taken away again.
        if self.served && before.serves.is_some() && serves.is_none() {
            return Err(format!("{:?} served, and nothing since a pass died", before.serves));
        }
        before.holds(&self.state)?;
        if let Some(bits) = doom.lost {
            power_cut(&mut self.state, bits);
            let back = serving(&self.state).map_err(|why| format!("the power went: {why}"))?;
            if self.served && !self.drifted && before.serves.is_some() && back.is_none() {
                return Err(format!("{:?} served, and nothing since the power went", before.serves));
            }
            before.holds(&self.state)?;
        }
        self.state.storage.collect();
        Ok(())
    }

    /// A pass, and the promises after it.
    pub fn tick(&mut self) -> Judgement<()> {
        self.state.clock += MINUTE;
        let before = Before::of(self)?;
        let stage = Stage::new(self.state.clone());
        let outcome = pass_for(&stage, self.want());
        self.state = stage.state();
        let started = stage.host.machine.started.borrow().clone();
        self.judge(&before, &outcome, &started).map_err(|why| format!("{why}; the pass: {outcome:?}"))
    }

    fn judge(&mut self, before: &Before, outcome: &Outcome, started: &[Digest]) -> Judgement<()> {
        if let Outcome::Failed(failure) = outcome {
            return Err(format!("the pass fails: {failure}"));
        }
        before.keeps_out(started)?;
        before.holds(&self.state)?;
        if before.untouched {
            // Nothing is changed, not even drift: what served before still does.
            let served = serving(&self.state)?;
            return same_or_better(before.serves.as_deref(), served.as_deref());
        }
        let stopped = standing(&self.state).holds().any(|hold| hold.kind == HoldKind::Stopped);
        let served = match stopped {
            true => serving(&self.state)?,
            // A first release that came to no record says nothing of where it was built; the next one knows.
            false if !self.served => settled(&self.state)?,
            false => at_rest(&self.state)?,
        };
        if served.is_none() && self.served && !stopped {
            return Err("nothing serves".to_owned());
        }
        self.served |= served.is_some();
        self.drifted &= stopped;
        if stopped || Before::of(self)?.held { Ok(()) } else { self.arrived(served.as_deref()) }
    }

    /// What is wanted and good serves, where nothing holds it.
    fn arrived(&self, served: Option<&str>) -> Judgement<()> {
        let good = self.pushed.last().filter(|release| release.code.behaviour == Behaviour::Well);
        match good {
            Some(release) if served != Some(release.code.release.as_str()) => {
                Err(format!("{} is good, and {served:?} serves", release.code.release))
            }
            _ => Ok(()),
        }
    }

    /// Nobody does anything any more: it comes to rest within two passes, and then so many change nothing.
    pub fn rests(&mut self, passes: usize) -> Judgement<()> {
        self.git = true;
        self.doom = None;
        let timed = |hold: &Hold| matches!(hold.kind, HoldKind::Suspended { until: Some(_) });
        if standing(&self.state).holds().any(timed) {
            self.order(Order::Resume);
        }
        self.tick()?;
        self.tick()?;
        let stage = Stage::new(self.state.clone());
        stage.host.machine.watch();
        for pass in 0..passes {
            let mut state = stage.state();
            state.clock += MINUTE;
            // Ten years there and back again: nothing but displayed ages may follow from it.
            state.set = [0, 3650, 0, -3650][pass / 8 % 4] * 86_400;
            *stage.host.machine.state.borrow_mut() = state;
            drop(pass_for(&stage, self.want()));
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

/// What a pass finds.
struct Before {
    active: Option<PathBuf>,
    serves: Option<String>,
    quarantine: BTreeSet<Digest>,
    /// It may not move.
    held: bool,
    /// Nothing may be changed at all.
    untouched: bool,
}

impl Before {
    fn of(world: &World) -> Judgement<Self> {
        let (state, standing) = (&world.state, standing(&world.state));
        let wanted = world.pushed.last().map(|release| release.wanted().digest);
        let now = world.now();
        let kept = |kind: &HoldKind| match kind {
            HoldKind::Stopped | HoldKind::RolledBack { until: Until::Resume, .. } => true,
            HoldKind::Suspended { until } => until.is_none_or(|until| now < until),
            HoldKind::RolledBack { until: Until::Change, excludes, .. } => {
                !world.git || world.rewritten || wanted.is_none_or(|wanted| excludes.contains(&wanted))
            }
        };
        // What a killed program left is ended first, and that may move it.
        let open = !state.storage.names(&layout().journal()).is_empty();
        let untouched =
            standing.holds().any(|hold| matches!(hold.kind, HoldKind::Suspended { .. }) && kept(&hold.kind));
        Ok(Self {
            active: active(state),
            serves: serving(state)?,
            quarantine: standing.quarantine.iter().map(|entry| entry.digest).collect(),
            held: !open
                && (!world.git || world.rewritten && world.served || standing.holds().any(|hold| kept(&hold.kind))),
            untouched: untouched && !open,
        })
    }
}

impl Before {
    /// What was refused is not started.
    fn keeps_out(&self, started: &[Digest]) -> Judgement<()> {
        match started.iter().find(|digest| self.quarantine.contains(digest)) {
            Some(again) => Err(format!("{again} is in quarantine and was started again")),
            None => Ok(()),
        }
    }

    /// What is held does not move.
    fn holds(&self, state: &State) -> Judgement<()> {
        let active = active(state);
        if self.held && active != self.active {
            return Err(format!("it is held at {:?}, and went to {active:?}", self.active));
        }
        Ok(())
    }
}

fn same_or_better(before: Option<&str>, after: Option<&str>) -> Judgement<()> {
    if before.is_none() || before == after { Ok(()) } else { Err(format!("{before:?} served, and now {after:?}")) }
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

/// Somebody's editor, where there is a file.
fn edit(storage: &mut Storage, path: &Path) {
    if storage.exists(path) {
        storage.write(path, b"# mine\n");
    }
}
