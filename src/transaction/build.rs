//! Builds a release: its tree, its packages, its messages and static files. Everything of the repository runs as the
//! application's user, never as root, and nothing that serves is touched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::blame::{host_succeed, succeed};
use super::context::Entry;
use super::installer::Command;
use super::requirements::{LARGEST, Requirements, Unread};
use super::{Context, Event, Failure, Phase, as_app, lock, room, statics, sweep};
use crate::desired::{Generation, Wanted};
use crate::host::{Exit, HostError, Lock, Run};
use crate::manifest::{Django, Policy};
use crate::model::{EnvLayout, Found, Identity, Node};
use crate::observed::Owners;
use crate::policy::FailureClass;

/// In a release's tree until what its commands wrote there would outlive a power cut.
const UNBUILT: &str = ".portreeve-unbuilt";

/// What a script of ours says that ran among the application's code: its last line that begins so, whatever else was printed.
pub fn answer<T: DeserializeOwned>(exit: &Exit) -> Option<T> {
    let said = String::from_utf8_lossy(&exit.stdout);
    let line = said.lines().rev().find_map(|line| line.strip_prefix("PORTREEVE "))?;
    serde_json::from_str(line).ok()
}

/// A builder of one release.
pub struct Build<'a> {
    cx: &'a Context<'a>,
    wanted: &'a Wanted,
    owners: Owners,
    paths: EnvLayout,
    log: PathBuf,
}

impl<'a> Build<'a> {
    /// A builder that writes what its programs say to the attempt's log.
    pub fn new(cx: &'a Context<'a>, wanted: &'a Wanted, owners: Owners, log: PathBuf) -> Self {
        Self { cx, wanted, owners, paths: cx.paths(wanted), log }
    }

    /// The same, on another machine's terms.
    #[must_use]
    pub fn on(&self, cx: &'a Context<'a>) -> Self {
        Self { cx, paths: self.paths.clone(), log: self.log.clone(), ..*self }
    }

    /// The application's tree at its final place; reused when it is there.
    pub fn tree(&self) -> Result<(), Failure> {
        let fail = Failure::on_host(Phase::Build);
        let release = self.paths.release(&self.wanted.release);
        let files = self.cx.host.files();
        if files.look(&release).map_err(&fail)? != Found::Absent {
            return Ok(());
        }
        let owner = Identity { gid: self.owners.app.gid, ..self.owners.root };
        self.cx.trees.each(self.wanted, owner, &mut |nodes| {
            let mut nodes = furnish(Box::new(nodes), settings_local(self.wanted), self.owners);
            files.make_tree(&release, 0o750, owner, &mut nodes).map_err(&fail)
        })
    }

    /// The virtual environment; reused when it is complete. True when it was built now.
    pub fn venv(&self) -> Result<bool, Failure> {
        let fail = Failure::on_host(Phase::Build);
        let files = self.cx.host.files();
        let venv = self.paths.venvs().join(&self.wanted.venv);
        if sweep::is_whole(self.cx, &venv)? {
            return Ok(false);
        }
        self.clear(&venv)?;
        files.make_directory(&venv, 0o755, self.owners.app).map_err(&fail)?;
        let installed = {
            let _place = self.place()?;
            self.install(&venv)
        };
        if let Err(failure) = installed {
            let failure = room::blamed(self.cx, self.wanted, failure);
            // Half an environment helps nobody; the next attempt would begin by removing it.
            let _already_failing = self.clear(&venv);
            return Err(failure);
        }
        // pip syncs nothing, and after a power cut the mark would vouch for what is not there.
        files.sync_all(&venv).map_err(&fail)?;
        sweep::mark_whole(self.cx, &venv, self.owners.root)?;
        Ok(true)
    }

    /// Removes what a killed build left, and what this one leaves when it is stopped on request.
    fn clear(&self, venv: &Path) -> Result<(), Failure> {
        sweep::remove(self.cx, Some(self.owners.app), venv, &["-mindepth", "1"])
    }

    fn install(&self, venv: &Path) -> Result<(), Failure> {
        let requirements = self.requirements()?;
        let report = |what: &str| self.cx.report.event(&Event::Working { phase: Phase::Build, what });
        let installer = &self.cx.facts.installer;
        if let Some(name) = installer.unheeded() {
            let cause =
                format!("{name} says where packages come from, and uv, which installs them here, does not read it");
            let help = "say it in /etc/pip.conf: then pip installs them";
            return Err(Failure::new(FailureClass::Host, Phase::Build, cause).with_help(help));
        }
        report("making the virtual environment");
        self.check(installer.make(&self.wanted.python.program, venv), "the virtual environment can't be made")?;
        report("installing the requirements");
        if let Some(lacking) = requirements.lacking {
            let text = format!("the requirements name no gunicorn; {lacking} is added");
            self.cx.report.event(&Event::Note { text: &text });
        }
        let path = self.paths.release(&self.wanted.release).join(&self.wanted.env.python.requirements);
        self.check(installer.install(venv, &path, requirements.lacking), "the requirements can't be installed")
    }

