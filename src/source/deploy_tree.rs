//! The manifests of a commit of the deploy repository, and whatever stands in their places.

use super::objects::{MODE_DIRECTORY, MODE_EXECUTABLE, MODE_LINK, RawEntry, is_file};
use super::{Objects, Result, SourceError};
use crate::model::CommitId;

/// Longest manifest that is read, in bytes.
const MAX_MANIFEST: u64 = 1 << 20;
/// Bytes of all manifests together, and their number.
const MAX_MANIFESTS: u64 = 64 << 20;
const MAX_MANIFEST_COUNT: usize = 20_000;

/// What the deploy repository holds at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeEntry {
    /// A regular file.
    File {
        /// All of it.
        bytes: Vec<u8>,
        /// Whether it is executable.
        executable: bool,
    },
    /// A symbolic link, with its text; it is not followed.
    Link(Vec<u8>),
    /// A file that was not read, with its size in bytes.
    TooLarge(u64),
    /// A submodule, or a mode that git doesn't know.
    Submodule,
}

impl Objects {
    /// What a deploy repository says: `portreeve.toml`, `hosts/*.toml` and `projects/*/*.toml`, sorted by path, and whatever
    /// else stands where these or their directories belong. Nothing else is read.
    pub fn deploy_tree(&self, commit: &CommitId) -> Result<Vec<(String, TreeEntry)>> {
        let mut reader = DeployReader { objects: self, found: Vec::new(), bytes: 0 };
        for entry in self.entries(self.root(commit)?)? {
            match entry.name.as_slice() {
                b"portreeve.toml" => reader.take("", &entry)?,
                b"hosts" => reader.directory("", &entry, DeployReader::manifest)?,
                b"projects" => reader.directory("", &entry, DeployReader::project)?,
                _ => {}
            }
        }
        reader.found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(reader.found)
    }
}

/// Collects manifests below a bound.
struct DeployReader<'a> {
    objects: &'a Objects,
    found: Vec<(String, TreeEntry)>,
    bytes: u64,
}

impl DeployReader<'_> {
    /// Visits a directory; what stands in its place is kept, to be complained about.
    fn directory(
        &mut self,
        parent: &str,
        entry: &RawEntry,
        visit: impl Fn(&mut Self, &str, &RawEntry) -> Result<()>,
    ) -> Result<()> {
        if entry.mode != MODE_DIRECTORY {
            return self.take(parent, entry);
        }
        let path = join(parent, &entry.name);
        self.objects.entries(entry.id)?.iter().try_for_each(|child| visit(self, &path, child))
    }

    /// A directory of `projects`. A plain file beside them (a README) means nothing.
    fn project(&mut self, parent: &str, entry: &RawEntry) -> Result<()> {
        if is_file(entry.mode) {
            return Ok(());
        }
        self.directory(parent, entry, Self::manifest)
    }

    fn manifest(&mut self, parent: &str, entry: &RawEntry) -> Result<()> {
        let is_manifest = entry.name.ends_with(b".toml") && entry.mode != MODE_DIRECTORY;
        if is_manifest { self.take(parent, entry) } else { Ok(()) }
    }

    fn take(&mut self, parent: &str, entry: &RawEntry) -> Result<()> {
        let path = join(parent, &entry.name);
        let read = self.read(&path, entry)?;
        self.found.push((path, read));
        if self.found.len() > MAX_MANIFEST_COUNT || self.bytes > MAX_MANIFESTS {
            return Err(SourceError::TooLarge { what: "the deploy repository".into(), limit: MAX_MANIFESTS });
        }
        Ok(())
    }

    fn read(&mut self, path: &str, entry: &RawEntry) -> Result<TreeEntry> {
        if !is_file(entry.mode) && entry.mode != MODE_LINK {
            return Ok(TreeEntry::Submodule);
        }
        let size = self.objects.blob_size(entry.id, path)?;
        if size > MAX_MANIFEST {
            return Ok(TreeEntry::TooLarge(size));
        }
        self.bytes += size;
        let bytes = self.objects.blob(entry.id, MAX_MANIFEST, path)?;
        match entry.mode {
            MODE_LINK => Ok(TreeEntry::Link(bytes)),
            mode => Ok(TreeEntry::File { bytes, executable: mode == MODE_EXECUTABLE }),
        }
    }
}

fn join(parent: &str, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    if parent.is_empty() { name.into_owned() } else { format!("{parent}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::Origin;

    fn read(origin: &Origin, commit: &CommitId) -> Vec<(String, TreeEntry)> {
        Objects::open(&origin.path().join(".git")).unwrap().deploy_tree(commit).unwrap()
    }

    #[test]
    fn only_manifests_are_read_from_a_deploy_repository() {
        let origin = Origin::new();
        for path in ["portreeve.toml", "hosts/web1.toml", "projects/bakery/pro.toml", "projects/bakery/project.toml"] {
            origin.commit(path, path);
        }
        for path in ["README", "other.toml", "hosts/notes.txt", "projects/README.toml", "projects/bakery/x/deep.toml"] {
            origin.commit(path, path);
        }
        let commit = origin.commit_bytes("projects/bakery/dev.toml", &vec![b'#'; (1 << 20) + 1]);
        let tree = read(&origin, &commit);
        let paths: Vec<_> = tree.iter().map(|(path, _)| path.as_str()).collect();
        let expected = ["portreeve.toml", "hosts/web1.toml", "projects/bakery/dev.toml", "projects/bakery/pro.toml"];
        let mut expected: Vec<_> = expected.into_iter().chain(["projects/bakery/project.toml"]).collect();
        expected.sort_unstable();
        assert_eq!(paths, expected);
        assert_eq!(tree[2].1, TreeEntry::TooLarge((1 << 20) + 1));
        let pro = TreeEntry::File { bytes: b"projects/bakery/pro.toml".to_vec(), executable: false };
        assert_eq!(tree[3].1, pro);
    }

    #[test]
    fn links_in_a_deploy_repository_are_shown_and_not_followed() {
        let origin = Origin::new();
        origin.commit("projects/README", "");
        for (target, link) in [("/etc", "hosts"), ("/etc/passwd", "portreeve.toml"), ("..", "projects/x")] {
            origin.link(link, target);
        }
        let commit = origin.commit_all();
        let tree = read(&origin, &commit);
        let link = |path: &str, text: &str| (path.to_owned(), TreeEntry::Link(text.into()));
        assert_eq!(tree, [link("hosts", "/etc"), link("portreeve.toml", "/etc/passwd"), link("projects/x", "..")]);
    }
}
