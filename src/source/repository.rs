//! A look at a remote repository, and our bare mirror of it.
#![expect(clippy::disallowed_methods, reason = "mirrors are a cache that only this module and git write")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::{CommitId, Digest};

use super::git::Age;
use super::refs::{NotRefs, Refs, branch_ref, tag_ref};
use super::{Address, Git, Objects, Result, SourceError};

/// What these refs (full names, see [`wanted_refs`](super::select::wanted_refs); none: all branches and tags) stand for, over one connection.
pub fn look(git: &Git, address: &Address, names: &[&str]) -> Result<Refs> {
    for name in names {
        check_ref(name.strip_suffix(super::refs::PEELED).unwrap_or(name))?;
    }
    let text = git.ls_remote(address, names)?;
    Refs::from_ls_remote(&text).map_err(|source| match source {
        NotRefs::Sha256 => SourceError::UnsupportedFormat { address: address.clone(), why: source.to_string() },
        NotRefs::Line(_) => SourceError::Refs { address: address.clone(), source },
    })
}

/// Where a branch leads now: the whole of what an idle pass asks of git. Only a failure costs a second look, to say why.
pub fn tip(git: &Git, address: &Address, branch: &str) -> Result<CommitId> {
    let refs = look(git, address, &[&branch_ref(branch)])?;
    match refs.branch(branch) {
        Some(tip) => Ok(tip.clone()),
        None => Err(no_such_branch(address, branch, &look(git, address, &[])?)),
    }
}

fn no_such_branch(address: &Address, branch: &str, all: &Refs) -> SourceError {
    let address = address.clone();
    if all.is_empty() {
        return SourceError::EmptyRepository { address };
    }
    SourceError::NoSuchBranch { address, branch: branch.to_owned(), near: all.near(branch) }
}

fn check_ref(name: &str) -> Result<()> {
    // `*`, `?` and `[` are in no valid name, so that what is looked at is never a pattern.
    let valid = name.starts_with("refs/") && git2::Reference::is_valid_name(name);
    if valid { Ok(()) } else { Err(SourceError::RefName { name: name.to_owned() }) }
}

/// Something to have in the mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A branch's tip.
    Branch(String),
    /// What a tag was put on.
    Tag(String),
    /// A commit.
    Commit(CommitId),
}

impl Wanted {
    fn remote(&self) -> String {
        match self {
            Self::Branch(name) => branch_ref(name),
            Self::Tag(name) => tag_ref(name),
            Self::Commit(commit) => commit.to_string(),
        }
    }

    /// Its ref in the mirror. Named by digest: `a` and `a/b` can't both be refs there, though they can one after the other be branches.
    fn local(&self) -> String {
        format!("refs/portreeve/{}", Digest::of(self.remote().as_bytes()).short(32))
    }

    fn refspec(&self) -> String {
        format!("+{}:{}", self.remote(), self.local())
    }
}

/// Everything of a repository, for a commit that its server hands out only as part of a branch or tag.
const ALL: [&str; 2] = ["+refs/heads/*:refs/portreeve/heads/*", "+refs/tags/*:refs/portreeve/tags/*"];

/// Our bare repository of what was fetched from an address. A cache: it can be removed at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    path: PathBuf,
    address: Address,
}

