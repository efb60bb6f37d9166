//! The rules, in the order in which they win.

use std::time::Duration;

use jiff::Timestamp;

use super::{Action, EnvPlan, Serving, Want};
use crate::desired::Wanted;
use crate::model::{Digest, EnvName, Slot, moment};
use crate::observed::{Damaged, Difference, Drift, Installed, Part};
use crate::policy::{Backoff, FailureClass, Hold, HoldKind, Ruling, Standing};

/// What [`decide`] decides from.
#[derive(Debug)]
pub struct Decision<'a> {
    /// What the repository asks for.
    pub want: Want,
    /// Its tag is not where it was when it was released, in words.
    pub moved: Option<String>,
    /// What is on the host.
    pub installed: &'a Installed,
    /// Holds and quarantine.
    pub standing: &'a Standing,
    /// Listeners in its ports that are not its own, in words.
    pub foreign: Option<String>,
    /// This version of the program makes other files of the same content.
    pub renders_differently: bool,
    /// How long what was removed can come back.
    pub grace: Duration,
    /// The wall clock.
    pub now: Timestamp,
}

/// Decides about one environment.
pub fn decide(decision: Decision<'_>) -> EnvPlan {
    let Decision { want, moved, installed, standing, foreign, renders_differently, grace, now } = decision;
    let serves = installed.generation.as_ref().map(|generation| Serving {
        title: generation.wanted.title(),
        generation: generation.number,
        wanted: generation.wanted.clone(),
    });
    let (respected, repairs) = intents_and_drift(installed);
    let (name, wants, action) = (installed.name.clone(), None, Action::Nothing);
    let (stays, retires, settles, stops) = (None, None, false, false);
    let mut plan = EnvPlan { name, serves, wants, action, repairs, respected, stays, moved, retires, settles, stops };
    if let Some(words) = stopped_or_suspended(standing, now) {
        plan.action = words;
        plan.repairs.clear();
    }
    match want {
        Want::Wanted(wanted) => {
            if plan.action == Action::Nothing {
                plan.action = wanted_action(&wanted, installed, standing, foreign, renders_differently, now);
            }
            plan.wants = Some(wanted);
        }
        other if plan.action == Action::Nothing => {
            plan.action =
                kept(&other, installed, standing, now).unwrap_or_else(|| without_wish(other, installed, grace, now));
        }
        _ => {}
    }
    if matches!(plan.action, Action::Remove | Action::Delete) {
        // What somebody changed is to be left, not put right first.
        plan.repairs.clear();
    }
    if plan.action != Action::Release {
        plan.start_if_down(installed);
    }
    plan.stops = matches!(plan.action, Action::Stopped(_)) && installed.starts();
    plan.doubt(installed);
    plan.respect();
    plan.stays = plan.stays.take().filter(|_| plan.action == Action::Start);
    plan.retires = cooled(installed, standing, now).filter(|_| plan.leaves_slots());
    plan.settles = !standing.settled(plan.goes_to(), now).ended.is_empty();
    plan
}

impl EnvPlan {
    /// Whatever keeps an environment from moving does not keep it from serving.
    fn start_if_down(&mut self, installed: &Installed) {
        let may_be_down =
            matches!(self.action, Action::Stopped(_) | Action::Suspended(_) | Action::Remove | Action::Delete);
        if may_be_down || installed.serves() {
            return;
        }
        let before = std::mem::replace(&mut self.action, Action::Start);
        self.stays = Some(Box::new(before)).filter(|before| **before != Action::Nothing);
    }

    /// Neither gives the slot to a candidate, nor stops both, nor may touch nothing.
    fn leaves_slots(&self) -> bool {
        !matches!(
            self.action,
            Action::Release | Action::Remove | Action::Delete | Action::Stopped(_) | Action::Suspended(_)
        )
    }

