//! The pass key: everything on the host that a pass decides from, but for the environments' own files.

use std::collections::BTreeMap;
use std::path::Path;

use crate::agent::App;
use crate::host::{Files, Found, Result, Service, SlotId};
use crate::model::Digest;
use crate::transaction::Context;

/// Directories that change whenever a package brings another interpreter, nginx or git.
const PROGRAMS: [&str; 4] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
/// What users and groups are read from.
const ACCOUNTS: [&str; 3] = ["/etc/passwd", "/etc/group", "/etc/nsswitch.conf"];
/// Operators' includes are no deeper.
const DEPTH: u8 = 4;
/// No record, secret or list of ours is larger.
const LIMIT: u64 = 4 * 1024 * 1024;

/// The digest of all of it.
pub fn inputs(app: &App, cx: &Context<'_>) -> Result<Digest> {
    let mut parts = Parts { files: cx.host.files(), parts: vec![said(app, cx)] };
    for path in PROGRAMS.iter().chain(&ACCOUNTS) {
        parts.stamp(Path::new(path))?;
    }
    parts.stamp(&app.program)?;
    let (layout, kernel) = (cx.layout, cx.host.kernel());
    parts.contents(&layout.policy())?;
    parts.names(&layout.active())?;
    parts.names(&layout.config().join("stopped"))?;
    for environment in cx.host.files().list(&layout.config().join("secrets"))? {
        parts.contents(&layout.config().join("secrets").join(environment))?;
    }
    parts.tree(&layout.config().join("local"), DEPTH)?;
    parts.content(&layout.sysctl_d().join("60-portreeve.conf"))?;
    parts.add(&kernel.reserved_ports()?);
    parts.add(&format!("{:?} {}", kernel.ephemeral_ports()?, kernel.processors()));
    Ok(Digest::of_parts(parts.parts.iter().map(Vec::as_slice)))
}

/// The host's own configuration as this process read it, and this program. Of the installer only what it is: no pass decides
/// by what it is given.
fn said(app: &App, cx: &Context<'_>) -> Vec<u8> {
    let facts = cx.facts;
    let installer = facts.installer.key();
    let web = (&facts.web_user, &facts.web_group, facts.http_port);
    let facts = (facts.manager, cx.host.capabilities(), web, &facts.launcher);
    format!("{} {} {:?} {facts:?} {installer}", env!("CARGO_PKG_VERSION"), app.name, app.settings).into_bytes()
}

struct Parts<'a> {
    files: &'a dyn Files,
    parts: Vec<Vec<u8>>,
}

impl Parts<'_> {
    fn add(&mut self, text: &str) {
        self.parts.push(text.as_bytes().to_vec());
    }

    fn stamp(&mut self, path: &Path) -> Result<()> {
        let stamp = self.files.stamp(path)?;
        self.add(&stamp);
        Ok(())
    }

    fn content(&mut self, path: &Path) -> Result<()> {
        let bytes = self.files.read(path, LIMIT)?;
        self.parts.push(bytes.map(|bytes| Digest::of(&bytes).to_bytes().to_vec()).unwrap_or_default());
        Ok(())
    }

    fn names(&mut self, directory: &Path) -> Result<Vec<String>> {
        let names = self.files.list(directory)?;
        self.add(&names.join("/"));
        Ok(names)
    }

    /// Of a directory's files, by content.
    fn contents(&mut self, directory: &Path) -> Result<()> {
        for name in self.names(directory)? {
            self.content(&directory.join(name))?;
        }
        Ok(())
    }

    /// Of a directory and what is below it, by stamp.
    fn tree(&mut self, directory: &Path, depth: u8) -> Result<()> {
        for name in self.names(directory)? {
            let path = directory.join(name);
            match self.files.look(&path)? {
                Found::Directory { .. } if depth > 0 => self.tree(&path, depth - 1)?,
                _ => self.stamp(&path)?,
            }
        }
        Ok(())
    }
}

/// Where these interpreters are, and which files they are.
pub fn interpreters(cx: &Context<'_>, names: &[String]) -> Result<Digest> {
    let mut parts = Parts { files: cx.host.files(), parts: Vec::new() };
    for name in names {
        let program = cx.host.processes().find(&[name]).unwrap_or_default();
        parts.add(&program.to_string_lossy());
        parts.stamp(&program)?;
    }
    Ok(Digest::of_parts(parts.parts.iter().map(Vec::as_slice)))
}

/// What a pass decides from of the service manager's answer.
pub fn services(services: &BTreeMap<SlotId, Service>) -> Digest {
    let counts = services.iter().filter(|(_, service)| service.runs() || service.masked);
    let each =
        counts.map(|(slot, it)| format!("{}@{} {} {} {}", slot.env, slot.slot, it.runs(), it.is_up(), it.masked));
    Digest::of(each.collect::<Vec<_>>().join("\n").as_bytes())
}
