//! What the emitters' tests share: nasty values, and the programs whose syntax it is.
#![expect(clippy::disallowed_methods, reason = "these tests ask the real programs how they read a file")]

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Every byte 0–255 as a character, alone and between, before and after others; and injections that once worked elsewhere.
pub(crate) fn values() -> Vec<String> {
    let mut values: Vec<String> = Vec::new();
    for byte in 0..=255u8 {
        let c = char::from(byte);
        values.extend([format!("{c}"), format!("a{c}b"), format!("{c}b"), format!("a{c}"), format!("a {c} b")]);
    }
    values.extend(INJECTIONS.iter().map(ToString::to_string));
    values
}

const INJECTIONS: [&str; 16] = [
    "x\nExecStartPre=+/bin/sh -c id",
    "x; } server { listen 80 default_server; } #",
    "\"; } server { listen 81; } server { add_header X \"",
    "/var/log/x {\n postrotate\n id > /tmp/owned\n endscript\n}",
    "$(id)",
    "`id`",
    "${IFS}id",
    "%(ENV_PATH)s",
    "%n%H%%",
    "'; id; '",
    "\\\"; id; \\\"",
    "a\\",
    "\"\"\"\nimport os\n\"\"\"",
    "x ;comment",
    "x #comment",
    "päth\u{2028}\u{1f980}",
];

/// Paths that are not UTF-8: one for each byte above ASCII.
pub(crate) fn raw_paths() -> Vec<PathBuf> {
    (128..=255u8).map(|byte| Path::new("/x").join(OsStr::from_bytes(&[byte, b'a']))).collect()
}

/// The program, when this machine has it.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists())
}

/// How a program ended, and what it printed.
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// Runs a program with this input; `None` when this machine does not have it.
pub(crate) fn ask(name: &str, args: &[&str], input: &[u8]) -> Option<Said> {
    let mut command = Command::new(tool(name)?);
    command.args(args).env("LC_ALL", "C.UTF-8").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input).is_ok());
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    Some(Said {
        ok: output.status.success(),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Asserts that nginx, where installed, takes this main configuration.
pub(crate) fn nginx_takes(conf: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nginx.conf");
    std::fs::write(&file, format!("pid {0}/pid;\nerror_log {0}/error;\n{conf}", dir.path().display())).unwrap();
    let prefix = dir.path().to_str().unwrap();
    if let Some(said) = ask("nginx", &["-t", "-q", "-p", prefix, "-c", file.to_str().unwrap()], b"") {
        assert!(said.ok, "{}\n{conf}", said.stderr);
    }
}

/// A file with this content in a directory that lives as long as the test holds it.
pub(crate) fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    (dir, path)
}
