//! What `/run` holds after a boot, and where logs go.

use std::path::Path;

use super::Subject;
use crate::emit::EmitError;
use crate::emit::tmpfiles::{Owner, TmpFiles};
use crate::model::{Capability, Slot};

pub(super) fn render(subject: &Subject<'_>) -> Result<String, EmitError> {
    let mut file = TmpFiles::new();
    runtime(&mut file, subject)?;
    logs(&mut file, subject)?;
    Ok(file.render())
}

fn runtime(file: &mut TmpFiles, subject: &Subject<'_>) -> Result<(), EmitError> {
    let (host, name) = (subject.layout.host(), &subject.env.name);
    file.directory(host.runtime(), 0o755, root(subject))?;
    file.directory(&host.env_runtime(name), 0o755, root(subject))?;
    for slot in Slot::BOTH {
        // The web server's group goes in to connect; nobody else does.
        file.directory(&host.slot_runtime(name, slot), 0o750, application(subject, &subject.web_group))?;
    }
    // Relative, so that it means the same below any root.
    let socket = Path::new(subject.slot.as_str()).join("s");
    file.link(&host.web_socket(name), &socket)
}

/// Directories above the application's leaf are root's: nginx opens its logs there as root.
fn logs(file: &mut TmpFiles, subject: &Subject<'_>) -> Result<(), EmitError> {
    let directory = subject.layout.log_dir();
    let above: Vec<&Path> = directory.ancestors().take(3).collect();
    for path in above.into_iter().rev() {
        file.directory(path, 0o755, root(subject))?;
    }
    file.directory(&subject.layout.app_log_dir(), 0o750, application(subject, &subject.group))
}

fn root(subject: &Subject<'_>) -> Owner<'static> {
    if subject.capabilities.has(Capability::Identities) { Owner::ROOT } else { Owner::Applier }
}

fn application<'a>(subject: &'a Subject<'_>, group: &'a str) -> Owner<'a> {
    if subject.capabilities.has(Capability::Identities) {
        Owner::Named { user: subject.env.user.as_str(), group }
    } else {
        Owner::Applier
    }
}
