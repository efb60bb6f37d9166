//! Looks at an environment without asking the network: the host, its standing, what the last pass saw.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::explain::{Answered, Explanation, Facts, explain};
use super::standing::recorded;
use super::{App, LastPass, Troubles, moving, read_last_pass, read_standing, read_troubles, schedule};
use crate::host::{HostError, Request, Target};
use crate::model::{Digest, EnvName, Service, SlotId, ago};
use crate::observed::Installed;
use crate::policy::{HoldKind, Ruling, Standing};
use crate::source::{CommitInfo, Objects};
use crate::transaction::{self, Context, Failure, Phase, Quiet, chain};

/// A pass that is later than this is missed: a long build delays one too.
const LATE: SignedDuration = SignedDuration::from_mins(10);
/// No answer is waited for longer, whatever its health check allows.
const PATIENCE: Duration = Duration::from_secs(5);

/// When the next pass comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextPass {
    /// Then.
    At(Timestamp),
    /// It should have come; the last was so long ago.
    Missed(SignedDuration),
    /// It should have come; there was none since this host started, so long ago.
    NoneSinceBoot(SignedDuration),
}

impl std::fmt::Display for NextPass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At(time) => write!(f, "{}", time.strftime("%H:%M:%S UTC")),
            Self::Missed(age) => write!(f, "but none came for {}: systemctl status portreeve", ago(*age)),
            Self::NoneSinceBoot(age) => {
                write!(f, "but none came since this host started, {} ago: systemctl status portreeve", ago(*age))
            }
        }
    }
}

/// When the next pass comes, if the agent runs.
pub fn next_pass(app: &App, last: &LastPass) -> NextPass {
    let clock = app.host.clock();
    let offset = schedule::offset(&app.name, app.settings.jitter.duration());
    due(|time| app.settings.schedule.next_after(time, offset), last.at, clock.boot().began, clock.now())
}

/// Of the last pass nothing is known before the first one after a boot.
fn due(
    next_after: impl Fn(Timestamp) -> Timestamp,
    last: Option<Timestamp>,
    boot: Timestamp,
    now: Timestamp,
) -> NextPass {
    let is_late = |since| now.duration_since(next_after(since)) > LATE;
    match last {
        Some(at) if is_late(at) => NextPass::Missed(now.duration_since(at)),
        None if is_late(boot) => NextPass::NoneSinceBoot(now.duration_since(boot)),
        _ => NextPass::At(next_after(now)),
    }
}

/// The environments that this host knows: what is installed, what the last pass saw, what is being released, what a person or a
/// failure left word of.
pub fn known(cx: &Context<'_>) -> Result<BTreeSet<EnvName>, HostError> {
    let mut names: BTreeSet<EnvName> = read_last_pass(cx).environments.into_keys().collect();
    names.extend(recorded(cx, &cx.layout.journal())?);
    names.extend(recorded(cx, &cx.layout.policy())?);
    names.extend(transaction::installed_names(cx)?);
    Ok(names)
}

/// The environments that [`look`] explains. No site is asked whether it answers.
pub fn names(app: &App) -> Result<Vec<EnvName>, Failure> {
    let cx = app.context(&Quiet);
    let (last, now) = (read_last_pass(&cx), cx.host.clock().now());
    let shown = |name: &EnvName| {
        let standing = read_standing(&cx, name).ok();
        let installed = transaction::installed(&cx, name, &BTreeMap::new()).ok();
        let is_shown = |installed: Installed| is_shown(&installed, standing.as_ref(), &last, now);
        moving(&cx, name).is_some() || installed.is_none_or(is_shown)
    };
    Ok(known(&cx).map_err(Failure::on_host(Phase::Recover))?.into_iter().filter(shown).collect())
}

/// Explains `only` these environments, or all, by name. One that was taken off this host is not among them.
pub fn look(app: &App, only: &[EnvName]) -> Result<Vec<Explanation>, Failure> {
    let on_host = Failure::on_host(Phase::Recover);
    let cx = app.context(&Quiet);
    let services = cx.host.services().services().map_err(&on_host)?;
    let last = read_last_pass(&cx);
    let troubles = read_troubles(&cx);
    let tip = tip(&cx, &last);
    let names = known(&cx).map_err(&on_host)?.into_iter().filter(|name| only.is_empty() || only.contains(name));
    let all = names.map(|name| one(app, &cx, (&last, &troubles), tip.as_ref(), &services, &name));
    Ok(all.flatten().collect())
}

/// From this host's clone; who has lost that, or has a damaged one, is told the commit's id only.
fn tip(cx: &Context<'_>, last: &LastPass) -> Option<CommitInfo> {
    Objects::open(&cx.layout.deploy_clone()).ok()?.commit_info(last.tip.as_ref()?).ok()
}

