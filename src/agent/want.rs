//! From what the repository says of an environment to what this host wants: revisions become commits, versions become programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::desired::{Generation, Interpreter, Wanted, WantedInput};
use crate::host::{HostError, Run};
use crate::manifest::{Environment, Policy, Python, Rev};
use crate::model::{CommitId, EnvName, Identity};
use crate::plan::Want;
use crate::source::{self, Address, Git, LocalPaths, Objects, Refs, Refusal, Resolved, RevError, SourceError, Via};
use crate::transaction::{
    self, Context, Failure, LARGEST_REQUIREMENTS, Requirements, Unread, chain, secret_fingerprint,
};

use super::floor::diverged;
use super::mirrors::{Mirrors, unreachable};
use super::{App, floor, read_standing};

/// No manage.py is larger.
const MANAGE: u64 = 1024 * 1024;

/// Resolves the environments of one pass; each repository is looked at once, and each mirror opened once.
pub struct Resolver<'a> {
    app: &'a App,
    cx: &'a Context<'a>,
    deploy_commit: CommitId,
    refs: BTreeMap<String, Result<Refs, Want>>,
    known: BTreeMap<EnvName, Known>,
    /// Tags that are not where they were when they were released, in words.
    moved: BTreeMap<EnvName, String>,
    mirrors: Mirrors<'a>,
    pythons: BTreeMap<Option<String>, Option<Interpreter>>,
    processors: u32,
}

impl<'a> Resolver<'a> {
    /// A resolver for the repository's state at `deploy_commit`. `names` are the refs to look at, by repository.
    pub fn new(app: &'a App, cx: &'a Context<'a>, deploy_commit: CommitId, environments: &[&Environment]) -> Self {
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for env in environments {
            names.entry(env.source.clone()).or_default().extend(source::select::wanted_refs(&env.rev));
        }
        names.retain(|_, names| !names.is_empty());
        let refs = look_at_all(&app.git, app.local, &names);
        let mut resolver = Self {
            app,
            cx,
            deploy_commit,
            refs,
            known: BTreeMap::new(),
            moved: BTreeMap::new(),
            mirrors: Mirrors::new(app, cx),
            pythons: BTreeMap::new(),
            processors: cx.host.kernel().processors(),
        };
        resolver.bring(environments);
        resolver
    }

    /// Brings what the mirrors lack, as far as the looks told.
    fn bring(&mut self, environments: &[&Environment]) {
        let mut missing: BTreeMap<String, Vec<source::Wanted>> = BTreeMap::new();
        for env in environments.iter().filter(|env| !env.removed) {
            let Some(wanted) = self.lacks(env) else { continue };
            let of_this = missing.entry(env.source.clone()).or_default();
            if !of_this.contains(&wanted) {
                of_this.push(wanted);
            }
        }
        self.mirrors.bring(missing);
    }

    fn lacks(&mut self, env: &Environment) -> Option<source::Wanted> {
        let known = self.known(env).ok()?;
        let found = self.found(env).map(Result::ok);
        let resolved = self.settled(env, &known, found.transpose()?).ok()?;
        self.mirrors.lacks(&env.source, &resolved)
    }

    /// Tags that are not where they were when they were released, in words; and what was found in each repository.
    pub fn done(self) -> (BTreeMap<EnvName, String>, BTreeMap<String, Refs>) {
        (self.moved, self.refs.into_iter().filter_map(|(address, refs)| Some((address, refs.ok()?))).collect())
    }

    /// What this host wants of `env`.
    pub fn want(&mut self, env: &Environment) -> Want {
        match self.wanted(env) {
            Ok(wanted) => Want::Wanted(Box::new(wanted)),
            Err(want) => want,
        }
    }

    fn wanted(&mut self, env: &Environment) -> Result<Wanted, Want> {
        let address = address(self.app, env)?;
        let (commit, objects) = self.commit(env, &address)?;
        let python = self.python(&env.python)?;
        let mut env = env.clone();
        place_manage(&mut env, &objects, &commit)?;
        let requirements = requirements(&env, &objects, &commit)?;
        let secrets =
            secret_fingerprint(self.cx, &env.name).map_err(|error| unread_secrets(self.cx, &env.name, &error))?;
        Ok(Wanted::new(WantedInput {
            env,
            commit,
            deploy_commit: self.deploy_commit.clone(),
            python,
            requirements: &requirements,
            installer: &self.app.facts.installer.key(),
            secrets: &secrets,
            processors: self.processors,
        }))
    }

