//! Rules between environments: users, domains, data that is on one host only.

use std::collections::BTreeMap;

use crate::model::{EnvName, UserName};

use super::candidate::{Candidate, Project, Projects};
use super::diagnostic::{Concern, Diagnostics};
use super::document::Spot;
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

/// A domain has one environment on a host. Which of several that is, is not for the order of names to say: the host knows who
/// serves it.
pub(super) fn domains(hosts: &Hosts<'_>, candidates: &[Candidate<'_>], out: &mut Diagnostics) {
    for (host, named) in hosts {
        let here = candidates.iter().filter(|candidate| named.iter().any(|at| at.value == candidate.name));
        for (domain, claims) in claims(here).into_iter().filter(|(_, claims)| claims.len() > 1) {
            for (index, (candidate, spot)) in claims.iter().enumerate() {
                let other = claims[usize::from(index == 0)].1;
                let complaint = spot.error(format!("`{domain}` has two environments on {host}"));
                let complaint = complaint.label(format!("also in {}", other.file_line()));
                let cure = "remove it from one; meanwhile who serves it there keeps it";
                out.push(complaint.help(cure).concerning(Concern::Shared(candidate.name.clone())));
            }
        }
    }
}

/// Who names each domain, and where first. What is to be removed lets go of its own.
fn claims<'a, 't>(
    here: impl Iterator<Item = &'a Candidate<'t>>,
) -> BTreeMap<&'a str, Vec<(&'a Candidate<'t>, Spot<'t>)>> {
    let mut claims: BTreeMap<&str, Vec<(&Candidate<'_>, Spot<'_>)>> = BTreeMap::new();
    for candidate in here.filter(|candidate| !candidate.is_removed()) {
        for domain in candidate.layer.domains.iter().flat_map(|list| &list.value) {
            let claims = claims.entry(domain.value.as_str()).or_default();
            if claims.iter().all(|(other, _)| other.name != candidate.name) {
                claims.push((candidate, domain.spot));
            }
        }
    }
    claims
}

/// The hosts of each environment whose SQLite several of them name. Which of them has its data, only they know.
pub(super) fn split_data(
    hosts: &Hosts<'_>,
    environments: &BTreeMap<EnvName, Environment>,
    out: &mut Diagnostics,
) -> BTreeMap<EnvName, Vec<String>> {
    let mut homes: BTreeMap<EnvName, Vec<(&String, Spot<'_>)>> = BTreeMap::new();
    for (host, item) in hosts.iter().flat_map(|(host, named)| named.iter().map(move |item| (host, item))) {
        let has_data = |environment: &Environment| environment.django.is_some() && !environment.removed;
        if environments.get(&item.value).is_some_and(has_data) {
            homes.entry(item.value.clone()).or_default().push((host, item.spot));
        }
    }
    homes.retain(|_, hosts| hosts.len() > 1);
    for (name, named) in &homes {
        for (index, (_, spot)) in named.iter().enumerate() {
            let other = named[usize::from(index == 0)].1;
            let complaint = spot.error(format!("{name} is named by two hosts"));
            let complaint = complaint.label(format!("also in {}", other.file_line()));
            let cure = "its database is SQLite in data/, which is on one host: remove it from the other";
            out.push(complaint.help(cure).concerning(Concern::Shared(name.clone())));
        }
    }
    homes.into_iter().map(|(name, named)| (name, named.into_iter().map(|(host, _)| host.clone()).collect())).collect()
}
