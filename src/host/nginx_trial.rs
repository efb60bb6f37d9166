//! Showing nginx a candidate while everybody else goes on seeing what is live.

#![expect(clippy::disallowed_methods, reason = "it reads the includes and writes the copy that nginx is shown")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};

use super::{HostError, Result};

/// Runs `test` where `active` shows the tree of `candidate`.
///
/// A thread of its own leaves our mount namespace, and its children with it; the namespace ends with the last of them.
pub(super) fn mounted<T: Send>(candidate: &Path, active: &Path, test: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let in_namespace = || {
        unshare(CloneFlags::CLONE_NEWNS).map_err(|error| HostError::Program {
            program: "unshare".into(),
            why: format!("no mount namespace of our own: {error}; it takes CAP_SYS_ADMIN"),
        })?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).map_err(|error| HostError::at("mount", "/")(error.into()))?;
        mount_bind(candidate, active).map_err(|error| HostError::at("mount a candidate on", active)(error.into()))?;
        test()
    };
    thread::scope(|scope| scope.spawn(in_namespace).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A copy of the main configuration, removed when it is dropped. It lies beside the original: relative includes start there.
#[derive(Debug)]
pub(super) struct Copy(PathBuf);

impl Copy {
    /// Writes it.
    pub(super) fn beside(conf: &Path, text: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(".portreeve-trial-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let copy = Self(conf.with_file_name(name));
        fs::write(&copy.0, text).map_err(HostError::at("write", &copy.0))?;
        Ok(copy)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // Left behind it is read by nobody.
        fs::remove_file(&self.0).ok();
    }
}

/// The value of a simple directive: `/run/nginx.pid` of `pid /run/nginx.pid;`. One directive a line, as everybody writes it.
pub(super) fn directive<'a>(conf: &'a str, name: &str) -> Option<&'a str> {
    conf.lines().find_map(|line| value(line, name))
}

fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix(name)?.strip_suffix(';')?;
    rest.starts_with([' ', '\t']).then(|| rest.trim().trim_matches(['"', '\'']))
}

/// The main configuration `conf`, with each included link that leads into `active` replaced by the candidate's file. Where there
/// is none yet, the candidate's `nginx.conf` comes after the include of `sites`.
pub(super) fn with_candidate(conf: &str, active: &Path, candidate: &Path, sites: &Path) -> Result<String> {
    let mut lines = Vec::new();
    let mut shown = false;
    let mut sites_line = None;
    for line in conf.lines() {
        if let Some(pattern) = value(line, "include").map(Path::new) {
            if pattern.parent() == Some(sites) {
                sites_line = Some(lines.len() + 1);
            }
            if let Some(files) = swapped(pattern, active, candidate)? {
                lines.extend(files.iter().map(|file| include(file)));
                shown = true;
                continue;
            }
        }
        lines.push(line.to_owned());
    }
    if !shown {
        let at = sites_line.ok_or_else(|| HostError::Unsafe {
            path: sites.to_owned(),
            why: "nginx.conf includes nothing of it; add `include …/sites-enabled/*;` to its http block".into(),
        })?;
        lines.insert(at, include(&candidate.join("nginx.conf")));
    }
    lines.push(String::new());
    Ok(lines.join("\n"))
}

/// The files of a pattern, with those below `active` replaced; `None` when there are none of those.
fn swapped(pattern: &Path, active: &Path, candidate: &Path) -> Result<Option<Vec<PathBuf>>> {
    let mut any = false;
    let mut files = matching(pattern)?;
    for file in &mut files {
        let Ok(target) = fs::read_link(&*file) else { continue };
        if let Ok(inside) = target.strip_prefix(active) {
            *file = candidate.join(inside);
            any = true;
        }
    }
    Ok(any.then_some(files))
}

/// The files that nginx's `glob(3)` would find, in its order. Only the last component may have a `*`.
fn matching(pattern: &Path) -> Result<Vec<PathBuf>> {
    let (Some(directory), Some(name)) = (pattern.parent(), pattern.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(HostError::at("list", directory)(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let found = entry.map_err(HostError::at("list", directory))?.file_name();
        if found.to_str().is_some_and(|found| fits(name, found)) {
            files.push(directory.join(found));
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a name fits a pattern with at most one `*`, which does not stand for a leading dot.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => {
            let room = name.len() >= head.len() + tail.len();
            room && name.starts_with(head) && name.ends_with(tail) && (!head.is_empty() || !name.starts_with('.'))
        }
    }
}

fn include(file: &Path) -> String {
    let quoted = file.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    format!("include \"{quoted}\";")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_directive_is_found_in_its_line() {
        let conf = "user www-data;\n# pid /wrong;\npidx /wrong;\n\tpid \"/run/nginx.pid\"; # here\n";
        assert_eq!(directive(conf, "pid"), Some("/run/nginx.pid"));
        assert_eq!(directive("pid;", "pid"), None);
    }

    #[test]
    fn a_pattern_fits_as_the_shell_would_have_it() {
        assert!(fits("*", "portreeve-a.conf") && fits("*.conf", "a.conf") && fits("a.conf", "a.conf"));
        assert!(!fits("*", ".hidden") && !fits("*.conf", "a.bak") && !fits("a*a", "a"));
    }

    #[test]
    fn only_the_environments_own_file_is_swapped() {
        let dir = tempfile::tempdir().unwrap();
        let (sites, active, candidate) =
            (dir.path().join("sites-enabled"), dir.path().join("active/x"), dir.path().join("7"));
        fs::create_dir(&sites).unwrap();
        symlink("/elsewhere/default", sites.join("default")).unwrap();
        let conf = format!("http {{\n  include mime.types;\n  include {}/*;\n}}\n", sites.display());
        let text = with_candidate(&conf, &active, &candidate, &sites).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(lines[2], format!("include {}/*;", sites.display()), "not linked yet: both are included");
        assert_eq!(lines[3], include(&candidate.join("nginx.conf")));

        symlink(active.join("nginx.conf"), sites.join("portreeve-x.conf")).unwrap();
        let text = with_candidate(&conf, &active, &candidate, &sites).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(lines[2], include(&sites.join("default")));
        assert_eq!(lines[3], include(&candidate.join("nginx.conf")));
        assert_eq!(lines.len(), 5);

        assert!(with_candidate("http {}", &active, &candidate, &sites).is_err());
    }
}