    fn commit(&mut self, env: &Environment, address: &Address) -> Result<(CommitId, Rc<Objects>), Want> {
        let known = self.known(env).map_err(|failure| Want::Unusable(failure.cause))?;
        let found = self.resolve(env, address);
        let resolved = self.settled(env, &known, found)?;
        let (commit, objects) = self.mirrors.get(&env.source, &resolved)?;
        if let (Via::Branch(branch), Some(released)) = (&resolved.via, &known.released) {
            let followed = objects.follow(released, &commit, env.policy, known.accepted.as_ref());
            followed.map_err(|refusal| rewritten(env, &refusal, branch, &objects))?;
        }
        Ok((commit, objects))
    }

    fn settled(&mut self, env: &Environment, known: &Known, found: Result<Resolved, Want>) -> Result<Resolved, Want> {
        match (found, &known.released) {
            // The server need not be asked: a tag stays where it was.
            (Err(Want::Unknown(_)), Some(commit)) if is_pinned(env) => {
                Ok(Resolved { commit: commit.clone(), via: Via::Commit })
            }
            (found, _) => Ok(self.pinned(env, known, found?)),
        }
    }

    fn known(&mut self, env: &Environment) -> Result<Known, Failure> {
        if let Some(known) = self.known.get(&env.name) {
            return Ok(known.clone());
        }
        let known = Known::of(self.cx, env)?;
        self.known.insert(env.name.clone(), known.clone());
        Ok(known)
    }

    /// What its revision is where it was looked.
    fn found(&self, env: &Environment) -> Result<Result<Resolved, RevError>, Want> {
        let resolve = |refs: &Refs| source::resolve(&env.rev, env.policy, refs);
        match self.refs.get(&env.source) {
            Some(Ok(refs)) => Ok(resolve(refs)),
            Some(Err(want)) => Err(want.clone()),
            None => Ok(resolve(&Refs::default())),
        }
    }

    fn resolve(&self, env: &Environment, address: &Address) -> Result<Resolved, Want> {
        self.found(env)?.or_else(|_| {
            // Everything is looked at before an error is shown, for its near names.
            let all = source::look(&self.app.git, address, &[]).map_err(|error| unreachable(&error))?;
            if all.is_empty() {
                return Err(unreachable(&SourceError::EmptyRepository { address: address.clone() }));
            }
            source::resolve(&env.rev, env.policy, &all)
                .map_err(|error| Want::Unusable(format!("projects/{}.toml: {error}", env.name)))
        })
    }

    /// A tag that has moved is taken for the commit that was released by its name, and told of.
    fn pinned(&mut self, env: &Environment, known: &Known, resolved: Resolved) -> Resolved {
        let (Via::Tag(name), Some(released)) = (&resolved.via, &known.released) else { return resolved };
        let accepted = known.accepted.as_ref() == Some(&resolved.commit);
        match source::pin(name, released, &resolved.commit, env.policy, accepted) {
            Ok(()) => resolved,
            Err(moved) => {
                let cure = format!("name a new tag in projects/{}.toml, or rev = \"{}\"", env.name, moved.now);
                self.moved.insert(env.name.clone(), format!("{moved}\n{cure}"));
                Resolved { commit: moved.was, via: Via::Commit }
            }
        }
    }

    fn python(&mut self, python: &Python) -> Result<Interpreter, Want> {
        let cx = self.cx;
        let found = self.pythons.entry(python.version.clone()).or_insert_with(|| interpreter(cx, python));
        found.clone().ok_or_else(|| {
            let name = program(python);
            Want::Unusable(format!(
                "{name} is not on this host: apt-get install {name}-venv, or change [python] version"
            ))
        })
    }
}

