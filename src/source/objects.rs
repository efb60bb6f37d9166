//! Commits and files in a mirror, read with libgit2. Everything is measured before it is read.

use std::path::{Path, PathBuf};

use git2::{ErrorCode, ObjectType, Oid, Repository, Sort};

use crate::manifest::Policy;
use crate::model::CommitId;

use super::select::{Ancestry, Refusal, follow};
use super::{Result, SourceError};

/// The objects of a bare repository.
pub struct Objects {
    repository: Repository,
    path: PathBuf,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What people want to know of a commit. The author wrote it: escape it in every sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its id.
    pub id: CommitId,
    /// The first line of its message.
    pub subject: String,
    /// Who wrote it, by their own account.
    pub author: String,
    /// When it was committed, by the committer's own account.
    pub time: jiff::Timestamp,
}

/// Longest commit and tree that is read, in bytes.
const MAX_COMMIT: u64 = 1 << 20;
const MAX_TREE: u64 = 16 << 20;
/// Depth to which a tag may lead to a tag.
const MAX_TAGS: usize = 8;

pub(super) const MODE_DIRECTORY: i32 = 0o040_000;
pub(super) const MODE_LINK: i32 = 0o120_000;
pub(super) const MODE_EXECUTABLE: i32 = 0o100_755;
/// The second one was written by early gits.
pub(super) const MODES_PLAIN: [i32; 2] = [0o100_644, 0o100_664];

/// An entry of one tree, as it is written there.
#[derive(Debug, Clone)]
pub(super) struct RawEntry {
    pub name: Vec<u8>,
    pub mode: i32,
    pub id: Oid,
}

