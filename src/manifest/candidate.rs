//! An environment whose layers are merged and whose claims on what is shared are still open.

use std::collections::BTreeMap;

use crate::model::{EnvName, PortRange, ProjectName, UserName};

use super::diagnostic::{Concern, Diagnostic, Diagnostics};
use super::document::{At, Source};
use super::environment::Policy;
use super::layer::{Layer, Over as _};
use super::suggest::nearest;

/// A `project.toml`, or what stands for one that isn't there.
#[derive(Debug, Clone, Default)]
pub(super) struct Project<'t> {
    /// What its environments inherit.
    pub layer: Layer<'t>,
    /// Its block of ports.
    pub ports: Option<At<'t, PortRange>>,
    /// The user of `pro`.
    pub user: Option<At<'t, UserName>>,
}

impl<'t> Project<'t> {
    /// The project as its file says. `ports` and `user` mean something else here than in an environment's own file.
    pub fn new(mut layer: Layer<'t>) -> Self {
        let (ports, user) = (layer.ports.take(), layer.user.take());
        Self { layer, ports, user }
    }
}

/// The projects of a repository.
pub(super) type Projects<'t> = BTreeMap<ProjectName, Project<'t>>;

/// An environment of which each file could be read.
#[derive(Debug)]
pub(super) struct Candidate<'t> {
    pub name: EnvName,
    pub source: &'t Source<'t>,
    pub policy: Policy,
    pub layer: Layer<'t>,
}

impl<'t> Candidate<'t> {
    /// Lays the three layers over each other.
    pub fn new(
        name: EnvName,
        source: &'t Source<'t>,
        own: Layer<'t>,
        project: &Project<'t>,
        defaults: &Layer<'t>,
        out: &mut Diagnostics,
    ) -> Self {
        let policy = policy(&name, source, &own, out);
        let layer = own.over(project.layer.clone()).over(defaults.clone());
        Self { name, source, policy, layer }
    }

    /// An error about something that is missing from its own file.
    pub fn missing(&self, message: impl Into<String>) -> Diagnostic {
        self.source.start().error(message)
    }

    /// Whether a layer says this key wrongly, which was complained about.
    pub fn is_spoiled(&self, key: &str) -> bool {
        self.layer.spoiled.contains(key)
    }

    /// Whether its file carries the tombstone.
    pub fn is_removed(&self) -> bool {
        self.layer.removed.as_ref().is_some_and(|removed| removed.value)
    }

    /// What errors about this environment alone concern, wherever they stand.
    pub fn concern(&self) -> Concern {
        Concern::Environment(self.name.clone())
    }

    /// The policy that its name has by itself, if it has one.
    pub fn standard(&self) -> Option<Policy> {
        standard(self.name.environment.as_str())
    }
}

fn standard(name: &str) -> Option<Policy> {
    match name {
        "pro" | "prod" | "production" => Some(Policy::Pro),
        "stage" | "staging" => Some(Policy::Stage),
        "dev" => Some(Policy::Dev),
        _ => None,
    }
}

fn policy(name: &EnvName, source: &Source<'_>, own: &Layer<'_>, out: &mut Diagnostics) -> Policy {
    let text = name.environment.as_str();
    match (standard(text), &own.like) {
        (Some(standard), Some(like)) if like.value != standard => {
            let complaint = like.spot.error(format!("`{text}` has a policy of its own"));
            out.push(complaint.label("remove it, or give the environment another name"));
            standard
        }
        (Some(standard), _) => standard,
        (None, Some(like)) => like.value,
        (None, None) => {
            let complaint = source.start().error(format!("`{text}` has no policy of its own"));
            let complaint = complaint.label("write `like = \"stage\"` here");
            let names = ["pro", "prod", "production", "stage", "staging", "dev"];
            let meant = nearest(text, names).map(|meant| format!("did you mean {meant}.toml?"));
            out.push(Diagnostic { help: meant, ..complaint });
            Policy::Dev
        }
    }
}
