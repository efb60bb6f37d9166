//! A whole deploy repository, from its files to what each host may do with it.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;
use toml::de::DeTable;

use crate::model::{EnvName, ProjectName};

use super::candidate::{Candidate, Project, Projects};
use super::diagnostic::{Concern, Diagnostic, Diagnostics, Invalid};
use super::document::{self, Source};
use super::environment::Environment;
use super::fleet::{self, Fleet, PortPolicy};
use super::hosts::{self, HostEntry, Hosts};
use super::kind::Kind;
use super::layer::Layer;
use super::notify::Notify;
use super::ports;
use super::reader::Keys;
use super::resolve;
use super::rules;
use super::sections;
use super::tree::{Entry, FLEET, Misplaced, Role, Tree, role};
use super::version::Version;

/// A deploy repository, as far as it can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Repository {
    /// The oldest program that may act on it; this one is new enough.
    pub requires: Version,
    /// Where ports may be taken.
    pub ports: PortPolicy,
    /// Who is told of a change of state; `None` where that can't be said, and stays as it was.
    pub notify: Option<Notify>,
    /// What runs where, by the name of the host's file.
    pub hosts: BTreeMap<String, HostEntry>,
    /// Every environment that the repository names. An invalid one is not an absent one.
    pub environments: BTreeMap<EnvName, Result<Environment, Invalid>>,
}

impl Repository {
    /// The file of a host: by its whole name, which is the same in any case, then by its first label, unless that is another host's too.
    pub fn for_host(&self, name: &str) -> Option<(&str, &HostEntry)> {
        let name = name.to_ascii_lowercase();
        let label = name.split('.').next().unwrap_or(&name);
        let another = |other: &String| other.strip_prefix(label).is_some_and(|rest| rest.starts_with('.'));
        let by_label = || self.hosts.get_key_value(label).filter(|_| !self.hosts.keys().any(another));
        let entry = self.hosts.get_key_value(&name).or_else(by_label);
        entry.map(|(name, entry)| (name.as_str(), entry))
    }

    /// The environments of a host, each with what is known of it.
    pub fn environments_of<'a>(
        &'a self,
        entry: &'a HostEntry,
    ) -> impl Iterator<Item = (&'a EnvName, Result<&'a Environment, &'a Invalid>)> {
        entry.environments.iter().filter_map(|name| Some((name, self.environments.get(name)?.as_ref())))
    }
}

/// Reads a deploy repository, and finds all its mistakes in one go.
///
/// `None`: `portreeve.toml` is missing or can't be used, which concerns every environment; nothing on any host may
/// change. Mistakes elsewhere concern what they concern: see [`Concern`].
pub fn parse(tree: &Tree) -> (Option<Repository>, Diagnostics) {
    let mut out = Diagnostics::default();
    let roles: Vec<(&str, Role)> = tree.iter().map(|(path, _)| (path, role(path))).collect();
    let repository = if tree.get(FLEET).is_some() {
        read(tree, &roles, &mut out)
    } else {
        let complaint = Diagnostic::of_file(FLEET, Concern::Everything, "this is no deploy repository");
        out.push(complaint.help("it has a portreeve.toml at its top; `portreeve init DIR` writes one"));
        None
    };
    let files = roles.iter().filter(|(_, role)| !matches!(role, Role::Foreign | Role::Folder(_))).count();
    out.finish(files, tree);
    let sound = !out.errors().any(|error| error.concern == Concern::Everything);
    (repository.filter(|_| sound).map(|draft| draft.judged(&out)), out)
}

/// A repository whose environments and hosts have not been held against the complaints yet.
struct Draft {
    repository: Repository,
    sound: BTreeMap<EnvName, Environment>,
    named: BTreeSet<EnvName>,
}

impl Draft {
    fn judged(mut self, out: &Diagnostics) -> Repository {
        for name in &self.named {
            let judged = match (out.stopping(name), self.sound.remove(name)) {
                (None, Some(environment)) => Ok(environment),
                (Some(invalid), _) => Err(invalid),
                (None, None) => Err(Invalid { first: format!("projects/{name}.toml can't be used"), errors: 1 }),
            };
            self.repository.environments.insert(name.clone(), judged);
        }
        for (host, entry) in &mut self.repository.hosts {
            entry.mistakes = out.about_host(host);
        }
        self.repository
    }
}

