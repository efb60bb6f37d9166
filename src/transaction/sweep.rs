//! Takes trees and virtual environments away that nothing needs.
//!
//! What the application could write is deleted as the application: a link that it planted leads root nowhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Context, Failure, Phase, as_app};
use crate::desired::Wanted;
use crate::model::{EnvLayout, Found, Identity, Node};

/// A tree that is about to go; under its own name it could be taken for a whole one.
const GONE: &str = ".gone";
/// What says that a virtual environment, or a release's static files, are whole.
const COMPLETE: &str = ".complete";

/// Where releases of one environment are, or were, and as whom they run.
pub struct Home {
    /// Its directories.
    pub paths: EnvLayout,
    /// Its user; `None` when there is no such user any more.
    pub app: Option<Identity>,
}

impl Home {
    /// The home of what is, or was, wanted.
    pub fn of(cx: &Context<'_>, wanted: &Wanted) -> Result<Self, Failure> {
        let app = cx.host.users().user(&wanted.env.user).map_err(Failure::on_host(Phase::Verify))?;
        Ok(Self { paths: cx.paths(wanted), app })
    }

    /// Takes all trees and virtual environments away but the `needed`.
    pub fn sweep(&self, cx: &Context<'_>, needed: &BTreeSet<PathBuf>) -> Result<(), Failure> {
        let list = |directory: &Path| cx.host.files().list(directory).map_err(Failure::on_host(Phase::Verify));
        for name in list(&self.paths.releases())? {
            let id = name.strip_suffix(GONE).unwrap_or(&name);
            let release = self.paths.releases().join(id);
            if is_release(id) && (id != name || !needed.contains(&release)) {
                self.take_release(cx, &release, needed.contains(&release))?;
            }
        }
        self.sweep_marked(cx, &self.paths.static_releases(), is_static, needed)?;
        self.sweep_marked(cx, &self.paths.venvs(), is_venv, needed)
    }

    fn sweep_marked(
        &self,
        cx: &Context<'_>,
        place: &Path,
        is_ours: fn(&str) -> bool,
        needed: &BTreeSet<PathBuf>,
    ) -> Result<(), Failure> {
        for name in cx.host.files().list(place).map_err(Failure::on_host(Phase::Verify))? {
            let key = name.strip_suffix(COMPLETE).unwrap_or(&name);
            let built = place.join(key);
            if is_ours(key) && !needed.contains(&built) {
                take_marked(cx, self.app, &built)?;
            }
        }
        Ok(())
    }

    /// First out of the way, by one rename: half a tree must not be released again. `made_again`: only what is out of the way.
    fn take_release(&self, cx: &Context<'_>, release: &Path, made_again: bool) -> Result<(), Failure> {
        let gone = PathBuf::from(format!("{}{GONE}", release.display()));
        let files = cx.host.files();
        let fail = Failure::on_host(Phase::Verify);
        // Compiled messages are all that the application could write.
        let remove = || remove(cx, self.app, &gone, &["-path", "*/LC_MESSAGES/*"]);
        remove()?;
        if made_again || files.look(release).map_err(&fail)? == Found::Absent {
            return Ok(());
        }
        files.rename(release, &gone).map_err(&fail)?;
        remove()
    }
}

/// Removes a directory that has a mark when it is whole; the mark first.
pub fn take_marked(cx: &Context<'_>, app: Option<Identity>, directory: &Path) -> Result<(), Failure> {
    cx.host.files().remove(&mark(directory)).map_err(Failure::on_host(Phase::Verify))?;
    remove(cx, app, directory, &["-mindepth", "1"])
}

/// Whether a directory has its mark.
pub fn is_whole(cx: &Context<'_>, directory: &Path) -> Result<bool, Failure> {
    let found = cx.host.files().look(&mark(directory)).map_err(Failure::on_host(Phase::Build))?;
    Ok(found != Found::Absent)
}

/// Gives a directory its mark, once all of it would outlive a power cut.
pub fn mark_whole(cx: &Context<'_>, directory: &Path, owner: Identity) -> Result<(), Failure> {
    let empty = Node::File { bytes: Vec::new(), mode: 0o644, owner };
    cx.host.files().put(&mark(directory), &empty).map_err(Failure::on_host(Phase::Build))
}

fn mark(directory: &Path) -> PathBuf {
    PathBuf::from(format!("{}{COMPLETE}", directory.display()))
}

/// Removes a directory; what of it `find` finds by `which` as the application, because only that could write there.
pub fn remove(cx: &Context<'_>, app: Option<Identity>, directory: &Path, which: &[&str]) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Build);
    if cx.host.files().look(directory).map_err(&fail)? == Found::Absent {
        return Ok(());
    }
    if let Some(app) = app {
        let place = directory.to_string_lossy();
        // What it may not delete is root's own, and goes with the directory.
        as_app::run(cx, app, "find", &[&[&*place], which, &["-delete"]].concat())?;
    }
    cx.host.files().remove_tree(directory).map_err(&fail)
}

/// A name that we give to a tree: [`ReleaseId`](crate::model::ReleaseId).
fn is_release(name: &str) -> bool {
    name.split_once('-').is_some_and(|(commit, key)| is_hex(commit, 9) && is_hex(key, 6))
}

/// A name that we give to a release's static files: its own, and six digits more.
fn is_static(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(release, key)| is_release(release) && is_hex(key, 6))
}

/// A name that we give to a virtual environment: `env3.11-0123456789ab`.
fn is_venv(name: &str) -> bool {
    name.strip_prefix("env").and_then(|rest| rest.rsplit_once('-')).is_some_and(|(_, key)| is_hex(key, 12))
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CommitId, Digest, ReleaseId};

    #[test]
    fn only_names_of_our_making_are_ours() {
        let commit = CommitId::parse(&"0123456789".repeat(4)).unwrap();
        assert!(is_release(ReleaseId::new(&commit, &Digest::of(b"key")).as_str()));
        assert!(is_venv(&format!("env3.11-{}", Digest::of(b"key").short(12))));
        assert!(is_static("012345678-abcdef-012345") && !is_static("012345678-abcdef") && !is_static("notes-012345"));
        for other in ["", "-", "notes", "v1-backup", "012345678-", "012345678-abcdeg", "012345678-abcdef0", "."] {
            assert!(!is_release(other), "{other}");
        }
        for other in ["", "env", "env3.11", "environment-x", "myenv-0123456789ab", "env3.11-0123456789AB"] {
            assert!(!is_venv(other), "{other}");
        }
    }
}
