//! The end of a log file that a service manager writes.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::tool::last_lines;
use super::{HostError, Result};

/// No more of the end than this is read.
const TAIL: u64 = 256 * 1024;

/// How far a log had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    inode: u64,
    size: u64,
}

/// Where the log ends now; `None` when it is not there or no regular file.
pub(super) fn mark(path: &Path) -> Option<Mark> {
    let found = open(path).ok()?.metadata().ok()?;
    Some(Mark { inode: found.ino(), size: found.size() })
}

/// The last lines after `mark`; of the whole log when it has been rotated since, or there is no mark. None when it is not there.
pub(super) fn lines_since(path: &Path, mark: Option<Mark>, count: usize) -> io::Result<Vec<String>> {
    let rest = rest(path, mark)?;
    Ok(rest.map(|(_, bytes)| last_lines(&bytes, count)).unwrap_or_default())
}

/// What comes after `mark`, and where that begins.
fn rest(path: &Path, mark: Option<Mark>) -> io::Result<Option<(Mark, Vec<u8>)>> {
    let mut file = match open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => return Ok(None),
        Err(error) => return Err(error),
    };
    let found = file.metadata()?;
    let after = mark.filter(|mark| mark.inode == found.ino() && mark.size <= found.size()).map_or(0, |mark| mark.size);
    let begin = Mark { inode: found.ino(), size: after.max(found.size().saturating_sub(TAIL)) };
    file.seek(SeekFrom::Start(begin.size))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(Some((begin, bytes)))
}

/// A log that grows.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    /// Of what is there at first, the last so many lines.
    lines: usize,
    mark: Option<Mark>,
}

impl Tail {
    pub(super) fn new(path: PathBuf, lines: usize) -> Self {
        Self { path, lines, mark: None }
    }

    /// Hands on the lines that are new, and whole.
    pub(super) fn read(&mut self, line: &mut dyn FnMut(&str)) -> Result<()> {
        let rest = rest(&self.path, self.mark).map_err(HostError::at("read", &self.path))?;
        let Some((begin, mut bytes)) = rest else { return Ok(()) };
        bytes.truncate(bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1));
        self.mark = Some(Mark { size: begin.size + bytes.len() as u64, ..begin });
        for text in last_lines(&bytes, std::mem::replace(&mut self.lines, usize::MAX)) {
            line(&text);
        }
        Ok(())
    }
}

/// Opens a regular file. A link is refused: it could lead root's eyes anywhere. A pipe would make us wait.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write the logs that they read")]
mod tests {
    use super::*;

    #[test]
    fn an_attempts_lines_are_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        assert_eq!(lines_since(&log, None, 5).unwrap(), [""; 0]);
        std::fs::write(&log, "yesterday\n").unwrap();
        let before = mark(&log);
        assert_eq!(lines_since(&log, before, 5).unwrap(), [""; 0]);
        let mut appended = std::fs::read(&log).unwrap();
        appended.extend_from_slice(b"today\nbroken \xff\n");
        std::fs::write(&log, appended).unwrap();
        assert_eq!(lines_since(&log, before, 5).unwrap(), ["today", "broken \u{fffd}"]);
        assert_eq!(lines_since(&log, before, 1).unwrap(), ["broken \u{fffd}"]);
        assert_eq!(lines_since(&log, None, 5).unwrap().len(), 3);
        std::fs::write(&log, "new\n").unwrap();
        assert_eq!(lines_since(&log, before, 5).unwrap(), ["new"], "rotated in place");
    }

    #[test]
    fn a_growing_log_is_told_once_and_a_new_one_from_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut tail = Tail::new(log.clone(), 1);
        let mut told = |text: &str| {
            std::fs::write(&log, text).unwrap();
            let mut lines = Vec::new();
            tail.read(&mut |line| lines.push(line.to_owned())).unwrap();
            lines
        };
        assert_eq!(told("one\ntwo\n"), ["two"]);
        assert_eq!(told("one\ntwo\n"), [""; 0]);
        assert_eq!(told("one\ntwo\nthree\nfo"), ["three"]);
        assert_eq!(told("one\ntwo\nthree\nfour\n"), ["four"]);
        assert_eq!(told("new\n"), ["new"], "rotated in place");
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        std::os::unix::fs::symlink("/etc/passwd", &log).unwrap();
        assert_eq!(mark(&log), None);
        assert!(lines_since(&log, None, 5).is_err());
        assert_eq!(lines_since(Path::new("/dev/null"), None, 5).unwrap(), [""; 0]);
    }
}
