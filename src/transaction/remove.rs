//! Takes an environment off the host: one rename to *absent*. All that is left for a grace, in which it can come back at once, is
//! deleted after it: what is ours, and still as we made it; what was built goes whole. Data, media, collected static files,
//! backups, logs and secrets stay for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use super::sweep::Home;
use super::verdict::End;
use super::{Context, Event, Failure, Intent, Phase, commit, read, recover, slot};
use crate::desired::{Generation, Listed, Listing};
use crate::host::{HostError, Makers};
use crate::model::{EnvLayout, EnvName, Found, GenerationNumber, Identity, Manager, Node, Slot};
use crate::observed::{Expectation, Installed, Part, Removed, stays};
use crate::policy::FailureClass;

/// What a deletion left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Data, media, static files, backups, logs and secrets, where there are any.
    pub kept: Vec<PathBuf>,
    /// What is not as we made it: somebody's work, so it stays.
    pub changed: Vec<PathBuf>,
}

impl fmt::Display for Deleted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What somebody edited in one of them is not looked for: he should know where it was.
        let built = "releases and virtual environments went whole, changed or not";
        write!(f, "deleted from this host; {built}; {}", stays(&self.kept))?;
        let changed: Vec<_> = self.changed.iter().map(|path| path.display().to_string()).collect();
        if changed.is_empty() { Ok(()) } else { write!(f, "; left, because changed: {}", changed.join(", ")) }
    }
}

/// Disables an environment: no vhost, no processes. Where nginx can't be told, it goes on serving. Its grace counts from the note
/// that is written last.
pub fn remove(cx: &Context<'_>, installed: &Installed) -> Result<Removed, Failure> {
    let Some(from) = installed.active.filter(|&active| active > 0) else {
        commit::reload(cx)?;
        return disable(cx, &installed.name);
    };
    listens(cx)?;
    let intent = Intent::to_remove(cx, installed, from);
    intent.open(cx)?;
    match commit::activate(cx, &intent.env, 0).and_then(|()| commit::reload(cx)) {
        Ok(()) => {
            let removed = disable(cx, &intent.env)?;
            recover::close(cx, &intent, End::Kept)?;
            Ok(removed)
        }
        Err(failure) => {
            recover::undo(cx, &intent).map(drop)?;
            Err(failure)
        }
    }
}

/// An nginx that would refuse a reload can't be told that somebody goes: then nothing begins.
fn listens(cx: &Context<'_>) -> Result<(), Failure> {
    let tested = cx.host.front().test_live().map_err(Failure::on_host(Phase::Validate))?;
    tested.map(drop).map_err(|words| {
        let cause = format!("nginx refuses its configuration as it is: {words}");
        Failure::new(FailureClass::Host, Phase::Validate, cause).with_help("correct the file that nginx -t names")
    })
}

/// What follows the rename, again: somebody was killed in between. Visitors are led to nothing by the next reload at the latest.
pub fn finish(cx: &Context<'_>, intent: &Intent) -> Result<Removed, Failure> {
    if let Err(failure) = commit::reload(cx) {
        let text = format!("{}: nginx goes on with the vhost that it has: {failure}", intent.env);
        cx.report.event(&Event::Note { text: &text });
    }
    let removed = disable(cx, &intent.env)?;
    recover::close(cx, intent, End::Kept)?;
    Ok(removed)
}

fn disable(cx: &Context<'_>, name: &EnvName) -> Result<Removed, Failure> {
    let fail = Failure::on_host(Phase::Switch);
    for slot in Slot::BOTH {
        slot::retire(cx, name, slot).map_err(&fail)?;
    }
    let (since, boot, kept) = (cx.host.clock().now(), Some(cx.boot()), kept(cx, name)?);
    let removed = Removed { format: Removed::FORMAT, since, boot, anew: None, kept };
    let bytes = serde_json::to_vec(&removed).unwrap_or_default();
    let node = Node::File { bytes, mode: 0o644, owner: Identity::ROOT };
    cx.host.files().put(&cx.layout.removed_note(name), &node).map_err(&fail)?;
    Ok(removed)
}

/// What stays, as far as it is there.
fn kept(cx: &Context<'_>, name: &EnvName) -> Result<Vec<PathBuf>, Failure> {
    let mut kept = BTreeSet::new();
    for generation in generations(cx, name)?.values() {
        let paths = cx.paths(&generation.wanted);
        kept.extend([paths.data(), paths.media(), paths.static_files(), paths.backup_dir(), paths.log_dir()]);
    }
    kept.insert(cx.layout.secrets(name));
    let mut there = Vec::new();
    for path in kept {
        if cx.host.files().look(&path).map_err(Failure::on_host(Phase::Switch))? != Found::Absent {
            there.push(path);
        }
    }
    Ok(there)
}

