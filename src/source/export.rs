//! An application's tree, from git objects to files, without a checkout.
//!
//! The whole tree is judged before anything is written: names, modes, where links lead, sizes. git's own checks let
//! too much through (`fsck` accepts half of the trees in the tests below).

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use git2::Oid;

use crate::host::{self, HostError, Node};
use crate::model::{CommitId, Identity};

use super::objects::{MODE_DIRECTORY, MODE_EXECUTABLE, MODE_LINK, RawEntry, is_file};
use super::{Objects, SourceError};

/// How large an application may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExportLimits {
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of one file, which is held in memory while it is written.
    pub file: u64,
    /// Files, links and directories.
    pub entries: usize,
    /// Directories inside each other.
    pub depth: usize,
    /// Bytes of a path below the tree's top.
    pub path: usize,
}

impl Default for ExportLimits {
    fn default() -> Self {
        Self { bytes: 1 << 30, file: 256 << 20, entries: 200_000, depth: 64, path: 1024 }
    }
}

/// Longest name in the file systems we write to (`NAME_MAX`).
const MAX_NAME: usize = 255;
/// Longest text of a link.
const MAX_LINK: u64 = 1024;
const FILE_MODE: u32 = 0o640;
const EXECUTABLE_MODE: u32 = 0o750;
const DIRECTORY_MODE: u32 = 0o750;

/// A tree that is not written. The path is escaped.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// An entry that no release may hold.
    #[error("{path}: {why}")]
    Refused {
        /// The entry.
        path: String,
        /// Why.
        why: Why,
    },
    /// More than an application may be.
    #[error("the application has more than {limit} {unit}; take what is not code out of its repository")]
    TooLarge {
        /// The bound.
        limit: u64,
        /// `bytes`, `files and directories`.
        unit: &'static str,
    },
    /// The objects can't be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Why an entry is refused; each says the cure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Not UTF-8.
    #[error("the name is not UTF-8; rename it")]
    NotUtf8,
    /// Empty, `.`, `..`, or with a slash.
    #[error("no file can have this name; the repository is damaged or hostile")]
    NoName,
    /// `.git`, or what some file system takes for it.
    #[error("the name stands for `.git`; rename it")]
    DotGit,
    /// Control characters or a backslash.
    #[error("the name holds a control character or a backslash; rename it")]
    Character,
    /// Longer than a file system takes.
    #[error("the name or path is too long; shorten it")]
    TooLong,
    /// Too many directories inside each other.
    #[error("too many directories inside each other")]
    TooDeep,
    /// Twice in one directory.
    #[error("the name is twice in its directory; the repository is damaged or hostile")]
    Twice,
    /// `git submodule`.
    #[error("submodules are not fetched; commit the files, or install the package by requirements")]
    Submodule,
    /// A mode that git doesn't write.
    #[error("neither a file, a link nor a directory; the repository is damaged or hostile")]
    Mode,
    /// A file above the bound.
    #[error("the file is too large; put it on the host or into an object store")]
    FileTooLarge,
    /// A link whose text is empty, too long, or not plain text.
    #[error("the link's text is not a path; make it anew")]
    LinkText,
    /// A link to `/…`.
    #[error("the link leads to an absolute path; make it relative")]
    LinkAbsolute,
    /// A link out of the tree.
    #[error("the link leads out of the repository")]
    LinkEscapes,
    /// A link to or through another link.
    #[error("the link leads through another link; let it lead to the file itself")]
    LinkThroughLink,
    /// A link to a directory that holds it: whoever walks the tree never ends.
    #[error("the link leads to a directory that holds it")]
    LinkLoops,
    /// A link to `.git`.
    #[error("the link leads into `.git`")]
    LinkDotGit,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    File { id: Oid, executable: bool },
    Link(String),
    Directory,
}

/// A commit's tree that was found fit to be written.
#[derive(Debug)]
pub struct Export<'a> {
    objects: &'a Objects,
    limits: ExportLimits,
    /// By components, so that a parent comes before what it holds.
    entries: BTreeMap<Vec<String>, Kind>,
    bytes: u64,
}

impl<'a> Export<'a> {
    /// Judges the whole tree of `commit`.
    pub fn check(objects: &'a Objects, commit: &CommitId, limits: ExportLimits) -> Result<Self, ExportError> {
        let mut export = Self { objects, limits, entries: BTreeMap::new(), bytes: 0 };
        export.walk(objects.root(commit)?, &mut Vec::new())?;
        export.check_links()?;
        Ok(export)
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of its files, links and directories: the inodes it takes.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the tree holds nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Relative paths of its regular files, sorted.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.entries.iter().filter(|(_, kind)| matches!(kind, Kind::File { .. })).map(|(path, _)| path.iter().collect())
    }

