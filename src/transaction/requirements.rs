//! What is installed: the requirements file, those that it includes, and the server where they name none. Read as pip reads them
//! (<https://pip.pypa.io/en/stable/reference/requirements-file-format/>), so that no change of them goes unnoticed.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::{Failure, Phase};

/// Added to the environment when the requirements don't name a server; pinned, so that two hosts install the same.
const GUNICORN: &str = "gunicorn==27.0.1";
/// The same where a constraints file pins it.
const CONSTRAINED: &str = "gunicorn";
/// No requirements are larger, all files together.
pub const LARGEST: u64 = 1024 * 1024;

/// Everything that decides what is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements {
    /// The files, an included one before what includes it, and what is added to them.
    pub bytes: Vec<u8>,
    /// What has to be added, because no file names it.
    pub lacking: Option<&'static str>,
}

/// Why they are not known.
#[derive(Debug)]
pub enum Unread<E> {
    /// The application's repository doesn't hold what they name.
    Refused(Box<Failure>),
    /// A file could not be read.
    Unreadable(E),
}

/// Gives a regular file's bytes by its path in the application's repository.
pub type Read<'r, E> = &'r dyn Fn(&Path) -> Result<Option<Vec<u8>>, E>;

impl Requirements {
    /// Reads `file` and what it includes.
    pub fn gather<E>(file: &Path, read: Read<'_, E>) -> Result<Self, Unread<E>> {
        let mut walk =
            Walk { read, open: Vec::new(), seen: BTreeSet::new(), bytes: Vec::new(), server: BTreeSet::new() };
        let path = within(Path::new(""), file).unwrap_or_default();
        walk.file(&path, Role::Requirements, || missing(file))?;
        let lacking = match (walk.server.contains(&Role::Requirements), walk.server.contains(&Role::Constraints)) {
            (true, _) => None,
            (false, true) => Some(CONSTRAINED),
            (false, false) => Some(GUNICORN),
        };
        walk.bytes.extend(lacking.unwrap_or_default().as_bytes());
        Ok(Self { bytes: walk.bytes, lacking })
    }
}

/// What an included file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// What is installed.
    Requirements,
    /// In which version, if it is.
    Constraints,
}

struct Walk<'r, E> {
    read: Read<'r, E>,
    /// The files that are being read, each included by the one before it.
    open: Vec<PathBuf>,
    seen: BTreeSet<(PathBuf, Role)>,
    bytes: Vec<u8>,
    /// Where gunicorn is named.
    server: BTreeSet<Role>,
}

impl<E> Walk<'_, E> {
    fn file(&mut self, path: &Path, role: Role, missing: impl FnOnce() -> Failure) -> Result<(), Unread<E>> {
        if !self.seen.insert((path.to_owned(), role)) {
            return Ok(());
        }
        let bytes = (self.read)(path).map_err(Unread::Unreadable)?.ok_or_else(|| refuse(missing()))?;
        self.open.push(path.to_owned());
        for (number, line) in lines(&String::from_utf8_lossy(&bytes)) {
            match included(&line) {
                Some((role, file)) => self.include(&file, role, &format!("{}:{number}", path.display()))?,
                None if name(&line).eq_ignore_ascii_case("gunicorn") => drop(self.server.insert(role)),
                None => {}
            }
        }
        self.open.pop();
        self.bytes.extend(bytes);
        if self.bytes.len() as u64 > LARGEST { Err(refuse(too_large(path))) } else { Ok(()) }
    }

    /// What is on another server is named, and not read.
    fn include(&mut self, file: &str, role: Role, at: &str) -> Result<(), Unread<E>> {
        if file.starts_with("http://") || file.starts_with("https://") {
            return Ok(());
        }
        let beside = self.open.last().and_then(|path| path.parent()).unwrap_or(Path::new(""));
        let path = within(beside, Path::new(file)).ok_or_else(|| refuse(outside(file, at)))?;
        if self.open.contains(&path) {
            return Err(refuse(circle(&path, at)));
        }
        self.file(&path, role, || not_there(&path, at))
    }
}

/// `file` as named in a file of `directory`; `None` out of the repository.
fn within(directory: &Path, file: &Path) -> Option<PathBuf> {
    let mut path = directory.to_owned();
    for part in file.components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => path.pop().then_some(())?,
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

/// Lines with what continues them, without comments, by the number of their first: what pip's `join_lines` and
/// `ignore_comments` leave.
fn lines(text: &str) -> Vec<(usize, String)> {
    let mut joined: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let comment = comment(line);
        if !goes_on {
            joined.push((number + 1, String::new()));
        }
        goes_on = comment.is_none() && line.ends_with('\\');
        if let Some((_, whole)) = joined.last_mut() {
            whole.push_str(line[..comment.unwrap_or(line.len())].trim_end_matches('\\'));
        }
    }
    joined
}

