//! The disk's system calls, on a [`Machine`].

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use portreeve::host::{About, Disk, DiskAnswer as Answer, Kind, Onto, Open};
use portreeve::model::Identity;
use rustix::io::Errno;

use crate::cell::Shared;
use crate::machine::{Flaw, Machine};
use crate::storage::{Body, Id, Storage};

/// A disk in memory.
#[derive(Debug, Clone)]
pub struct MemoryDisk(pub Arc<Machine>);

/// An open file or directory.
pub struct Handle {
    id: Id,
    /// For messages: where it was opened.
    path: PathBuf,
    machine: Arc<Machine>,
    locked: Shared<bool>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.locked.get() {
            self.machine.locks.borrow_mut().remove(&self.id);
        }
    }
}

impl MemoryDisk {
    fn handle(&self, id: Id, path: PathBuf) -> Handle {
        Handle { id, path, machine: Arc::clone(&self.0), locked: Shared::new(false) }
    }

    fn storage<T>(&self, look: impl FnOnce(&Storage) -> T) -> T {
        self.0.look(|state| look(&state.storage))
    }

    fn change<T>(
        &self,
        call: &str,
        directory: &Handle,
        name: &OsStr,
        change: impl FnOnce(&mut Storage) -> Answer<T>,
    ) -> Answer<T> {
        let what = || format!("{call} {}", directory.path.join(name).display());
        self.0.call(&what, |state| change(&mut state.storage))
    }

    /// A new name, where nothing may be.
    fn add(&self, call: &str, directory: &Handle, name: &OsStr, body: Body, mode: u32) -> Answer<Id> {
        self.change(call, directory, name, |storage| {
            if storage.child(directory.id, name).is_ok() {
                return Err(Errno::EXIST);
            }
            storage.take_room(directory.id)?;
            let id = storage.make(body, mode, storage.inode(directory.id).device);
            storage.name(directory.id, name, Some(id));
            Ok(id)
        })
    }

    fn ignores(&self, handle: &Handle) -> bool {
        let is_file = self.storage(|storage| matches!(storage.inode(handle.id).live.body, Body::File(_)));
        match self.0.flaw.get() {
            Flaw::FilesUnsynced => is_file,
            Flaw::DirectoryUnsynced(name) | Flaw::DirectoryForgotten(name) => {
                !is_file && handle.path.file_name() == Some(OsStr::new(name))
            }
            _ => false,
        }
    }
}

impl Disk for MemoryDisk {
    type Handle = Handle;

    fn root(&self, path: &Path) -> std::io::Result<(PathBuf, Handle)> {
        let id = self.storage(|storage| storage.find(path, true)).ok_or(Errno::NOENT)?;
        Ok((path.to_owned(), self.handle(id, path.to_owned())))
    }

    fn runtime(&self, path: &Path) -> std::io::Result<Handle> {
        self.root(path).map(|(_, handle)| handle)
    }

    fn again(&self, handle: &Handle) -> Answer<Handle> {
        Ok(self.handle(handle.id, handle.path.clone()))
    }

    fn open(&self, directory: &Handle, below: &Path, what: Open) -> Answer<Handle> {
        let id = self.storage(|storage| {
            let mut id = directory.id;
            for component in below.components() {
                let Component::Normal(name) = component else { return Err(Errno::XDEV) };
                id = storage.child(id, name)?;
                if let Body::Link(_) = storage.inode(id).live.body {
                    return Err(Errno::LOOP);
                }
            }
            let is_directory = matches!(storage.inode(id).live.body, Body::Directory(_));
            if is_directory || what == Open::Any { Ok(id) } else { Err(Errno::NOTDIR) }
        })?;
        Ok(self.handle(id, directory.path.join(below)))
    }

    fn about(&self, handle: &Handle) -> Answer<About> {
        Ok(self.storage(|storage| about(storage, handle.id)))
    }

    fn about_name(&self, directory: &Handle, name: &OsStr) -> Answer<About> {
        self.storage(|storage| storage.child(directory.id, name).map(|id| about(storage, id)))
    }

    fn names(&self, directory: &Handle) -> Answer<Vec<OsString>> {
        self.storage(|storage| Ok(storage.entries(directory.id)?.keys().cloned().collect()))
    }

    fn read_link(&self, directory: &Handle, name: &OsStr) -> Answer<PathBuf> {
        self.storage(|storage| match &storage.inode(storage.child(directory.id, name)?).live.body {
            Body::Link(text) => Ok(text.clone()),
            _ => Err(Errno::INVAL),
        })
    }

    fn try_lock(&self, handle: &Handle) -> Answer<bool> {
        let free = self.0.locks.borrow_mut().insert(handle.id);
        handle.locked.set(free);
        Ok(free)
    }

    fn make_directory(&self, directory: &Handle, name: &OsStr, mode: u32) -> Answer<()> {
        self.add("mkdir", directory, name, Body::Directory(BTreeMap::new()), mode).map(drop)
    }

