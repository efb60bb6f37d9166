//! Holds and quarantine of one environment, on the disk.

use std::path::PathBuf;

use crate::desired::Wanted;
use crate::history::{Event as Happened, EventKind};
use crate::host::HostError;
use crate::model::{Digest, EnvName, Identity, Node};
use crate::plan::{Action, EnvPlan};
use crate::policy::{FailureClass, Hold, HoldKind, Standing};
use crate::transaction::{Context, Failure, Phase, chain};

use super::chronicle;

pub use crate::transaction::standing as read_standing;

/// Makes the record durable; an empty one is removed.
pub fn write_standing(cx: &Context<'_>, name: &EnvName, standing: &Standing) -> Result<(), HostError> {
    let files = cx.host.files();
    let path = cx.layout.standing(name);
    if *standing == Standing::default() {
        return files.remove(&path);
    }
    files.make_directory(&cx.layout.policy(), 0o700, Identity::ROOT)?;
    files.put(&path, &Node::File { bytes: standing.to_bytes(), mode: 0o600, owner: Identity::ROOT })
}

/// The record without the holds that have ended, made durable before the environment moves: an ended hold must not come back when
/// what it excluded is wanted again. Its lock is held.
pub fn settle(cx: &Context<'_>, plan: &EnvPlan) -> Result<(), Failure> {
    let Some(wanted) = &plan.wants else { return Ok(()) };
    if !matches!(plan.action, Action::Nothing | Action::Release | Action::Start) {
        return Ok(());
    }
    let now = cx.host.clock().now();
    let standing = read_standing(cx, &plan.name)?;
    let settled = standing.settled(wanted.digest, now);
    if settled.standing == standing {
        return Ok(());
    }
    write_standing(cx, &plan.name, &settled.standing).map_err(Failure::on_host(Phase::Recover))?;
    for hold in settled.ended {
        let event = Happened::new(now, Some(plan.name.clone()), EventKind::Resumed, ended(&hold));
        chronicle::write(cx, &event);
    }
    Ok(())
}

fn ended(hold: &Hold) -> String {
    match hold.kind {
        HoldKind::RolledBack { .. } => format!("the rollback by {} ended: other content is wanted", hold.by),
        HoldKind::Suspended { .. } => format!("the suspension by {} ended: its time was over", hold.by),
        HoldKind::Stopped => format!("no longer stopped by {}", hold.by),
    }
}

/// The record as it counts on this host now: what failed by the host's fault waits no longer once the host has changed.
pub fn standing_here(cx: &Context<'_>, standing: Standing, wanted: Option<&Wanted>) -> Standing {
    let hosts_fault = standing.retry.as_ref().is_some_and(|backoff| backoff.class == FailureClass::Host);
    match wanted {
        Some(wanted) if hosts_fault => standing.on(host_print(cx, wanted)),
        _ => standing,
    }
}

/// Of what the host is like, as far as releases fail by it: room on its disks, users, the web server and its configuration.
pub fn host_print(cx: &Context<'_>, wanted: &Wanted) -> Digest {
    let files = cx.host.files();
    let layout = cx.layout;
    let places = [layout.state(), layout.config(), cx.paths(wanted).home()];
    let room = places.iter().map(|place| match files.free_space(place) {
        Ok(free) => format!("{} {:?}", step(free.bytes), free.inodes.map(step)),
        Err(error) => chain(&error),
    });
    let mut stamped = vec![PathBuf::from("/etc/passwd"), PathBuf::from("/etc/group"), layout.nginx_conf()];
    for directory in [layout.nginx_sites(), layout.nginx_conf_d()] {
        let names = files.list(&directory).unwrap_or_default().into_iter();
        stamped.extend(names.map(|name| directory.join(name)));
    }
    let stamps = stamped.iter().map(|path| format!("{} {}", path.display(), files.stamp(path).unwrap_or_default()));
    let front = format!("{:?}", cx.host.front().running().ok());
    let all: Vec<String> = room.chain(stamps).chain([front]).collect();
    Digest::of(all.join("\n").as_bytes())
}

/// Free room in steps of a factor of 1.4: what others write meanwhile is no change, and what makes a release fit mostly is.
fn step(free: u64) -> u32 {
    u128::from(free.max(1)).pow(2).ilog2()
}
