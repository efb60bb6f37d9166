//! Where we may write: along directories that nobody else can change, held by their handles.
//!
//! Every directory from the base to the parent of what is written is opened on its own, relative to the handle before it
//! (`openat2`, `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`), and judged by its handle, so that what was judged is what is used:
//!
//! - its owner is root or ourselves, and not everybody may write to it;
//! - a *system* group (gid below 1000; `/var/log` is `root:syslog 0775` on Ubuntu) may write to it, but then it is only passed
//!   through, or gets a new directory of root's: such a group can do no more than swap root's directories in it for one another,
//!   as anything of its own is refused by the next judgement. A file put there could be exchanged before its rename;
//! - a symbolic link on the way (`/home -> /data/home`) is followed by us, when root made it in a directory that only root
//!   writes: it is then as good as a mount. Below `--root` it may not lead out of there.
//!
//! The directories above `--root DIR` are not judged: who typed the path trusts it.

use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

use super::handle::{give, make_directory_in, open_directory, stat_in, sync, sys};
use super::later::{Gathering, Later};
use super::{Authority, HostError, Result};
use crate::model::{Identity, Layout};

/// Links followed on the way to one path.
const MOST_LINKS: u8 = 8;

/// Groups from here on are people's (`login.defs`, `GID_MIN`).
const FIRST_USER_GROUP: u32 = 1000;

/// Who else may change what is in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Nobody.
    Ours,
    /// This system group.
    Shared(u32),
}

/// What to do about missing parents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Report,
    Make,
}

/// An opened and judged directory.
#[derive(Debug)]
struct Step {
    handle: OwnedFd,
    path: PathBuf,
    trust: Trust,
}

/// A name in a directory in which we may write.
#[derive(Debug)]
pub struct Spot {
    directory: OwnedFd,
    parent: PathBuf,
    name: OsString,
    trust: Trust,
    later: Arc<Later>,
}

impl Spot {
    /// The parent directory.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The last component.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// The parent's path, without links.
    pub fn parent(&self) -> &Path {
        &self.parent
    }

    /// The path, without links in its parents.
    pub fn path(&self) -> PathBuf {
        self.parent.join(&self.name)
    }

    /// Whether a group shares the parent with us.
    pub fn is_shared(&self) -> bool {
        matches!(self.trust, Trust::Shared(_))
    }

    /// Itself, when nobody else writes in the parent.
    pub fn ours(self) -> Result<Self> {
        match self.trust {
            Trust::Ours => Ok(self),
            Trust::Shared(gid) => Err(group_writable(&self.parent, gid)),
        }
    }

    /// Makes a change in the parent outlive a power cut.
    pub fn sync(&self) -> Result<()> {
        sync(&self.directory, &self.parent)
    }

    /// The same for a new name: with others, where they are gathered.
    pub fn sync_name(&self) -> Result<()> {
        self.later.sync(self.directory(), &self.parent)
    }

    /// The same for the directory that is at the spot itself.
    pub fn sync_here(&self, handle: &OwnedFd) -> Result<()> {
        self.later.sync(handle.as_fd(), &self.path())
    }

    /// What is there, by `lstat`.
    pub fn stat(&self) -> Result<Option<Stat>> {
        stat_in(self.directory(), &self.name, &self.path())
    }
}

/// A directory that paths begin with.
#[derive(Debug)]
struct Base {
    given: PathBuf,
    real: PathBuf,
    handle: OwnedFd,
}

impl Base {
    /// Opens the root, which may be reached through links; makes it when it is missing.
    fn root(path: &Path) -> Result<Self> {
        DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(HostError::at("make", path))?;
        let real = path.canonicalize().map_err(HostError::at("open", path))?;
        let handle = open_base(&real)?;
        Ok(Self { given: path.to_owned(), real, handle })
    }

    /// Opens a runtime directory that lies elsewhere than the root. In a `/tmp` that is everybody's its name could have been
    /// taken by somebody else; the judgement at each use finds that out.
    fn runtime(path: &Path) -> Result<Self> {
        let made = DirBuilder::new().mode(0o700).create(path);
        match made {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(HostError::at("make", path)(e)),
            _ => {}
        }
        Ok(Self { given: path.to_owned(), real: path.to_owned(), handle: open_base(path)? })
    }

    fn strip<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.strip_prefix(&self.given).or_else(|_| path.strip_prefix(&self.real)).ok()
    }
}

fn open_base(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    sys("open", path, || rustix::fs::open(path, flags, Mode::empty()))
}

/// The directories below which this host lies.
#[derive(Debug)]
pub struct Ground {
    bases: Vec<Base>,
    authority: Authority,
    later: Arc<Later>,
}

impl Ground {
    /// Opens the root (made when it is missing) and, when it lies elsewhere, the runtime directory.
    pub fn open(layout: &Layout, authority: Authority) -> Result<Self> {
        let root = Base::root(layout.root().path())?;
        let mut bases = Vec::with_capacity(2);
        if root.strip(layout.runtime()).is_none() {
            bases.push(Base::runtime(layout.runtime())?);
        }
        bases.push(root);
        Ok(Self { bases, authority, later: Arc::default() })
    }

    /// What we may do to owners.
    pub fn authority(&self) -> Authority {
        self.authority
    }

