//! The two line types of `tmpfiles.d(5)` that we render, for hosts without `systemd-tmpfiles` and below `--root`.

use std::path::{Path, PathBuf};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// `d`: a directory, made or given this mode and owner.
    Directory {
        /// Where.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
        /// The owner's name; `None`: root.
        user: Option<String>,
        /// The group's name; `None`: root.
        group: Option<String>,
    },
    /// `L`: a symbolic link, made when nothing is there.
    Link {
        /// Where.
        path: PathBuf,
        /// Its text.
        text: PathBuf,
    },
}

impl Line {
    /// Where it makes something.
    pub(super) fn path(&self) -> &Path {
        let (Self::Directory { path, .. } | Self::Link { path, .. }) = self;
        path
    }
}

/// The lines of a file, or what is wrong with one.
pub(super) fn parse(text: &str) -> Result<Vec<Line>, String> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| parse_line(line).map_err(|why| format!("line {number}: {why}")))
        .collect()
}

fn parse_line(line: &str) -> Result<Line, String> {
    if line.contains(['%', '\\', '"', '\'']) {
        return Err("specifiers, escapes and quotes are not read".to_owned());
    }
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let field = |index: usize| fields.get(index).copied().filter(|&text| text != "-");
    let path = field(1).map(PathBuf::from).filter(|path| path.is_absolute()).ok_or("no absolute path")?;
    match fields.first().copied() {
        Some("d") => Ok(Line::Directory {
            path,
            mode: parse_mode(field(2))?,
            user: field(3).map(str::to_owned),
            group: field(4).map(str::to_owned),
        }),
        Some("L") => Ok(Line::Link { path, text: field(6).map(Path::new).ok_or("a link to nothing")?.to_owned() }),
        _ => Err("neither `d` nor `L`".to_owned()),
    }
}

fn parse_mode(field: Option<&str>) -> Result<u32, String> {
    let Some(field) = field else { return Ok(0o755) };
    u32::from_str_radix(field, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(|| format!("`{field}` is not a mode"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_and_links_are_read() {
        let lines =
            parse("# ours\n\nd /run/x 0750 app www-data - -\nd /run/y - - - -\nL /run/x/web.sock - - - - b/s\n")
                .unwrap();
        let directory = |path: &str, mode, user: Option<&str>, group: Option<&str>| Line::Directory {
            path: path.into(),
            mode,
            user: user.map(str::to_owned),
            group: group.map(str::to_owned),
        };
        let link = Line::Link { path: "/run/x/web.sock".into(), text: "b/s".into() };
        assert_eq!(
            lines,
            [directory("/run/x", 0o750, Some("app"), Some("www-data")), directory("/run/y", 0o755, None, None), link]
        );
    }

    #[test]
    fn anything_else_is_refused_with_its_line() {
        for bad in ["L+ /a - - - - b", "R /a", "d a 0755", "d /%t", "d /a 99", "L /a - - - -", "d \"/a b\""] {
            let why = parse(&format!("d /ok\n{bad}")).unwrap_err();
            assert!(why.starts_with("line 2: "), "{bad}: {why}");
        }
    }
}
