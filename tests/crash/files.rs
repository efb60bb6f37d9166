//! [`Files`] on a machine in memory: changes by the program's own [`Writer`], looks by the state itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portreeve::host::{Authority, Files, FreeSpace, Ground, HostError, Lock, Makers, Result, Together, Writer};
use portreeve::model::{Found, Identity, Layout, Node};

use crate::disk::MemoryDisk;
use crate::machine::{Flaw, Machine};
use crate::site::{layout, name};
use crate::storage::Body;

#[derive(Debug)]
pub struct MemoryFiles {
    machine: Arc<Machine>,
    writer: Writer<MemoryDisk>,
}

impl MemoryFiles {
    pub fn new(machine: &Arc<Machine>, layout: &Layout) -> Self {
        let disk = MemoryDisk(Arc::clone(machine));
        let ground = Ground::on(disk, layout, Authority::Machine).expect("the root is there");
        let writer = Writer::new(Arc::new(ground), layout);
        Self { machine: Arc::clone(machine), writer }
    }
}

#[derive(Debug)]
struct Held;

impl Lock for Held {}

impl Files for MemoryFiles {
    fn look(&self, path: &Path) -> Result<Found> {
        Ok(self.machine.look(|state| {
            let Some(id) = state.storage.find(path, false) else { return Found::Absent };
            let face = &state.storage.inode(id).live;
            match &face.body {
                Body::File(bytes) => Found::File { mode: face.mode, owner: face.owner, size: bytes.len() as u64 },
                Body::Directory(_) => Found::Directory { mode: face.mode & 0o6777, owner: face.owner },
                Body::Link(text) => Found::Link(text.clone()),
            }
        }))
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
        let refused = |why: &str| Err(HostError::Unsafe { path: path.to_owned(), why: why.to_owned() });
        self.machine.look(|state| {
            let Some(id) = state.storage.find(path, false) else { return Ok(None) };
            match &state.storage.inode(id).live.body {
                Body::File(bytes) if bytes.len() as u64 > limit => refused("too large"),
                Body::File(bytes) => Ok(Some(bytes.to_vec())),
                Body::Directory(_) | Body::Link(_) => refused("no file"),
            }
        })
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>> {
        let names = self.machine.look(|state| state.storage.names(directory));
        Ok(names.into_iter().map(|name| name.to_string_lossy().into_owned()).collect())
    }

    fn make_directory(&self, path: &Path, mode: u32, owner: Identity) -> Result<()> {
        self.writer.make_directory(path, mode, owner)
    }

    fn put(&self, path: &Path, node: &Node) -> Result<()> {
        let layout = layout();
        match self.machine.flaw.get() {
            Flaw::LinkFirst if path == layout.active_link(&name()) && self.look(path)? == Found::Absent => {
                let link = Node::Link(path.join("nginx.conf"));
                self.writer.put(&layout.nginx_link(&name()), &link)?;
            }
            _ => {}
        }
        self.writer.put(path, node)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.writer.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.writer.remove(path)
    }

    fn make_tree(
        &self,
        path: &Path,
        mode: u32,
        owner: Identity,
        nodes: &mut dyn Iterator<Item = Result<(PathBuf, Node)>>,
    ) -> Result<()> {
        self.writer.make_tree(path, mode, owner, nodes)
    }

    fn remove_tree(&self, path: &Path) -> Result<()> {
        self.writer.remove_tree(path)
    }

    fn sweep(&self, directory: &Path, makers: Makers) -> Result<()> {
        self.writer.sweep(directory, makers)
    }

    fn raise_flag(&self, path: &Path) -> Result<()> {
        self.writer.raise_flag(path)
    }

    fn free_space(&self, _: &Path) -> Result<FreeSpace> {
        Ok(FreeSpace { bytes: 1 << 40, inodes: Some(1 << 30) })
    }

    fn together(&self) -> Box<dyn Together + '_> {
        Box::new(self.writer.together())
    }

    fn sync_all(&self, path: &Path) -> Result<()> {
        self.writer.sync_all(path)
    }

    fn lock_one_of(&self, _: &[&Path], _: Duration) -> Result<Box<dyn Lock>> {
        Ok(Box::new(Held))
    }

    fn holder(&self, _: &Path) -> Result<Option<String>> {
        Ok(None)
    }
}