/// No wait mends that.
fn unread_secrets(cx: &Context<'_>, name: &EnvName, error: &HostError) -> Want {
    let place = cx.layout.secrets(name);
    let place = place.display();
    Want::Unusable(format!(
        "its secrets can't be read: {}; each is a plain file of root's: ls -la {place} shows what is there",
        chain(error)
    ))
}

/// What is known of an environment's revision from its time on this host.
#[derive(Clone, Default)]
struct Known {
    /// What was released, or served, when the manifest named this very revision of this repository.
    released: Option<CommitId>,
    /// What a person agreed to in place of it.
    accepted: Option<CommitId>,
}

impl Known {
    fn of(cx: &Context<'_>, env: &Environment) -> Result<Self, Failure> {
        let numbers = floor::numbers(cx, &env.name)?.into_iter();
        let held = numbers.map(|number| match transaction::read_generation(cx, &env.name, number)? {
            Some(generation) if !transaction::was_refused(cx, &env.name, number)? => Ok(Some(generation)),
            _ => Ok(None),
        });
        let commit = match released(env, held)? {
            None => floor::Floors::read(cx)?.renamed(env),
            released => released,
        };
        let Some(commit) = commit else { return Ok(Self::default()) };
        let accepted = read_standing(cx, &env.name)?.accepted_over(&commit).cloned();
        Ok(Self { released: Some(commit), accepted })
    }
}

/// What was released of its revision, by its generations that held, newest first.
fn released(
    env: &Environment,
    held: impl Iterator<Item = Result<Option<Generation>, Failure>>,
) -> Result<Option<CommitId>, Failure> {
    let same = |Generation { wanted, why, .. }: Generation| {
        (wanted.env.rev == env.rev && wanted.env.source == env.source).then_some((why, wanted.commit))
    };
    floor::pushed(held.map(|generation| Ok(generation?.and_then(same))))
}

/// Whether its revision stays put, whatever the server says: pro follows no branch.
pub fn is_pinned(env: &Environment) -> bool {
    match env.rev {
        Rev::Tag(_) | Rev::Commit(_) => true,
        Rev::Named(_) => env.policy == Policy::Pro,
        Rev::Branch(_) => false,
    }
}

fn rewritten(env: &Environment, refusal: &Refusal, branch: &str, objects: &Objects) -> Want {
    let info = objects.commit_info(&refusal.tip).ok();
    Want::Diverged(diverged(&env.name, refusal, &format!("{branch} of {}", env.source), info.as_ref()))
}

/// One look at each repository, side by side: one that is stalled keeps no other waiting.
fn look_at_all(
    git: &Git,
    local: LocalPaths,
    names: &BTreeMap<String, Vec<String>>,
) -> BTreeMap<String, Result<Refs, Want>> {
    std::thread::scope(|scope| {
        let looks = names.iter().map(|(address, names)| (address, scope.spawn(|| look(git, local, address, names))));
        let looks: Vec<_> = looks.collect();
        looks.into_iter().filter_map(|(address, look)| Some((address.clone(), look.join().ok()?))).collect()
    })
}

fn look(git: &Git, local: LocalPaths, address: &str, names: &[String]) -> Result<Refs, Want> {
    let address = Address::parse(address, local).map_err(|error| Want::Unusable(error.to_string()))?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    source::look(git, &address, &names).map_err(|error| unreachable(&error))
}

fn address(app: &App, env: &Environment) -> Result<Address, Want> {
    Address::parse(&env.source, app.local)
        .map_err(|error| Want::Unusable(format!("[source] git of {}: {error}", env.name)))
}

fn program(python: &Python) -> String {
    python.version.as_ref().map_or_else(|| "python3".to_owned(), |version| format!("python{version}"))
}

fn interpreter(cx: &Context<'_>, python: &Python) -> Option<Interpreter> {
    let program = cx.host.processes().find(&[&program(python)])?;
    let run = Run {
        program: program.clone(),
        args: vec!["-I".to_owned(), "-V".to_owned()],
        env: BTreeMap::new(),
        directory: PathBuf::from("/"),
        identity: Identity::ROOT,
        deadline: Duration::from_secs(10),
        log: None,
        interactive: false,
    };
    let exit = cx.host.processes().run(&run).ok().filter(crate::host::Exit::ok)?;
    let said = String::from_utf8_lossy(&exit.stdout).trim().to_owned();
    let version = said.strip_prefix("Python ")?.to_owned();
    Some(Interpreter { program, version })
}

