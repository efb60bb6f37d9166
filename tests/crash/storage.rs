//! What a disk holds, twice: as programs see it, and as it is after a power cut.
//!
//! A directory (its names, owner and mode) and a file's content become durable only by a sync of their own. Until then each of
//! them, independently of all others, may or may not be what is found after the cut.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use portreeve::model::Identity;
use rustix::io::Errno;

/// A number of an inode.
pub type Id = usize;

/// The root directory.
pub const ROOT: Id = 0;

/// What an inode is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Body {
    File(Arc<Vec<u8>>),
    Directory(BTreeMap<OsString, Id>),
    Link(PathBuf),
}

/// One state of an inode.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Face {
    pub body: Body,
    pub mode: u32,
    pub owner: Identity,
}

/// An inode: what programs see and what a power cut leaves.
#[derive(Debug, Clone)]
pub struct Inode {
    pub live: Face,
    durable: Face,
    /// The file system that it lies on.
    pub device: u64,
}

/// All inodes of a machine. Copies are cheap.
#[derive(Debug, Clone)]
pub struct Storage {
    inodes: Vec<Arc<Inode>>,
    /// Those whose two faces differ.
    unsynced: BTreeSet<Id>,
    /// So much more the disks take together. They say that they have room for all, as under a quota.
    pub room: Option<u8>,
    /// All was changed a moment ago, and not long ago.
    pub young: bool,
}

const MOST_LINKS: usize = 16;
/// Hardly a path is deeper.
const DEEP: usize = 16;

/// The first file system: `/`.
const DISK: u64 = 0;
/// `/run`, which is gone at a boot.
const RUN: u64 = 1;

impl Storage {
    /// An empty root.
    pub fn new() -> Self {
        let mut storage = Self { inodes: Vec::new(), unsynced: BTreeSet::new(), room: None, young: false };
        storage.make(Body::Directory(BTreeMap::new()), 0o755, DISK);
        storage
    }