impl Objects {
    /// Opens the bare repository at `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let repository = Repository::open_bare(path).map_err(unreadable("the repository", path))?;
        Ok(Self { repository, path: path.to_owned() })
    }

    /// Opens the clone that `directory` lies in: a person's own, with its working tree.
    pub fn of_clone(directory: &Path) -> Result<Self> {
        let repository = Repository::discover(directory).map_err(unreadable("a git repository", directory))?;
        let path = repository.path().to_owned();
        Ok(Self { repository, path })
    }

    /// The commit that a person's words name in his own clone: `HEAD~2`, `origin/main`, a tag. Never for words of others.
    pub fn rev(&self, words: &str) -> Result<CommitId> {
        let found = self.repository.revparse_single(words).and_then(|object| object.peel_to_commit());
        found.map(|commit| commit_id(commit.id())).map_err(unreadable(words, &self.path))
    }

    /// Whether this commit is here.
    pub fn contains(&self, commit: &CommitId) -> bool {
        self.header(oid(commit)).is_ok_and(|(_, kind)| kind == ObjectType::Commit)
    }

    /// The commit that a ref stands for, through annotated tags.
    pub(super) fn peel(&self, name: &str) -> Result<CommitId> {
        let mut id = self.repository.refname_to_id(name).map_err(unreadable(name, &self.path))?;
        for _ in 0..MAX_TAGS {
            match self.header(id)? {
                (_, ObjectType::Commit) => return Ok(commit_id(id)),
                (size, ObjectType::Tag) if size <= MAX_COMMIT => {
                    id = self.repository.find_tag(id).map_err(unreadable("a tag", &self.path))?.target_id();
                }
                _ => break,
            }
        }
        Err(unreadable("a commit behind the tag", &self.path)(git2::Error::from_str("the tag is on something else")))
    }

    /// How `tip` stands to `floor`.
    pub fn ancestry(&self, floor: &CommitId, tip: &CommitId) -> Result<Ancestry> {
        if floor == tip {
            return Ok(Ancestry::Same);
        }
        if !self.contains(floor) {
            return Ok(Ancestry::Unknown);
        }
        self.require(tip)?;
        let descends = |commit: &CommitId, from: &CommitId| {
            self.repository.graph_descendant_of(oid(commit), oid(from)).map_err(unreadable("history", &self.path))
        };
        Ok(match () {
            () if descends(tip, floor)? => Ancestry::Descendant,
            () if descends(floor, tip)? => Ancestry::Behind,
            () => Ancestry::Diverged,
        })
    }

    /// [`follow`] by what is here. What can't be read is not known.
    pub fn follow(
        &self,
        floor: &CommitId,
        tip: &CommitId,
        policy: Policy,
        accepted: Option<&CommitId>,
    ) -> std::result::Result<(), Refusal> {
        let ancestry = |floor: &CommitId, tip: &CommitId| self.ancestry(floor, tip).unwrap_or(Ancestry::Unknown);
        follow(ancestry, floor, tip, policy, accepted)
    }

    /// Who wrote a commit, when, and what it is about.
    pub fn commit_info(&self, commit: &CommitId) -> Result<CommitInfo> {
        let found = self.commit(commit)?;
        let subject = String::from_utf8_lossy(found.summary_bytes().unwrap_or_default()).into_owned();
        let author = String::from_utf8_lossy(found.author().name_bytes()).into_owned();
        let time = jiff::Timestamp::from_second(found.time().seconds()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Ok(CommitInfo { id: commit.clone(), subject, author, time })
    }

    /// How many commits `to` has that `from` has not: `git rev-list --count from..to`.
    pub fn log_count(&self, from: &CommitId, to: &CommitId) -> Result<usize> {
        self.require(from)?;
        self.require(to)?;
        let count = || {
            let mut walk = self.repository.revwalk()?;
            walk.set_sorting(Sort::NONE)?;
            walk.push(oid(to))?;
            walk.hide(oid(from))?;
            walk.try_fold(0, |count, id| id.map(|_| count + 1))
        };
        count().map_err(unreadable("history", &self.path))
    }

    /// Paths that differ between two commits, sorted, without detection of renames. Names that aren't UTF-8 are approximated.
    pub fn changed_paths(&self, from: &CommitId, to: &CommitId) -> Result<Vec<String>> {
        let trees = (self.commit(from)?, self.commit(to)?);
        let paths = || {
            let (from, to) = (trees.0.tree()?, trees.1.tree()?);
            let diff = self.repository.diff_tree_to_tree(Some(&from), Some(&to), None)?;
            let changed = diff.deltas().filter_map(|delta| delta.new_file().path_bytes());
            Ok(changed.map(|path| String::from_utf8_lossy(path).into_owned()).collect())
        };
        let mut paths: Vec<_> = paths().map_err(unreadable("the difference of two commits", &self.path))?;
        paths.sort_unstable();
        Ok(paths)
    }

    /// A regular file's bytes, at most `limit` of them; `None` when there is none at `path`. Links are not followed.
    pub fn file_at(&self, commit: &CommitId, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let mut tree = self.root(commit)?;
        let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
        for parent in parents.split('/').filter(|parent| !parent.is_empty()) {
            let entries = self.entries(tree)?;
            let Some(next) =
                entries.iter().find(|entry| entry.name == parent.as_bytes() && entry.mode == MODE_DIRECTORY)
            else {
                return Ok(None);
            };
            tree = next.id;
        }
        let entries = self.entries(tree)?;
        let file = entries.iter().find(|entry| entry.name == name.as_bytes() && is_file(entry.mode));
        file.map(|file| self.blob(file.id, limit, path)).transpose()
    }

    pub(super) fn root(&self, commit: &CommitId) -> Result<Oid> {
        Ok(self.commit(commit)?.tree_id())
    }

    /// The entries of one tree, in git's order.
    pub(super) fn entries(&self, tree: Oid) -> Result<Vec<RawEntry>> {
        self.expect(tree, ObjectType::Tree, MAX_TREE, "a directory")?;
        let tree = self.repository.find_tree(tree).map_err(unreadable("a directory", &self.path))?;
        let raw = tree.iter().map(|entry| RawEntry {
            name: entry.name_bytes().to_vec(),
            mode: entry.filemode_raw(),
            id: entry.id(),
        });
        Ok(raw.collect())
    }

    /// Size of a file or link, without reading it.
    pub(super) fn blob_size(&self, id: Oid, what: &str) -> Result<u64> {
        match self.header(id)? {
            (size, ObjectType::Blob) => Ok(size),
            _ => Err(unreadable(what, &self.path)(git2::Error::from_str("it is not a file"))),
        }
    }

    /// A file's or link's bytes.
    pub(super) fn blob(&self, id: Oid, limit: u64, what: &str) -> Result<Vec<u8>> {
        self.expect(id, ObjectType::Blob, limit, what)?;
        let blob = self.repository.find_blob(id).map_err(unreadable(what, &self.path))?;
        Ok(blob.content().to_vec())
    }

    fn commit(&self, commit: &CommitId) -> Result<git2::Commit<'_>> {
        self.require(commit)?;
        self.expect(oid(commit), ObjectType::Commit, MAX_COMMIT, "the commit")?;
        self.repository.find_commit(oid(commit)).map_err(unreadable("the commit", &self.path))
    }

    fn require(&self, commit: &CommitId) -> Result<()> {
        if self.contains(commit) {
            return Ok(());
        }
        Err(SourceError::NoSuchCommit { commit: commit.clone(), path: self.path.clone() })
    }

    fn header(&self, id: Oid) -> Result<(u64, ObjectType)> {
        let odb = self.repository.odb().map_err(unreadable("objects", &self.path))?;
        let (size, kind) = odb.read_header(id).map_err(unreadable(&format!("object {id}"), &self.path))?;
        Ok((size as u64, kind))
    }

    fn expect(&self, id: Oid, kind: ObjectType, limit: u64, what: &str) -> Result<()> {
        match self.header(id)? {
            (size, found) if found == kind && size <= limit => Ok(()),
            (_, found) if found == kind => Err(SourceError::TooLarge { what: what.to_owned(), limit }),
            (_, found) => {
                let error = git2::Error::new(ErrorCode::Invalid, git2::ErrorClass::Object, format!("it is a {found}"));
                Err(unreadable(what, &self.path)(error))
            }
        }
    }
}

