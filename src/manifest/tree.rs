//! The files of a deploy repository, in memory: from git objects on a host, from a directory for `portreeve check DIR`.

use std::collections::BTreeMap;

use crate::model::{Domain, EnvName, EnvironmentName, NameError, ProjectName};

/// Largest manifest that is read, in bytes. Hand-written ones have a hundredth of it.
pub const LARGEST_FILE: u64 = 1024 * 1024;

/// What stands at a path of the deploy repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A regular file and its bytes.
    File(Vec<u8>),
    /// A symbolic link or a submodule: never followed.
    Link,
    /// A regular file of so many bytes, above [`LARGEST_FILE`], that was therefore not read.
    TooLarge(u64),
}

/// A deploy repository's files by their path, with `/` between the parts and none before the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    files: BTreeMap<String, Entry>,
}

impl Tree {
    /// A tree without files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what stands at `path`; a file above [`LARGEST_FILE`] loses its bytes here.
    pub fn insert(&mut self, path: impl Into<String>, entry: Entry) {
        let entry = match entry {
            Entry::File(bytes) if bytes.len() as u64 > LARGEST_FILE => Entry::TooLarge(bytes.len() as u64),
            other => other,
        };
        self.files.insert(path.into(), entry);
    }

    /// What stands at `path`.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.files.get(path)
    }

    /// All of it, in the order of the paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.files.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// Whether a reader of the tree's source needs the bytes of `path`; everything else in a deploy repository is the
    /// user's own (a README, his CI).
    pub fn wants(path: &str) -> bool {
        path == FLEET || (is_toml(path) && (path.starts_with(HOSTS) || path.starts_with(PROJECTS)))
    }
}

impl<P: Into<String>> FromIterator<(P, Entry)> for Tree {
    fn from_iter<I: IntoIterator<Item = (P, Entry)>>(files: I) -> Self {
        let mut tree = Self::new();
        files.into_iter().for_each(|(path, entry)| tree.insert(path, entry));
        tree
    }
}

/// The file that makes a directory a deploy repository.
pub(super) const FLEET: &str = "portreeve.toml";
const HOSTS: &str = "hosts/";
const PROJECTS: &str = "projects/";

/// What a file of the repository is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// `portreeve.toml`
    Fleet,
    /// `hosts/NAME.toml`
    Host(String),
    /// `projects/NAME/project.toml`
    Project(ProjectName),
    /// `projects/NAME/ENV.toml`
    Environment(EnvName),
    /// A folder below `projects/`: only a link can be seen as one.
    Folder(ProjectName),
    /// Below `hosts/` or `projects/`, and yet neither of the above.
    Misplaced(Misplaced),
    /// Not ours.
    Foreign,
}

/// Why a file below `hosts/` or `projects/` can't be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Misplaced {
    /// Its folder's or its own name breaks a rule.
    Name(NameError),
    /// A host's file is not `hosts/NAME.toml`.
    Host,
    /// An environment's file is not `projects/NAME/ENV.toml`.
    Project,
}

fn is_toml(path: &str) -> bool {
    std::path::Path::new(path).extension().is_some_and(|extension| extension == "toml")
}

/// What the file at `path` is for.
pub(super) fn role(path: &str) -> Role {
    if path == FLEET {
        return Role::Fleet;
    }
    if matches!(path, "hosts" | "projects") {
        return Role::Misplaced(if path == "hosts" { Misplaced::Host } else { Misplaced::Project });
    }
    let Some(stem) = path.strip_suffix(".toml") else {
        return folder(path);
    };
    match (stem.strip_prefix(HOSTS), stem.strip_prefix(PROJECTS)) {
        (Some(host), _) => host_role(host),
        (_, Some(project)) => project_role(project),
        _ => Role::Foreign,
    }
}

fn folder(path: &str) -> Role {
    path.strip_prefix(PROJECTS).and_then(|name| ProjectName::parse(name).ok()).map_or(Role::Foreign, Role::Folder)
}

fn host_role(name: &str) -> Role {
    match Domain::parse(name) {
        Ok(_) if !name.starts_with('*') => Role::Host(name.to_owned()),
        _ => Role::Misplaced(Misplaced::Host),
    }
}

fn project_role(stem: &str) -> Role {
    let Some((project, file)) = stem.rsplit_once('/') else {
        return Role::Misplaced(Misplaced::Project);
    };
    let named = ProjectName::parse(project).and_then(|project| match file {
        "project" => Ok(Role::Project(project)),
        _ => Ok(Role::Environment(EnvName::new(project, EnvironmentName::parse(file)?)?)),
    });
    named.unwrap_or_else(|error| Role::Misplaced(Misplaced::Name(error)))
}
