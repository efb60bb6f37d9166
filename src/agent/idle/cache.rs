//! The record of a pass that left nothing to do: a head, and one check for each managed path.
//!
//! Binary, because the checks of a thousand environments are read at every tick: a check holds only the end of its path, from
//! where it differs from the one before. Anything unexpected in it means that there is no record.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::agent::Left;
use crate::desired::Listed;
use crate::model::{Boot, CommitId, Digest, EnvName, Identity};

/// The format that this program writes.
pub const FORMAT: u32 = 3;

/// What was true when the pass began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Of this record.
    pub format: u32,
    /// Of everything on the host that a pass decides from.
    pub inputs: Digest,
    /// The deploy repository's.
    pub tip: CommitId,
    /// The repositories of which a branch is followed.
    pub looks: Vec<Look>,
    /// The interpreters that were looked for.
    pub pythons: Vec<String>,
    /// What was found of them.
    pub interpreters: Digest,
    /// Which slots run, and which are masked.
    pub services: Digest,
    /// Repositories of which tags are released, and where those were: looked at now and then.
    pub tags: Vec<Look>,
    /// From when on there is something to do, whatever else happens.
    pub due: Option<Timestamp>,
    /// By whose clock that is.
    pub boot: Option<Boot>,
    /// What became of each environment, and why those that are left as they are were.
    pub environments: Vec<(EnvName, Option<Left>)>,
    /// How many checks follow.
    pub checks: usize,
}

/// A look at an application's repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Where it is, as the manifest says it.
    pub address: String,
    /// The full names that were looked at.
    pub names: Vec<String>,
    /// Of what they stood for.
    pub refs: Digest,
}

/// One path and what must be there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Check {
    /// The path.
    pub path: PathBuf,
    /// What must be there.
    pub state: State,
}

/// What must be at a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// User and group.
        owner: (u32, u32),
        /// Of its bytes.
        sha256: Digest,
    },
    /// A symbolic link with this text.
    Link(PathBuf),
}

impl From<Listed> for State {
    fn from(listed: Listed) -> Self {
        match listed {
            Listed::File { sha256, mode, owner } => Self::File { mode, owner: (owner.uid, owner.gid), sha256 },
            Listed::Link(target) => Self::Link(target),
        }
    }
}

/// A check as it is read: its path is valid until the next one.
#[derive(Debug, PartialEq, Eq)]
pub enum Due<'a> {
    /// A regular file must be there.
    File {
        /// Where.
        path: &'a Path,
        /// Permission bits.
        mode: u32,
        /// Whose.
        owner: Identity,
        /// Of its bytes.
        sha256: Digest,
    },
    /// A symbolic link must be there.
    Link {
        /// Where.
        path: &'a Path,
        /// Its text.
        target: &'a Path,
    },
}

const FILE: u8 = b'f';
const LINK: u8 = b'l';

/// The whole record; `None` when a path is too long for it.
pub fn write(head: &Head, checks: &[Check]) -> Option<Vec<u8>> {
    let head = serde_json::to_vec(&Head { checks: checks.len(), ..head.clone() }).ok()?;
    let mut out = u32::try_from(head.len()).ok()?.to_le_bytes().to_vec();
    out.extend(head);
    let mut before: &[u8] = b"";
    for check in checks {
        let path = bytes(&check.path);
        let shared = path.iter().zip(before).take_while(|(a, b)| a == b).count();
        out.push(if matches!(check.state, State::File { .. }) { FILE } else { LINK });
        out.extend(u16::try_from(shared).ok()?.to_le_bytes());
        text(&mut out, &path[shared..])?;
        match &check.state {
            State::File { mode, owner: (uid, gid), sha256 } => {
                out.extend([mode, uid, gid].into_iter().flat_map(|number| number.to_le_bytes()));
                out.extend(sha256.to_bytes());
            }
            State::Link(target) => text(&mut out, bytes(target))?,
        }
        before = path;
    }
    Some(out)
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    out.extend(u16::try_from(bytes.len()).ok()?.to_le_bytes());
    out.extend(bytes);
    Some(())
}

