//! The deploy repository as it could be read, or why it could not.

use crate::agent::App;
use crate::manifest::{self, Repository, Tree};
use crate::model::CommitId;
use crate::plan::Want;
use crate::source::{self, Address, CommitInfo, Mirror, Objects, SourceError, TreeEntry};
use crate::transaction::chain;

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

    pub(super) fn of(error: &SourceError) -> Self {
        let words = format!("{}; {}", chain(error), error.cure());
        if error.is_transient() { Self::Passing(words) } else { Self::Lasting(words) }
    }

    /// What it means for an environment that is here.
    pub(super) fn want(&self) -> Want {
        match self {
            Self::Passing(words) => Want::Unknown(words.clone()),
            Self::Lasting(words) => Want::Unusable(words.clone()),
        }
    }
}

/// The deploy repository as it could be read.
pub(super) struct Deploy {
    pub tip: CommitId,
    pub objects: Objects,
    pub info: Option<CommitInfo>,
    pub tree: Tree,
    pub repository: Option<Repository>,
    pub diagnostics: manifest::Diagnostics,
}

/// Reads the tip, through our mirror.
pub(super) fn read(app: &App, seen: Option<source::Result<CommitId>>) -> Result<Deploy, SourceError> {
    let address = Address::parse(&app.settings.repo, app.local)?;
    let mirror = Mirror::new(app.layout.deploy_clone(), address.clone());
    let git = app.git.first();
    let tip = seen.unwrap_or_else(|| source::tip(&git, &address, &app.settings.branch))?;
    let here = mirror.objects().is_ok_and(|objects| objects.contains(&tip));
    let wanted =
        if here { source::Wanted::Commit(tip.clone()) } else { source::Wanted::Branch(app.settings.branch.clone()) };
    let tip = mirror.fetch(&git, &[wanted])?.into_iter().next().unwrap_or(tip);
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
