//! Another program in the place of this one.
#![expect(clippy::disallowed_methods, reason = "this is where programs are started")]

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::HostError;

/// Becomes `program` (absolute) in `directory` with exactly these variables: process id, streams and identity stay. Comes back
/// only with the reason why it could not.
pub fn replace_with(
    program: &Path,
    args: &[String],
    variables: &BTreeMap<String, String>,
    directory: &Path,
) -> HostError {
    let error = Command::new(program).args(args).env_clear().envs(variables).current_dir(directory).exec();
    let why = format!("can't be run in {}: {error}", directory.display());
    HostError::Program { program: program.display().to_string(), why }
}
