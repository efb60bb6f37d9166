//! Names that become durable together, and the way to the last one meanwhile: a wait for each directory instead of one for each name in it, and all but the first are
//! short, because a file system writes what happened before in one go.

use std::collections::{BTreeMap, HashMap};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use super::disk::Disk;
use super::handle::{sync, sys};
use super::way::{Directory, Place, Way};
use super::{Result, Together};

/// Up to here files and directories are synced one by one; more of them by one `syncfs(2)`, which writes all data and names of
/// its file system, ours among them, before it returns, and since Linux 5.8 reports what could not be written. A venv has
/// thousands of files: one wait instead of one for each. For a few files it would wait for everybody else's data.
pub(super) const SYNCED_ONE_BY_ONE: usize = 8;

/// What a thread has gathered.
#[derive(Debug)]
struct Gathered<H> {
    /// Directories whose names wait.
    waiting: BTreeMap<Place, Arc<Directory<H>>>,
    /// How the last name was reached: the next one is often beside it.
    way: Option<Way<H>>,
}

impl<H> Default for Gathered<H> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), way: None }
    }
}

/// What is known while changes are gathered: of each thread on its own, because environments move side by side, and what one
/// gathers must not keep another's rename waiting.
#[derive(Debug)]
pub struct Later<H>(Mutex<HashMap<ThreadId, Gathered<H>>>);

impl<H> Default for Later<H> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<H> Later<H> {
    /// Makes what happened in the directory outlive a power cut: now or, while changes are gathered, with the others.
    pub(super) fn sync<D: Disk<Handle = H>>(&self, disk: &D, directory: &Arc<Directory<H>>) -> Result<()> {
        let mut all = self.all();
        let Some(gathered) = all.get_mut(&current()) else {
            drop(all);
            return sync(disk, &directory.handle, &directory.path);
        };
        gathered.waiting.entry(directory.place).or_insert_with(|| Arc::clone(directory));
        Ok(())
    }

    /// Makes all of a file system outlive a power cut, and with it what waits there.
    pub fn sync_all<D: Disk<Handle = H>>(&self, disk: &D, handle: &H, path: &Path) -> Result<()> {
        sys("sync", path, || disk.sync_all(handle))?;
        let device = sys("look at", path, || disk.about(handle))?.device;
        if let Some(gathered) = self.all().get_mut(&current()) {
            gathered.waiting.retain(|place, _| place.device != device);
        }
        Ok(())
    }

    /// The way to the last name, while changes are gathered.
    pub(super) fn way(&self) -> Option<Way<H>> {
        self.all().get(&current()).and_then(|gathered| gathered.way.clone())
    }

    /// Keeps another one.
    pub(super) fn went(&self, way: &Way<H>) {
        if let Some(gathered) = self.all().get_mut(&current()) {
            gathered.way = Some(way.clone());
        }
    }

    /// Gathers from now on.
    pub fn gather<'a, D: Disk<Handle = H>>(&'a self, disk: &'a D) -> Gathering<'a, D> {
        self.all().entry(current()).or_default();
        Gathering { disk, later: self, _stays: PhantomData }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<ThreadId, Gathered<H>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until its end, names wait for each other.
#[derive(Debug)]
pub struct Gathering<'a, D: Disk> {
    disk: &'a D,
    later: &'a Later<D::Handle>,
    /// It ends in the thread that began it.
    _stays: PhantomData<*const ()>,
}

impl<D: Disk> Gathering<'_, D> {
    fn settle(&self) -> Result<()> {
        let gathered = self.later.all().remove(&current()).unwrap_or_default();
        let mut devices = BTreeMap::<u64, Vec<Arc<Directory<D::Handle>>>>::new();
        for (place, directory) in gathered.waiting {
            devices.entry(place.device).or_default().push(directory);
        }
        devices.values().try_for_each(|directories| sync_each(self.disk, directories))
    }
}

/// Directories of one file system.
fn sync_each<D: Disk>(disk: &D, directories: &[Arc<Directory<D::Handle>>]) -> Result<()> {
    match directories {
        [first, ..] if directories.len() > SYNCED_ONE_BY_ONE => {
            sys("sync", &first.path, || disk.sync_all(&first.handle))
        }
        few => few.iter().try_for_each(|directory| sync(disk, &directory.handle, &directory.path)),
    }
}

impl<D: Disk> Together for Gathering<'_, D> {
    fn finish(self: Box<Self>) -> Result<()> {
        self.settle()
    }
}

impl<D: Disk> Drop for Gathering<'_, D> {
    /// After a failure, which is what is told: what was done stays done.
    fn drop(&mut self) {
        drop(self.settle());
    }
}

fn current() -> ThreadId {
    std::thread::current().id()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::linux::Linux;

    #[test]
    fn a_directory_waits_once_and_only_while_changes_are_gathered() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let later = Later::default();
        let change = |directory: &tempfile::TempDir| {
            let (_, handle) = Linux.root(directory.path()).unwrap();
            let (directory, _) = Directory::of(&Linux, handle, directory.path()).unwrap();
            later.sync(&Linux, &Arc::new(directory)).unwrap();
        };
        let waiting = || later.all().get(&current()).map(|gathered| gathered.waiting.len());
        change(&one);
        assert_eq!(waiting(), None);
        let together = Box::new(later.gather(&Linux));
        for directory in [&one, &two, &one] {
            change(directory);
        }
        assert_eq!(waiting(), Some(2));
        std::thread::scope(|scope| scope.spawn(|| change(&one)).join().unwrap());
        assert_eq!(later.all().len(), 1, "another thread's change waits for nobody");
        together.finish().unwrap();
        assert_eq!(waiting(), None);
        let failed = later.gather(&Linux);
        change(&one);
        drop(failed);
        assert_eq!(waiting(), None);
    }
}