    /// What serves has lost its record: a release goes beside it and heals that, where it is known which slot is free of it.
    fn doubt(&mut self, installed: &Installed) {
        let Some(damaged) = &installed.damaged else { return };
        let cure = match (&self.action, damaged.slot) {
            (Action::Release, None) => unknown_slot(&self.name, damaged),
            (Action::Start, Some(slot)) => {
                format!("; start slot {slot} with the service manager, or restore the file from a backup")
            }
            _ => return,
        };
        self.action = Action::Blocked(format!("{damaged}{cure}"));
    }

    /// What an operator said to the init system is neither undone nor got round by the other slot.
    fn respect(&mut self) {
        let would_undo = matches!(self.action, Action::Nothing | Action::Release | Action::Start);
        if would_undo && !self.respected.is_empty() {
            self.action = Action::Blocked(self.respected.join("; "));
        }
    }
}

/// A missing wants link is an operator's `systemctl disable`, and a mask is his too: respected. Everything else is drift.
pub fn intents_and_drift(installed: &Installed) -> (Vec<String>, Vec<Drift>) {
    let mask = Difference::Target("/dev/null".into());
    let mut intents: Vec<String> = installed.masked.iter().map(|slot| masked(installed, *slot)).collect();
    let mut repairs = Vec::new();
    for drift in &installed.drift {
        match (drift.expected.part, &drift.found) {
            (Part::Wants, Difference::Missing) => intents.push(format!(
                "{drift} (systemctl disable): it would not start at boot; systemctl enable it, or portreeve stop {}",
                installed.name
            )),
            (Part::Unit, found) if *found == mask => {}
            _ => repairs.push(drift.clone()),
        }
    }
    (intents, repairs)
}

/// The link for nginx says to whom visitors are led, and a slot's link says whose it is.
fn unknown_slot(name: &EnvName, damaged: &Damaged) -> String {
    let (flat, number) = (name.flat(), damaged.number);
    format!(
        ", and no link says which slot serves; restore the file from a backup, or: \
         ln -sfn ../../generations/{flat}/{number} /etc/portreeve/slots/{flat}/SLOT, with a or b for SLOT as \
         readlink /run/portreeve/{flat}/web.sock begins"
    )
}

fn masked(installed: &Installed, slot: Slot) -> String {
    let (name, unit) = (&installed.name, format!("{}@{slot}.service", installed.name.system()));
    format!("{unit} is masked: it can't be started; systemctl unmask {unit}, or portreeve stop {name}")
}

/// The slot that has been warm for long enough: since the release, or since somebody went back from it.
fn cooled(installed: &Installed, standing: &Standing, now: Timestamp) -> Option<Slot> {
    let (slot, serving) = (installed.warm_slot()?, installed.generation.as_ref()?);
    let back = standing.holds().filter(|hold| matches!(hold.kind, HoldKind::RolledBack { .. }));
    let left = back.map(|hold| hold.since).chain([serving.at]).max()?;
    let age = now.duration_since(left);
    let warm = serving.wanted.env.warm.duration();
    (age.is_negative() || age.unsigned_abs() >= warm).then_some(slot)
}

/// The two holds that need no wish to be judged.
fn stopped_or_suspended(standing: &Standing, now: Timestamp) -> Option<Action> {
    match standing.decide(Digest::nothing(), now) {
        Ruling::Stopped(hold) => Some(Action::Stopped(by(hold))),
        Ruling::Suspended { hold, until } => {
            let until = until.map(|until| format!("until {}, ", moment(until, now))).unwrap_or_default();
            Some(Action::Suspended(format!("{until}{}", by(hold))))
        }
        _ => None,
    }
}

fn by(hold: &Hold) -> String {
    let reason = hold.reason.as_ref().map(|reason| format!(": \"{reason}\"")).unwrap_or_default();
    format!("by {}, {}{reason}", hold.by, hold.since.strftime("%d %b %H:%M UTC"))
}