fn generations(cx: &Context<'_>, name: &EnvName) -> Result<BTreeMap<GenerationNumber, Generation>, Failure> {
    let names = cx.host.files().list(&cx.layout.env_generations(name)).map_err(Failure::on_host(Phase::Switch))?;
    let mut generations = BTreeMap::new();
    for number in names.iter().filter_map(|name| name.parse().ok()).filter(|&number| number > 0) {
        if let Some(generation) = read::read_generation(cx, name, number)? {
            generations.insert(number, generation);
        }
    }
    Ok(generations)
}

/// Deletes what is ours of an environment. The last step is the `active` link: until then the next pass goes on.
pub fn delete(cx: &Context<'_>, installed: &Installed) -> Result<Deleted, Failure> {
    let fail = Failure::on_host(Phase::Switch);
    if installed.active != Some(0) || installed.removed.is_none() {
        remove(cx, installed)?;
    }
    // A journal that was closed before may come back with a power cut otherwise, and nothing is left for its recovery.
    recover::sync_left(cx)?;
    let name = &installed.name;
    let generations = generations(cx, name)?;
    let mut deletion = Deletion { cx, name, changed: Vec::new() };
    deletion.links(&generations)?;
    deletion.units(&generations)?;
    built(cx, &generations)?;
    let kept = kept(cx, name)?;
    deletion.keep_number(installed).map_err(&fail)?;
    for generation in generations.values() {
        deletion.generation(generation)?;
    }
    deletion.forget(installed).map_err(&fail)?;
    Ok(Deleted { kept, changed: deletion.changed })
}

/// Trees and virtual environments, wherever a generation has them: whole, for what they were made from is in git.
fn built(cx: &Context<'_>, generations: &BTreeMap<GenerationNumber, Generation>) -> Result<(), Failure> {
    let mut swept = BTreeSet::new();
    for generation in generations.values() {
        let home = Home::of(cx, &generation.wanted)?;
        if swept.insert(home.paths.home()) {
            home.sweep(cx, &BTreeSet::new())?;
            half_built(cx, &home.paths).map_err(|error| {
                let help = "what is there hidden, a killed run left: remove it by hand, and the next pass goes on";
                Failure::on_host(Phase::Switch)(error).with_help(help)
            })?;
            empty(cx, &home.paths).map_err(Failure::on_host(Phase::Switch))?;
        }
    }
    Ok(())
}

/// What an earlier run was killed over has no name any more, and nobody looks for it when the record is gone.
fn half_built(cx: &Context<'_>, paths: &EnvLayout) -> Result<(), HostError> {
    cx.host.files().sync_all(&paths.home())?;
    recover::places(paths).iter().try_for_each(|place| cx.host.files().sweep(place, Makers::Sweeper))
}

/// The directories go as well, but those that somebody put elsewhere: a link is his.
fn empty(cx: &Context<'_>, paths: &EnvLayout) -> Result<(), HostError> {
    let files = cx.host.files();
    for directory in [paths.releases(), paths.venvs(), paths.static_releases()] {
        if matches!(files.look(&directory)?, Found::Directory { .. }) && files.list(&directory)?.is_empty() {
            files.remove_tree(&directory)?;
        }
    }
    Ok(())
}

struct Deletion<'a> {
    cx: &'a Context<'a>,
    name: &'a EnvName,
    changed: Vec<PathBuf>,
}