    /// What [`Files::make_tree`](host::Files::make_tree) writes, parents first; each file is read when its turn comes.
    pub fn nodes(&self, owner: Identity) -> impl Iterator<Item = host::Result<(PathBuf, Node)>> {
        self.entries.iter().map(move |(path, kind)| {
            let path: PathBuf = path.iter().collect();
            let node = self.node(&path, kind, owner)?;
            Ok((path, node))
        })
    }

    fn node(&self, path: &std::path::Path, kind: &Kind, owner: Identity) -> host::Result<Node> {
        match kind {
            Kind::Directory => Ok(Node::Directory { mode: DIRECTORY_MODE, owner }),
            Kind::Link(text) => Ok(Node::Link(PathBuf::from(text))),
            Kind::File { id, executable } => {
                let bytes = self.objects.blob(*id, self.limits.file, &path.display().to_string());
                let bytes = bytes.map_err(|error| HostError::Unsafe { path: path.to_owned(), why: chain(&error) })?;
                Ok(Node::File { bytes, mode: if *executable { EXECUTABLE_MODE } else { FILE_MODE }, owner })
            }
        }
    }

    fn walk(&mut self, tree: Oid, path: &mut Vec<String>) -> Result<(), ExportError> {
        let mut names = HashSet::new();
        for entry in self.objects.entries(tree)? {
            let name = check_name(&entry.name).map_err(|why| refused_raw(path, &entry.name, why))?;
            path.push(name.to_owned());
            if !names.insert(name.to_owned()) {
                return Err(refused(path, Why::Twice));
            }
            self.take(&entry, path)?;
            path.pop();
        }
        Ok(())
    }

    fn take(&mut self, entry: &RawEntry, path: &mut Vec<String>) -> Result<(), ExportError> {
        self.check_size(path)?;
        let kind = self.kind(entry, path)?;
        let is_directory = kind == Kind::Directory;
        self.entries.insert(path.clone(), kind);
        if is_directory { self.walk(entry.id, path) } else { Ok(()) }
    }

    fn check_size(&self, path: &[String]) -> Result<(), ExportError> {
        if self.entries.len() >= self.limits.entries {
            return Err(ExportError::TooLarge { limit: self.limits.entries as u64, unit: "files and directories" });
        }
        if path.len() > self.limits.depth {
            return Err(refused(path, Why::TooDeep));
        }
        let len = path.iter().map(|name| name.len() + 1).sum::<usize>();
        if len > self.limits.path { Err(refused(path, Why::TooLong)) } else { Ok(()) }
    }

    fn kind(&mut self, entry: &RawEntry, path: &[String]) -> Result<Kind, ExportError> {
        match entry.mode {
            MODE_DIRECTORY => Ok(Kind::Directory),
            MODE_LINK => self.link(entry.id, path),
            mode if is_file(mode) => self.file(entry.id, mode == MODE_EXECUTABLE, path),
            0o160_000 => Err(refused(path, Why::Submodule)),
            _ => Err(refused(path, Why::Mode)),
        }
    }