    /// New names become durable together until what this returns ends.
    pub(super) fn gather(&self) -> Gathering<'_> {
        self.later.gather()
    }

    /// Whether `path` is the root itself, or the runtime directory that lies elsewhere.
    pub fn is_base(&self, path: &Path) -> bool {
        self.bases.iter().any(|base| base.given == path || base.real == path)
    }

    /// The spot of `path`; `None` when its parent is missing.
    pub fn find(&self, path: &Path) -> Result<Option<Spot>> {
        self.walk(path, Missing::Report, 0)
    }

    /// The spot of `path`, whose parent must be there.
    pub fn spot(&self, path: &Path) -> Result<Spot> {
        self.find(path)?.ok_or_else(|| HostError::at("write", path)(Errno::NOENT.into()))
    }

    /// The spot of `path`; missing parents are made, `root:root 0755`.
    pub fn make_parents(&self, path: &Path) -> Result<Spot> {
        self.walk(path, Missing::Make, 0)?.ok_or_else(|| HostError::at("make", path)(Errno::NOENT.into()))
    }

    fn walk(&self, path: &Path, missing: Missing, links: u8) -> Result<Option<Spot>> {
        let (base, names) = self.locate(path)?;
        let Some((name, parents)) = names.split_last() else {
            return Err(refused(path, "the root itself is not written"));
        };
        let mut here = self.begin(base)?;
        for (index, parent) in parents.iter().enumerate() {
            here = match open_directory(here.handle.as_fd(), parent) {
                Ok(handle) => self.judge(handle, here.path.join(parent))?,
                Err(Errno::NOENT) if missing == Missing::Report => return Ok(None),
                Err(Errno::NOENT) => self.make(&here, parent)?,
                Err(Errno::LOOP) if links < MOST_LINKS => {
                    let rest: PathBuf = names.iter().skip(index + 1).collect();
                    return self.walk(&link_target(&here, parent)?.join(rest), missing, links + 1);
                }
                Err(errno) => return Err(HostError::at("open", here.path.join(parent))(errno.into())),
            };
        }
        let Step { handle: directory, path: parent, trust } = here;
        Ok(Some(Spot { directory, parent, name: name.clone(), trust, later: Arc::clone(&self.later) }))
    }

    fn locate(&self, path: &Path) -> Result<(&Base, Vec<OsString>)> {
        let (base, rest) = self
            .bases
            .iter()
            .find_map(|base| Some((base, base.strip(path)?)))
            .ok_or_else(|| refused(path, "outside the root; nothing is written there"))?;
        let names = rest.components().map(|component| match component {
            Component::Normal(name) => Ok(name.to_owned()),
            _ => Err(refused(path, "`..` in a path that is written")),
        });
        Ok((base, names.collect::<Result<_>>()?))
    }

    fn begin(&self, base: &Base) -> Result<Step> {
        let handle = base.handle.try_clone().map_err(HostError::at("open", &base.real))?;
        self.judge(handle, base.real.clone())
    }

    fn make(&self, here: &Step, name: &OsStr) -> Result<Step> {
        let path = here.path.join(name);
        let handle = make_directory_in(here.handle.as_fd(), name, &path)?;
        give(self.authority, &handle, &path, 0o755, Identity::ROOT)?;
        self.later.sync(here.handle.as_fd(), &here.path)?;
        self.judge(handle, path)
    }

    fn judge(&self, handle: OwnedFd, path: PathBuf) -> Result<Step> {
        let stat = sys("look at", &path, || rustix::fs::fstat(&handle))?;
        let own = self.authority.own();
        if stat.st_uid != 0 && stat.st_uid != own.uid {
            return Err(foreign(&path, stat.st_uid));
        }
        if stat.st_mode & 0o002 != 0 {
            return Err(refused(&path, &format!("everybody may write there: chmod o-w {}", path.display())));
        }
        let trust = match stat.st_mode & 0o020 {
            0 => Trust::Ours,
            // Many distributions give each person a group of his own, and umask 002.
            _ if self.authority != Authority::Machine && stat.st_gid == own.gid => Trust::Ours,
            // Group 0 too: where an access list (acl(5)) lets others in, these bits are its mask.
            _ if stat.st_gid < FIRST_USER_GROUP => Trust::Shared(stat.st_gid),
            _ => return Err(group_writable(&path, stat.st_gid)),
        };
        Ok(Step { handle, path, trust })
    }
}

/// Where the link `name` leads, when only root could have made it.
fn link_target(here: &Step, name: &OsStr) -> Result<PathBuf> {
    let path = here.path.join(name);
    if let Trust::Shared(_) = here.trust {
        return Err(refused(&path, "a symbolic link where a system group may write; put a directory in its place"));
    }
    let text = sys("read", &path, || rustix::fs::readlinkat(&here.handle, name, Vec::new()))?;
    let text = PathBuf::from(OsString::from_vec(text.into_bytes()));
    // The steps so far went through no link, so `..` may be taken by the text.
    Ok(normal(&here.path.join(text)))
}

fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut done, component| {
        match component {
            Component::ParentDir => {
                done.pop();
            }
            other => done.push(other),
        }
        done
    })
}

fn refused(path: &Path, why: &str) -> HostError {
    HostError::Unsafe { path: path.to_owned(), why: why.to_owned() }
}

fn group_writable(path: &Path, gid: u32) -> HostError {
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten().map_or_else(|| gid.to_string(), |group| group.name);
    refused(path, &format!("the group {group} may write there: chmod g-w {}", path.display()))
}

/// A home that its user owns has its own cure: the environment goes elsewhere.
fn foreign(path: &Path, uid: u32) -> HostError {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let name = user.as_ref().map_or_else(|| uid.to_string(), |user| user.name.clone());
    let home = user.is_some_and(|user| path.starts_with(&user.dir)) || path.starts_with("/home");
    let cure = if home { "set base_dir = \"/srv\"".to_owned() } else { format!("chown root:root {}", path.display()) };
    refused(path, &format!("owned by {name}; root does not write there: {cure}"))
}
