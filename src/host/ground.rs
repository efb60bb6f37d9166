//! Where we may write: along directories that nobody else can change, held by their handles.
//!
//! Every directory from the base to the parent of what is written is opened on its own, relative to the handle before it
//! (`openat2`, `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`), and judged by its handle, so that what was judged is what is used (while
//! changes are gathered the handles of the last way are used again):
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
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{Gid, Group, Uid, User};
use rustix::io::Errno;

use super::disk::{About, Disk};
use super::handle::{about_in, give, make_directory_in, open_directory, sync, sys};
use super::later::{Gathering, Later};
use super::linux::Linux;
use super::way::{Directory, Step, Trust, Way};
use super::{Authority, HostError, Result};
use crate::model::{Identity, Layout};

/// Links followed on the way to one path.
const MOST_LINKS: u8 = 8;

/// Groups from here on are people's (`login.defs`, `GID_MIN`).
const FIRST_USER_GROUP: u32 = 1000;

/// What to do about missing parents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Report,
    Make,
}

/// A name in a directory in which we may write.
#[derive(Debug)]
pub struct Spot<D: Disk = Linux> {
    disk: D,
    parent: Step<D::Handle>,
    name: OsString,
    /// What is below the runtime directory ends with the machine's uptime, and nobody waits for a disk to have it.
    lasting: bool,
    later: Arc<Later<D::Handle>>,
}

impl<D: Disk> Spot<D> {
    /// The disk that it is on.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// The parent directory.
    pub fn directory(&self) -> &D::Handle {
        &self.parent.directory.handle
    }

    /// The parent's file system.
    pub fn device(&self) -> u64 {
        self.parent.directory.place.device
    }

    /// The last component.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// The parent's path, without links.
    pub fn parent(&self) -> &Path {
        &self.parent.directory.path
    }

    /// The path, without links in its parents.
    pub fn path(&self) -> PathBuf {
        self.parent().join(&self.name)
    }

    /// Whether a group shares the parent with us.
    pub fn is_shared(&self) -> bool {
        matches!(self.parent.trust, Trust::Shared(_))
    }

    /// Itself, when nobody else writes in the parent.
    pub fn ours(self) -> Result<Self> {
        match self.parent.trust {
            Trust::Ours => Ok(self),
            Trust::Shared(gid) => Err(group_writable(self.parent(), gid)),
        }
    }

    /// Makes a change in the parent outlive a power cut.
    pub fn sync(&self) -> Result<()> {
        self.if_lasting(|| sync(&self.disk, self.directory(), self.parent()))
    }

    /// The same for a new name: with others, where they are gathered.
    pub fn sync_name(&self) -> Result<()> {
        self.if_lasting(|| self.later.sync(&self.disk, &self.parent.directory))
    }

    /// The same for the directory that is at the spot itself.
    pub fn sync_here(&self, handle: D::Handle) -> Result<()> {
        self.if_lasting(|| {
            let (directory, _) = Directory::of(&self.disk, handle, &self.path())?;
            self.later.sync(&self.disk, &Arc::new(directory))
        })
    }

    /// The same, at once, for the content of a file that gets its name here.
    pub fn sync_content(&self, file: &D::Handle) -> Result<()> {
        self.if_lasting(|| sync(&self.disk, file, &self.path()))
    }

    fn if_lasting(&self, sync: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.lasting { sync() } else { Ok(()) }
    }

    /// What is there, by `lstat`.
    pub fn about(&self) -> Result<Option<About>> {
        about_in(&self.disk, self.directory(), &self.name, &self.path())
    }
}

/// A directory that paths begin with.
#[derive(Debug)]
struct Base<D: Disk> {
    given: PathBuf,
    real: PathBuf,
    handle: D::Handle,
}

impl<D: Disk> Base<D> {
    /// Opens the root, which may be reached through links; makes it when it is missing.
    fn root(disk: &D, path: &Path) -> Result<Self> {
        let (real, handle) = disk.root(path).map_err(HostError::at("open", path))?;
        Ok(Self { given: path.to_owned(), real, handle })
    }