impl Mirror {
    /// The mirror of `address` at `path`, which need not be there yet.
    pub fn new(path: PathBuf, address: Address) -> Self {
        Self { path, address }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it mirrors.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Makes it when it is not there, and anew when what is there can't be used: a power cut may leave half of one.
    pub fn ensure(&self) -> Result<Age> {
        match git2::Repository::open_bare(&self.path) {
            Ok(_) if is_whole(&self.path) => Ok(Age::Used),
            Err(error) if error.code() == git2::ErrorCode::Owner => Err(self.unreadable("the repository", error)),
            _ => self.make().map(|()| Age::New),
        }
    }

    fn make(&self) -> Result<()> {
        let staged = self.path.with_extension("new");
        let parent = self.path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(self.refused("make"))?;
        remove_tree(&staged).map_err(self.refused("replace"))?;
        let mut options = git2::RepositoryInitOptions::new();
        options.bare(true).external_template(false).mkpath(true).initial_head("portreeve");
        git2::Repository::init_opts(&staged, &options).map_err(|error| self.unreadable("the new repository", error))?;
        remove_tree(&self.path).map_err(self.refused("replace"))?;
        fs::rename(&staged, &self.path).map_err(self.refused("make"))
    }

    /// Brings all of it over one connection, or none when only commits are wanted that are here already. Answers in the same order.
    ///
    /// A branch may have moved since it was looked at: what counts is what this returns. One fetch of a mirror at a time:
    /// hold its lock.
    pub fn fetch(&self, git: &Git, wanted: &[Wanted]) -> Result<Vec<CommitId>> {
        let age = self.ensure()?;
        for name in wanted.iter().filter(|wanted| !matches!(wanted, Wanted::Commit(_))) {
            check_ref(&name.remote())?;
        }
        let before = self.objects()?;
        let missing: Vec<_> = wanted.iter().filter(|wanted| !is_here(&before, wanted)).collect();
        if !missing.is_empty() {
            self.sweep()?;
            let fetched = self.fetch_missing(git, &missing, age);
            self.sweep()?;
            fetched?;
        }
        let objects = self.objects()?;
        wanted.iter().map(|wanted| self.found(&objects, wanted)).collect()
    }

    fn fetch_missing(&self, git: &Git, missing: &[&Wanted], age: Age) -> Result<()> {
        let refspecs: Vec<_> = missing.iter().map(|wanted| wanted.refspec()).collect();
        let (commits, names): (Vec<&Wanted>, Vec<&Wanted>) =
            missing.iter().partition(|wanted| matches!(wanted, Wanted::Commit(_)));
        match git.fetch(&self.path, &self.address, &refspecs, age) {
            Err(SourceError::NoSuchRev { .. }) if !commits.is_empty() => {
                let all = ALL.iter().map(|&spec| spec.to_owned());
                let refspecs: Vec<_> = names.iter().map(|wanted| wanted.refspec()).chain(all).collect();
                git.fetch(&self.path, &self.address, &refspecs, age)
            }
            other => other,
        }
    }

    /// Removes what a killed git left: locks, which would refuse every later fetch, and half a pack for each attempt.
    fn sweep(&self) -> Result<()> {
        sweep(&self.path, 1)
            .and_then(|()| sweep(&self.path.join("objects"), 2))
            .and_then(|()| sweep(&self.path.join("refs"), usize::MAX))
            .map_err(self.refused("sweep"))
    }

    fn found(&self, objects: &Objects, wanted: &Wanted) -> Result<CommitId> {
        match wanted {
            Wanted::Commit(commit) if objects.contains(commit) => Ok(commit.clone()),
            Wanted::Commit(commit) => {
                Err(SourceError::NoSuchRev { address: self.address.clone(), rev: format!("commit {commit}") })
            }
            Wanted::Branch(_) | Wanted::Tag(_) => objects.peel(&wanted.local()),
        }
    }

    /// Its objects as they are now: packs fetched later are not seen.
    pub fn objects(&self) -> Result<Objects> {
        Objects::open(&self.path)
    }

    fn refused(&self, action: &'static str) -> impl FnOnce(io::Error) -> SourceError {
        let path = self.path.clone();
        move |source| SourceError::Mirror { action, path, source }
    }

    fn unreadable(&self, what: &str, source: git2::Error) -> SourceError {
        SourceError::Objects { what: what.to_owned(), path: self.path.clone(), source }
    }
}

fn is_here(objects: &Objects, wanted: &Wanted) -> bool {
    matches!(wanted, Wanted::Commit(commit) if objects.contains(commit))
}

/// Whether git can work with what is at `path`. Small files whose names came to the disk before their bytes are empty after a
/// power cut; git sees to that itself for packs, and for references not before `core.fsync` has its `reference`.
fn is_whole(path: &Path) -> bool {
    is_filled(&path.join("HEAD")) && is_filled(&path.join("refs"))
}

fn is_filled(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.all(|entry| entry.is_ok_and(|entry| is_filled(&entry.path()))),
        Err(_) => fs::symlink_metadata(path).is_ok_and(|about| about.len() > 0),
    }
}

/// Removes git's temporary and lock files, so many levels deep.
fn sweep(directory: &Path, levels: usize) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(b"tmp_") || name.ends_with(b".lock") {
            remove_tree(&entry.path())?;
        } else if levels > 1 && entry.file_type()?.is_dir() {
            sweep(&entry.path(), levels - 1)?;
        }
    }
    Ok(())
}