fn wanted_action(
    wanted: &Wanted,
    installed: &Installed,
    standing: &Standing,
    foreign: Option<String>,
    renders_differently: bool,
    now: Timestamp,
) -> Action {
    let serving = installed.generation.as_ref().map(|generation| generation.wanted.digest);
    match standing.decide(wanted.digest, now) {
        Ruling::Held { hold, .. } => Action::Held(by(hold)),
        Ruling::Stopped(hold) => Action::Stopped(by(hold)),
        Ruling::Suspended { hold, .. } => Action::Suspended(by(hold)),
        Ruling::Quarantined(entry) => Action::Quarantined(format!("{}: {}", entry.phase, entry.cause)),
        Ruling::Wait(backoff) => waiting(backoff, &wanted.env.name),
        Ruling::Proceed if serving == Some(wanted.digest) && !renders_differently => Action::Nothing,
        Ruling::Proceed => foreign.map_or(Action::Release, Action::Blocked),
    }
}

/// Where time alone brings nothing, a person must act.
fn waiting(backoff: &Backoff, name: &EnvName) -> Action {
    let Backoff { class, phase, cause, .. } = backoff;
    match backoff.due() {
        Some(due) => {
            let words = format!("{phase}: {cause}; again after {}", due.strftime("%H:%M:%S UTC"));
            if *class == FailureClass::Host { Action::Hindered(words) } else { Action::Waiting(words) }
        }
        None => Action::Blocked(format!("{phase}: {cause}; when that is put right: portreeve retry {name}")),
    }
}

/// Whoever went back until he says otherwise has not said so by taking it out of the repository.
fn kept(want: &Want, installed: &Installed, standing: &Standing, now: Timestamp) -> Option<Action> {
    let would_go = matches!(want, Want::Absent { .. }) && installed.active.is_some_and(|active| active > 0);
    match standing.decide(Digest::nothing(), now) {
        Ruling::Held { hold, .. } if would_go => Some(Action::Held(by(hold))),
        _ => None,
    }
}

fn without_wish(want: Want, installed: &Installed, grace: Duration, now: Timestamp) -> Action {
    match want {
        Want::Absent { .. } if installed.active.is_none() => Action::Nothing,
        // It serves nothing: what was removed, or a first release that did not come to its end.
        Want::Absent { .. } if installed.active == Some(0) => gone(installed, grace, now),
        Want::Absent { tombstone: true } if grace.is_zero() => Action::Delete,
        Want::Absent { tombstone: true } => Action::Remove,
        Want::Absent { tombstone: false } => Action::Blocked(
            "it is no longer in the repository, and pro goes only with `removed = true` in its file".to_owned(),
        ),
        Want::Unusable(words) => Action::Blocked(words),
        Want::Later(words) => Action::Waiting(words),
        Want::Diverged(words) => Action::Diverged(words),
        Want::Unknown(words) => Action::Stale(words),
        Want::Wanted(_) => Action::Nothing,
    }
}