    /// Opens a runtime directory that lies elsewhere than the root. In a `/tmp` that is everybody's its name could have been
    /// taken by somebody else; the judgement at each use finds that out.
    fn runtime(disk: &D, path: &Path) -> Result<Self> {
        let handle = disk.runtime(path).map_err(HostError::at("open", path))?;
        Ok(Self { given: path.to_owned(), real: path.to_owned(), handle })
    }

    fn strip<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.strip_prefix(&self.given).or_else(|_| path.strip_prefix(&self.real)).ok()
    }
}

/// The directories below which this host lies.
#[derive(Debug)]
pub struct Ground<D: Disk = Linux> {
    disk: D,
    bases: Vec<Base<D>>,
    /// The runtime directory, without links.
    runtime: PathBuf,
    authority: Authority,
    later: Arc<Later<D::Handle>>,
}

impl Ground {
    /// Opens the root (made when it is missing) and, when it lies elsewhere, the runtime directory.
    pub fn open(layout: &Layout, authority: Authority) -> Result<Self> {
        Self::on(Linux, layout, authority)
    }
}

impl<D: Disk> Ground<D> {
    /// The same on another disk.
    pub fn on(disk: D, layout: &Layout, authority: Authority) -> Result<Self> {
        let root = Base::root(&disk, layout.root().path())?;
        let mut bases = Vec::with_capacity(2);
        let runtime = if let Some(below) = root.strip(layout.runtime()) {
            root.real.join(below)
        } else {
            bases.push(Base::runtime(&disk, layout.runtime())?);
            layout.runtime().to_owned()
        };
        bases.push(root);
        Ok(Self { disk, bases, runtime, authority, later: Arc::default() })
    }

    /// The disk.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// What we may do to owners.
    pub fn authority(&self) -> Authority {
        self.authority
    }

