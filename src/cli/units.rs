//! Our own units, for a host to which only the program was copied.

use std::path::{Path, PathBuf};

use super::{Fault, printer};
use crate::host::{Files, HostError};
use crate::model::{Found, Identity, Layout, Node};

/// As a package installs them.
const UNITS: [(&str, &str); 3] = [
    ("portreeve.service", include_str!("../../systemd/portreeve.service")),
    ("portreeve-reconcile.service", include_str!("../../systemd/portreeve-reconcile.service")),
    ("portreeve-reconcile.timer", include_str!("../../systemd/portreeve-reconcile.timer")),
];

/// Where the program is in them.
const PROGRAM: &str = "ExecStart=/usr/bin/portreeve ";

/// Where units of packages and of this boot are (`systemd.unit(5)`); those of the administrator are the layout's.
const ELSEWHERE: [&str; 4] =
    ["/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"];

/// Writes those that are nowhere, where systemd runs. What is there, whosever it is, stays as it is.
pub fn install(files: &dyn Files, layout: &Layout, program: &Path) -> Result<(), Fault> {
    let booted = layout.root().join("/run/systemd/system");
    if !matches!(files.look(&booted).map_err(|error| Fault::failed(&error))?, Found::Directory { .. }) {
        return Ok(());
    }
    for (name, text) in UNITS {
        if let Some(path) = write_missing(files, layout, name, text, program).map_err(|error| Fault::failed(&error))? {
            printer::line(format!("wrote {}, which was not installed", path.display()));
        }
    }
    Ok(())
}

fn write_missing(
    files: &dyn Files,
    layout: &Layout,
    name: &str,
    text: &str,
    program: &Path,
) -> Result<Option<PathBuf>, HostError> {
    let own = layout.systemd_units().join(name);
    let elsewhere = ELSEWHERE.iter().map(|directory| layout.root().join(directory).join(name));
    for path in elsewhere.chain([own.clone()]) {
        if files.look(&path)? != Found::Absent {
            return Ok(None);
        }
    }
    let text = text.replace(PROGRAM, &format!("ExecStart={} ", program.display()));
    files.put(&own, &Node::File { bytes: text.into_bytes(), mode: 0o644, owner: Identity::ROOT })?;
    Ok(Some(own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Parts, Scratch};
    use crate::model::Root;

    #[test]
    fn only_units_that_are_nowhere_are_written_and_only_for_systemd() {
        let dir = tempfile::tempdir().unwrap();
        let root = Scratch::open(&dir.path().join("h")).unwrap();
        let layout = Layout::new(Root::at(root.path()));
        let files = Parts::open(&layout, std::sync::Arc::default()).unwrap().files;
        let install = || install(&files, &layout, Path::new("/usr/local/bin/portreeve")).unwrap();
        let units = || files.list(&layout.systemd_units()).unwrap();
        install();
        assert_eq!(units(), [""; 0], "systemd does not run here");
        root.make("run/systemd/system").unwrap();
        root.make("etc/systemd/system").unwrap();
        root.write("usr/lib/systemd/system/portreeve.service", "a package's").unwrap();
        root.write("etc/systemd/system/portreeve-reconcile.timer", "an operator's").unwrap();
        install();
        assert_eq!(units(), ["portreeve-reconcile.service", "portreeve-reconcile.timer"]);
        let text = |name: &str| root.read(format!("etc/systemd/system/{name}")).unwrap().unwrap();
        assert_eq!(text("portreeve-reconcile.timer"), "an operator's");
        let service = text("portreeve-reconcile.service");
        assert!(service.contains("\nExecStart=/usr/local/bin/portreeve reconcile --quiet\n"), "{service}");
    }

    #[test]
    fn every_service_names_the_program() {
        let services = UNITS.iter().filter(|(name, _)| Path::new(name).extension().is_some_and(|it| it == "service"));
        assert!(services.clone().count() == 2 && services.clone().all(|(_, text)| text.contains(PROGRAM)));
    }
}
