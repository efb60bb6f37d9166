//! Short-lived programs of the machine itself: `nginx -t`, `journalctl`.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use super::{HostError, Result, http};

/// So much of what a program prints is kept for certain.
const KEPT: usize = 1024 * 1024;
/// Longer lines are cut: it is people who read them.
const LINE: usize = 4096;

/// Runs a program to its end with no input and an empty environment, and kills it after `deadline`.
///
/// It becomes a child of the calling thread, and so runs in that thread's namespaces.
pub(super) fn output<A: AsRef<OsStr>>(
    program: &Path,
    args: impl IntoIterator<Item = A>,
    deadline: Duration,
) -> Result<Output> {
    fed(program, args, Vec::new(), deadline)
}

/// The same with something to read.
pub(super) fn fed<A: AsRef<OsStr>>(
    program: &Path,
    args: impl IntoIterator<Item = A>,
    input: Vec<u8>,
    deadline: Duration,
) -> Result<Output> {
    let failed = |why: String| HostError::Program { program: program.display().to_string(), why };
    http::runtime()?.block_on(async {
        let mut command = Command::new(program);
        command.args(args).env_clear().env("LC_ALL", "C").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // Ctrl-C is for us, who end at a safe point.
        command.process_group(0);
        let run = async {
            let mut child = command.spawn()?;
            let mut pipe = child.stdin.take();
            let feed = async move {
                match &mut pipe {
                    // A program that does not read to the end says by its exit code what it thinks.
                    Some(pipe) => pipe.write_all(&input).await.or_else(closed_early),
                    None => Ok(()),
                }
            };
            let (stdout, stderr) = (tail(child.stdout.take()), tail(child.stderr.take()));
            let ((), stdout, stderr, status) = tokio::try_join!(feed, stdout, stderr, child.wait())?;
            Ok::<_, io::Error>(Output { status, stdout, stderr })
        };
        let begun = tokio::time::Instant::now();
        let ended = tokio::time::timeout(deadline, run).await;
        tracing::debug!("ran {}, {}ms", program.display(), begun.elapsed().as_millis());
        match ended {
            Err(_) => Err(failed(format!("not done within {}; killed", http::words(deadline)))),
            Ok(Err(error)) => Err(failed(format!("can't be run: {error}"))),
            Ok(Ok(output)) => Ok(output),
        }
    })
}

/// All that comes; of more than twice [`KEPT`] the end. A program that logs without end must not take our memory.
async fn tail(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return Ok(kept) };
    while pipe.read_buf(&mut kept).await? > 0 {
        if kept.len() > 2 * KEPT {
            kept.drain(..kept.len() - KEPT);
        }
    }
    Ok(kept)
}

fn closed_early(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

/// The last `count` lines of what a program printed, fit for a terminal: no control characters but tabs.
pub(super) fn last_lines(bytes: &[u8], count: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| printable(line)).collect()
}

fn printable(line: &str) -> String {
    line.trim_end().chars().filter(|&c| c == '\t' || !c.is_control()).take(LINE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_killed() {
        let error = output(Path::new("/bin/sleep"), ["60"], Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.to_string(), "/bin/sleep: not done within 50ms; killed");
        let error = output(Path::new("/no/such"), ["60"], Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().starts_with("/no/such: can't be run"), "{error}");
    }

    #[test]
    fn of_what_is_printed_without_end_the_end_is_kept() {
        let seen = output(Path::new("/usr/bin/seq"), ["1", "2000000"], Duration::from_secs(30)).unwrap();
        assert!(seen.stdout.len() <= 3 * KEPT, "{}", seen.stdout.len());
        assert_eq!(last_lines(&seen.stdout, 2), ["1999999", "2000000"]);
        assert_eq!(last_lines(&vec![b'x'; 2 * LINE], 1)[0].len(), LINE);
    }

    #[test]
    fn nothing_is_inherited() {
        let seen = output(Path::new("/usr/bin/env"), [""; 0], Duration::from_secs(5)).unwrap();
        assert_eq!(seen.stdout, b"LC_ALL=C\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n");
    }

    #[test]
    fn a_log_cannot_drive_the_terminal() {
        let log = b"one\ntwo \x1b]0;owned\x07\r\nthr\xffee";
        assert_eq!(last_lines(log, 2), ["two ]0;owned", "thr\u{fffd}ee"]);
        assert_eq!(last_lines(b"", 5), [""; 0]);
    }
}