    /// New names become durable together until what this returns ends.
    pub fn gather(&self) -> Gathering<'_, D> {
        self.later.gather(&self.disk)
    }

    /// Makes the whole file system that `handle` is on outlive a power cut.
    pub fn sync_all(&self, handle: &D::Handle, path: &Path) -> Result<()> {
        self.later.sync_all(&self.disk, handle, path)
    }

    /// Whether `path` is the root itself, or the runtime directory that lies elsewhere.
    pub fn is_base(&self, path: &Path) -> bool {
        self.bases.iter().any(|base| base.given == path || base.real == path)
    }

    /// The spot of `path`; `None` when its parent is missing.
    pub fn find(&self, path: &Path) -> Result<Option<Spot<D>>> {
        self.walk(path, Missing::Report, 0)
    }

    /// The directory to which the link at `path` leads, without links; `None` when nothing is there. It is judged, and the link with
    /// it, as on the way to any name.
    pub fn behind(&self, path: &Path) -> Result<Option<PathBuf>> {
        Ok(self.find(&path.join("name"))?.map(|spot| spot.parent().to_owned()))
    }

    /// The spot of `path`, whose parent must be there.
    pub fn spot(&self, path: &Path) -> Result<Spot<D>> {
        self.find(path)?.ok_or_else(|| HostError::at("write", path)(Errno::NOENT.into()))
    }

    /// The spot of `path`; missing parents are made, `root:root 0755`.
    pub fn make_parents(&self, path: &Path) -> Result<Spot<D>> {
        self.walk(path, Missing::Make, 0)?.ok_or_else(|| HostError::at("make", path)(Errno::NOENT.into()))
    }

    fn walk(&self, path: &Path, missing: Missing, links: u8) -> Result<Option<Spot<D>>> {
        let (base, names) = self.locate(path)?;
        let Some((name, parents)) = names.split_last() else {
            return Err(refused(path, "the root itself is not written"));
        };
        let mut way = self.begin(base, parents)?;
        for (index, parent) in parents.iter().enumerate().skip(way.len()) {
            let path = way.here.directory.path.join(parent);
            way.go(match open_directory(&self.disk, &way.here.directory.handle, parent) {
                Ok(handle) => self.judge(handle, &path)?,
                Err(Errno::NOENT) if missing == Missing::Report => return Ok(None),
                Err(Errno::NOENT) => self.make(&way.here, parent)?,
                Err(Errno::LOOP) if links < MOST_LINKS => {
                    let rest: PathBuf = names.iter().skip(index + 1).collect();
                    return self.walk(&self.link_target(&way.here, parent)?.join(rest), missing, links + 1);
                }
                Err(errno) => return Err(HostError::at("open", path)(errno.into())),
            });
        }
        // We come by here before we remove or rename a directory, on the way to its parent, so of ours nothing on it is gone. What
        // a person removes meanwhile is an error until the end of what is gathered.
        self.later.went(&way);
        Ok(Some(Spot {
            disk: self.disk.clone(),
            lasting: !way.here.directory.path.starts_with(&self.runtime),
            parent: way.here,
            name: name.clone(),
            later: Arc::clone(&self.later),
        }))
    }

    fn locate(&self, path: &Path) -> Result<(&Base<D>, Vec<OsString>)> {
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

    /// The way as far as it is known: the base, and while changes are gathered what the thread's last way has in common with
    /// this one. Whoever could have changed a directory that was found to be ours alone is root, as he could between any
    /// judgement and its use.
    fn begin(&self, base: &Base<D>, parents: &[OsString]) -> Result<Way<D::Handle>> {
        let mut goal = base.real.clone();
        goal.extend(parents);
        if let Some(way) = self.later.way().and_then(|way| way.towards(&base.real, &goal)) {
            return Ok(way);
        }
        let handle = sys("open", &base.real, || self.disk.again(&base.handle))?;
        Ok(Way::from(self.judge(handle, &base.real)?))
    }

    fn make(&self, here: &Step<D::Handle>, name: &OsStr) -> Result<Step<D::Handle>> {
        let path = here.directory.path.join(name);
        let handle = make_directory_in(&self.disk, &here.directory.handle, name, 0o755, &path)?;
        give(&self.disk, self.authority, &handle, &path, 0o755, Identity::ROOT)?;
        self.later.sync(&self.disk, &here.directory)?;
        self.judge(handle, &path)
    }

    fn judge(&self, handle: D::Handle, path: &Path) -> Result<Step<D::Handle>> {
        let (directory, about) = Directory::of(&self.disk, handle, path)?;
        let own = self.authority.own();
        if about.owner.uid != 0 && about.owner.uid != own.uid {
            return Err(foreign(path, about.owner.uid));
        }
        if about.mode & 0o002 != 0 {
            return Err(refused(path, &format!("everybody may write there: chmod o-w {}", path.display())));
        }
        let trust = match about.mode & 0o020 {
            0 => Trust::Ours,
            // Many distributions give each person a group of his own, and umask 002.
            _ if self.authority != Authority::Machine && about.owner.gid == own.gid => Trust::Ours,
            // Group 0 too: where an access list (acl(5)) lets others in, these bits are its mask.
            _ if about.owner.gid < FIRST_USER_GROUP => Trust::Shared(about.owner.gid),
            _ => return Err(group_writable(path, about.owner.gid)),
        };
        Ok(Step { directory: Arc::new(directory), trust })
    }

    /// Where the link `name` leads, when only root could have made it.
    fn link_target(&self, here: &Step<D::Handle>, name: &OsStr) -> Result<PathBuf> {
        let path = here.directory.path.join(name);
        if let Trust::Shared(_) = here.trust {
            return Err(refused(&path, "a symbolic link where a system group may write; put a directory in its place"));
        }
        let text = sys("read", &path, || self.disk.read_link(&here.directory.handle, name))?;
        // The steps so far went through no link, so `..` may be taken by the text.
        Ok(normal(&here.directory.path.join(text)))
    }
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
pub(super) fn foreign(path: &Path, uid: u32) -> HostError {
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let name = user.as_ref().map_or_else(|| uid.to_string(), |user| user.name.clone());
    let home = user.is_some_and(|user| path.starts_with(&user.dir)) || path.starts_with("/home");
    let cure = if home { "set base_dir = \"/srv\"".to_owned() } else { format!("chown root:root {}", path.display()) };
    refused(path, &format!("owned by {name}; root does not write there: {cure}"))
}