/// The grace counts from the note that ends a removal; before it, whatever was removed is removed again.
fn gone(installed: &Installed, grace: Duration, now: Timestamp) -> Action {
    let Some(removed) = &installed.removed else {
        return if grace.is_zero() { Action::Delete } else { Action::Remove };
    };
    let until = removed.ends(grace);
    if until.is_some_and(|until| until <= now) {
        return Action::Delete;
    }
    let when = until.map_or_else(String::new, |until| format!("; its files go {}", until.strftime("%d %b %H:%M UTC")));
    let since = removed.since.strftime("%d %b %H:%M UTC");
    Action::Removed { words: format!("removed {since}{when}; {}", removed.stays()), until }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Activity, Service};
    use crate::observed::Removed;
    use crate::policy::{Phase, Until};

    const DAY: Duration = Duration::from_hours(24);

    fn action(want: Want, active: Option<u64>) -> Action {
        let installed = Installed { active, ..Installed::nothing(EnvName::parse("bakery/dev").unwrap()) };
        let standing = &Standing::default();
        act(want, &installed, standing, DAY, Timestamp::UNIX_EPOCH)
    }

    fn act(want: Want, installed: &Installed, standing: &Standing, grace: Duration, now: Timestamp) -> Action {
        let (moved, foreign, renders_differently) = (None, None, false);
        decide(Decision { want, moved, installed, standing, foreign, renders_differently, grace, now }).action
    }

    /// Generation 7 serves, and its slot is in this state.
    fn serving(activity: Activity) -> Installed {
        let name = EnvName::parse("bakery/pro").unwrap();
        let generation = crate::desired::Generation {
            format: crate::desired::Generation::FORMAT,
            name: name.clone(),
            number: 7,
            slot: Slot::A,
            at: Timestamp::UNIX_EPOCH,
            boot: None,
            why: crate::desired::Why::Push,
            wanted: crate::plan::need::tests::wanted(&name),
        };
        let service = Service { activity, pid: 1, restarts: 0, masked: false };
        let services = std::collections::BTreeMap::from([(Slot::A, service)]);
        Installed { active: Some(7), generation: Some(generation), services, ..Installed::nothing(name) }
    }

    /// Its record is gone with its generation, so nothing says any more whether it needed a tombstone.
    #[test]
    fn a_removal_that_was_interrupted_ends_without_a_tombstone() {
        let gone = |active| action(Want::Absent { tombstone: false }, active);
        assert_eq!(gone(Some(0)), Action::Remove);
        assert_eq!(gone(None), Action::Nothing);
        assert!(matches!(gone(Some(7)), Action::Blocked(_)));
        assert_eq!(action(Want::Unknown("no network".to_owned()), Some(0)), Action::Stale("no network".to_owned()));
    }

    /// By another version of this program it is made of other files, and these can fail.
    #[test]
    fn what_serves_is_not_released_again_and_again_where_it_fails_in_other_files() {
        let installed = serving(Activity::Active);
        let wanted = installed.generation.as_ref().unwrap().wanted.clone();
        let action = |standing: &Standing| {
            let (want, now) = (Want::Wanted(Box::new(wanted.clone())), Timestamp::UNIX_EPOCH);
            let (moved, foreign, renders_differently, installed) = (None, None, true, &installed);
            decide(Decision { want, moved, installed, standing, foreign, renders_differently, grace: DAY, now }).action
        };
        assert_eq!(action(&Standing::default()), Action::Release);
        let (class, phase, digest) =
            (crate::policy::FailureClass::Release, crate::policy::Phase::Health, wanted.digest);
        let failure = crate::policy::Failure {
            class,
            phase,
            digest,
            generation: None,
            cause: "500".to_owned(),
            evidence: None,
            help: None,
            host: None,
        };
        let failed = Standing::default().after_failure(failure, Timestamp::UNIX_EPOCH);
        assert!(matches!(action(&failed), Action::Quarantined(_)));
        assert_eq!(action(&failed.retried(digest)), Action::Release);
    }

    #[test]
    fn what_only_waits_for_its_next_try_is_started() {
        let action = |activity| {
            let installed = serving(activity);
            let wanted = installed.generation.as_ref().unwrap().wanted.clone();
            act(Want::Wanted(Box::new(wanted)), &installed, &Standing::default(), DAY, Timestamp::UNIX_EPOCH)
        };
        for up in [Activity::Active, Activity::Changing] {
            assert_eq!(action(up), Action::Nothing, "{up:?}");
        }
        for down in [Activity::Waiting, Activity::Failed, Activity::Inactive] {
            assert_eq!(action(down), Action::Start, "{down:?}");
        }
    }

    #[test]
    fn a_wait_for_the_host_is_a_block_and_one_for_the_network_is_not() {
        let (digest, phase, next) = (Digest::of(b"v2"), Phase::Build, Timestamp::UNIX_EPOCH);
        let (failures, seen, cause, help, host) = (1, 0, "no room".to_owned(), None, None);
        let name = EnvName::parse("bakery/pro").unwrap();
        let after = |class| {
            let (cause, help) = (cause.clone(), help.clone());
            waiting(&Backoff { digest, failures, seen, next, class, phase, cause, help, host }, &name)
        };
        let words = "build: no room; again after 00:00:00 UTC".to_owned();
        assert_eq!(after(FailureClass::Host), Action::Hindered(words.clone()));
        assert_eq!(after(FailureClass::Transient), Action::Waiting(words));
    }

    #[test]
    fn what_is_down_is_started_and_stays_what_it_was() {
        let name = EnvName::parse("bakery/pro").unwrap();
        let wanted = crate::plan::need::tests::wanted(&name);
        let (number, slot, at, boot) = (7, Slot::A, Timestamp::UNIX_EPOCH, None);
        let (format, why) = (crate::desired::Generation::FORMAT, crate::desired::Why::Push);
        let generation = crate::desired::Generation { format, name: name.clone(), number, slot, at, boot, why, wanted };
        let (active, generation) = (Some(7), Some(generation));
        let installed = &Installed { active, generation, ..Installed::nothing(name) };
        let plan = |want| {
            let (moved, foreign, renders_differently, standing) = (None, None, false, &Standing::default());
            let now = Timestamp::UNIX_EPOCH;
            decide(Decision { want, moved, installed, standing, foreign, renders_differently, grace: DAY, now })
        };
        let stale = plan(Want::Unknown("no network".to_owned()));
        assert_eq!(stale.action, Action::Start);
        assert_eq!(stale.stays.as_deref(), Some(&Action::Stale("no network".to_owned())));
        assert!(stale.changes() && !stale.follows());
        let serves = installed.generation.as_ref().map(|generation| Box::new(generation.wanted.clone()));
        let well = plan(Want::Wanted(serves.unwrap()));
        assert_eq!((&well.action, &well.stays), (&Action::Start, &None));
        assert!(well.follows());
    }

    #[test]
    fn a_rollback_that_holds_until_it_is_resumed_keeps_what_is_removed() {
        let installed = Installed { active: Some(7), ..Installed::nothing(EnvName::parse("bakery/dev").unwrap()) };
        let held = |until| {
            let excludes = std::collections::BTreeSet::from([Digest::of(b"v2")]);
            let kind = HoldKind::RolledBack { pinned: 7, excludes, until, left: None };
            let hold = Hold { kind, by: "anna".to_owned(), reason: None, since: Timestamp::UNIX_EPOCH };
            let standing = Standing::default().rolled_back(hold, Digest::of(b"v1"));
            act(Want::Absent { tombstone: true }, &installed, &standing, DAY, Timestamp::UNIX_EPOCH)
        };
        assert!(matches!(held(Until::Resume), Action::Held(words) if words.starts_with("by anna")));
        assert_eq!(held(Until::Change), Action::Remove, "to be gone is another content");
    }

    /// By whatever a clock says: nothing goes before its grace is over, and a clock that was set back only delays it.
    #[test]
    fn what_was_removed_goes_when_its_grace_is_over() {
        let since = Timestamp::from_second(1_000_000).unwrap();
        let removed = Some(Removed {
            format: 1,
            since,
            boot: None,
            anew: None,
            kept: vec!["/home/foouser/bakery/dev/data".into()],
        });
        let installed =
            Installed { active: Some(0), removed, ..Installed::nothing(EnvName::parse("bakery/dev").unwrap()) };
        let gone = || Want::Absent { tombstone: false };
        let after = |seconds: i64, grace| {
            let now = Timestamp::from_second(1_000_000 + seconds).unwrap();
            act(gone(), &installed, &Standing::default(), grace, now)
        };
        for seconds in [-400_000_000, -1, 0, 86_399] {
            let Action::Removed { words, until } = after(seconds, DAY) else { panic!("{seconds}") };
            assert_eq!(until, since.checked_add(DAY).ok());
            assert!(words.contains("/home/foouser/bakery/dev/data stay"), "{words}");
        }
        assert_eq!(after(86_400, DAY), Action::Delete);
        assert_eq!(after(0, Duration::ZERO), Action::Delete);
        let serving = Installed { active: Some(7), ..installed.clone() };
        let now = |grace| act(Want::Absent { tombstone: true }, &serving, &Standing::default(), grace, since);
        assert_eq!((now(DAY), now(Duration::ZERO)), (Action::Remove, Action::Delete));
        assert!(matches!(
            act(Want::Diverged("rewritten".to_owned()), &serving, &Standing::default(), Duration::ZERO, since),
            Action::Diverged(_)
        ));
    }
}