/// The head, and the checks behind it; `None` for anything that this program did not write.
pub fn read(record: &[u8]) -> Option<(Head, Checks<'_>)> {
    let mut rest = record;
    let length = u32::from_le_bytes(take(&mut rest)?);
    let (head, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let head: Head = serde_json::from_slice(head).ok().filter(|head: &Head| head.format == FORMAT)?;
    let left = head.checks;
    Some((head, Checks { rest, left, path: Vec::with_capacity(256) }))
}

/// The checks of a record, read one by one.
#[derive(Debug)]
pub struct Checks<'a> {
    rest: &'a [u8],
    left: usize,
    path: Vec<u8>,
}

impl Checks<'_> {
    /// Calls `holds` for each check until one does not. `false`: one did not, or the record is damaged.
    pub fn all(mut self, mut holds: impl FnMut(&Due<'_>) -> bool) -> bool {
        while self.left > 0 {
            if !self.next().is_some_and(|due| holds(&due)) {
                return false;
            }
            self.left -= 1;
        }
        self.rest.is_empty()
    }

    fn next(&mut self) -> Option<Due<'_>> {
        let [kind] = take(&mut self.rest)?;
        let shared = usize::from(u16::from_le_bytes(take(&mut self.rest)?));
        let end = take_text(&mut self.rest)?;
        (shared <= self.path.len()).then_some(())?;
        self.path.truncate(shared);
        self.path.extend(end);
        let path = path(&self.path);
        match kind {
            FILE => {
                let mut number = || take(&mut self.rest).map(u32::from_le_bytes);
                let (mode, owner) = (number()?, Identity { uid: number()?, gid: number()? });
                Some(Due::File { path, mode, owner, sha256: Digest::from_bytes(take(&mut self.rest)?) })
            }
            LINK => Some(Due::Link { path, target: self::path(take_text(&mut self.rest)?) }),
            _ => None,
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_le_bytes(take(rest)?);
    let (taken, left) = rest.split_at_checked(usize::from(length))?;
    *rest = left;
    Some(taken)
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let nothing = Digest::nothing();
        Head {
            format: FORMAT,
            inputs: nothing,
            tip: CommitId::parse(&"1".repeat(40)).unwrap(),
            looks: vec![],
            pythons: vec![],
            interpreters: nothing,
            services: nothing,
            tags: vec![],
            due: None,
            boot: None,
            environments: vec![(EnvName::parse("bakery/pro").unwrap(), None)],
            checks: 0,
        }
    }

    fn checks() -> Vec<Check> {
        let file = State::File { mode: 0o440, owner: (0, 33), sha256: Digest::of(b"x") };
        vec![
            Check { path: "/etc/a/nginx.conf".into(), state: file.clone() },
            Check { path: "/etc/a/release".into(), state: State::Link("/home/x".into()) },
            Check { path: "/etc/b".into(), state: file },
        ]
    }

    fn owned(due: &Due<'_>) -> Check {
        match *due {
            Due::File { path, mode, owner, sha256 } => {
                Check { path: path.into(), state: State::File { mode, owner: (owner.uid, owner.gid), sha256 } }
            }
            Due::Link { path, target } => Check { path: path.into(), state: State::Link(target.into()) },
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let record = write(&head(), &checks()).unwrap();
        let (found, due) = read(&record).unwrap();
        assert_eq!(found, Head { checks: 3, ..head() });
        let mut seen = Vec::new();
        assert!(due.all(|due| {
            seen.push(owned(due));
            true
        }));
        assert_eq!(seen, checks());
    }

    #[test]
    fn a_record_that_was_cut_or_grew_holds_nothing() {
        let record = write(&head(), &checks()).unwrap();
        let holds = |record: &[u8]| read(record).is_some_and(|(_, due)| due.all(|_| true));
        assert!(holds(&record));
        for length in 0..record.len() {
            assert!(!holds(&record[..length]), "{length} of {} bytes", record.len());
        }
        assert!(!holds(&[&record[..], b"f"].concat()));
    }

    #[test]
    fn one_check_that_fails_is_enough() {
        let record = write(&head(), &checks()).unwrap();
        assert!(!read(&record).unwrap().1.all(|due| !matches!(due, Due::Link { .. })));
    }

    /// Another shape under the same number would be read by a program that means something else by it.
    #[test]
    fn the_record_keeps_its_shape_or_gets_another_number() {
        let record = write(&head(), &checks()).unwrap();
        assert_eq!((FORMAT, Digest::of(&record).short(16).as_str()), (3, "51e418b9408d81f6"));
    }
}
