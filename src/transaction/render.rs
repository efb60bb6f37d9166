//! A generation's files as nodes, from its record and this host's secrets.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use secrecy::SecretString;

use super::{Context, Failure, Phase, ground};
use crate::desired::{Generation, Listed, Listing};
use crate::emit;
use crate::model::{Digest, EnvLayout, Identity, Node, UserName};
use crate::observed::Owners;
use crate::resource::{self, Audience, Rendered, Subject};

/// The owned parts of a renderer's subject.
pub struct Materials {
    paths: EnvLayout,
    secret_key: SecretString,
    group: String,
}

impl Materials {
    /// Reads (or, the first time, makes) what rendering needs beyond the record.
    pub fn gather(cx: &Context<'_>, generation: &Generation) -> Result<Self, Failure> {
        let secret_key = ground::secret_key(cx, &generation.name)?;
        let group = group(cx, &generation.wanted.env.user)?;
        Ok(Self { paths: cx.paths(&generation.wanted), secret_key, group })
    }

    /// What the renderers are given.
    pub fn subject<'a>(&'a self, cx: &'a Context<'_>, generation: &'a Generation) -> Subject<'a> {
        let wanted = &generation.wanted;
        let release = self.paths.release(&wanted.release);
        Subject {
            env: &wanted.env,
            layout: &self.paths,
            slot: generation.slot,
            code_dir: wanted.code_dir(&release),
            release,
            venv: self.paths.venvs().join(&wanted.venv),
            workers: wanted.workers,
            http_port: cx.facts.http_port,
            secret_key: &self.secret_key,
            capabilities: cx.host.capabilities(),
            manager: cx.facts.manager,
            launcher: cx.facts.launcher.clone(),
            group: self.group.clone(),
            web_user: cx.facts.web_user.clone(),
            web_group: cx.facts.web_group.clone(),
        }
    }
}

/// The user's first group, whatever it is called; a user that is yet to be made gets one of the same name.
fn group(cx: &Context<'_>, user: &UserName) -> Result<String, Failure> {
    let (users, fail) = (cx.host.users(), Failure::on_host(Phase::Build));
    match users.user(user).map_err(&fail)? {
        Some(identity) => users.group_name(identity.gid).map_err(&fail),
        None => Ok(user.to_string()),
    }
}

/// The files that the renderers make of this generation.
pub fn files(cx: &Context<'_>, generation: &Generation) -> Result<Vec<Rendered>, Failure> {
    let materials = Materials::gather(cx, generation)?;
    Ok(resource::generation_files(&materials.subject(cx, generation))?)
}

/// The environment of the application's commands, with its settings read from the generation itself: no slot runs it yet.
pub fn command_env(cx: &Context<'_>, generation: &Generation) -> Result<BTreeMap<String, String>, Failure> {
    let materials = Materials::gather(cx, generation)?;
    let mut env =
        emit::env::parse(&resource::variables::render(&materials.subject(cx, generation))?).unwrap_or_default();
    let slot = cx.layout.slot_link(&generation.name, generation.slot).to_string_lossy().into_owned();
    let directory = cx.directory(generation).to_string_lossy().into_owned();
    for value in env.values_mut() {
        *value = value.replace(&slot, &directory);
    }
    Ok(env)
}

fn node(rendered: &Rendered, owners: Owners) -> Node {
    let (mode, owner) = match rendered.audience {
        Audience::Everyone => (0o644, owners.root),
        Audience::Application => (0o440, Identity { gid: owners.app.gid, ..owners.root }),
    };
    Node::File { bytes: rendered.bytes.clone(), mode, owner }
}

fn listed(node: &Node) -> Option<Listed> {
    match node {
        Node::File { bytes, mode, owner } => {
            Some(Listed::File { sha256: Digest::of(bytes), mode: *mode, owner: *owner })
        }
        Node::Link(target) => Some(Listed::Link(target.clone())),
        Node::Directory { .. } => None,
    }
}

/// Everything that this generation's files are, by name: to be staged, or to repair what was changed.
pub fn nodes(cx: &Context<'_>, generation: &Generation, owners: Owners) -> Result<BTreeMap<String, Node>, Failure> {
    let rendered = files(cx, generation)?;
    let mut nodes: BTreeMap<String, Node> =
        rendered.iter().map(|file| (file.path.to_string_lossy().into_owned(), node(file, owners))).collect();
    let (paths, wanted) = (cx.paths(&generation.wanted), &generation.wanted);
    nodes.insert("release".to_owned(), Node::Link(paths.release(&wanted.release)));
    nodes.insert("static".to_owned(), Node::Link(paths.static_of(&wanted.release, &wanted.digest)));
    let marker = format!("slot-{}", generation.slot);
    nodes.insert(marker, Node::File { bytes: Vec::new(), mode: 0o644, owner: owners.root });
    let record = generation.to_bytes().map_err(|error| Failure::release(Phase::Build, error.to_string()))?;
    nodes.insert(Generation::FILE.to_owned(), Node::File { bytes: record, mode: 0o600, owner: owners.root });
    Ok(nodes)
}

/// The listing of these nodes.
pub fn listing(nodes: &BTreeMap<String, Node>) -> Listing {
    Listing(nodes.iter().filter_map(|(name, node)| Some((name.clone(), listed(node)?))).collect())
}

/// The tree to stage: the nodes and their listing.
pub fn tree(nodes: BTreeMap<String, Node>, owners: Owners) -> VecDeque<(PathBuf, Node)> {
    let bytes = listing(&nodes).to_bytes();
    let mut tree: VecDeque<(PathBuf, Node)> =
        nodes.into_iter().map(|(name, node)| (PathBuf::from(name), node)).collect();
    tree.push_back((PathBuf::from(Listing::FILE), Node::File { bytes, mode: 0o600, owner: owners.root }));
    tree
}
