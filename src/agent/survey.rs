//! Looks at the repository and at the host, and decides; changes nothing but our mirrors of git repositories.

use std::collections::{BTreeMap, BTreeSet};

use crate::host::{HostError, Listener, SlotId};
use crate::manifest::{self, Environment, Notify, Policy, Repository, Tree};
use crate::model::{Capability, CommitId, EnvName, PortRange, Service};
use crate::observed::Installed;
use crate::plan::{Action, Decision, EnvPlan, Plan, Want, decide};
use crate::policy::Standing;
use crate::source::{self, Address, CommitInfo, Mirror, Objects, Refs, SourceError, TreeEntry};
use crate::transaction::lock::{Place, shared};
use crate::transaction::{self, Context, Failure, Phase, chain};

use super::floor::{Floors, diverged};
use super::want::Resolver;
use super::{App, read_standing, standing::policy, standing_here};

/// A plan and what it was made from.
#[derive(Debug)]
pub struct Survey {
    /// What to do.
    pub plan: Plan,
    /// The tip's message, author and time.
    pub commit: Option<CommitInfo>,
    /// The tip's files and every complaint about them.
    pub manifests: Option<(Tree, manifest::Diagnostics)>,
    /// Why the repository could not be used.
    pub trouble: Option<Trouble>,
    /// The blocks of ports of this host's environments, where the kernel can be told to keep them.
    pub ports: Vec<PortRange>,
    /// The environments for which the tip counts: from now on they don't go back below it.
    pub followed: Vec<EnvName>,
    /// What was found in the applications' repositories that could be looked at.
    pub refs: BTreeMap<String, Refs>,
    /// Who is told of a change; `None` while that is not known.
    pub notify: Option<Notify>,
}

/// Why the deploy repository as a whole could not be used; nothing on the host follows from it then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It may pass by itself: the network, the server.
    Passing(String),
    /// A person must act: a wrong address, no such branch, no file of this host.
    Lasting(String),
}

impl Trouble {
    /// What is so, and what to do.
    pub fn words(&self) -> &str {
        let (Self::Passing(words) | Self::Lasting(words)) = self;
        words
    }

    /// The exit code of the contract: 1 or 4.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Passing(_) => 1,
            Self::Lasting(_) => 4,
        }
    }

    fn of(error: &SourceError) -> Self {
        let words = format!("{}; {}", chain(error), error.cure());
        if error.is_transient() { Self::Passing(words) } else { Self::Lasting(words) }
    }

    /// What it means for an environment that is here.
    fn want(&self) -> Want {
        match self {
            Self::Passing(words) => Want::Unknown(words.clone()),
            Self::Lasting(words) => Want::Unusable(words.clone()),
        }
    }
}

/// The deploy repository as it could be read.
struct Deploy {
    tip: CommitId,
    objects: Objects,
    info: Option<CommitInfo>,
    tree: Tree,
    repository: Option<Repository>,
    diagnostics: manifest::Diagnostics,
}

/// What all environments share of the moment they are looked at: asked once, however many there are.
struct Moment {
    services: BTreeMap<SlotId, Service>,
    listeners: Vec<Listener>,
}

impl Moment {
    fn now(cx: &Context<'_>) -> Result<Self, Failure> {
        let services = cx.host.services().services().map_err(Failure::on_host(Phase::Recover))?;
        let listeners = cx.host.kernel().listeners().map_err(Failure::on_host(Phase::Validate))?;
        Ok(Self { services, listeners })
    }
}

/// Looks at everything and decides about `only` these environments, or about all.
pub fn survey(app: &App, cx: &Context<'_>, only: &BTreeSet<EnvName>) -> Result<Survey, Failure> {
    cx.report.event(&super::pass::LOOKING);
    survey_at(app, cx, only, None)
}

/// The same, where the deploy repository was looked at already: one connection a pass.
pub(super) fn survey_at(
    app: &App,
    cx: &Context<'_>,
    only: &BTreeSet<EnvName>,
    seen: Option<source::Result<CommitId>>,
) -> Result<Survey, Failure> {
    let installed = transaction::installed_names(cx).map_err(Failure::on_host(Phase::Recover))?;
    let (deploy, asked) = ask(app, cx, only, seen, &installed);
    let moment = Moment::now(cx)?;
    let (mut asked, trouble) = match asked {
        Ok(asked) => (asked, None),
        Err(trouble) => (Asked::default(), Some(trouble)),
    };
    for name in installed {
        if let Some(trouble) = &trouble {
            asked.wants.insert(name, trouble.want());
        }
    }
    asked.wants.retain(|name, _| only.is_empty() || only.contains(name));
    let judge = deploy.as_ref().filter(|_| trouble.is_none());
    let floors = std::mem::take(&mut asked.floors);
    let judge = judge.map(|deploy| Judge { deploy, branch: &app.settings.branch, floors });
    let (mut environments, mut followed) = (Vec::new(), Vec::new());
    for (name, want) in std::mem::take(&mut asked.wants) {
        let moved = asked.moved.remove(&name);
        let looked = look(app, cx, (&name, want, moved), judge.as_ref(), &moment);
        let (plan, follows) = looked.unwrap_or_else(|failure| (unreadable(name.clone(), failure.cause), false));
        environments.push(plan);
        followed.extend(follows.then_some(name));
    }
    let Asked { ports, refs, .. } = asked;
    let plan = Plan { tip: deploy.as_ref().map(|deploy| deploy.tip.clone()), environments };
    let notify = deploy.as_ref().and_then(|deploy| Some(deploy.repository.as_ref()?.notify.clone()));
    let (commit, manifests) = match deploy {
        Some(deploy) => (deploy.info, Some((deploy.tree, deploy.diagnostics))),
        None => (None, None),
    };
    Ok(Survey { plan, commit, manifests, trouble, ports, followed, refs, notify })
}

