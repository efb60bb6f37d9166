//! Another program in the place of this one.
#![expect(clippy::disallowed_methods, reason = "this is where another program takes our place")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::{CString, NulError, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use super::HostError;

/// Becomes `program` (absolute) in `directory` with exactly these variables: process id, streams and identity stay. Comes back
/// only with the reason why it could not, and then nothing has changed.
///
/// The standard library's `exec()` would leave a process to which it comes back without its protection from SIGPIPE. What is
/// started ignores that signal, as all that systemd starts (`IgnoreSIGPIPE=`, systemd.exec(5)).
pub fn replace_with(
    program: &Path,
    args: &[String],
    variables: &BTreeMap<String, String>,
    directory: &Path,
) -> HostError {
    let Err(error) = become_it(program, args, variables, directory);
    let why = format!("can't be run in {}: {error}", directory.display());
    HostError::Program { program: program.display().to_string(), why }
}

fn become_it(
    program: &Path,
    args: &[String],
    variables: &BTreeMap<String, String>,
    directory: &Path,
) -> io::Result<Infallible> {
    let path = CString::new(program.as_os_str().as_bytes())?;
    let all = std::iter::once(OsString::from(program)).chain(args.iter().map(OsString::from));
    let args = all.map(|arg| CString::new(arg.into_vec())).collect::<Result<Vec<_>, NulError>>()?;
    let variables = variables.iter().map(|(name, value)| CString::new(format!("{name}={value}")));
    let variables = variables.collect::<Result<Vec<_>, NulError>>()?;
    // Supervisor's own directory, it may be, where we may not be.
    let before = rustix::fs::openat(CWD, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    rustix::process::chdir(directory)?;
    let failed = nix::unistd::execve(&path, &args, &variables);
    before.and_then(rustix::process::fchdir).ok();
    Ok(failed?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_back_is_as_he_was() {
        let (here, dir) = (std::env::current_dir().unwrap(), tempfile::tempdir().unwrap());
        let nothing = dir.path().join("nothing");
        let said = replace_with(&nothing, &[], &BTreeMap::new(), dir.path()).to_string();
        assert!(said.contains("No such file or directory"), "{said}");
        assert_eq!(std::env::current_dir().unwrap(), here);
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        let refused = io::Write::write(&mut writer, b"x").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::BrokenPipe, "and lives");
        replace_with(Path::new("/a\0b"), &[], &BTreeMap::new(), dir.path());
        assert_eq!(std::env::current_dir().unwrap(), here);
    }
}
