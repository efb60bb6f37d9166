//! What each path of a healthy environment holds, and how reality differs.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::desired::{Generation, Listed, Listing};
use crate::model::{Digest, EnvLayout, Found, Identity, Manager, Slot};

/// What a path belongs to: it decides which effect follows a repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// nginx reads it.
    Vhost,
    /// The service manager reads it.
    Unit,
    /// The link that starts the slot at boot: a missing one is its operator's word, not drift.
    Wants,
    /// logrotate reads it.
    Logrotate,
    /// systemd-tmpfiles reads it.
    Tmpfiles,
    /// The application reads it.
    Settings,
    /// A link for people, or between our own directories.
    Link,
}

/// One path and what must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// The path.
    pub path: PathBuf,
    /// What must be there.
    pub state: Listed,
    /// What it belongs to.
    pub part: Part,
}

/// A path that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// What must be there.
    pub expected: Expectation,
    /// What is there instead.
    pub found: Difference,
}

/// How a path differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Nothing is there.
    Missing,
    /// A file with other bytes.
    Content,
    /// Other permission bits.
    Mode(u32),
    /// Another owner.
    Owner(Identity),
    /// A link that leads elsewhere.
    Target(PathBuf),
    /// A file instead of a link, a directory instead of a file.
    Kind,
}

impl Difference {
    /// Whether nothing is there at all.
    pub fn is_missing(&self) -> bool {
        *self == Self::Missing
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.expected.path.display();
        match (&self.found, &self.expected.state) {
            (Difference::Missing, _) => write!(f, "{path} was deleted"),
            (Difference::Content, _) => write!(f, "{path} was changed"),
            (Difference::Mode(found), Listed::File { mode, .. }) => {
                write!(f, "{path} had mode {found:o}, not {mode:o}")
            }
            (Difference::Mode(found), Listed::Link(_)) => write!(f, "{path} had mode {found:o}"),
            (Difference::Owner(found), _) => write!(f, "{path} belonged to {}:{}", found.uid, found.gid),
            (Difference::Target(found), _) => write!(f, "{path} led to {}", found.display()),
            (Difference::Kind, Listed::Link(_)) => write!(f, "{path} was no link"),
            (Difference::Kind, Listed::File { .. }) => write!(f, "{path} was no regular file"),
        }
    }
}

impl Expectation {
    /// How `found` differs; `digest` is asked only when everything cheaper agrees.
    pub fn compare<E>(
        &self,
        found: Found,
        digest: impl FnOnce() -> Result<Option<Digest>, E>,
    ) -> Result<Option<Difference>, E> {
        Ok(match (&self.state, found) {
            (_, Found::Absent) => Some(Difference::Missing),
            (Listed::Link(wanted), Found::Link(target)) => (target != *wanted).then_some(Difference::Target(target)),
            (Listed::File { sha256, mode, owner }, Found::File { mode: is_mode, owner: is_owner, .. }) => {
                if is_owner != *owner {
                    Some(Difference::Owner(is_owner))
                } else if is_mode != *mode {
                    Some(Difference::Mode(is_mode))
                } else {
                    (digest()? != Some(*sha256)).then_some(Difference::Content)
                }
            }
            (Listed::File { .. }, Found::Link(target)) => Some(Difference::Target(target)),
            _ => Some(Difference::Kind),
        })
    }
}

/// Who owns what, in this host's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owners {
    /// Who owns what only we write.
    pub root: Identity,
    /// The application.
    pub app: Identity,
    /// The web server's group.
    pub web_group: u32,
}

/// Every path that the active generation is responsible for.
pub fn expectations(
    paths: &EnvLayout,
    manager: Manager,
    owners: Owners,
    generation: &Generation,
    listing: &Listing,
) -> Vec<Expectation> {
    let mut all = links(paths, generation);
    all.extend(listed_files(paths, generation, listing));
    all.extend(service_files(paths, manager, owners, generation, listing));
    all
}

fn link(path: PathBuf, target: impl Into<PathBuf>, part: Part) -> Expectation {
    Expectation { path, state: Listed::Link(target.into()), part }
}

/// The links at rest. `active` itself is no expectation: it is the truth that the others are held against. Where it is gone, the
/// socket's link says what it was.
fn links(paths: &EnvLayout, generation: &Generation) -> Vec<Expectation> {
    let (layout, name) = (paths.host(), &generation.name);
    let active = layout.active_link(name);
    let slot_target = format!("../../generations/{}/{}", name.flat(), generation.number);
    vec![
        link(layout.slot_link(name, generation.slot), slot_target, Part::Link),
        link(layout.web_socket(name), format!("{}/s", generation.slot), Part::Link),
        link(layout.nginx_link(name), active.join("nginx.conf"), Part::Vhost),
        link(layout.logrotate_link(name), active.join("logrotate"), Part::Logrotate),
        link(layout.tmpfiles_link(name), active.join("tmpfiles.conf"), Part::Tmpfiles),
        link(paths.current(), active.join("release"), Part::Link),
        link(paths.etc(), active, Part::Link),
        link(paths.logs_link(), paths.log_dir(), Part::Link),
        link(paths.backups_link(), paths.backup_dir(), Part::Link),
    ]
}

fn listed_files(paths: &EnvLayout, generation: &Generation, listing: &Listing) -> Vec<Expectation> {
    let directory = paths.host().generation(&generation.name, generation.number);
    let listed = listing.0.iter();
    listed
        .map(|(file, state)| Expectation { path: directory.join(file), state: state.clone(), part: part_of(file) })
        .collect()
}

fn part_of(file: &str) -> Part {
    match file {
        "nginx.conf" => Part::Vhost,
        "logrotate" => Part::Logrotate,
        "tmpfiles.conf" => Part::Tmpfiles,
        "settings_local.py" | "portreeve_settings.py" | "env.conf" => Part::Settings,
        _ => Part::Link,
    }
}

/// The slot's unit or program: a regular file with the bytes of the generation's `unit`.
fn service_files(
    paths: &EnvLayout,
    manager: Manager,
    owners: Owners,
    generation: &Generation,
    listing: &Listing,
) -> Vec<Expectation> {
    let Some(Listed::File { sha256, .. }) = listing.0.get("unit") else { return Vec::new() };
    let state = Listed::File { sha256: *sha256, mode: 0o644, owner: owners.root };
    let (layout, name, slot) = (paths.host(), &generation.name, generation.slot);
    match manager {
        Manager::Systemd => vec![
            Expectation { path: layout.unit_file(name, slot), state, part: Part::Unit },
            link(layout.wants_link(name, slot), wants_target(paths, generation, slot), Part::Wants),
        ],
        Manager::Supervisor => vec![Expectation { path: layout.program_file(name, slot), state, part: Part::Unit }],
    }
}

fn wants_target(paths: &EnvLayout, generation: &Generation, slot: Slot) -> PathBuf {
    PathBuf::from("..").join(paths.host().unit_name(&generation.name, slot))
}