/// An environment that can't be looked at keeps no other from being.
fn unreadable(name: EnvName, cause: String) -> EnvPlan {
    let action = Action::Blocked(cause);
    EnvPlan {
        name,
        serves: None,
        wants: None,
        action,
        repairs: Vec::new(),
        respected: Vec::new(),
        moved: None,
        retires: None,
        settles: false,
    }
}

/// What the repository asks for. Mirrors are written by one program at a time, and nothing else is waited for meanwhile.
fn ask(
    app: &App,
    cx: &Context<'_>,
    only: &BTreeSet<EnvName>,
    seen: Option<source::Result<CommitId>>,
    installed: &[EnvName],
) -> (Option<Deploy>, Result<Asked, Trouble>) {
    let _fetching = match shared(cx, Place::Mirrors) {
        Ok(lock) => lock,
        Err(failure) => return (None, Err(Trouble::Passing(failure.cause))),
    };
    match read_deploy(app, seen) {
        Ok(deploy) => {
            let asked = wants(app, cx, &deploy, installed, only).map_err(Trouble::Lasting);
            (Some(deploy), asked)
        }
        Err(error) => (None, Err(Trouble::of(&error))),
    }
}

fn read_deploy(app: &App, seen: Option<source::Result<CommitId>>) -> Result<Deploy, SourceError> {
    let address = Address::parse(&app.settings.repo, app.local)?;
    let mirror = Mirror::new(app.layout.deploy_clone(), address.clone());
    let tip = seen.unwrap_or_else(|| source::tip(&app.git, &address, &app.settings.branch))?;
    let here = mirror.objects().is_ok_and(|objects| objects.contains(&tip));
    let wanted =
        if here { source::Wanted::Commit(tip.clone()) } else { source::Wanted::Branch(app.settings.branch.clone()) };
    let tip = mirror.fetch(&app.git, &[wanted])?.into_iter().next().unwrap_or(tip);
    let objects = mirror.objects()?;
    let tree = deploy_tree(&objects, &tip)?;
    let (repository, diagnostics) = manifest::parse(&tree);
    let info = objects.commit_info(&tip).ok();
    Ok(Deploy { tip, objects, info, tree, repository, diagnostics })
}

/// The manifests of a commit of the deploy repository.
pub fn deploy_tree(objects: &Objects, commit: &CommitId) -> Result<Tree, SourceError> {
    Ok(objects.deploy_tree(commit)?.into_iter().map(|(path, entry)| (path, manifest_entry(entry))).collect())
}

fn manifest_entry(entry: TreeEntry) -> manifest::Entry {
    match entry {
        TreeEntry::File { bytes, .. } => manifest::Entry::File(bytes),
        TreeEntry::TooLarge(size) => manifest::Entry::TooLarge(size),
        TreeEntry::Link(_) | TreeEntry::Submodule => manifest::Entry::Link,
    }
}

/// What the repository asks.
#[derive(Default)]
struct Asked {
    wants: BTreeMap<EnvName, Want>,
    /// Tags that are not where they were, in words.
    moved: BTreeMap<EnvName, String>,
    ports: Vec<PortRange>,
    refs: BTreeMap<String, Refs>,
    /// Below what it may not go back.
    floors: Floors,
}