fn one(
    app: &App,
    cx: &Context<'_>,
    (last, troubles): (&LastPass, &Troubles),
    tip: Option<&CommitInfo>,
    services: &BTreeMap<SlotId, Service>,
    name: &EnvName,
) -> Option<Explanation> {
    // What can't be read, or is a newer portreeve's, keeps no other from being shown.
    let (installed, standing) = match transaction::installed(cx, name, services) {
        Ok(installed) => (installed, read_standing(cx, name)),
        Err(failure) => (Installed::nothing(name.clone()), Err(failure)),
    };
    let moving = moving(cx, name);
    let now = cx.host.clock().now();
    if moving.is_none() && !is_shown(&installed, standing.as_ref().ok(), last, now) {
        return None;
    }
    let pinned = standing.as_ref().ok().and_then(|standing| {
        standing.holds().find_map(|hold| match hold.kind {
            HoldKind::RolledBack { pinned, .. } => transaction::read_generation(cx, name, pinned).ok().flatten(),
            HoldKind::Suspended { .. } | HoldKind::Stopped => None,
        })
    });
    let answer = answer(cx, &installed);
    let facts = Facts {
        installed: &installed,
        standing: standing.as_ref().map_err(|failure| failure.cause.as_str()),
        last,
        since: last.environments.get(name).and_then(|seen| troubles.since(name, seen.left.as_ref()?)),
        branch: &app.settings.branch,
        tip,
        moving: moving.as_ref(),
        answer: answer.as_ref(),
        pinned: pinned.as_ref(),
        next_pass: next_pass(app, last),
        now,
    };
    Some(explain(&facts))
}

/// Of what is not here people are told what they ordered, what the last pass spoke of, and, until a pass has read what is wanted,
/// what failed; of what can't be read, that.
fn is_shown(installed: &Installed, standing: Option<&Standing>, last: &LastPass, now: Timestamp) -> bool {
    let has_read = last.at.is_some() && last.trouble.is_none();
    let never_here = installed.active != Some(0);
    installed.title().is_some()
        || last.environments.contains_key(&installed.name)
        || standing.map_or(never_here, |standing| match standing.decide(Digest::nothing(), now) {
            Ruling::Held { .. } | Ruling::Suspended { .. } | Ruling::Stopped(_) => true,
            _ => never_here && !has_read && (!standing.quarantine.is_empty() || standing.retry.is_some()),
        })
}

/// What its users get now, through the web server.
fn answer(cx: &Context<'_>, installed: &Installed) -> Option<Answered> {
    let env = &installed.generation.as_ref()?.wanted.env;
    let request = Request {
        target: Target::Port(cx.facts.http_port),
        host: env.domains.first()?.to_string().replace("*.", "www."),
        path: env.health.path.clone(),
        forwarded_https: false,
        timeout: env.health.timeout.duration().min(PATIENCE),
    };
    Some(match cx.host.probe().get(&request) {
        Ok(Ok(answer)) => Answered::Status {
            status: answer.status,
            took_ms: u64::try_from(answer.took.as_millis()).unwrap_or(u64::MAX),
        },
        Ok(Err(why)) => Answered::Silent(why),
        Err(error) => Answered::Silent(chain(&error)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{self, FailureClass, Hold};

    #[test]
    fn of_what_is_not_here_people_are_told_what_counts() {
        let at = |minute: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute);
        let (digest, cause) = (Digest::of(b"v2"), "answered 500".to_owned());
        let (class, phase) = (FailureClass::Release, policy::Phase::Health);
        let failure =
            policy::Failure { class, phase, digest, generation: None, cause, evidence: None, help: None, host: None };
        let failed = Standing::default().after_failure(failure, at(0));
        let kind = HoldKind::Suspended { until: Some(at(60)) };
        let suspended = Standing::default().suspended(Hold { kind, by: "anna".to_owned(), reason: None, since: at(0) });
        let read = LastPass { at: Some(at(1)), ..LastPass::default() };
        let stale = LastPass { trouble: Some("no answer".to_owned()), ..read.clone() };
        let shown = |active, standing: &Standing, last: &LastPass, minute| {
            let installed = Installed { active, ..Installed::nothing(EnvName::parse("bakery/dev").unwrap()) };
            is_shown(&installed, Some(standing), last, at(minute))
        };
        for unread in [&LastPass::default(), &stale] {
            assert!(shown(None, &failed, unread, 2), "it may be wanted");
            assert!(!shown(Some(0), &failed, unread, 2), "it was removed");
        }
        assert!(!shown(None, &failed, &read, 2), "nobody wants it");
        for active in [None, Some(0)] {
            assert!(shown(active, &suspended, &read, 2), "an order lasts");
            assert!(!shown(active, &suspended, &read, 60), "it has ended");
        }
    }

    #[test]
    fn a_pass_that_nobody_makes_is_promised_by_none() {
        let schedule = schedule::Schedule::parse("*/2 * * * *").unwrap();
        let at = |minute: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute);
        let due = |last, now| due(|time| schedule.next_after(time, Duration::ZERO), last, at(0), at(now));
        assert_eq!(due(Some(at(20)), 21), NextPass::At(at(22)));
        assert_eq!(due(Some(at(20)), 40), NextPass::Missed(SignedDuration::from_mins(20)));
        assert_eq!(due(None, 3), NextPass::At(at(4)), "the host has just started");
        assert_eq!(due(None, 40), NextPass::NoneSinceBoot(SignedDuration::from_mins(40)));
    }
}