    fn create(&self, directory: &Handle, name: &OsStr, mode: u32) -> Answer<Handle> {
        let id = self.add("create", directory, name, Body::File(Arc::default()), mode)?;
        Ok(self.handle(id, directory.path.join(name)))
    }

    fn touch(&self, directory: &Handle, name: &OsStr) -> Answer<Handle> {
        let there = self.storage(|storage| storage.child(directory.id, name));
        match there {
            Ok(id) => Ok(self.handle(id, directory.path.join(name))),
            Err(_) => self.create(directory, name, 0o400),
        }
    }

    fn make_link(&self, text: &Path, directory: &Handle, name: &OsStr) -> Answer<()> {
        self.add("symlink", directory, name, Body::Link(text.to_owned()), 0o777).map(drop)
    }

    /// Half of it at a time: a disk owes nobody more.
    fn write(&self, file: &Handle, bytes: &[u8]) -> Answer<usize> {
        let length = bytes.len().div_ceil(2).max(bytes.len().min(64));
        let what = || format!("write {}", file.path.display());
        self.0.call(&what, |state| {
            state.storage.take_room(file.id)?;
            state.storage.change(file.id, |face| {
                if let Body::File(content) = &mut face.body {
                    Arc::make_mut(content).extend(&bytes[..length]);
                }
            });
            Ok(length)
        })
    }

    fn change_owner(&self, handle: &Handle, owner: Identity) -> Answer<()> {
        let what = || format!("chown {}", handle.path.display());
        self.0.call(&what, |state| {
            state.storage.change(handle.id, |face| face.owner = owner);
            Ok(())
        })
    }

    fn change_mode(&self, handle: &Handle, mode: u32) -> Answer<()> {
        let what = || format!("chmod {}", handle.path.display());
        self.0.call(&what, |state| {
            state.storage.change(handle.id, |face| face.mode = mode);
            Ok(())
        })
    }

    fn rename(&self, from: (&Handle, &OsStr), to: (&Handle, &OsStr), onto: Onto) -> Answer<()> {
        self.change("rename to", to.0, to.1, |storage| {
            let id = storage.child(from.0.id, from.1)?;
            if storage.inode(from.0.id).device != storage.inode(to.0.id).device {
                return Err(Errno::XDEV);
            }
            match storage.child(to.0.id, to.1) {
                Ok(_) if onto == Onto::Nothing => return Err(Errno::EXIST),
                Ok(there) if matches!(storage.inode(there).live.body, Body::Directory(_)) => return Err(Errno::ISDIR),
                _ => {}
            }
            storage.name(from.0.id, from.1, None);
            storage.name(to.0.id, to.1, Some(id));
            Ok(())
        })
    }

    fn remove(&self, directory: &Handle, name: &OsStr) -> Answer<()> {
        self.storage(|storage| storage.child(directory.id, name))?;
        self.change("unlink", directory, name, |storage| {
            let id = storage.child(directory.id, name)?;
            if matches!(storage.inode(id).live.body, Body::Directory(_)) {
                return Err(Errno::ISDIR);
            }
            storage.name(directory.id, name, None);
            Ok(())
        })
    }

    fn remove_directory(&self, directory: &Handle, name: &OsStr) -> Answer<()> {
        self.change("rmdir", directory, name, |storage| {
            let id = storage.child(directory.id, name)?;
            if !storage.entries(id)?.is_empty() {
                return Err(Errno::NOTEMPTY);
            }
            storage.name(directory.id, name, None);
            Ok(())
        })
    }

    fn sync(&self, handle: &Handle) -> Answer<()> {
        let ignored = self.ignores(handle);
        let what = || format!("fsync {}", handle.path.display());
        let synced = self.0.call(&what, |state| {
            if !ignored {
                state.storage.sync(handle.id);
            }
            Ok(())
        });
        if self.0.flaw.get() == Flaw::SyncErrorsForgotten { Ok(()) } else { synced }
    }

    fn sync_all(&self, handle: &Handle) -> Answer<()> {
        let flaw = self.0.flaw.get();
        let what = || format!("syncfs {}", handle.path.display());
        self.0.call(&what, |state| {
            match flaw {
                Flaw::BuildsUnsynced => {}
                Flaw::DirectoryForgotten(name) => state.storage.sync_file_system(handle.id, Some(name)),
                _ => state.storage.sync_file_system(handle.id, None),
            }
            Ok(())
        })
    }
}

fn about(storage: &Storage, id: Id) -> About {
    let inode = storage.inode(id);
    let kind = match inode.live.body {
        Body::File(_) => Kind::File,
        Body::Directory(_) => Kind::Directory,
        Body::Link(_) => Kind::Link,
    };
    let (mode, owner) = (inode.live.mode & 0o777, inode.live.owner);
    let changed = if storage.young { i64::MAX } else { 0 };
    About { kind, mode: mode | inode.live.mode & 0o6000, owner, device: inode.device, inode: id as u64, changed }
}