/// What the repository asks of each environment of this host, and of those that are here but no longer listed.
fn wants(
    app: &App,
    cx: &Context<'_>,
    deploy: &Deploy,
    installed: &[EnvName],
    only: &BTreeSet<EnvName>,
) -> Result<Asked, String> {
    let floors = Floors::read(cx).map_err(|newer| newer.to_string())?;
    let repository = (deploy.repository.as_ref())
        .ok_or_else(|| "portreeve.toml of the deploy repository can't be used; portreeve check says why".to_owned())?;
    let (_, entry) = repository.for_host(&app.name).ok_or_else(|| {
        format!("the deploy repository has no hosts/{}.toml; add it, or correct `host` in agent.toml", app.name)
    })?;
    let listed: Vec<(&EnvName, Result<&Environment, _>)> = repository.environments_of(entry).collect();
    let chosen = |name: &EnvName| only.is_empty() || only.contains(name);
    let sound: Vec<&Environment> =
        listed.iter().filter(|(name, _)| chosen(name)).filter_map(|(_, env)| (*env).ok()).collect();
    let mut resolver = Resolver::new(app, cx, deploy.tip.clone(), &sound);
    let mut wants = BTreeMap::new();
    for (name, env) in &listed {
        let want = match env {
            Ok(env) if env.removed => Want::Absent { tombstone: true },
            Ok(env) if chosen(name) => resolver.want(env),
            Ok(_) => continue,
            Err(invalid) => Want::Unusable(format!("{}; portreeve check shows it", invalid.first)),
        };
        wants.insert((*name).clone(), want);
    }
    let kept = cx.host.capabilities().has(Capability::Kernel);
    let ports = listed.iter().filter(|_| kept).filter_map(|(_, env)| (*env).ok()).map(|env| env.ports).collect();
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

/// Looks at one environment and decides about it. Whether the tip counts for it.
fn look(
    app: &App,
    cx: &Context<'_>,
    (name, want, moved): (&EnvName, Want, Option<String>),
    judge: Option<&Judge<'_>>,
    moment: &Moment,
) -> Result<(EnvPlan, bool), Failure> {
    let installed = transaction::installed(cx, name, &moment.services)?;
    let wanted = if let Want::Wanted(wanted) = &want { Some(&**wanted) } else { None };
    let standing = standing_here(cx, read_standing(cx, name)?, wanted);
    let Some(judge) = judge else {
        return Ok((environment(app, cx, Seen { want, moved, installed, standing }, moment)?, false));
    };
    let refused = judge.refuses(cx, &want, &installed, &standing)?;
    let follows = refused.is_none();
    let want = refused.map_or(want, Want::Diverged);
    Ok((environment(app, cx, Seen { want, moved, installed, standing }, moment)?, follows))
}

/// One environment with everything that is decided from.
struct Seen {
    want: Want,
    moved: Option<String>,
    installed: Installed,
    standing: Standing,
}

fn environment(app: &App, cx: &Context<'_>, seen: Seen, moment: &Moment) -> Result<EnvPlan, Failure> {
    let Seen { want, moved, installed, standing } = seen;
    let foreign = match &want {
        Want::Wanted(wanted) => foreign(cx, &moment.listeners, wanted.env.ports, &wanted.env.user)?,
        _ => None,
    };
    let renders_differently = match (&want, &installed.generation) {
        (Want::Wanted(wanted), Some(generation)) if wanted.digest == generation.wanted.digest => {
            transaction::renders_differently(cx, generation)?
        }
        _ => false,
    };
    let (now, grace) = (cx.host.clock().now(), app.settings.prune.grace.duration());
    let (installed, standing) = (&installed, &standing);
    Ok(decide(Decision { want, moved, installed, standing, foreign, renders_differently, grace, now }))
}

/// Whether this tip counts for an environment.
struct Judge<'a> {
    deploy: &'a Deploy,
    branch: &'a str,
    floors: Floors,
}

impl Judge<'_> {
    /// Why nothing that the tip says counts, also not that the environment is gone: it was not built on what was followed here.
    ///
    /// The rule is that of what is applied, so that a rewritten history can't loosen it.
    fn refuses(
        &self,
        cx: &Context<'_>,
        want: &Want,
        installed: &Installed,
        standing: &Standing,
    ) -> Result<Option<String>, Failure> {
        let policy = match (want, policy(installed)) {
            (_, Some(policy)) => policy,
            (Want::Wanted(wanted), None) => wanted.env.policy,
            (_, None) => return Ok(None),
        };
        let Some(floor) = self.floors.of(cx, &installed.name)? else { return Ok(None) };
        let accepted = standing.accepted_over(&floor);
        let refused = self.deploy.objects.follow(&floor, &self.deploy.tip, policy, accepted).err();
        let info = self.deploy.info.as_ref();
        Ok(refused.map(|refusal| diverged(&installed.name, &refusal, self.branch, info)))
    }
}

/// The first listener in the environment's ports that is not its own. The first port is the development server's.
fn foreign(
    cx: &Context<'_>,
    listeners: &[Listener],
    ports: PortRange,
    user: &crate::model::UserName,
) -> Result<Option<String>, Failure> {
    let fail = Failure::on_host(Phase::Validate);
    let own = cx.host.users().user(user).map_err(&fail)?.map(|identity| identity.uid);
    let found = listeners
        .iter()
        .find(|listener| ports.first <= listener.port && listener.port <= ports.last && Some(listener.uid) != own);
    Ok(found.map(words))
}

fn words(listener: &Listener) -> String {
    let who = match (&listener.command, listener.pid) {
        (Some(command), Some(pid)) => format!("{command} (pid {pid}, uid {})", listener.uid),
        _ => format!("a process of uid {}", listener.uid),
    };
    format!("port {} is held by {who}, not by us; stop it, or change ports", listener.port)
}