impl Deletion<'_> {
    /// Removes a file or link that is as it is expected to be in any of these states; otherwise it is left, and named.
    fn take(&mut self, path: &Path, part: Part, states: &[Listed]) -> Result<(), Failure> {
        let fail = Failure::on_host(Phase::Switch);
        let files = self.cx.host.files();
        if files.look(path).map_err(&fail)? == Found::Absent {
            return Ok(());
        }
        for state in states {
            let expected = Expectation { path: path.to_owned(), state: state.clone(), part };
            if read::difference(files, &expected).map_err(&fail)?.is_none() {
                return files.remove(path).map_err(&fail);
            }
        }
        self.changed.push(path.to_owned());
        Ok(())
    }

    fn units(&mut self, generations: &BTreeMap<GenerationNumber, Generation>) -> Result<(), Failure> {
        let fail = Failure::on_host(Phase::Switch);
        let (cx, name) = (self.cx, self.name);
        let mut units = Vec::new();
        for generation in generations.values() {
            let owner = cx.host.users().own();
            if let Some(Listed::File { sha256, .. }) = read::listing(cx, generation)?.unwrap_or_default().0.get("unit")
            {
                units.push(Listed::File { sha256: *sha256, mode: 0o644, owner });
            }
        }
        for slot in Slot::BOTH {
            slot::retire(cx, name, slot).map_err(&fail)?;
            match cx.facts.manager {
                Manager::Systemd => {
                    let target = Listed::Link(format!("../{}", cx.layout.unit_name(name, slot)).into());
                    self.take(&cx.layout.wants_link(name, slot), Part::Wants, &[target])?;
                    self.take(&cx.layout.unit_file(name, slot), Part::Unit, &units)?;
                }
                Manager::Supervisor => self.take(&cx.layout.program_file(name, slot), Part::Unit, &units)?,
            }
            cx.host.files().remove(&cx.layout.slot_link(name, slot)).map_err(&fail)?;
            cx.host.services().forget(&slot::id(name, slot)).map_err(&fail)?;
        }
        Ok(())
    }

    /// The permanent links, and those for people. Those to logs and backups stay with what they lead to.
    fn links(&mut self, generations: &BTreeMap<GenerationNumber, Generation>) -> Result<(), Failure> {
        let (layout, name) = (self.cx.layout, self.name);
        let active = layout.active_link(name);
        let mut links = vec![
            (layout.nginx_link(name), active.join("nginx.conf")),
            (layout.logrotate_link(name), active.join("logrotate")),
            (layout.tmpfiles_link(name), active.join("tmpfiles.conf")),
        ];
        let homes: Vec<EnvLayout> = generations.values().map(|generation| self.cx.paths(&generation.wanted)).collect();
        for paths in homes {
            links.extend([(paths.current(), active.join("release")), (paths.etc(), active.clone())]);
        }
        links.dedup();
        links.into_iter().try_for_each(|(path, target)| self.take(&path, Part::Link, &[Listed::Link(target)]))?;
        // nginx does not start with a link that leads nowhere: one that somebody removed, or a killed program, comes back with a
        // power cut otherwise, and what it led to does not.
        self.cx.host.files().sync_all(&layout.nginx_sites()).map_err(Failure::on_host(Phase::Switch))
    }

    /// A generation goes whole, or not at all.
    fn generation(&mut self, generation: &Generation) -> Result<(), Failure> {
        let fail = Failure::on_host(Phase::Switch);
        let (directory, files) = (self.cx.directory(generation), self.cx.host.files());
        let listing = read::listing(self.cx, generation)?.unwrap_or_default();
        let names = files.list(&directory).map_err(&fail)?;
        let foreign = names.into_iter().filter(|name| name != Listing::FILE && !listing.0.contains_key(name));
        let mut changed: Vec<PathBuf> = foreign.map(|name| directory.join(name)).collect();
        for (name, state) in listing.0 {
            let expected = Expectation { path: directory.join(name), state, part: Part::Link };
            if read::difference(files, &expected).map_err(&fail)?.is_some_and(|found| !found.is_missing()) {
                changed.push(expected.path);
            }
        }
        if changed.is_empty() {
            files.remove_tree(&directory).map_err(&fail)?;
        }
        self.changed.extend(changed);
        Ok(())
    }

    /// The mark of the highest number stays, and before its generation goes: numbers are never used twice.
    fn keep_number(&self, installed: &Installed) -> Result<(), HostError> {
        if installed.newest == 0 {
            return Ok(());
        }
        let empty = Node::File { bytes: Vec::new(), mode: 0o644, owner: Identity::ROOT };
        self.cx.host.files().put(&self.cx.layout.refused_mark(self.name, installed.newest), &empty)
    }

    /// What is left of the record.
    fn forget(&self, installed: &Installed) -> Result<(), HostError> {
        let (layout, name, files) = (self.cx.layout, self.name, self.cx.host.files());
        let newest = layout.refused_mark(name, installed.newest);
        let directory = layout.env_generations(name);
        // Of a generation that was killed while it went, half is left under another name.
        files.sweep(&directory, Makers::Sweeper)?;
        files.remove_tree(&layout.generation(name, 0))?;
        for mark in files.list(&directory)? {
            let of_ours = mark.ends_with(".refused") || mark.ends_with(".migrated");
            if of_ours && directory.join(&mark) != newest {
                files.remove(&directory.join(mark))?;
            }
        }
        let slots = layout.slots().join(name.flat());
        if files.list(&slots)?.is_empty() {
            files.remove_tree(&slots)?;
        }
        files.remove(&name.record_in(&layout.moving()))?;
        files.remove(&layout.web_socket(name))?;
        files.remove(&super::waits::path(self.cx, name))?;
        files.remove(&layout.active_link(name))?;
        files.remove(&layout.removed_note(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_edited_a_release_is_told_that_it_went() {
        let deleted = Deleted { kept: vec!["/home/foouser/bakery/dev/data".into()], changed: vec!["/etc/x".into()] };
        assert_eq!(
            deleted.to_string(),
            "deleted from this host; releases and virtual environments went whole, changed or not; \
             /home/foouser/bakery/dev/data stay; left, because changed: /etc/x"
        );
    }
}