fn remove_tree(path: &Path) -> io::Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?.file_type(),
    };
    if kind.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::source::testing::{Origin, git};
    use crate::source::{Ancestry, GitLimits, LocalPaths};

    #[test]
    fn a_branch_is_looked_at_and_fetched() {
        let origin = Origin::new();
        let first = origin.commit("a", "1");
        assert_eq!(tip(&git(), &origin.address(), "main").unwrap(), first);
        let mirror = origin.mirror();
        assert_eq!(mirror.fetch(&git(), &[Wanted::Branch("main".into())]).unwrap(), std::slice::from_ref(&first));
        let second = origin.commit("a", "2");
        assert_eq!(mirror.fetch(&git(), &[Wanted::Branch("main".into())]).unwrap(), std::slice::from_ref(&second));
        let objects = mirror.objects().unwrap();
        assert_eq!(objects.ancestry(&first, &second).unwrap(), Ancestry::Descendant);
        assert_eq!(objects.file_at(&first, "a", 10).unwrap(), Some(b"1".to_vec()));
    }

    #[test]
    fn tags_are_peeled_also_annotated_ones() {
        let origin = Origin::new();
        let commit = origin.commit("a", "1");
        origin.git(&["tag", "light"]);
        origin.git(&["tag", "-a", "-m", "note", "heavy"]);
        let names = ["refs/tags/light", "refs/tags/heavy", "refs/tags/heavy^{}"];
        let refs = look(&git(), &origin.address(), &names).unwrap();
        assert_eq!((refs.tag("light"), refs.tag("heavy")), (Some(&commit), Some(&commit)));
        let wanted = [Wanted::Tag("heavy".into()), Wanted::Tag("light".into())];
        assert_eq!(origin.mirror().fetch(&git(), &wanted).unwrap(), [commit.clone(), commit]);
    }

    #[test]
    fn only_the_very_name_counts() {
        let origin = Origin::new();
        let main = origin.commit("a", "1");
        origin.git(&["update-ref", "refs/other/refs/heads/gone", main.as_str()]);
        assert!(matches!(tip(&git(), &origin.address(), "gone"), Err(SourceError::NoSuchBranch { .. })));
        let Err(SourceError::NoSuchBranch { near, .. }) = tip(&git(), &origin.address(), "mian") else { panic!() };
        assert_eq!(near, ["branch main"]);
        for name in ["*", "ma?n", "-x", "a..b", "a b", ""] {
            let refused = tip(&git(), &origin.address(), name);
            assert!(matches!(refused, Err(SourceError::RefName { .. } | SourceError::NoSuchBranch { .. })), "{name}");
        }
    }

    #[test]
    fn a_commit_is_fetched_once_even_behind_no_branch() {
        let origin = Origin::new();
        let first = origin.commit("a", "1");
        origin.commit("a", "2");
        let wanted = [Wanted::Commit(first.clone())];
        let mirror = origin.mirror();
        assert_eq!(mirror.fetch(&git(), &wanted).unwrap(), std::slice::from_ref(&first));
        origin.remove();
        assert_eq!(mirror.fetch(&git(), &wanted).unwrap(), [first]);
    }

    #[test]
    fn an_unknown_commit_is_named() {
        let origin = Origin::new();
        origin.commit("a", "1");
        let unknown = CommitId::parse(&"7".repeat(40)).unwrap();
        let error = origin.mirror().fetch(&git(), &[Wanted::Commit(unknown.clone())]).unwrap_err();
        assert!(matches!(&error, SourceError::NoSuchRev { rev, .. } if rev.contains(unknown.as_str())), "{error}");
    }

    #[test]
    fn a_rewritten_branch_is_followed_by_the_mirror_and_seen_as_diverged() {
        let origin = Origin::new();
        origin.commit("a", "1");
        let old = origin.commit("a", "2");
        let mirror = origin.mirror();
        let main = [Wanted::Branch("main".into())];
        mirror.fetch(&git(), &main).unwrap();
        origin.git(&["reset", "-q", "--hard", "HEAD~1"]);
        let back = origin.head();
        let new = origin.commit("b", "3");
        assert_eq!(mirror.fetch(&git(), &main).unwrap(), std::slice::from_ref(&new));
        let objects = mirror.objects().unwrap();
        assert_eq!(objects.ancestry(&old, &new).unwrap(), Ancestry::Diverged);
        assert_eq!(objects.ancestry(&old, &back).unwrap(), Ancestry::Behind);
        assert_eq!(objects.ancestry(&old, &old).unwrap(), Ancestry::Same);
        let lost = CommitId::parse(&"7".repeat(40)).unwrap();
        assert_eq!(objects.ancestry(&lost, &new).unwrap(), Ancestry::Unknown);
    }

    #[test]
    fn a_branch_may_become_a_directory_of_branches() {
        let origin = Origin::new();
        origin.commit("a", "1");
        let mirror = origin.mirror();
        for (gone, there) in [("x", "topic"), ("topic", "topic/one"), ("topic/one", "topic")] {
            origin.git(&["update-ref", "-d", &format!("refs/heads/{gone}")]);
            origin.git(&["branch", there]);
            mirror.fetch(&git(), &[Wanted::Branch(there.into())]).unwrap();
        }
        origin.git(&["branch", "-D", "topic"]);
        let error = tip(&git(), &origin.address(), "topic").unwrap_err();
        assert!(matches!(error, SourceError::NoSuchBranch { .. }), "{error}");
        assert!(mirror.fetch(&git(), &[Wanted::Branch("topic".into())]).is_err());
    }

    #[test]
    fn an_empty_repository_and_no_repository() {
        let origin = Origin::new();
        let error = tip(&git(), &origin.address(), "main").unwrap_err();
        assert!(matches!(error, SourceError::EmptyRepository { .. }) && !error.is_transient(), "{error}");
        origin.remove();
        let error = tip(&git(), &origin.address(), "main").unwrap_err();
        assert!(matches!(error, SourceError::NotARepository { .. }) && !error.is_transient(), "{error:?}");
    }

    #[test]
    fn a_sha256_repository_is_refused_by_name() {
        let origin = Origin::with_format("sha256");
        origin.git(&["commit", "-q", "--allow-empty", "-m", "x"]);
        let error = tip(&git(), &origin.address(), "main").unwrap_err();
        assert!(matches!(error, SourceError::UnsupportedFormat { .. }), "{error}");
        let error = origin.mirror().fetch(&git(), &[Wanted::Branch("main".into())]).unwrap_err();
        assert!(matches!(error, SourceError::UnsupportedFormat { .. }), "{error:?}");
    }

    fn listener() -> (TcpListener, Address) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let text = format!("https://127.0.0.1:{}/x.git", listener.local_addr().unwrap().port());
        (listener, Address::parse(&text, LocalPaths::Refused).unwrap())
    }

    #[test]
    fn a_server_that_accepts_and_never_answers_is_left() {
        let (_listener, address) = listener();
        let limits = GitLimits { look: Duration::from_secs(1), ..GitLimits::default() };
        let begun = Instant::now();
        let error = tip(&git().with_limits(limits), &address, "main").unwrap_err();
        assert!(matches!(error, SourceError::TimedOut { .. }) && error.is_transient(), "{error:?}");
        assert!((1..6).contains(&begun.elapsed().as_secs()));
    }

    #[test]
    fn a_server_that_is_not_there_is_unreachable() {
        let (listener, address) = listener();
        drop(listener);
        let error = tip(&git(), &address, "main").unwrap_err();
        assert!(matches!(error, SourceError::Unreachable { .. }) && error.is_transient(), "{error:?}");
    }

    #[test]
    fn ssh_is_asked_with_our_key_and_its_words_come_back() {
        let (listener, address) = listener();
        drop(listener);
        let text = address.as_str().replace("https://", "ssh://git@");
        let address = Address::parse(&text, LocalPaths::Refused).unwrap();
        let ssh =
            crate::source::Ssh { key: Some("/nonexistent/a key".into()), known_hosts: Some("/nonexistent/%h".into()) };
        let error = tip(&git().with_ssh(&ssh), &address, "main").unwrap_err();
        assert!(error.to_string().contains("Connection refused"), "{error}");
        assert!(matches!(error, SourceError::Unreachable { .. }), "{error:?}");
    }

    #[test]
    fn a_pack_beyond_the_limit_is_cut() {
        let origin = Origin::new();
        origin.commit_noise("big", 2 << 20);
        let limits = GitLimits { pack: 1 << 20, ..GitLimits::default() };
        let error = origin.mirror().fetch(&git().with_limits(limits), &[Wanted::Branch("main".into())]).unwrap_err();
        assert!(matches!(error, SourceError::TooLarge { .. }), "{error:?}");
        let packs = fs::read_dir(origin.mirror().path().join("objects/pack")).unwrap();
        assert_eq!(packs.count(), 0);
    }

    #[test]
    fn what_a_killed_git_leaves_stops_no_later_fetch() {
        let origin = Origin::new();
        origin.commit("a", "1");
        let mirror = origin.mirror();
        let main = Wanted::Branch("main".into());
        mirror.fetch(&git(), std::slice::from_ref(&main)).unwrap();
        let tip = origin.commit("a", "2");
        for left in [format!("{}.lock", main.local()), "packed-refs.lock".into(), "objects/pack/tmp_pack_x".into()] {
            fs::write(mirror.path().join(left), "").unwrap();
        }
        assert_eq!(mirror.fetch(&git(), &[main]).unwrap(), [tip]);
        assert!(!mirror.path().join("objects/pack/tmp_pack_x").exists());
    }

    #[test]
    fn objects_that_git_calls_broken_are_not_taken() {
        let origin = Origin::new();
        origin.commit("a", "1");
        let blob = origin.git(&["hash-object", "-w", "a"]);
        let id: Vec<u8> = (0..40).step_by(2).map(|at| u8::from_str_radix(&blob[at..at + 2], 16).unwrap()).collect();
        let raw = [b"100644 ..\0".as_slice(), &id].concat();
        let tree = origin.git_with(&["hash-object", "-w", "--literally", "-t", "tree", "--stdin"], &raw);
        let commit = origin.git(&["commit-tree", "-m", "x", &tree]);
        origin.git(&["update-ref", "refs/heads/bad", &commit]);
        let error = origin.mirror().fetch(&git(), &[Wanted::Branch("bad".into())]).unwrap_err();
        assert!(matches!(error, SourceError::Corrupt { .. }), "{error:?}");
    }

    #[test]
    fn hooks_and_configuration_of_a_mirror_have_no_effect() {
        let origin = Origin::new();
        origin.commit("a", "1");
        let mirror = origin.mirror();
        mirror.ensure().unwrap();
        let canary = mirror.path().with_extension("canary");
        let hook = mirror.path().join("hooks/reference-transaction");
        fs::create_dir_all(hook.parent().unwrap()).unwrap();
        fs::write(&hook, format!("#!/bin/sh\ntouch {}\n", canary.display())).unwrap();
        fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        mirror.fetch(&git(), &[Wanted::Branch("main".into())]).unwrap();
        assert!(!canary.exists());
    }

    #[test]
    fn what_is_no_mirror_is_made_one() {
        let origin = Origin::new();
        origin.commit("a", "1");
        let mirror = origin.mirror();
        fs::create_dir_all(mirror.path().join("refs")).unwrap();
        fs::create_dir_all(mirror.path().with_extension("new")).unwrap();
        mirror.fetch(&git(), &[Wanted::Branch("main".into())]).unwrap();
        assert!(!mirror.path().with_extension("new").exists());
    }

    /// Each of its own files in turn, as `truncate(2)` would: of what git wrote by itself, packs are synced.
    #[test]
    fn a_mirror_whose_files_a_power_cut_emptied_is_used_or_made_anew() {
        let origin = Origin::new();
        let mirror = origin.mirror();
        let main = [Wanted::Branch("main".into())];
        for name in ["HEAD", "config", "description", "refs"] {
            let tip = origin.commit(name, "1");
            mirror.fetch(&git(), &main).unwrap();
            for file in files(&mirror.path().join(name)) {
                fs::write(&file, "").unwrap();
            }
            assert_eq!(mirror.fetch(&git(), &main).unwrap(), std::slice::from_ref(&tip), "{name}");
            let next = origin.commit(name, "2");
            assert_eq!(mirror.fetch(&git(), &main).unwrap(), [next], "{name}");
        }
    }

    fn files(path: &Path) -> Vec<PathBuf> {
        match fs::read_dir(path) {
            Ok(entries) => entries.flat_map(|entry| files(&entry.unwrap().path())).collect(),
            Err(_) => vec![path.to_owned()],
        }
    }

    #[test]
    fn a_local_address_allows_no_other_transport() {
        let origin = Origin::new();
        origin.commit("a", "1");
        let home = tempfile::tempdir().unwrap();
        let text = format!("[url \"ext::touch {}/canary \"]\n insteadOf = file://\n", home.path().display());
        fs::write(home.path().join(".gitconfig"), text + "[protocol \"ext\"]\n allow = always\n").unwrap();
        let error = tip(&git().with_home(home.path()), &origin.address(), "main").unwrap_err();
        assert!(error.to_string().contains("not allowed"), "{error}");
        assert!(!home.path().join("canary").exists());
    }
}
