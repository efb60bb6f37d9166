//! `portreeve launch ENV SLOT`: what Supervisor runs for a slot. It checks the conditions that systemd checks in a unit
//! (design §2), and becomes the slot's program.
//!
//! It ends with 0 also when it can't: Supervisor calls a program with `startsecs=0` started at once, so after any other code it
//! would try again without end or pause. The reason is in the slot's log, and the next pass finds the slot down.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::args::{Global, LaunchArgs};
use super::{Fault, open, printer};
use crate::emit::env;
use crate::host::{Files, Found, HostError, Parts, replace_with};
use crate::model::{Layout, SlotId};
use crate::resource::Exec;

/// Largest file that is read here.
const LIMIT: u64 = 1024 * 1024;

/// Runs the slot's program, if the slot may run.
pub fn run(args: &LaunchArgs, global: &Global) -> Result<u8, Fault> {
    let slot = SlotId { env: args.env.clone(), slot: args.slot };
    let layout = open::layout(global)?;
    let parts = Parts::open(&layout, Arc::new(AtomicBool::new(false))).map_err(|error| Fault::failed(&error))?;
    if let Err(error) = launch(&parts.files, &layout, &slot) {
        printer::error(&Fault::failed(&error));
        printer::note(&format!("{} {} is not started; the next pass looks at it", slot.env, slot.slot));
    }
    Ok(0)
}

/// Why a slot that may run can't.
#[derive(Debug, thiserror::Error)]
enum LaunchError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("{0} is missing")]
    Missing(String),
    #[error("{0} is damaged")]
    Exec(String, #[source] serde_json::Error),
    #[error("{0} is damaged")]
    Variables(String, #[source] env::NotOurs),
}

/// Comes back when the slot may not run, or with the reason why it can't.
fn launch(files: &dyn Files, layout: &Layout, slot: &SlotId) -> Result<(), LaunchError> {
    if !may_run(files, layout, slot)? {
        return Ok(());
    }
    let path = layout.slot_link(&slot.env, slot.slot).join("exec.json");
    let damaged = |error| LaunchError::Exec(path.display().to_string(), error);
    let exec: Exec = serde_json::from_slice(&read(files, &path)?).map_err(damaged)?;
    let text = read(files, &exec.env_file)?;
    let damaged = |error| LaunchError::Variables(exec.env_file.display().to_string(), error);
    let variables = env::parse(&String::from_utf8_lossy(&text)).map_err(damaged)?;
    Err(replace_with(&exec.program, &exec.args, &variables, &exec.directory).into())
}

/// The active generation is this slot's, or a pass wants it to run; and nobody has stopped the environment.
fn may_run(files: &dyn Files, layout: &Layout, slot: &SlotId) -> Result<bool, HostError> {
    let there = |path: &Path| files.look(path).map(|found| found != Found::Absent);
    if there(&layout.stopped_flag(&slot.env))? {
        return Ok(false);
    }
    let marker = layout.active_link(&slot.env).join(format!("slot-{}", slot.slot));
    Ok(there(&marker)? || there(&layout.run_flag(&slot.env, slot.slot))?)
}

fn read(files: &dyn Files, path: &Path) -> Result<Vec<u8>, LaunchError> {
    files.read(path, LIMIT)?.ok_or_else(|| LaunchError::Missing(path.display().to_string()))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test makes a host")]
mod tests {
    use super::*;
    use crate::host::Scratch;
    use crate::model::{EnvName, Root, Slot};

    struct Place {
        _dir: tempfile::TempDir,
        root: Scratch,
        layout: Layout,
        parts: Parts,
        slot: SlotId,
    }

    fn place() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let root = Scratch::open(&dir.path().join("h")).unwrap();
        let layout = Layout::new(Root::at(root.path()));
        let parts = Parts::open(&layout, Arc::default()).unwrap();
        let slot = SlotId { env: EnvName::parse("bakery/pro").unwrap(), slot: Slot::B };
        root.make("etc/portreeve/generations/bakery_pro/4").unwrap();
        root.make("etc/portreeve/active").unwrap();
        Place { _dir: dir, root, layout, parts, slot }
    }

    impl Place {
        fn may_run(&self) -> bool {
            may_run(&self.parts.files, &self.layout, &self.slot).unwrap()
        }

        fn write(&self, path: &Path, text: &str) {
            self.root.write(path.strip_prefix(self.root.path()).unwrap(), text).unwrap();
        }

        fn launch(&self) -> String {
            launch(&self.parts.files, &self.layout, &self.slot).unwrap_err().to_string()
        }
    }

    #[test]
    fn each_condition_alone_is_enough_and_a_stop_outweighs_both() {
        let place = place();
        let (layout, slot) = (&place.layout, &place.slot);
        assert!(!place.may_run());
        std::os::unix::fs::symlink("../generations/bakery_pro/4", layout.active_link(&slot.env)).unwrap();
        place.write(&layout.env_generations(&slot.env).join("4/slot-a"), "");
        assert!(!place.may_run(), "the other slot is the active one");
        place.write(&layout.run_flag(&slot.env, Slot::B), "");
        assert!(place.may_run());
        place.root.remove("run/portreeve/bakery_pro/run-b").unwrap();
        place.write(&layout.env_generations(&slot.env).join("4/slot-b"), "");
        assert!(place.may_run());
        place.write(&layout.stopped_flag(&slot.env), "");
        assert!(!place.may_run());
    }

    #[test]
    fn what_is_missing_or_damaged_is_named() {
        let place = place();
        let (layout, slot) = (&place.layout, &place.slot);
        place.write(&layout.run_flag(&slot.env, slot.slot), "");
        let exec = layout.slot_link(&slot.env, slot.slot).join("exec.json");
        assert_eq!(place.launch(), format!("{} is missing", exec.display()));
        place.write(&exec, "{");
        assert_eq!(place.launch(), format!("{} is damaged", exec.display()));
        let variables = exec.with_file_name("env.conf");
        let json = serde_json::json!({"program": "/no/such", "args": [], "directory": "/", "env_file": variables});
        place.write(&exec, &json.to_string());
        place.write(&variables, "A=b\n");
        assert_eq!(place.launch(), format!("{} is damaged", variables.display()));
        place.write(&variables, "A=\"b\"\n");
        assert!(place.launch().starts_with("/no/such: can't be run in /: "));
    }
}
