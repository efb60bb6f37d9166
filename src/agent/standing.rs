//! Holds and quarantine of one environment, on the disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::desired::Wanted;
use crate::history::{Event as Happened, EventKind};
use crate::host::HostError;
use crate::manifest::Policy;
use crate::model::{Digest, EnvName};
use crate::observed::Installed;
use crate::policy::{FailureClass, Hold, HoldKind, Standing};
use crate::transaction::lock::{Place, lock};
use crate::transaction::{Context, Event, Failure, Phase, host_print, standing as read_standing, write_standing};

use super::{Outcome, chronicle};

/// The record without the holds that have ended, made durable before the environment moves: an ended hold must not come back when
/// what it excluded is wanted again. Its lock is held.
pub fn settle(cx: &Context<'_>, name: &EnvName, goes_to: Option<Digest>) -> Result<(), Failure> {
    let now = cx.host.clock().now();
    let standing = read_standing(cx, name)?;
    let settled = standing.settled(goes_to, now);
    if settled.ended.is_empty() {
        return Ok(());
    }
    write_standing(cx, name, &settled.standing).map_err(Failure::on_host(Phase::Recover))?;
    for hold in settled.ended {
        let event = Happened::new(now, Some(name.clone()), EventKind::Resumed, ended(&hold));
        chronicle::write(cx, &event);
    }
    Ok(())
}

/// The environments that have a record in this directory.
pub(super) fn recorded(cx: &Context<'_>, directory: &Path) -> Result<Vec<EnvName>, HostError> {
    let names = cx.host.files().list(directory)?;
    Ok(names.iter().filter_map(|name| EnvName::parse_flat(name.strip_suffix(".json")?).ok()).collect())
}

/// The same, by time alone, of all environments that a whole pass knows nothing of but their records.
pub(super) fn settle_others(cx: &Context<'_>, known: &BTreeMap<EnvName, Outcome>) {
    let now = cx.host.clock().now();
    let ends = |name: &EnvName| read_standing(cx, name).is_ok_and(|it| !it.settled(None, now).ended.is_empty());
    let names = recorded(cx, &cx.layout.policy()).unwrap_or_default();
    for name in names.iter().filter(|name| !known.contains_key(name) && ends(name)) {
        let settled = lock(cx, Place::Environment(name), Duration::ZERO).map(|_lock| settle(cx, name, None));
        // Whoever is at work on one leaves it to the next pass.
        if let Ok(Err(failure)) = settled {
            cx.report.event(&Event::Note { text: &format!("that a hold of {name} ended is not kept: {failure}") });
        }
    }
}

/// When holds are over by time alone, of whatever environment.
pub(super) fn ends(cx: &Context<'_>) -> Vec<Timestamp> {
    let names = recorded(cx, &cx.layout.policy()).unwrap_or_default();
    names.iter().filter_map(|name| read_standing(cx, name).ok()?.next_end()).collect()
}

fn ended(hold: &Hold) -> String {
    match hold.kind {
        HoldKind::RolledBack { .. } => format!("the rollback by {} ended: other content is wanted", hold.by),
        HoldKind::Suspended { .. } => format!("the suspension by {} ended: its time was over", hold.by),
        HoldKind::Stopped => format!("no longer stopped by {}", hold.by),
    }
}

/// The policy of what serves; of what can't be read the strictest.
pub(super) fn policy(installed: &Installed) -> Option<Policy> {
    let damaged = || installed.damaged.as_ref().map(|_| Policy::Pro);
    installed.generation.as_ref().map(|generation| generation.wanted.env.policy).or_else(damaged)
}

/// The record as it counts on this host now: what failed by the host's fault waits no longer once the host has changed.
pub fn standing_here(cx: &Context<'_>, standing: Standing, wanted: Option<&Wanted>) -> Standing {
    let hosts_fault = standing.retry.as_ref().is_some_and(|backoff| backoff.class == FailureClass::Host);
    match wanted {
        Some(wanted) if hosts_fault => standing.on(host_print(cx, wanted)),
        _ => standing,
    }
}