    /// Whether nothing was changed between the two.
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |(a, b): (&Arc<Inode>, &Arc<Inode>)| Arc::ptr_eq(a, b);
        self.inodes.len() == other.inodes.len()
            && self.unsynced == other.unsynced
            && self.inodes.iter().zip(&other.inodes).all(same)
    }

    pub fn inode(&self, id: Id) -> &Inode {
        &self.inodes[id]
    }

    /// Takes room for a file or a write on the device of this one.
    pub fn take_room(&mut self, id: Id) -> Result<(), Errno> {
        match &mut self.room {
            Some(more) if self.inodes[id].device != RUN => *more = more.checked_sub(1).ok_or(Errno::DQUOT)?,
            _ => {}
        }
        Ok(())
    }

    /// Changes what programs see.
    pub fn change(&mut self, id: Id, change: impl FnOnce(&mut Face)) {
        let inode = Arc::make_mut(&mut self.inodes[id]);
        change(&mut inode.live);
        // A link has no content of its own: it comes and goes with its name.
        if inode.device != RUN && !matches!(inode.live.body, Body::Link(_)) {
            self.unsynced.insert(id);
        }
    }

    /// A new inode without a name. Nothing of it is durable but that it is there.
    pub fn make(&mut self, body: Body, mode: u32, device: u64) -> Id {
        let live = Face { body, mode, owner: Identity::ROOT };
        let nothing = match &live.body {
            Body::File(_) => Body::File(Arc::default()),
            Body::Directory(_) => Body::Directory(BTreeMap::new()),
            Body::Link(text) => Body::Link(text.clone()),
        };
        let durable = Face { body: nothing, ..live.clone() };
        if live != durable && device != RUN {
            self.unsynced.insert(self.inodes.len());
        }
        self.inodes.push(Arc::new(Inode { live, durable, device }));
        self.inodes.len() - 1
    }

    /// Makes what is seen of one inode durable.
    pub fn sync(&mut self, id: Id) {
        let inode = Arc::make_mut(&mut self.inodes[id]);
        inode.durable = inode.live.clone();
        self.unsynced.remove(&id);
    }

    pub fn sync_all(&mut self) {
        for id in std::mem::take(&mut self.unsynced) {
            self.sync(id);
        }
    }

    /// The same of the file system that this one lies on, but for what has the name `but`.
    pub fn sync_file_system(&mut self, of: Id, but: Option<&str>) {
        let device = self.inodes[of].device;
        let spared = but.map(|name| self.named(OsStr::new(name))).unwrap_or_default();
        let goes = |id: &Id| self.inodes[*id].device == device && !spared.contains(id);
        let there: Vec<Id> = self.unsynced.iter().copied().filter(goes).collect();
        for id in there {
            self.sync(id);
        }
    }

    fn named(&self, name: &OsStr) -> BTreeSet<Id> {
        (0..self.inodes.len()).filter_map(|directory| self.child(directory, name).ok()).collect()
    }

    pub fn entries(&self, id: Id) -> Result<&BTreeMap<OsString, Id>, Errno> {
        match &self.inodes[id].live.body {
            Body::Directory(entries) => Ok(entries),
            Body::File(_) | Body::Link(_) => Err(Errno::NOTDIR),
        }
    }

    pub fn child(&self, directory: Id, name: &OsStr) -> Result<Id, Errno> {
        self.entries(directory)?.get(name).copied().ok_or(Errno::NOENT)
    }

    /// Gives an inode a name, or takes one away.
    pub fn name(&mut self, directory: Id, name: &OsStr, id: Option<Id>) {
        self.change(directory, |face| {
            if let Body::Directory(entries) = &mut face.body {
                match id {
                    Some(id) => entries.insert(name.to_owned(), id),
                    None => entries.remove(name),
                };
            }
        });
    }

    /// What is at `path`, links in its parents followed, and at its end only if `last`.
    pub fn find(&self, path: &Path, last: bool) -> Option<Id> {
        self.walk(path, last, 0).map(|(id, _)| id)
    }

    /// The path without links, when something is there.
    pub fn real(&self, path: &Path) -> Option<PathBuf> {
        let (_, through) = self.walk(path, true, 0)?;
        Some(plain(through.as_deref().unwrap_or(path).components()))
    }

    /// What is at a path, and where it is when a link was followed.
    fn walk(&self, path: &Path, last: bool, links: usize) -> Option<(Id, Option<PathBuf>)> {
        let mut trail = Vec::with_capacity(DEEP);
        trail.push(ROOT);
        let mut rest = path.components();
        while let Some(component) = rest.next() {
            match component {
                Component::Normal(name) => {
                    let id = self.child(*trail.last()?, name).ok()?;
                    let rest = rest.as_path();
                    if let (Body::Link(text), true) = (&self.inodes[id].live.body, !rest.as_os_str().is_empty() || last)
                    {
                        let before = path.components().count() - rest.components().count() - 1;
                        let target = plain(path.components().take(before)).join(text).join(rest);
                        let (id, through) = (links < MOST_LINKS).then(|| self.walk(&target, last, links + 1))??;
                        return Some((id, Some(through.unwrap_or(target))));
                    }
                    trail.push(id);
                }
                Component::ParentDir if trail.len() > 1 => drop(trail.pop()),
                _ => {}
            }
        }
        Some((*trail.last()?, None))
    }

    /// A file's bytes, links followed.
    pub fn read(&self, path: &Path) -> Option<Arc<Vec<u8>>> {
        match &self.inodes[self.find(path, true)?].live.body {
            Body::File(bytes) => Some(Arc::clone(bytes)),
            Body::Directory(_) | Body::Link(_) => None,
        }
    }

    pub fn link_text(&self, path: &Path) -> Option<&Path> {
        match &self.inodes[self.find(path, false)?].live.body {
            Body::Link(text) => Some(text),
            Body::File(_) | Body::Directory(_) => None,
        }
    }

    pub fn exists(&self, path: &Path) -> bool {
        self.find(path, true).is_some()
    }

    pub fn names(&self, path: &Path) -> Vec<OsString> {
        let entries = self.find(path, true).and_then(|id| self.entries(id).ok());
        entries.map(|entries| entries.keys().cloned().collect()).unwrap_or_default()
    }

    /// Makes a directory and those above it, as a program would that syncs nothing.
    pub fn make_directories(&mut self, path: &Path) -> Id {
        let mut here = ROOT;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            here = if let Ok(id) = self.child(here, name) {
                id
            } else {
                let id = self.make(Body::Directory(BTreeMap::new()), 0o755, self.inodes[here].device);
                self.name(here, name, Some(id));
                id
            };
        }
        here
    }

    /// Writes a file as a program would that syncs nothing.
    pub fn write(&mut self, path: &Path, bytes: &[u8]) {
        let parent = path.parent().and_then(|parent| self.find(parent, true)).expect("its directory is there");
        let device = self.inodes[parent].device;
        let id = self.make(Body::File(Arc::new(bytes.to_vec())), 0o644, device);
        self.name(parent, path.file_name().expect("a name"), Some(id));
    }

    /// Gives a file a second name, which nothing else has then.
    pub fn link(&mut self, file: &Path, path: &Path) {
        let parent = path.parent().and_then(|parent| self.find(parent, true)).expect("its directory is there");
        let (name, id) = (path.file_name().expect("a name"), self.find(file, true));
        if id.is_some() {
            self.name(parent, name, id);
        }
    }

    /// All that is below a directory is gone, and may come back after a power cut.
    pub fn clear(&mut self, path: &Path) {
        if let Some(id) = self.find(path, true) {
            self.change(id, |face| face.body = Body::Directory(BTreeMap::new()));
        }
    }

    /// What may be lost in a power cut: each of these on its own. What has no name, live or durable, matters to nobody.
    pub fn at_risk(&self) -> Vec<Id> {
        let named = self.reachable();
        self.unsynced
            .iter()
            .copied()
            .filter(|id| named[*id] && self.inodes[*id].live != self.inodes[*id].durable)
            .collect()
    }

    /// The disk after a power cut that took these, and `/run` with all that is in it.
    pub fn after_power_cut(&self, lost: &BTreeSet<Id>) -> Self {
        let mut next = self.clone();
        for id in &self.unsynced {
            let inode = Arc::make_mut(&mut next.inodes[*id]);
            if lost.contains(id) {
                inode.live = inode.durable.clone();
            } else {
                inode.durable = inode.live.clone();
            }
        }
        next.unsynced.clear();
        let runs: Vec<Id> = (0..next.inodes.len()).filter(|id| next.is_mount(*id)).collect();
        for id in runs {
            Arc::make_mut(&mut next.inodes[id]).live.body = Body::Directory(BTreeMap::new());
        }
        next
    }

    fn is_mount(&self, id: Id) -> bool {
        self.inodes[id].device == RUN && self.inodes[id].live.mode & 0o1000 != 0
    }

    /// Makes `path` the top of `/run`.
    pub fn mount_run(&mut self, path: &Path) {
        let id = self.mount(path, RUN);
        // The sticky bit marks it; nothing else here has one.
        Arc::make_mut(&mut self.inodes[id]).live.mode = 0o1755;
    }

    /// Makes each of these the top of a disk of its own.
    pub fn mount_disks(&mut self, paths: &[PathBuf]) {
        for (path, device) in paths.iter().zip(RUN + 1..) {
            self.mount(path, device);
        }
    }

    fn mount(&mut self, path: &Path, device: u64) -> Id {
        let id = self.make_directories(path);
        Arc::make_mut(&mut self.inodes[id]).device = device;
        id
    }

    /// Whether a name leads there, of each inode.
    fn reachable(&self) -> Vec<bool> {
        let (mut seen, mut todo) = (vec![false; self.inodes.len()], vec![ROOT]);
        while let Some(id) = todo.pop() {
            if std::mem::replace(&mut seen[id], true) {
                continue;
            }
            let inode = &self.inodes[id];
            for face in [&inode.live, &inode.durable] {
                if let Body::Directory(entries) = &face.body {
                    todo.extend(entries.values());
                }
            }
        }
        seen
    }

    /// Frees what no name leads to, so that copies stay small.
    pub fn collect(&mut self) {
        let named = self.reachable();
        let nothing = Arc::new(Inode {
            live: Face { body: Body::Link(PathBuf::new()), mode: 0, owner: Identity::ROOT },
            durable: Face { body: Body::Link(PathBuf::new()), mode: 0, owner: Identity::ROOT },
            device: DISK,
        });
        for (id, inode) in self.inodes.iter_mut().enumerate() {
            if !named[id] {
                *inode = Arc::clone(&nothing);
                self.unsynced.remove(&id);
            }
        }
    }

    /// Whether some directory has such a hidden name, also one that nothing leads to any more.
    pub fn has_hidden(&self, like: impl Fn(&str) -> bool) -> bool {
        let is_like = |name: &OsString| name.as_encoded_bytes().starts_with(b".") && name.to_str().is_some_and(&like);
        let has = |body: &Body| matches!(body, Body::Directory(names) if names.keys().any(is_like));
        self.inodes.iter().any(|inode| has(&inode.live.body))
    }

    /// Every path with its kind, for messages and comparisons.
    pub fn paths(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        self.visit(ROOT, &mut PathBuf::from("/"), &mut |path, _| paths.push(path.to_owned()));
        paths
    }

    fn visit(&self, id: Id, path: &mut PathBuf, see: &mut impl FnMut(&Path, &Inode)) {
        see(path, &self.inodes[id]);
        if let Body::Directory(entries) = &self.inodes[id].live.body {
            for (name, child) in entries {
                path.push(name);
                self.visit(*child, path, see);
                path.pop();
            }
        }
    }

    /// The same for two disks that hold the same, live and durable, whatever their inodes' numbers are.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash_inode(ROOT, &mut Seen { numbers: vec![0; self.inodes.len()], count: 0 }, &mut hasher);
        hasher.finish()
    }

    fn hash_inode(&self, id: Id, seen: &mut Seen, hasher: &mut DefaultHasher) {
        let number = seen.numbers[id];
        if number > 0 {
            return number.hash(hasher);
        }
        seen.count += 1;
        seen.numbers[id] = seen.count;
        let inode = &self.inodes[id];
        inode.device.hash(hasher);
        self.hash_face(&inode.live, seen, hasher);
        if self.unsynced.contains(&id) && inode.live != inode.durable {
            self.hash_face(&inode.durable, seen, hasher);
        }
    }

    fn hash_face(&self, face: &Face, seen: &mut Seen, hasher: &mut DefaultHasher) {
        (face.mode, face.owner).hash(hasher);
        match &face.body {
            Body::Directory(entries) => {
                entries.len().hash(hasher);
                for (name, child) in entries {
                    steady(name).hash(hasher);
                    self.hash_inode(*child, seen, hasher);
                }
            }
            Body::File(bytes) => bytes.hash(hasher),
            Body::Link(text) => text.hash(hasher),
        }
    }
}

/// The inodes that were come by, numbered from one in that order.
struct Seen {
    numbers: Vec<usize>,
    count: usize,
}

/// The path without `..`, where no component is a link.
fn plain<'p>(components: impl Iterator<Item = Component<'p>>) -> PathBuf {
    components.fold(PathBuf::from("/"), |mut real, component| {
        match component {
            Component::Normal(name) => real.push(name),
            Component::ParentDir => drop(real.pop()),
            _ => {}
        }
        real
    })
}

/// Temporary names hold numbers that differ from run to run.
fn steady(name: &OsStr) -> &[u8] {
    let name = name.as_encoded_bytes();
    if name.first() != Some(&b'.') {
        return name;
    }
    let passes = |at: &usize| name[*at..].starts_with(b".new-") || name[*at..].starts_with(b".gone-");
    (0..name.len()).rev().find(passes).map_or(name, |at| &name[..at + 5])
}
