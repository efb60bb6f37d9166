//! Takes over a file that was there before us and keeps us from a release. A copy is kept for whoever made it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::chronicle;
use super::{App, Trouble, read_standing, survey, turn, write_standing};
use crate::desired::Wanted;
use crate::history::{Event as Happened, EventKind};
use crate::host::HostError;
use crate::model::{EnvName, Found, Identity, Manager, Node, Slot};
use crate::policy::Standing;
use crate::transaction::lock::{self, lock};
use crate::transaction::{Context, Failure};

/// No configuration file is larger.
const LIMIT: u64 = 8 * 1024 * 1024;

/// What was taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// The environment whose file goes there.
    pub env: EnvName,
    /// Where the copy is.
    pub copy: PathBuf,
}

/// Why a path was not taken over. Nothing was moved.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// None of our files goes there.
    #[error("nothing of this host's environments goes to {}", .0.display())]
    Elsewhere(PathBuf),
    /// Which files go where is not known now.
    #[error("{}", .0.words())]
    Unread(Trouble),
    /// There is nothing.
    #[error("nothing is at {}", .0.display())]
    Nothing(PathBuf),
    /// It is as we made it.
    #[error("{} is ours already", .0.display())]
    Ours(PathBuf),
    /// A socket, device or pipe.
    #[error("{} is neither file, link nor directory", .0.display())]
    Odd(PathBuf),
    /// The host or the repository could not be read.
    #[error("{0}")]
    Failed(#[from] Failure),
    /// The machine refused.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// A path that an environment needs, and how it looks when it is ours.
struct Place {
    path: PathBuf,
    ours: Ours,
}

enum Ours {
    /// A link with this text.
    Link(PathBuf),
    /// A slot's unit: ours when the slot has its link.
    Unit(Slot),
}

/// Moves what is at `path` out of the way of the environment that needs it. The next pass puts ours there.
pub fn adopt(app: &App, cx: &Context<'_>, path: &Path, by: &str) -> Result<Adopted, AdoptError> {
    let survey = survey(app, cx, &BTreeSet::new())?;
    let wanted = survey.plan.environments.into_iter().filter_map(|plan| plan.wants);
    let found = wanted.into_iter().find_map(|wanted| {
        let place = places(cx, &wanted).into_iter().find(|place| place.path == path)?;
        Some((wanted.env.name.clone(), place))
    });
    let (env, place) = found.ok_or_else(|| match survey.trouble {
        Some(trouble) => AdoptError::Unread(trouble),
        None => AdoptError::Elsewhere(path.to_owned()),
    })?;
    let _lock = lock(cx, lock::Place::Environment(&env), app.wait.unwrap_or(turn::PATIENCE)).map_err(Failure::from)?;
    let copy = move_aside(cx, &env, &place)?;
    try_again(cx, &env)?;
    record(cx, &env, by, path, &copy);
    Ok(Adopted { env, copy })
}

fn places(cx: &Context<'_>, wanted: &Wanted) -> Vec<Place> {
    let (layout, name, paths) = (cx.layout, &wanted.env.name, cx.paths(wanted));
    let active = layout.active_link(name);
    let links = [
        (layout.nginx_link(name), active.join("nginx.conf")),
        (layout.logrotate_link(name), active.join("logrotate")),
        (layout.tmpfiles_link(name), active.join("tmpfiles.conf")),
        (paths.current(), active.join("release")),
        (paths.etc(), active),
        (paths.logs_link(), paths.log_dir()),
        (paths.backups_link(), paths.backup_dir()),
    ];
    let units = Slot::BOTH.map(|slot| match cx.facts.manager {
        Manager::Systemd => (layout.unit_file(name, slot), slot),
        Manager::Supervisor => (layout.program_file(name, slot), slot),
    });
    let links = links.into_iter().map(|(path, target)| Place { path, ours: Ours::Link(target) });
    links.chain(units.map(|(path, slot)| Place { path, ours: Ours::Unit(slot) })).collect()
}

fn is_ours(cx: &Context<'_>, env: &EnvName, place: &Place, found: &Found) -> Result<bool, HostError> {
    match &place.ours {
        Ours::Link(target) => Ok(*found == Found::Link(target.clone())),
        Ours::Unit(slot) => Ok(cx.host.files().look(&cx.layout.slot_link(env, *slot))? != Found::Absent),
    }
}

/// The copy is durable before the original goes. Copies lie in no include directory, where they would be read.
fn move_aside(cx: &Context<'_>, env: &EnvName, place: &Place) -> Result<PathBuf, AdoptError> {
    let (path, files) = (&place.path, cx.host.files());
    let found = files.look(path)?;
    if is_ours(cx, env, place, &found)? {
        return Err(AdoptError::Ours(path.clone()));
    }
    let now = cx.host.clock().now().strftime("%Y%m%dT%H%M%S.%6fZ").to_string();
    let flat = path.to_string_lossy().trim_start_matches('/').replace('/', "_");
    let copy = cx.layout.adopted().join(format!("{flat}.{now}"));
    let node = match found {
        Found::Absent => return Err(AdoptError::Nothing(path.clone())),
        Found::Other => return Err(AdoptError::Odd(path.clone())),
        Found::Directory { .. } => {
            // A whole site, may be: it stays in its file system.
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let beside = path.with_file_name(format!("{name}.before-portreeve.{now}"));
            files.rename(path, &beside)?;
            return Ok(beside);
        }
        Found::Link(target) => Node::Link(target),
        Found::File { mode, owner, .. } => {
            let bytes = files.read(path, LIMIT)?.ok_or_else(|| AdoptError::Nothing(path.clone()))?;
            Node::File { bytes, mode, owner }
        }
    };
    files.make_directory(&cx.layout.adopted(), 0o700, Identity::ROOT)?;
    files.put(&copy, &node)?;
    files.remove(path)?;
    Ok(copy)
}

/// What failed because of the file waits no longer.
fn try_again(cx: &Context<'_>, env: &EnvName) -> Result<(), AdoptError> {
    let standing = read_standing(cx, env)?;
    if standing.retry.is_some() {
        write_standing(cx, env, &Standing { retry: None, ..standing })?;
    }
    Ok(())
}

fn record(cx: &Context<'_>, env: &EnvName, by: &str, path: &Path, copy: &Path) {
    let now = cx.host.clock().now();
    let words = format!("{} was taken over; a copy is {}", path.display(), copy.display());
    let event =
        Happened { by: Some(by.to_owned()), ..Happened::new(now, Some(env.clone()), EventKind::Adopted, words) };
    chronicle::write(cx, &event);
}