    fn requirements(&self) -> Result<Requirements, Failure> {
        let release = self.paths.release(&self.wanted.release);
        let gathered = Requirements::gather(&self.wanted.env.python.requirements, &|path| self.file(&release, path));
        gathered.map_err(|unread| match unread {
            Unread::Refused(failure) => *failure,
            Unread::Unreadable(error) => Failure::host(Phase::Build, &error),
        })
    }

    /// A file of the release, as it is found in its commit: no link leads to it.
    fn file(&self, release: &Path, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        let files = self.cx.host.files();
        for part in path.ancestors() {
            if matches!(files.look(&release.join(part))?, Found::Link(_)) {
                return Ok(None);
            }
        }
        files.read(&release.join(path), LARGEST)
    }

    fn check(&self, (program, args): Command, cause: &str) -> Result<(), Failure> {
        let env = self.cx.facts.installer.env.clone();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let exit = self.run(&program, &args, env, Path::new("/"))?;
        succeed(exit, Phase::Build, cause)
    }

    /// `compilemessages`, `collectstatic` and what else runs once for a release, with the candidate's own settings.
    pub fn django(&self, generation: &Generation) -> Result<(), Failure> {
        let own = self.paths.static_of(&self.wanted.release, &self.wanted.digest);
        let collected = statics::prepare(self.cx, &own, self.owners)?;
        if let Some(django) = &self.wanted.env.django {
            self.commands(django, generation, collected)?;
        }
        statics::share(self.cx, &own, self.owners.app, &self.paths)?;
        let (files, fail) = (self.cx.host.files(), Failure::on_host(Phase::Build));
        // Nothing that ran here syncs what it wrote, and the release may be the one that serves after a power cut.
        files.sync_all(&self.paths.home()).map_err(&fail)?;
        sweep::mark_whole(self.cx, &own, self.owners.root)?;
        files.remove(&self.paths.release(&self.wanted.release).join(UNBUILT)).map_err(&fail)
    }

    fn commands(&self, django: &Django, generation: &Generation, collected: bool) -> Result<(), Failure> {
        let env = super::render::command_env(self.cx, generation)?;
        let _place = self.place()?;
        if django.compilemessages && self.has_messages()? {
            self.remove_messages()?;
            self.manage(&env, &["compilemessages", "-v", "0"], "compilemessages failed")?;
        }
        if django.collectstatic && !collected {
            self.manage(&env, &["collectstatic", "--noinput", "-v", "0"], "collectstatic failed")?;
        }
        if django.collectstatic {
            statics::remember(self.cx, generation, &self.paths)?;
        }
        Ok(())
    }

    /// Its turn to keep the machine busy.
    fn place(&self) -> Result<Box<dyn Lock>, Failure> {
        lock::build(self.cx, self.wanted.env.policy == Policy::Pro)
    }

    /// Only where the tree holds messages: Django's command fails without any, and needs gettext on the host.
    fn has_messages(&self) -> Result<bool, Failure> {
        let release = self.paths.release(&self.wanted.release);
        let exit =
            as_app::run(self.cx, self.owners.app, "find", &[&text(&release), "-name", "*.po", "-print", "-quit"])?;
        let found = !exit.stdout.is_empty();
        host_succeed(exit, Phase::Build, "the release can't be searched for messages").map(|()| found)
    }

    /// Those that a stopped build compiled: newer than their sources, they would be left as they are, cut off or not.
    fn remove_messages(&self) -> Result<(), Failure> {
        let release = self.paths.release(&self.wanted.release);
        let found = self.cx.host.files().look(&release.join(UNBUILT)).map_err(Failure::on_host(Phase::Build))?;
        if found == Found::Absent {
            return Ok(());
        }
        // What the repository brought is root's.
        let which = ["-path", "*/LC_MESSAGES/*.mo", "-user", &self.owners.app.uid.to_string(), "-delete"];
        let exit = as_app::run(self.cx, self.owners.app, "find", &[&[&*text(&release)], &which[..]].concat())?;
        succeed(exit, Phase::Build, "messages of a stopped build can't be removed")
    }

    /// As whom it runs.
    pub fn app(&self) -> Identity {
        self.owners.app
    }

    /// Runs manage.py with these arguments.
    pub fn manage(&self, env: &BTreeMap<String, String>, args: &[&str], cause: &str) -> Result<(), Failure> {
        let exit = self.manage_exit(env, args)?;
        succeed(exit, Phase::Build, cause)
    }

    /// Runs manage.py with these arguments, whatever its exit code.
    pub fn manage_exit(&self, env: &BTreeMap<String, String>, args: &[&str]) -> Result<Exit, Failure> {
        let mut all = vec!["manage.py"];
        all.extend(args);
        self.python(env, &all)
    }

