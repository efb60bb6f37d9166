//! sysusers.d: system users.

use std::path::Path;

use super::{EmitError, Grammar, NOTICE, double_quoted, path_text};
use crate::model::UserName;

/// A file that describes one user (with a group of the same name) who cannot log in.
pub fn user(name: &UserName, comment: &'static str, home: &Path) -> Result<String, EmitError> {
    // `:` separates the columns of /etc/passwd.
    let home = path_text(Grammar::Sysusers, "a home", home, b":")?.replace('%', "%%");
    let home = double_quoted(&home, &['"', '\\']);
    Ok(format!("# {NOTICE}\nu {name} - \"{comment}\" {home} /usr/sbin/nologin\n"))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "looks at what systemd-sysusers made")]
mod tests {
    use super::*;
    use crate::emit::proof;

    #[test]
    fn systemd_makes_exactly_this_user() {
        let name = UserName::parse("foouser").unwrap();
        for home in ["/home/foouser", "/srv/a b", "/srv/%h", "/srv/q\"'\\x#;"] {
            let (dir, conf) = proof::file("u.conf", &user(&name, "portreeve application", Path::new(home)).unwrap());
            let root = format!("--root={}", dir.path().display());
            std::fs::create_dir(dir.path().join("etc")).unwrap();
            let Some(said) = proof::ask("systemd-sysusers", &[&root, conf.to_str().unwrap()], b"") else { return };
            assert!(said.ok, "{}", said.stderr);
            let passwd = std::fs::read_to_string(dir.path().join("etc/passwd")).unwrap();
            let columns: Vec<&str> = passwd.trim_end().split(':').collect();
            assert_eq!(columns[0], "foouser");
            assert_eq!(columns[4..], ["portreeve application", home, "/usr/sbin/nologin"]);
        }
    }

    #[test]
    fn what_passwd_cannot_carry_is_refused() {
        let name = UserName::parse("foouser").unwrap();
        for home in ["/a:b", "/a\nu root2 0", "relative"] {
            assert!(user(&name, "x", Path::new(home)).is_err(), "{home:?}");
        }
    }
}