/// Where a `#` begins a comment: in a URL it doesn't.
fn comment(line: &str) -> Option<usize> {
    let mut hashes = line.match_indices('#').map(|(at, _)| at);
    hashes.find(|&at| line[..at].chars().next_back().is_none_or(char::is_whitespace))
}

/// The file that a line includes.
fn included(line: &str) -> Option<(Role, String)> {
    let mut words = shlex::split(line)?.into_iter().peekable();
    words.peek().filter(|first| first.starts_with('-'))?;
    while let Some(word) = words.next() {
        for (role, short, long) in
            [(Role::Requirements, "-r", "--requirement"), (Role::Constraints, "-c", "--constraint")]
        {
            if word == short || word == long {
                return Some((role, words.next()?));
            }
            let attached = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('='));
            if let Some(file) = attached.or_else(|| word.strip_prefix(short)) {
                return Some((role, file.to_owned()));
            }
        }
    }
    None
}

/// The package that a line names, also at the end of its URL.
fn name(line: &str) -> &str {
    let line = line.split_once("#egg=").map_or(line, |(_, egg)| egg).trim_start();
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && !"._-".contains(c));
    &line[..end.unwrap_or(line.len())]
}

fn refuse<E>(failure: Failure) -> Unread<E> {
    Unread::Refused(Box::new(failure))
}

fn missing(file: &Path) -> Failure {
    Failure::release(Phase::Build, format!("{} is not a regular file of the application's repository", file.display()))
        .with_help("add it, or say where it is: [python] requirements = \"…\"")
}

fn not_there(path: &Path, at: &str) -> Failure {
    let cause =
        format!("{at} includes {}, which is not a regular file of the application's repository", path.display());
    Failure::release(Phase::Build, cause).with_help(format!("add it, or correct {at}"))
}

fn outside(file: &str, at: &str) -> Failure {
    let cause = format!("{at} includes {file}, which is outside of the application's repository");
    Failure::release(Phase::Build, cause)
        .with_help("commit the file, and name it by its path from the one that includes it")
}

fn circle(path: &Path, at: &str) -> Failure {
    let cause = format!("{at} includes {}, by which it is included itself", path.display());
    Failure::release(Phase::Build, cause).with_help(format!("remove {at}"))
}