type Parsed<'t> = Option<Spanned<DeTable<'t>>>;

fn read(tree: &Tree, roles: &[(&str, Role)], out: &mut Diagnostics) -> Option<Draft> {
    let sources: Vec<(&Role, Source<'_>)> =
        roles.iter().filter_map(|(path, role)| open(tree, path, role, out)).collect();
    let fleet = sources.iter().find(|(role, _)| **role == Role::Fleet);
    let parsed_fleet = fleet.and_then(|(_, source)| document::parse(source, out));
    let fleet = match (fleet, &parsed_fleet) {
        (Some((_, source)), Some(table)) => fleet::read(source, table.get_ref(), out)?,
        // Its mistakes stop everything; the other files are still looked at, to say all in one go.
        _ => Fleet {
            requires: Version::current(),
            ports: PortPolicy::default(),
            notify: None,
            defaults: Layer::default(),
        },
    };
    let others = sources.iter().filter(|(role, _)| **role != Role::Fleet);
    let parsed: Vec<(&Role, &Source<'_>, Parsed<'_>)> =
        others.map(|(role, source)| (*role, source, document::parse(source, out))).collect();
    Some(assemble(&fleet, roles, &parsed, out))
}

fn open<'t>(tree: &'t Tree, path: &'t str, role: &'t Role, out: &mut Diagnostics) -> Option<(&'t Role, Source<'t>)> {
    let concern = match role {
        Role::Fleet => Concern::Everything,
        Role::Host(host) => Concern::Host(host.clone()),
        Role::Project(project) | Role::Folder(project) => Concern::Project(project.clone()),
        Role::Environment(name) => Concern::Environment(name.clone()),
        Role::Misplaced(why) => {
            out.push(misplaced(path, why));
            return None;
        }
        Role::Foreign => return None,
    };
    let entry = tree
        .get(path)
        .filter(|entry| !matches!((role, entry), (Role::Folder(_), Entry::File(_) | Entry::TooLarge(_))))?;
    let text = document::text(path, entry, &concern, out)?;
    (!matches!(role, Role::Folder(_))).then_some((role, Source { path, text, concern }))
}

fn misplaced(path: &str, why: &Misplaced) -> Diagnostic {
    let complaint = Diagnostic::of_file(path, Concern::Nothing, "nothing reads this file");
    match why {
        Misplaced::Name(error) => Diagnostic { message: error.to_string(), ..complaint }.help("rename it"),
        Misplaced::Host => complaint.help("a host is hosts/NAME.toml, with its hostname in lower case"),
        Misplaced::Project => complaint.help("an environment is projects/NAME/ENV.toml"),
    }
}

fn assemble<'t>(
    fleet: &Fleet<'t>,
    roles: &[(&str, Role)],
    parsed: &'t [(&'t Role, &'t Source<'t>, Parsed<'t>)],
    out: &mut Diagnostics,
) -> Draft {
    let named: BTreeSet<EnvName> = roles.iter().filter_map(|(_, role)| environment_name(role)).cloned().collect();
    let (projects, broken) = projects(parsed, out);
    without_environments(parsed, &named, out);
    let candidates = candidates(fleet, &projects, &broken, parsed, out);
    let ports = ports::assign(fleet.ports, &projects, &candidates, out);
    let users = rules::users(&projects, &candidates, out);
    let mut sound = BTreeMap::new();
    for candidate in &candidates {
        let (ports, user) = (ports.get(&candidate.name).copied(), users.get(&candidate.name).cloned());
        let resolved = resolve::environment(candidate, ports, user, out);
        sound.extend(resolved.map(|environment| (candidate.name.clone(), environment)));
    }
    let hosts = read_hosts(parsed, &named, out);
    rules::domains(&hosts, &candidates, out);
    let split = rules::split_data(&hosts, &sound, out);
    let repository = Repository {
        requires: fleet.requires,
        ports: fleet.ports,
        notify: fleet.notify.clone(),
        hosts: entries(roles, hosts, &split),
        environments: BTreeMap::new(),
    };
    Draft { repository, sound, named }
}