    fn file(&mut self, id: Oid, executable: bool, path: &[String]) -> Result<Kind, ExportError> {
        let size = self.objects.blob_size(id, &shown(path))?;
        if size > self.limits.file {
            return Err(refused(path, Why::FileTooLarge));
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.limits.bytes {
            return Err(ExportError::TooLarge { limit: self.limits.bytes, unit: "bytes" });
        }
        Ok(Kind::File { id, executable })
    }

    fn link(&self, id: Oid, path: &[String]) -> Result<Kind, ExportError> {
        if self.objects.blob_size(id, &shown(path))? > MAX_LINK {
            return Err(refused(path, Why::LinkText));
        }
        let text = String::from_utf8(self.objects.blob(id, MAX_LINK, &shown(path))?);
        match text {
            Ok(text) if !text.is_empty() && !text.chars().any(is_forbidden) => Ok(Kind::Link(text)),
            _ => Err(refused(path, Why::LinkText)),
        }
    }

    /// Only once the whole tree is known can it be said where a link leads.
    fn check_links(&self) -> Result<(), ExportError> {
        self.entries.iter().try_for_each(|(path, kind)| match kind {
            Kind::Link(text) => self.check_link(path, text).map_err(|why| refused(path, why)),
            Kind::File { .. } | Kind::Directory => Ok(()),
        })
    }

    /// Follows a link's text as the kernel would; its own directories are real ones.
    fn check_link(&self, path: &[String], text: &str) -> Result<(), Why> {
        if text.starts_with('/') {
            return Err(Why::LinkAbsolute);
        }
        let mut at = path[..path.len() - 1].to_vec();
        for name in text.split('/').filter(|name| !matches!(*name, "" | ".")) {
            if name == ".." {
                at.pop().ok_or(Why::LinkEscapes)?;
                continue;
            }
            if is_dot_git(name) {
                return Err(Why::LinkDotGit);
            }
            at.push(name.to_owned());
            if matches!(self.entries.get(&at), Some(Kind::Link(_))) {
                return Err(Why::LinkThroughLink);
            }
        }
        if path.starts_with(&at) { Err(Why::LinkLoops) } else { Ok(()) }
    }
}

fn check_name(name: &[u8]) -> Result<&str, Why> {
    let name = std::str::from_utf8(name).map_err(|_| Why::NotUtf8)?;
    match name {
        "" | "." | ".." => Err(Why::NoName),
        _ if name.contains(['/', '\0']) => Err(Why::NoName),
        _ if is_dot_git(name) => Err(Why::DotGit),
        _ if name.chars().any(is_forbidden) => Err(Why::Character),
        _ if name.len() > MAX_NAME => Err(Why::TooLong),
        _ => Ok(name),
    }
}

/// Control characters rewrite terminals and logs, and so do those that turn the direction of writing.
fn is_forbidden(c: char) -> bool {
    c == '\\'
        || c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// `.git`, as Linux, HFS+ (which ignores some characters) or NTFS (short names, streams, trailing dots and spaces) understand it.
fn is_dot_git(name: &str) -> bool {
    let ignored = |c: &char| matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    let visible: String = name.chars().filter(|c| !ignored(c)).collect();
    let stream = visible.split(':').next().unwrap_or_default();
    let base = stream.trim_end_matches(['.', ' ']).to_ascii_lowercase();
    base == ".git" || base == "git~1"
}

fn refused(path: &[String], why: Why) -> ExportError {
    ExportError::Refused { path: shown(path), why }
}

fn refused_raw(parents: &[String], name: &[u8], why: Why) -> ExportError {
    let mut path = parents.to_vec();
    path.push(String::from_utf8_lossy(name).into_owned());
    refused(&path, why)
}

fn shown(path: &[String]) -> String {
    path.join("/").escape_debug().take(300).collect()
}

fn chain(error: &SourceError) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::Origin;

    const OWNER: Identity = Identity { uid: 0, gid: 33 };

    /// Builds trees that git's own commands would not make.
    struct Forge {
        origin: Origin,
    }

    impl Forge {
        fn new() -> Self {
            Self { origin: Origin::new() }
        }

        fn blob(&self, bytes: &[u8]) -> String {
            self.origin.git_with(&["hash-object", "-w", "--stdin"], bytes)
        }

        /// A tree object with exactly these entries: mode, name, object.
        fn tree(&self, entries: &[(&str, &[u8], &str)]) -> String {
            let mut raw = Vec::new();
            for (mode, name, id) in entries {
                raw.extend_from_slice(mode.as_bytes());
                raw.push(b' ');
                raw.extend_from_slice(name);
                raw.push(0);
                raw.extend_from_slice(Oid::from_str(id).unwrap().as_bytes());
            }
            self.origin.git_with(&["hash-object", "-w", "--literally", "-t", "tree", "--stdin"], &raw)
        }

        fn commit(&self, tree: &str) -> CommitId {
            CommitId::parse(&self.origin.git(&["commit-tree", "-m", "x", tree])).unwrap()
        }

        fn check(&self, tree: &str, limits: ExportLimits) -> Result<Vec<(PathBuf, Node)>, ExportError> {
            let objects = Objects::open(&self.origin.path().join(".git")).unwrap();
            let export = Export::check(&objects, &self.commit(tree), limits)?;
            Ok(export.nodes(OWNER).map(Result::unwrap).collect())
        }

        fn why(&self, tree: &str) -> Why {
            match self.check(tree, ExportLimits::default()) {
                Err(ExportError::Refused { why, path }) => {
                    assert!(!path.chars().any(char::is_control));
                    why
                }
                other => panic!("{other:?}"),
            }
        }

        /// `sub/link` with this text, beside `sub/file`, `dir/file` and the link `dir/other -> file`.
        fn why_link(&self, text: &[u8]) -> Option<Why> {
            let (file, link) = (self.blob(b"x"), self.blob(text));
            let other = self.blob(b"file");
            let dir = self.tree(&[("100644", b"file", &file), ("120000", b"other", &other)]);
            let alias = self.blob(b"dir");
            let sub = self.tree(&[("100644", b"file", &file), ("120000", b"link", &link)]);
            let root = self.tree(&[("120000", b"alias", &alias), ("40000", b"dir", &dir), ("40000", b"sub", &sub)]);
            match self.check(&root, ExportLimits::default()) {
                Err(ExportError::Refused { why, path }) => {
                    assert_eq!(path, "sub/link");
                    Some(why)
                }
                other => other.map(|_| None).unwrap(),
            }
        }
    }

    #[test]
    fn an_honest_tree_comes_out_parents_first() {
        let origin = Origin::new();
        for path in ["manage.py", "a.b/x", "a/deep/er/file", "unicode/Gruß.html", ".gitlab-ci.yml", ".github/ci.yml"] {
            origin.commit(path, path);
        }
        origin.link("a/link", "deep/er/file");
        origin.git(&["config", "core.fileMode", "false"]);
        origin.git(&["update-index", "--chmod=+x", "manage.py"]);
        let commit = origin.commit_all();
        let objects = Objects::open(&origin.path().join(".git")).unwrap();
        let export = Export::check(&objects, &commit, ExportLimits::default()).unwrap();
        let nodes: Vec<_> = export.nodes(OWNER).map(Result::unwrap).collect();
        let paths: Vec<_> = nodes.iter().map(|(path, _)| path.to_str().unwrap()).collect();
        let expected =
            [".github", ".github/ci.yml", ".gitlab-ci.yml", "a", "a/deep", "a/deep/er", "a/deep/er/file", "a/link"];
        assert_eq!(paths[..8], expected);
        assert_eq!(paths[8..], ["a.b", "a.b/x", "manage.py", "unicode", "unicode/Gruß.html"]);
        assert_eq!(nodes[0].1, Node::Directory { mode: 0o750, owner: OWNER });
        assert_eq!(nodes[1].1, Node::File { bytes: b".github/ci.yml".to_vec(), mode: 0o640, owner: OWNER });
        assert_eq!(nodes[7].1, Node::Link("deep/er/file".into()));
        assert_eq!(nodes[10].1, Node::File { bytes: b"manage.py".to_vec(), mode: 0o750, owner: OWNER });
        assert_eq!(export.len(), 13);
        assert_eq!(export.bytes(), 9 + 5 + 14 + 18 + 14 + 14);
    }

    #[test]
    fn hostile_names_are_refused() {
        let forge = Forge::new();
        let file = forge.blob(b"x");
        let names: &[(&[u8], Why)] = &[
            (b"..", Why::NoName),
            (b".", Why::NoName),
            (b"a/b", Why::NoName),
            (b"../x", Why::NoName),
            (b"/etc/passwd", Why::NoName),
            (b".git", Why::DotGit),
            (b".GIT", Why::DotGit),
            (b".Git", Why::DotGit),
            (b"git~1", Why::DotGit),
            (b"GIT~1", Why::DotGit),
            (b".git.", Why::DotGit),
            (b".git ", Why::DotGit),
            (b".git. .", Why::DotGit),
            (b".git::$INDEX_ALLOCATION", Why::DotGit),
            (".g\u{200c}it".as_bytes(), Why::DotGit),
            ("\u{feff}.gi\u{200d}t".as_bytes(), Why::DotGit),
            (b"a\\b", Why::Character),
            (b"a\nb", Why::Character),
            (b"a\x1b[2Jb", Why::Character),
            (b"a\x7f", Why::Character),
            ("a\u{9b}".as_bytes(), Why::Character),
            ("x\u{202e}gpj.exe".as_bytes(), Why::Character),
            (b"caf\xe9", Why::NotUtf8),
            (b"\xff\xfe", Why::NotUtf8),
            (&[b'x'; 256], Why::TooLong),
        ];
        for (name, why) in names {
            let shown = String::from_utf8_lossy(name);
            assert_eq!(forge.why(&forge.tree(&[("100644", name, &file)])), *why, "file {shown:?}");
            let inner = forge.tree(&[("100644", name, &file)]);
            assert_eq!(forge.why(&forge.tree(&[("40000", b"sub", &inner)])), *why, "nested {shown:?}");
            let leaf = forge.tree(&[("100644", b"x", &file)]);
            assert_eq!(forge.why(&forge.tree(&[("40000", name, &leaf)])), *why, "directory {shown:?}");
        }
    }

    #[test]
    fn hostile_links_are_refused() {
        let forge = Forge::new();
        let texts: &[(&[u8], Why)] = &[
            (b"/etc/passwd", Why::LinkAbsolute),
            (b"//etc", Why::LinkAbsolute),
            (b"../../etc/passwd", Why::LinkEscapes),
            (b"../..", Why::LinkEscapes),
            (b"x/../../../y", Why::LinkEscapes),
            (b"./.././../x", Why::LinkEscapes),
            (b"../alias/file", Why::LinkThroughLink),
            (b"../alias/../..", Why::LinkThroughLink),
            (b"../alias", Why::LinkThroughLink),
            (b"../dir/other", Why::LinkThroughLink),
            (b"link", Why::LinkThroughLink),
            (b"link/x", Why::LinkThroughLink),
            (b".", Why::LinkLoops),
            (b"..", Why::LinkLoops),
            (b"../sub", Why::LinkLoops),
            (b"../.git/config", Why::LinkDotGit),
            (b"../.GIT", Why::LinkDotGit),
            (b"", Why::LinkText),
            (b"a\nb", Why::LinkText),
            (b"a\0b", Why::LinkText),
            (b"..\\..\\x", Why::LinkText),
            (b"\xff", Why::LinkText),
            (&[b'x'; 1025], Why::LinkText),
        ];
        for (text, why) in texts {
            assert_eq!(forge.why_link(text), Some(*why), "{:?}", String::from_utf8_lossy(text));
        }
        for text in ["file", "./file", "../dir", "../dir/", "../dir/file", "../sub/file", "not/there/yet", "..."] {
            assert_eq!(forge.why_link(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn other_kinds_and_twins_are_refused() {
        let forge = Forge::new();
        let file = forge.blob(b"x");
        let tree = forge.tree(&[("100644", b"x", &file)]);
        let link = forge.blob(b"/etc");
        for (mode, why) in [
            ("160000", Why::Submodule),
            ("60000", Why::Mode),
            ("104755", Why::Mode),
            ("100666", Why::Mode),
            ("0", Why::Mode),
        ] {
            assert_eq!(forge.why(&forge.tree(&[(mode, b"a", &file)])), why, "{mode}");
        }
        let twins = forge.tree(&[("120000", b"a", &link), ("40000", b"a", &tree)]);
        assert!(matches!(forge.why(&twins), Why::Twice));
        assert_eq!(forge.why(&forge.tree(&[("100644", b"a", &file), ("100644", b"a", &file)])), Why::Twice);
    }

    #[test]
    fn an_entry_that_is_not_what_its_mode_says_is_refused() {
        let forge = Forge::new();
        let file = forge.blob(b"x");
        let tree = forge.tree(&[("100644", b"x", &file)]);
        let missing = "7".repeat(40);
        for (mode, id) in
            [("100644", &tree), ("120000", &tree), ("40000", &file), ("100644", &missing), ("40000", &missing)]
        {
            let error = forge.check(&forge.tree(&[(mode, b"a", id)]), ExportLimits::default()).unwrap_err();
            assert!(matches!(error, ExportError::Source(_)), "{mode} {error}");
        }
    }

    #[test]
    fn bombs_are_cut_before_they_go_off() {
        let forge = Forge::new();
        let mut tree = forge.tree(&[("100644", b"x", &forge.blob(&[b'x'; 1000]))]);
        let names: Vec<String> = (b'a'..=b'j').map(|c| char::from(c).to_string()).collect();
        for _ in 0..8 {
            let entries: Vec<_> = names.iter().map(|name| ("40000", name.as_bytes(), tree.as_str())).collect();
            tree = forge.tree(&entries);
        }
        let limits = ExportLimits { entries: 5000, ..ExportLimits::default() };
        assert!(matches!(forge.check(&tree, limits), Err(ExportError::TooLarge { limit: 5000, .. })));
        let limits = ExportLimits { bytes: 100_000, ..ExportLimits::default() };
        assert!(matches!(forge.check(&tree, limits), Err(ExportError::TooLarge { unit: "bytes", .. })));
        let limits = ExportLimits { depth: 3, ..ExportLimits::default() };
        assert!(matches!(forge.check(&tree, limits), Err(ExportError::Refused { why: Why::TooDeep, .. })));
        let limits = ExportLimits { path: 5, ..ExportLimits::default() };
        assert!(matches!(forge.check(&tree, limits), Err(ExportError::Refused { why: Why::TooLong, .. })));
        let limits = ExportLimits { file: 999, ..ExportLimits::default() };
        assert!(matches!(forge.check(&tree, limits), Err(ExportError::Refused { why: Why::FileTooLarge, .. })));
    }

    #[test]
    fn an_empty_tree_is_a_tree() {
        let forge = Forge::new();
        assert_eq!(forge.check(&forge.tree(&[]), ExportLimits::default()).unwrap(), []);
    }
}
