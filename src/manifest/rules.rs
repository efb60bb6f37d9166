//! Rules between environments: users, domains, data that is on one host only.

use std::collections::BTreeMap;

use crate::model::{EnvName, UserName};

use super::candidate::{Candidate, Project, Projects};
use super::diagnostic::{Concern, Diagnostics};
use super::document::{At, Spot};
use super::environment::{Environment, Policy};
use super::hosts::Hosts;

/// The user of each environment: the project's for pro, `USER-ENV` for the others, unless they say.
pub(super) fn users(
    projects: &Projects<'_>,
    candidates: &[Candidate<'_>],
    out: &mut Diagnostics,
) -> BTreeMap<EnvName, UserName> {
    let nobody = Project::default();
    let mut users: BTreeMap<EnvName, UserName> = BTreeMap::new();
    for candidate in candidates {
        let project = projects.get(&candidate.name.project).unwrap_or(&nobody);
        if let Some(user) = user(candidate, project, out) {
            users.insert(candidate.name.clone(), user);
        }
    }
    shared(candidates, &users, out);
    users
}

fn user(candidate: &Candidate<'_>, project: &Project<'_>, out: &mut Diagnostics) -> Option<UserName> {
    if let Some(own) = &candidate.layer.user {
        return Some(own.value.clone());
    }
    let Some(base) = &project.user else {
        if candidate.is_spoiled("user") {
            return None;
        }
        let complaint = candidate.missing(format!("no user for {}", candidate.name));
        let file = format!("projects/{}/project.toml", candidate.name.project);
        out.push(complaint.label("write `user = \"…\"` here").help(format!("or in {file}, for all its environments")));
        return None;
    };
    if candidate.standard() == Some(Policy::Pro) {
        return Some(base.value.clone());
    }
    let derived = format!("{}-{}", base.value, candidate.name.environment);
    let refused = |_| {
        let complaint = candidate.missing(format!("the user {derived} has more than 31 characters"));
        out.push(complaint.label("write `user = \"…\"` here"));
    };
    UserName::parse(&derived).map_err(refused).ok()
}

/// Warns of each environment that runs as the user of a pro: it can read that one's secrets.
fn shared(candidates: &[Candidate<'_>], users: &BTreeMap<EnvName, UserName>, out: &mut Diagnostics) {
    for pro in candidates.iter().filter(|candidate| candidate.policy == Policy::Pro) {
        let Some(user) = users.get(&pro.name) else { continue };
        let others = candidates.iter().filter(|other| other.name != pro.name && users.get(&other.name) == Some(user));
        for other in others {
            // Two pros share with each other; one warning says it.
            if other.policy == Policy::Pro && other.name < pro.name {
                continue;
            }
            let spot = other.layer.user.as_ref().map_or(other.source.start(), |user| user.spot);
            let warning = spot.error(format!("{} runs as {user}, the user of {}", other.name, pro.name)).warning();
            out.push(warning.label("it can read that one's secrets and data").help("give each a user of its own"));
        }
    }
}

/// A domain has one environment on a host; the candidates come in the order in which they may claim.
pub(super) fn domains(hosts: &Hosts<'_>, candidates: &[Candidate<'_>], out: &mut Diagnostics) {
    for (host, named) in hosts {
        let mut claimed: BTreeMap<&str, (&EnvName, Spot<'_>)> = BTreeMap::new();
        let here = candidates.iter().filter(|candidate| named.iter().any(|at| at.value == candidate.name));
        for candidate in here {
            for domain in candidate.layer.domains.iter().flat_map(|list| &list.value) {
                let (holder, first) = *claimed.entry(domain.value.as_str()).or_insert((&candidate.name, domain.spot));
                if *holder != candidate.name {
                    let complaint = domain.spot.error(format!("`{}` belongs to {holder} on {host}", domain.value));
                    let complaint = complaint.label(format!("first named in {}", first.file_line()));
                    out.push(complaint.help("remove one of the two").concerning(candidate.concern()));
                }
            }
        }
    }
}

/// Takes environments whose SQLite is on another host off the later one's list, and says so.
pub(super) fn one_host_for_data(
    hosts: &mut Hosts<'_>,
    environments: &BTreeMap<EnvName, Environment>,
    out: &mut Diagnostics,
) {
    let mut homes: BTreeMap<EnvName, (String, String)> = BTreeMap::new();
    for (host, named) in hosts {
        named.retain(|item: &At<'_, EnvName>| {
            let has_data = environments.get(&item.value).is_some_and(|environment| environment.django.is_some());
            let home = homes.entry(item.value.clone()).or_insert_with(|| (host.clone(), item.spot.file_line()));
            let fits = !has_data || home.0 == *host;
            if !fits {
                let complaint = item.spot.error(format!("{} has its data on {} already", item.value, home.0));
                let complaint =
                    complaint.label(format!("first named in {}", home.1)).concerning(Concern::Host(host.clone()));
                out.push(complaint.help("its database is SQLite in data/, and that is on one host"));
            }
            fits
        });
    }
}
