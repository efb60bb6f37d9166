//! `portreeve.toml`: what all hosts agree on.

use serde::{Deserialize, Serialize};

use crate::model::PortRange;

use super::diagnostic::Diagnostics;
use super::document::{At, Source};
use super::kind::Kind;
use super::layer::Layer;
use super::notify::{self, Notify};
use super::reader::Keys;
use super::sections;
use super::unknown;
use super::version::Version;

/// Where ports may be taken, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortPolicy {
    /// All ports lie in it; 49152-65535 unless said (IANA's dynamic range).
    pub pool: PortRange,
    /// Most ports of a project; 50 unless said.
    pub per_project: u32,
    /// Most ports of an environment; 10 unless said.
    pub per_environment: u32,
}

impl Default for PortPolicy {
    fn default() -> Self {
        Self { pool: PortRange { first: 49152, last: 65535 }, per_project: 50, per_environment: 10 }
    }
}

/// The file, read.
#[derive(Debug)]
pub(super) struct Fleet<'t> {
    pub requires: Version,
    pub ports: PortPolicy,
    /// `None` while the file has a mistake: who is told stays as it was.
    pub notify: Option<Notify>,
    pub defaults: Layer<'t>,
}

/// Reads the file. `None`: it is written for another version, and nothing else should be judged by this one.
pub(super) fn read<'t>(
    source: &'t Source<'t>,
    table: &'t toml::de::DeTable<'t>,
    out: &mut Diagnostics,
) -> Option<Fleet<'t>> {
    let before = out.errors().count();
    let mut keys = Keys::of_file(source, table, out);
    let requires = keys.parse("requires", Version::parse_requirement);
    let readable = schema(&mut keys) && requires.as_ref().is_none_or(|requires| new_enough(requires, keys.out));
    if !readable {
        return None;
    }
    let mut fleet = Fleet {
        requires: requires.map_or(Version(0, 1, 0), |at| at.value),
        ports: keys.table("ports", ports).unwrap_or_default(),
        notify: Some(keys.table("notify", notify::read).unwrap_or_default()),
        defaults: keys.open_table("defaults", |keys| sections::read(keys, Kind::Defaults)).unwrap_or_default(),
    };
    unknown::complain(&mut keys);
    fleet.notify.take_if(|_| keys.out.errors().count() > before);
    Some(fleet)
}

fn schema(keys: &mut Keys<'_, '_>) -> bool {
    if keys.key_spot("schema").is_none() {
        let complaint = keys.header.error("`schema` is missing");
        keys.out.push(complaint.label("write `schema = 1` here"));
    }
    let Some(schema) = keys.integer::<i64>("schema", 0..=i64::MAX) else { return true };
    if schema.value != 1 {
        let complaint = schema.spot.error(format!("this portreeve reads schema 1, not {}", schema.value));
        keys.out.push(complaint.label("written for another version").help("update portreeve, or write `schema = 1`"));
    }
    schema.value == 1
}

fn new_enough(requires: &At<'_, Version>, out: &mut Diagnostics) -> bool {
    let current = Version::current();
    let enough = requires.value <= current;
    if !enough {
        let complaint = requires.spot.error(format!("this is portreeve {current}, too old for this repository"));
        out.push(complaint.label(format!("at least {} may act", requires.value)).help("update portreeve on this host"));
    }
    enough
}

fn ports(keys: &mut Keys<'_, '_>) -> PortPolicy {
    let otherwise = PortPolicy::default();
    let policy = PortPolicy {
        pool: keys.parse("pool", PortRange::parse).map_or(otherwise.pool, |pool| pool.value),
        per_project: keys.integer("per_project", 1..=65535).map_or(otherwise.per_project, |most| most.value),
        per_environment: keys
            .integer("per_environment", 1..=65535)
            .map_or(otherwise.per_environment, |most| most.value),
    };
    if policy.per_environment > policy.per_project {
        let complaint = keys.header.error("an environment may not have more ports than its project");
        keys.out.push(complaint.label(format!("{} of {}", policy.per_environment, policy.per_project)));
    }
    policy
}
