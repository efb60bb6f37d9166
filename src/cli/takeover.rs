//! A new binary takes over between passes.
//!
//! The agent becomes it by exec: process id, unit, streams and watchdog stay, and no `Restart=` has to be right for it. Ending and
//! being started again would leave a host without an agent where the unit restarts on failure alone, and what can't be started
//! would be noticed too late; exec of something that is no program fails, and this one goes on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{open, printer};
use crate::agent::App;
use crate::host::{Processes, Run, replace_with};
use crate::model::Identity;
use crate::transaction::chain;

/// A file that has not changed for so long has been written to its end.
const STILL: Duration = Duration::from_secs(2);
/// For `--version`.
const TRIAL: Duration = Duration::from_secs(10);

/// The program that runs here, as it is installed.
#[derive(Debug)]
pub struct Installed {
    program: PathBuf,
    /// Of the file that runs, or of the last one that was no program.
    stamp: String,
}

impl Installed {
    /// As it is now; to be asked early, before anybody can replace it.
    pub fn now(app: &App) -> Self {
        let mut installed = Self { program: app.program.clone(), stamp: String::new() };
        installed.stamp = installed.look(app);
        installed
    }

    fn look(&self, app: &App) -> String {
        app.host.files().stamp(&self.program).unwrap_or_default()
    }

    /// Becomes the program that is installed, if that is another one than before and works. Comes back otherwise.
    pub fn give_way(&mut self, app: &App) {
        let found = self.look(app);
        // Nothing there: a package is being unpacked.
        if found == self.stamp || found.is_empty() {
            return;
        }
        app.host.clock().sleep(STILL);
        if app.host.clock().cancelled() || self.look(app) != found {
            return;
        }
        let error = match self.version(app.host.processes()) {
            Ok(version) => {
                printer::note(&format!("{} was replaced: {version} takes over", self.program.display()));
                chain(&replace_with(&self.program, &open::arguments(), &open::variables(), &open::directory()))
            }
            Err(why) => why,
        };
        let own = env!("CARGO_PKG_VERSION");
        printer::note(&format!(
            "{} was replaced by what does not run ({error}); {own} goes on",
            self.program.display()
        ));
        self.stamp = found;
    }

    /// What it says of itself, which is also the proof that it can be run here.
    fn version(&self, processes: &dyn Processes) -> Result<String, String> {
        let run = Run {
            program: self.program.clone(),
            args: vec!["--version".to_owned()],
            env: BTreeMap::new(),
            directory: PathBuf::from("/"),
            identity: Identity::ROOT,
            deadline: TRIAL,
            log: None,
            interactive: false,
        };
        let exit = processes.run(&run).map_err(|error| chain(&error))?;
        let said = exit.tail.last().cloned().unwrap_or_default();
        match exit.code {
            Some(0) if said.starts_with("portreeve ") => Ok(said),
            Some(code) => Err(format!("--version ended with {code}: {said}")),
            None => Err("--version did not end".to_owned()),
        }
    }
}
