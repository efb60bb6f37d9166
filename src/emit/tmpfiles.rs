//! tmpfiles.d: directories and links, nothing that recurses (CVE-2018-6954).
//!
//! The two columns that we fill read differently: a path is unquoted but knows no `\x20` (systemd 252), a link's target
//! knows `\x20` but keeps its quotes. `%` is a specifier in both.

use std::fmt::Write as _;
use std::path::Path;

use super::{EmitError, Grammar, NOTICE, double_quoted, is_plain, path_text, plain_name, refuse, utf8};

/// Who owns a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner<'a> {
    /// These names.
    Named {
        /// The user.
        user: &'a str,
        /// The group.
        group: &'a str,
    },
    /// Whoever applies the file.
    Applier,
}

impl Owner<'static> {
    /// The superuser.
    pub const ROOT: Self = Self::Named { user: "root", group: "root" };
}

/// A file of tmpfiles.d.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TmpFiles(String);

impl Default for TmpFiles {
    fn default() -> Self {
        Self(format!("# {NOTICE}\n"))
    }
}

impl TmpFiles {
    /// No lines.
    pub fn new() -> Self {
        Self::default()
    }

    /// `d`: a directory is made, or given this owner and mode.
    pub fn directory(&mut self, path: &Path, mode: u32, owner: Owner<'_>) -> Result<(), EmitError> {
        let path = absolute(path)?;
        let (user, group) = match owner {
            Owner::Named { user, group } => {
                (plain_name(Grammar::Tmpfiles, "a user", user)?, plain_name(Grammar::Tmpfiles, "a group", group)?)
            }
            Owner::Applier => ("-", "-"),
        };
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.0, "d {path} {mode:04o} {user} {group} - -");
        Ok(())
    }

    /// `L`: a link is made where nothing is; one that is there stays as it is.
    pub fn link(&mut self, path: &Path, target: &Path) -> Result<(), EmitError> {
        let (path, target) = (absolute(path)?, escaped(target)?);
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.0, "L {path} - - - - {target}");
        Ok(())
    }

    /// The text of the file.
    pub fn render(self) -> String {
        self.0
    }
}

fn absolute(path: &Path) -> Result<String, EmitError> {
    let text = path_text(Grammar::Tmpfiles, "a path", path, b"")?.replace('%', "%%");
    Ok(if is_plain(&text) { text } else { double_quoted(&text, &['"', '\\']) })
}

fn escaped(path: &Path) -> Result<String, EmitError> {
    let what = "a link's target";
    let text = utf8(Grammar::Tmpfiles, what, path)?;
    refuse(Grammar::Tmpfiles, what, text, b"")?;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' => out.push_str("%%"),
            byte if byte.is_ascii_alphanumeric() || b"/._-@:+,=".contains(&byte) => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            byte => drop(write!(out, "\\x{byte:02x}")),
        }
    }
    Ok(out)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "looks at what systemd-tmpfiles made")]
mod tests {
    use super::*;
    use crate::emit::proof;

    #[test]
    fn systemd_makes_exactly_these_paths() {
        let mut file = TmpFiles::new();
        let mut meant = Vec::new();
        for (index, value) in proof::values().iter().filter(|value| !value.contains('/')).enumerate() {
            let link = format!("/top/{index}");
            let path = format!("/top/d{value}");
            if file.directory(Path::new(&path), 0o750, Owner::Applier).is_ok() {
                file.link(Path::new(&link), Path::new(&format!("x{value}"))).unwrap();
                meant.extend([(format!("d{value}"), None), (index.to_string(), Some(format!("x{value}")))]);
            }
        }
        let (dir, conf) = proof::file("t.conf", &file.render());
        let root = format!("--root={}", dir.path().display());
        let Some(said) = proof::ask("systemd-tmpfiles", &["--create", &root, conf.to_str().unwrap()], b"") else {
            return;
        };
        assert!(said.ok, "{}", said.stderr);
        let mut made: Vec<_> = std::fs::read_dir(dir.path().join("top"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let target = std::fs::read_link(entry.path()).ok().map(|to| to.to_str().unwrap().to_owned());
                (entry.file_name().into_string().unwrap(), target)
            })
            .collect();
        made.sort();
        meant.sort();
        meant.dedup();
        assert!(meant.len() > 400);
        let wrong: Vec<_> = made.iter().zip(&meant).filter(|(made, meant)| made != meant).take(3).collect();
        assert!(wrong.is_empty() && made.len() == meant.len(), "{wrong:?}");
    }

    #[test]
    fn what_is_no_path_or_name_is_refused() {
        for path in ["relative", "/a\nb", "/a\0"] {
            assert!(TmpFiles::new().directory(Path::new(path), 0o755, Owner::ROOT).is_err(), "{path:?}");
        }
        for user in ["", "a b", "-", "a\nL /etc/x", "%u"] {
            let owner = Owner::Named { user, group: "root" };
            assert!(TmpFiles::new().directory(Path::new("/a"), 0o755, owner).is_err(), "{user:?}");
        }
        for path in proof::raw_paths() {
            assert!(TmpFiles::new().link(&path, Path::new("x")).is_err());
        }
    }
}