fn environment_name(role: &Role) -> Option<&EnvName> {
    if let Role::Environment(name) = role { Some(name) } else { None }
}

/// The projects, and those whose file could not be read: of them nothing further is judged.
fn projects<'t>(
    parsed: &'t [(&'t Role, &'t Source<'t>, Parsed<'t>)],
    out: &mut Diagnostics,
) -> (Projects<'t>, BTreeSet<ProjectName>) {
    let (mut projects, mut broken) = (Projects::new(), BTreeSet::new());
    for (role, source, table) in parsed {
        match (role, table) {
            (Role::Project(name), Some(table)) => {
                let layer = layer(source, table.get_ref(), Kind::Project, out);
                projects.insert(name.clone(), Project::new(layer));
            }
            (Role::Project(name), None) => {
                broken.insert(name.clone());
            }
            _ => {}
        }
    }
    (projects, broken)
}

fn layer<'t>(source: &'t Source<'t>, table: &'t DeTable<'t>, kind: Kind, out: &mut Diagnostics) -> Layer<'t> {
    sections::read(&mut Keys::of_file(source, table, out), kind)
}

fn without_environments(parsed: &[(&Role, &Source<'_>, Parsed<'_>)], named: &BTreeSet<EnvName>, out: &mut Diagnostics) {
    for (role, source, _) in parsed {
        if let Role::Project(project) = role
            && !named.iter().any(|name| name.project == *project)
        {
            let warning = source.start().error(format!("{project} has no environments")).warning();
            out.push(warning.label(format!("projects/{project}/pro.toml would be one")));
        }
    }
}

/// The environments that can be judged, in the order in which they may claim what is shared: a new dev never takes
/// from a pro.
fn candidates<'t>(
    fleet: &Fleet<'t>,
    projects: &Projects<'t>,
    broken: &BTreeSet<ProjectName>,
    parsed: &'t [(&'t Role, &'t Source<'t>, Parsed<'t>)],
    out: &mut Diagnostics,
) -> Vec<Candidate<'t>> {
    let nothing = Project::default();
    let mut candidates = Vec::new();
    for (role, source, table) in parsed {
        let (Role::Environment(name), Some(table)) = (role, table) else { continue };
        let own = layer(source, table.get_ref(), Kind::Environment, out);
        if !broken.contains(&name.project) {
            let project = projects.get(&name.project).unwrap_or(&nothing);
            candidates.push(Candidate::new(name.clone(), source, own, project, &fleet.defaults, out));
        }
    }
    candidates.sort_by(|a, b| (a.policy, &a.name).cmp(&(b.policy, &b.name)));
    candidates
}

fn read_hosts<'t>(
    parsed: &'t [(&'t Role, &'t Source<'t>, Parsed<'t>)],
    named: &BTreeSet<EnvName>,
    out: &mut Diagnostics,
) -> Hosts<'t> {
    let mut hosts = Hosts::new();
    for (role, source, table) in parsed {
        if let (Role::Host(host), Some(table)) = (role, table) {
            hosts.insert(host.clone(), hosts::read(source, table.get_ref(), named, out));
        }
    }
    hosts
}

/// Every host that has a file; one whose file can't be read names nothing that is known.
fn entries(
    roles: &[(&str, Role)],
    mut hosts: Hosts<'_>,
    split: &BTreeMap<EnvName, Vec<String>>,
) -> BTreeMap<String, HostEntry> {
    let all = roles.iter().filter_map(|(_, role)| if let Role::Host(host) = role { Some(host.clone()) } else { None });
    all.map(|host| {
        let named = hosts.remove(&host).unwrap_or_default();
        let split = split.iter().filter(|(_, hosts)| hosts.contains(&host));
        let split = split.map(|(name, hosts)| (name.clone(), hosts.clone())).collect();
        let environments = named.into_iter().map(|at| at.value).collect();
        (host, HostEntry { environments, mistakes: None, split })
    })
    .collect()
}