    /// Runs the release's Python in the directory of manage.py.
    pub fn python(&self, env: &BTreeMap<String, String>, args: &[&str]) -> Result<Exit, Failure> {
        let python = self.paths.venvs().join(&self.wanted.venv).join("bin/python");
        let directory = self.wanted.code_dir(&self.paths.release(&self.wanted.release));
        self.run(&python, args, env.clone(), &directory)
    }

    fn run(
        &self,
        program: &Path,
        args: &[&str],
        mut env: BTreeMap<String, String>,
        directory: &Path,
    ) -> Result<Exit, Failure> {
        let defaults = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LANG", "C.UTF-8"), ("HOME", "/nonexistent")];
        for (name, value) in defaults {
            env.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        let run = Run {
            program: program.to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env,
            directory: directory.to_owned(),
            identity: self.owners.app,
            deadline: self.cx.facts.build_deadline,
            log: Some(self.log.clone()),
            interactive: false,
        };
        let clock = self.cx.host.clock();
        let exit = self.cx.host.processes().run_until(&run, &|| clock.cancelled());
        let exit = exit.map_err(Failure::on_host(Phase::Build))?;
        if !exit.ok() && clock.cancelled() { Err(Failure::cancelled(Phase::Build)) } else { Ok(exit) }
    }
}

/// Gives the application the directories that its commands write into (`compilemessages`), and adds `settings_local.py` beside the settings for projects that import it by themselves. It holds no values: those are found
/// through the slot of the process. What the repository has there itself stays. The tree says that nothing was built in it yet.
fn furnish<'a>(
    mut nodes: Box<dyn Iterator<Item = Entry> + 'a>,
    stub: Option<PathBuf>,
    owners: Owners,
) -> Box<dyn Iterator<Item = Entry> + 'a> {
    let owner = Identity { gid: owners.app.gid, ..owners.root };
    let bytes = b"from settings_local import *  # the process's own, by PYTHONPATH\n".to_vec();
    let mut stub = stub.map(|path| (path, Node::File { bytes, mode: 0o640, owner }));
    let mut unbuilt = Some((UNBUILT.into(), Node::File { bytes: Vec::new(), mode: 0o640, owner }));
    let mut for_stub = false;
    Box::new(std::iter::from_fn(move || {
        let Some(entry) = nodes.next() else {
            return unbuilt.take().or_else(|| stub.take().filter(|_| for_stub)).map(Ok);
        };
        Some(entry.map(|(path, node)| {
            stub.take_if(|(ours, _)| *ours == path);
            for_stub |= stub.as_ref().is_some_and(|(ours, _)| ours.parent() == Some(&path));
            hand_over(path, node, owners.app)
        }))
    }))
}

/// Where a project looks that imports `settings_local` beside its settings.
fn settings_local(wanted: &Wanted) -> Option<PathBuf> {
    let module = PathBuf::from(wanted.env.django.as_ref()?.settings.replace('.', "/"));
    Some(wanted.code_dir(Path::new("")).join(module.parent()?).join("settings_local.py"))
}

fn hand_over(path: PathBuf, node: Node, app: Identity) -> (PathBuf, Node) {
    match node {
        Node::Directory { mode, .. } if path.ends_with("LC_MESSAGES") => (path, Node::Directory { mode, owner: app }),
        node => (path, node),
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_repository_has_itself_stays() {
        let (root, app) = (Identity::ROOT, Identity { uid: 7, gid: 8 });
        let owners = Owners { root, app, web_group: 9 };
        let directory = |path: &str| (PathBuf::from(path), Node::Directory { mode: 0o750, owner: root });
        let file = |path: &str| (PathBuf::from(path), Node::File { bytes: vec![], mode: 0o640, owner: root });
        let furnished = |nodes: Vec<(PathBuf, Node)>| {
            let stub = Some("bakery/settings_local.py".into());
            let nodes = furnish(Box::new(nodes.into_iter().map(Ok)), stub, owners);
            nodes.map(Result::unwrap).collect::<Vec<_>>()
        };
        let names =
            |nodes: &[(PathBuf, Node)]| nodes.iter().map(|(path, _)| path.display().to_string()).collect::<Vec<_>>();
        let bare = furnished(vec![directory("bakery")]);
        assert_eq!(names(&bare), ["bakery", UNBUILT, "bakery/settings_local.py"]);
        let own = furnished(vec![directory("bakery"), file("bakery/settings_local.py"), directory("it/LC_MESSAGES")]);
        assert_eq!(names(&own), ["bakery", "bakery/settings_local.py", "it/LC_MESSAGES", UNBUILT]);
        assert_eq!(own[1], file("bakery/settings_local.py"));
        assert_eq!(own[2].1, Node::Directory { mode: 0o750, owner: app });
        assert_eq!(names(&furnished(vec![directory("elsewhere")])), ["elsewhere", UNBUILT]);
    }
}