pub(super) fn is_file(mode: i32) -> bool {
    mode == MODE_EXECUTABLE || MODES_PLAIN.contains(&mode)
}

fn unreadable(what: &str, path: &Path) -> impl FnOnce(git2::Error) -> SourceError {
    let (what, path) = (what.to_owned(), path.to_owned());
    move |source| SourceError::Objects { what, path, source }
}

fn oid(commit: &CommitId) -> Oid {
    Oid::from_str(commit.as_str()).unwrap_or(Oid::ZERO_SHA1)
}

fn commit_id(id: Oid) -> CommitId {
    CommitId::try_from(id.to_string()).unwrap_or_else(|_| unreachable!("libgit2 reads SHA-1 repositories only"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::Origin;

    fn objects(origin: &Origin) -> Objects {
        Objects::open(&origin.path().join(".git")).unwrap()
    }

    #[test]
    fn a_commit_introduces_itself() {
        let origin = Origin::new();
        let first = origin.commit("a", "1");
        let second = origin.commit("b/c", "2");
        let third = origin.commit("a", "3");
        let objects = objects(&origin);
        let info = objects.commit_info(&second).unwrap();
        assert_eq!((info.subject.as_str(), info.author.as_str()), ("change something", "Anna"));
        assert_eq!(info.time.to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(objects.log_count(&first, &third).unwrap(), 2);
        assert_eq!(objects.log_count(&third, &first).unwrap(), 0);
        assert_eq!(objects.changed_paths(&first, &third).unwrap(), ["a", "b/c"]);
        assert_eq!(objects.file_at(&third, "b/c", 10).unwrap(), Some(b"2".to_vec()));
        for absent in ["b", "c", "b/c/d", "", "/"] {
            assert_eq!(objects.file_at(&third, absent, 10).unwrap(), None, "{absent}");
        }
        assert!(matches!(objects.file_at(&third, "b/c", 0), Err(SourceError::TooLarge { .. })));
        let unknown = CommitId::parse(&"7".repeat(40)).unwrap();
        assert!(matches!(objects.commit_info(&unknown), Err(SourceError::NoSuchCommit { .. })));
    }
}
