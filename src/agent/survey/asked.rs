//! What the repository asks of each environment of this host, and of those that are here but no longer listed.

use std::collections::{BTreeMap, BTreeSet};

use super::claims::Claims;
use super::deploy::Deploy;
use crate::agent::App;
use crate::agent::floor::Floors;
use crate::agent::standing::policy;
use crate::agent::want::Resolver;
use crate::host::HostError;
use crate::manifest::{Environment, Policy, Repository};
use crate::model::{EnvName, PortRange};
use crate::plan::Want;
use crate::source::Refs;
use crate::transaction::{self, Context, chain};

/// What the repository asks.
#[derive(Default)]
pub(super) struct Asked {
    pub wants: BTreeMap<EnvName, Want>,
    /// Tags that are not where they were, in words.
    pub moved: BTreeMap<EnvName, String>,
    pub ports: BTreeMap<EnvName, PortRange>,
    pub refs: BTreeMap<String, Refs>,
    /// Below what it may not go back.
    pub floors: Floors,
}

/// What the repository asks of each environment of this host, and of those that are here but no longer listed.
pub(super) fn wants(
    app: &App,
    cx: &Context<'_>,
    deploy: &Deploy,
    installed: &[EnvName],
    only: &BTreeSet<EnvName>,
) -> Result<Asked, String> {
    let floors = Floors::read(cx).map_err(|failure| failure.cause)?;
    let repository = (deploy.repository.as_ref())
        .ok_or_else(|| "portreeve.toml of the deploy repository can't be used; portreeve check says why".to_owned())?;
    let (_, entry) = repository.for_host(&app.name).ok_or_else(|| {
        format!("the deploy repository has no hosts/{}.toml; add it, or correct `host` in agent.toml", app.name)
    })?;
    let listed: Vec<(&EnvName, Result<&Environment, _>)> = repository.environments_of(entry).collect();
    let chosen = |name: &EnvName| only.is_empty() || only.contains(name);
    let sound: Vec<&Environment> =
        listed.iter().filter(|(name, _)| chosen(name)).filter_map(|(_, env)| (*env).ok()).collect();
    let asking = listed.iter().filter_map(|(_, env)| (*env).ok()).collect();
    let claims = Claims::find(cx, installed, asking, entry).map_err(|failure| failure.cause)?;
    let mut resolver = Resolver::new(app, cx, deploy.tip.clone(), &sound);
    let mut wants = BTreeMap::new();
    for (name, env) in &listed {
        let want = match env {
            Ok(env) if env.removed => Want::Absent { tombstone: true },
            Ok(env) if chosen(name) => claims.refuse(env).unwrap_or_else(|| resolver.want(env)),
            Ok(_) => continue,
            Err(invalid) => Want::Unusable(format!("{}; portreeve check shows it", invalid.first)),
        };
        wants.insert((*name).clone(), want);
    }
    let block = |(name, env): &(&EnvName, Result<&Environment, _>)| {
        let env: &Environment = env.as_ref().ok()?;
        (!env.removed).then(|| ((*name).clone(), env.ports))
    };
    let ports = listed.iter().filter_map(block).collect();
    let gone = |name: &&EnvName| !listed.iter().any(|(listed, _)| listed == name);
    let here = serving(cx, installed).map_err(|error| chain(&error))?;
    let many = is_most(here.iter().copied().filter(gone).count(), here.len());
    for name in installed.iter().filter(gone) {
        let blocked = many && here.contains(&name);
        wants.insert(name.clone(), absent(cx, repository, name, entry.mistakes.is_some(), blocked));
    }
    let (moved, refs) = resolver.done();
    Ok(Asked { wants, moved, ports, refs, floors })
}

/// Those that are not off this host already.
fn serving<'n>(cx: &Context<'_>, installed: &'n [EnvName]) -> Result<Vec<&'n EnvName>, HostError> {
    let mut serving = Vec::new();
    for name in installed {
        if transaction::active(cx, name)? != Some(0) {
            serving.push(name);
        }
    }
    Ok(serving)
}

/// More than half of several.
fn is_most(gone: usize, here: usize) -> bool {
    gone > 1 && gone * 2 > here
}

/// An environment that is here and not listed. A parse error is not absence, and half a host is not removed by accident.
fn absent(cx: &Context<'_>, repository: &Repository, name: &EnvName, mistakes: bool, many: bool) -> Want {
    if mistakes {
        return Want::Unusable(
            "the host's file has mistakes, so nothing is taken off; portreeve check shows them".to_owned(),
        );
    }
    if many {
        return Want::Unusable("more than half of this host's environments are gone from its file; put them back, or remove them one push at a time".to_owned());
    }
    let tombstone = match repository.environments.get(name) {
        Some(Ok(env)) => env.removed,
        _ => false,
    };
    let policy = transaction::installed(cx, name, &BTreeMap::new()).ok().and_then(|installed| policy(&installed));
    let pro = policy.is_none_or(|policy| policy == Policy::Pro);
    Want::Absent { tombstone: tombstone || !pro }
}

#[cfg(test)]
mod tests {
    use super::is_most;

    /// Else the last environment could not be taken off.
    #[test]
    fn more_than_half_of_several_are_most() {
        let most = [(2, 2), (2, 3), (3, 4)].map(|(gone, here)| is_most(gone, here));
        let few = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 4), (3, 7)].map(|(gone, here)| is_most(gone, here));
        assert_eq!((most, few), ([true; 3], [false; 6]));
    }
}