fn too_large(path: &Path) -> Failure {
    let cause = format!("{} and what it includes are larger than {LARGEST} bytes", path.display());
    Failure::release(Phase::Build, cause).with_help("name packages there, and nothing else")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    type Tree<'a> = &'a [(&'a str, &'a str)];

    fn gather(tree: Tree<'_>, file: &str) -> Result<Requirements, Failure> {
        let read = |path: &Path| {
            let found = tree.iter().find(|(name, _)| Path::new(name) == path);
            Ok::<_, Infallible>(found.map(|(_, text)| text.as_bytes().to_vec()))
        };
        Requirements::gather(Path::new(file), &read).map_err(|unread| match unread {
            Unread::Refused(failure) => *failure,
            Unread::Unreadable(never) => match never {},
        })
    }

    fn bytes(tree: Tree<'_>) -> String {
        String::from_utf8(gather(tree, "requirements.txt").unwrap().bytes).unwrap()
    }

    fn lacking(text: &str) -> Option<&'static str> {
        gather(&[("requirements.txt", text)], "requirements.txt").unwrap().lacking
    }

    #[test]
    fn gunicorn_is_added_only_when_it_is_not_named() {
        assert_eq!(lacking("Django>=5.2\n# gunicorn==1\ngunicorn-extras==1\n-c http://x/gunicorn\n"), Some(GUNICORN));
        for text in [
            "gunicorn",
            "Django\nGunicorn==23.0.0\n",
            "gunicorn[gevent]>=20",
            "gunicorn ; python_version > '3'",
            "gunicorn@https://x/gunicorn.whl",
            "\u{feff}gunicorn==23.0.0 # ours",
            "-e git+https://x/gunicorn.git@23.0.0#egg=gunicorn",
            "gunicorn \\\n  ==23.0.0 \\\n  --hash=sha256:00",
        ] {
            assert_eq!(lacking(text), None, "{text}");
        }
    }

    #[test]
    fn a_server_that_an_included_file_pins_is_not_pinned_again() {
        let tree = |line| [("requirements.txt", line), ("base.txt", "gunicorn==23.0.0\n")];
        let lacking = |line| gather(&tree(line), "requirements.txt").unwrap().lacking;
        assert_eq!(lacking("-r base.txt"), None);
        assert_eq!(lacking("-c base.txt"), Some("gunicorn"), "a constraint installs nothing, and allows one version");
        assert_eq!(lacking("-c base.txt\n-r base.txt"), None);
        assert_eq!(lacking("Django"), Some(GUNICORN));
    }

    #[test]
    fn every_way_to_include_a_file_is_followed() {
        for line in [
            "-r base.txt",
            "-rbase.txt",
            "-r ./base.txt",
            "-r\tbase.txt",
            "-r 'base.txt'",
            "  --requirement base.txt",
            "--requirement=base.txt",
            "-r base.txt # the rest",
            "-r \\\nbase.txt",
            "-c base.txt",
            "-cbase.txt",
            "--constraint=base.txt",
            "--pre -r base.txt",
        ] {
            let files = |base| bytes(&[("requirements.txt", line), ("base.txt", base)]);
            assert_ne!(files("Django==5.2.1"), files("Django==5.2.2"), "{line}");
        }
        for line in ["# -r base.txt", "Django # -r base.txt", "--require-hashes", "-r https://x/base.txt"] {
            let plain = bytes(&[("requirements.txt", line)]);
            assert!(plain.starts_with(line), "{line}: {plain}");
        }
    }

    #[test]
    fn files_are_named_from_the_one_that_includes_them() {
        let tree = [
            ("requirements/pro.txt", "-r ../common/base.txt"),
            ("common/base.txt", "-r more.txt"),
            ("common/more.txt", "Django\n"),
        ];
        let of = |file| gather(&tree, file).unwrap().bytes;
        assert_eq!(of("requirements/pro.txt"), of("./requirements/pro.txt"));
        assert!(of("requirements/pro.txt").starts_with(b"Django\n-r more.txt-r ../common/base.txt"));
    }

    #[test]
    fn what_the_repository_does_not_hold_is_told_with_its_line_and_cure() {
        let failure = |text: &str| {
            let tree = [("requirements.txt", text), ("sub/a.txt", "-r b.txt"), ("sub/b.txt", "\n-r a.txt")];
            let failure = gather(&tree, "requirements.txt").unwrap_err();
            (failure.cause, failure.help.unwrap())
        };
        let (cause, help) = failure("Django\n\n-r base.txt");
        assert_eq!(
            cause,
            "requirements.txt:3 includes base.txt, which is not a regular file of the application's repository"
        );
        assert_eq!(help, "add it, or correct requirements.txt:3");
        for path in ["/etc/x.txt", "../x.txt", "sub/../../x.txt"] {
            let (cause, _) = failure(&format!("-r {path}"));
            let words = format!("requirements.txt:1 includes {path}, which is outside of the application's repository");
            assert_eq!(cause, words);
        }
        let (cause, help) = failure("-r sub/a.txt");
        assert_eq!(cause, "sub/b.txt:2 includes sub/a.txt, by which it is included itself");
        assert_eq!(help, "remove sub/b.txt:2");
        let missing = gather(&[], "requirements.txt").unwrap_err();
        assert_eq!(missing.cause, "requirements.txt is not a regular file of the application's repository");
    }

    #[test]
    fn a_file_that_two_others_include_is_no_circle_and_counts_once() {
        let tree = [
            ("requirements.txt", "-r a.txt\n-r b.txt\n"),
            ("a.txt", "-r c.txt\n"),
            ("b.txt", "-r c.txt\n"),
            ("c.txt", "gunicorn\n"),
        ];
        assert_eq!(bytes(&tree), "gunicorn\n-r c.txt\n-r c.txt\n-r a.txt\n-r b.txt\n");
    }

    #[test]
    fn a_repository_that_holds_nothing_else_is_not_read_whole() {
        let large = "#".repeat(800_000);
        let tree = [("requirements.txt", "-r a.txt\n-r b.txt"), ("a.txt", large.as_str()), ("b.txt", large.as_str())];
        assert!(gather(&tree, "requirements.txt").unwrap_err().cause.contains("larger than"));
    }
}