/// manage.py is found where it is; several without `[django] dir` are a question only a person can answer.
fn place_manage(env: &mut Environment, objects: &Objects, commit: &CommitId) -> Result<(), Want> {
    let name = env.name.clone();
    let Some(django) = env.django.as_mut().filter(|django| django.dir.is_none()) else { return Ok(()) };
    let failed = |error: &dyn std::error::Error| Want::Unusable(format!("{name}: {}", chain(error)));
    if objects.file_at(commit, "manage.py", MANAGE).map_err(|error| failed(&error))?.is_some() {
        return Ok(());
    }
    let export =
        source::Export::check(objects, commit, source::ExportLimits::default()).map_err(|error| failed(&error))?;
    let found: Vec<PathBuf> =
        export.files().filter(|path| path.file_name().is_some_and(|file| file == "manage.py")).collect();
    match found.as_slice() {
        [] => Err(Want::Unusable(format!(
            "{name}: the application has no manage.py; say where it is: [django] dir = \"…\""
        ))),
        [one] => {
            django.dir = one.parent().map(Path::to_owned);
            Ok(())
        }
        several => {
            let list: Vec<String> = several.iter().map(|path| path.display().to_string()).collect();
            Err(Want::Unusable(format!(
                "{name}: there are several manage.py ({}); say which: [django] dir = \"…\"",
                list.join(", ")
            )))
        }
    }
}

/// Everything that decides what is installed. What can't be is another content than what can, and is told when it is built.
fn requirements(env: &Environment, objects: &Objects, commit: &CommitId) -> Result<Vec<u8>, Want> {
    let read = |path: &Path| objects.file_at(commit, &path.to_string_lossy(), LARGEST_REQUIREMENTS);
    match Requirements::gather(&env.python.requirements, &read) {
        Ok(requirements) => Ok(requirements.bytes),
        Err(Unread::Refused(failure)) => Ok(failure.cause.into_bytes()),
        Err(Unread::Unreadable(error)) => Err(Want::Unusable(format!("{}: {}", env.name, chain(&error)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Why;
    use crate::model::Slot;
    use crate::plan::wanted;

    fn commit(digit: char) -> CommitId {
        CommitId::parse(&digit.to_string().repeat(40)).unwrap()
    }

    fn generation(why: Why, digit: char) -> Generation {
        let name = EnvName::parse("bakery/pro").unwrap();
        let wanted = Wanted { commit: commit(digit), ..wanted(&name) };
        let (format, at) = (Generation::FORMAT, jiff::Timestamp::UNIX_EPOCH);
        Generation { format, name, number: 1, slot: Slot::A, at, boot: None, why, wanted }
    }

    /// What was released, by these generations, newest first.
    fn of(held: &[(Why, char)]) -> Option<CommitId> {
        let env = generation(Why::Push, 'a').wanted.env;
        released(&env, held.iter().map(|(why, digit)| Ok(Some(generation(why.clone(), *digit))))).unwrap()
    }

    #[test]
    fn what_was_gone_back_to_is_not_what_a_branch_was_followed_to() {
        assert_eq!(of(&[(Why::Rollback(1), 'a'), (Why::Push, 'b'), (Why::Push, 'a')]), Some(commit('b')));
        assert_eq!(of(&[(Why::Restart, 'a'), (Why::Rollback(1), 'a'), (Why::Push, 'b')]), Some(commit('b')));
        assert_eq!(of(&[(Why::Push, 'c'), (Why::Rollback(1), 'a')]), Some(commit('c')));
        assert_eq!(of(&[(Why::Rollback(1), 'a')]), Some(commit('a')), "the others are gone");
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn what_was_released_by_another_revision_does_not_count() {
        let env = generation(Why::Push, 'a').wanted.env;
        let branch = Environment { rev: Rev::Branch("main".to_owned()), ..env };
        assert_eq!(released(&branch, [Ok(Some(generation(Why::Push, 'a')))].into_iter()).unwrap(), None);
    }
}
