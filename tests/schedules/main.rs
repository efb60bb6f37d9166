//! Two agents of which one knows more, and their pruning, with a rollback, a renewal of the configuration or a removal between
//! them, on one environment, in as many orders as there are seeds. Files and locks are real ones.

#![expect(clippy::disallowed_methods, reason = "a test finds out how much it may do")]

mod machine;
#[path = "../lives/told.rs"]
mod told;
mod turns;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use portreeve::agent::{Given, Order, Outcome, Target, carry_out, environment, read_standing};
use portreeve::desired::{Interpreter, Wanted, WantedInput};
use portreeve::host::Clock as _;
use portreeve::manifest::{Entry, Environment, Tree, parse};
use portreeve::model::{CommitId, Digest, EnvName, Found, Identity, Layout, Manager, Node, Root, SlotId};
use portreeve::plan::{Action, Decision, EnvPlan, Want, decide};
use portreeve::policy::Until;
use portreeve::transaction::{
    self, Context, Entry as TreeEntry, Facts, Failure, FailureKind, Installer, Quiet, Tool, Trees, Watch,
};

use machine::Machine;

/// In `make test`. `PORTREEVE_SCHEDULES` says another number.
const SCHEDULES: u64 = 400;

const PROJECT: &str = "user = \"foouser\"\nports = \"60000-60049\"\n[source]\ngit = \"https://git.example.org/b.git\"\n\
    [web.gunicorn]\napp = \"b:app\"\n";

fn name() -> EnvName {
    EnvName::parse("bakery/pro").expect("a name")
}

/// The power of two of turns that somebody lets pass at most.
const LATEST: u64 = 12;

/// Passes of an agent, at most.
const PASSES: usize = 4;

/// What makes another configuration of the same release.
const RENEWED: &str = "[nginx]\nheaders = { X-Vhost = \"renewed\" }\n";

fn manifest(rev: &str, and: &str) -> Environment {
    let mut tree = Tree::new();
    let pro = format!(
        "rev = \"{rev}\"\ndomains = [\"bakery.example\"]\nkeep_releases = 2\n[health]\npath = \"/\"\nstatus = 204\n\
         passes = 2\nbake = \"1s\"\n{and}"
    );
    for (path, text) in [
        ("portreeve.toml", "schema = 1\n"),
        ("hosts/web1.toml", "environments = [\"bakery/pro\"]\n"),
        ("projects/bakery/project.toml", PROJECT),
        ("projects/bakery/pro.toml", &pro),
    ] {
        tree.insert(path, Entry::File(text.as_bytes().to_vec()));
    }
    let (repository, diagnostics) = parse(&tree);
    assert!(diagnostics.errors().next().is_none(), "{:?}", diagnostics.errors().collect::<Vec<_>>());
    let repository = repository.expect("a repository");
    repository.environments.get(&name()).expect("it is there").as_ref().expect("without mistakes").clone()
}

fn want(rev: &str) -> Want {
    Want::Wanted(Box::new(wanted(rev, "")))
}

fn wanted(rev: &str, and: &str) -> Wanted {
    let commit = CommitId::parse(&Digest::of(rev.as_bytes()).to_string()[..40]).expect("a commit");
    Wanted::new(WantedInput {
        env: manifest(rev, and),
        deploy_commit: commit.clone(),
        commit,
        python: Interpreter { program: "/usr/bin/python3".into(), version: "3.11.2".to_owned() },
        requirements: b"gunicorn\n",
        installer: "pip",
        secrets: b"",
        processors: 2,
    })
}

#[derive(Debug)]
struct OneFile;

impl Trees for OneFile {
    fn each(
        &self,
        _: &Wanted,
        owner: Identity,
        take: &mut dyn FnMut(&mut dyn Iterator<Item = TreeEntry>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let node = Node::File { bytes: b"gunicorn\n".to_vec(), mode: 0o640, owner };
        take(&mut std::iter::once(Ok((PathBuf::from("requirements.txt"), node))))
    }
}

/// A host with `v1` and `v2` released, of which `v2` serves.
struct World {
    machine: Machine,
    layout: Layout,
    facts: Facts,
    _directory: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let directory = directory.expect("a directory");
        let layout = Layout::new(Root::at(directory.path()));
        let machine = Machine::new(&layout);
        let facts = Facts {
            manager: Manager::Supervisor,
            web_user: "www-data".to_owned(),
            web_group: "www-data".to_owned(),
            http_port: 80,
            launcher: vec!["/usr/bin/portreeve".to_owned()],
            installer: Installer { tool: Tool::Pip, wheelhouse: None, env: std::collections::BTreeMap::new() },
            build_deadline: Duration::from_mins(1),
        };
        let world = Self { machine, layout, facts, _directory: directory };
        for rev in ["v1", "v2"] {
            let outcome = world.pass(want(rev)).expect("it is decided");
            assert!(matches!(outcome, Outcome::Released { .. }), "{outcome:?}");
        }
        world
    }

    fn cx(&self) -> Context<'_> {
        Context { host: &self.machine, layout: &self.layout, facts: &self.facts, trees: &OneFile, report: &Quiet }
    }

    /// What a pass that wants this decides now.
    fn plan(&self, want: Want) -> Result<EnvPlan, Failure> {
        let cx = self.cx();
        let services = cx.host.services().services().expect("they answer");
        let installed = transaction::installed(&cx, &name(), &services)?;
        let standing = read_standing(&cx, &name())?;
        let (foreign, renders_differently, now) = (None, false, self.machine.now());
        let (moved, grace, installed, standing) = (None, Duration::ZERO, &installed, &standing);
        let decision = Decision { want, moved, installed, standing, foreign, renders_differently, grace, now };
        Ok(decide(decision))
    }

    fn pass(&self, want: Want) -> Result<Outcome, Failure> {
        let looked = self.machine.now();
        let plan = self.plan(want)?;
        Ok(environment(&self.cx(), &plan, looked))
    }

    /// Passes until one of them had its turn with the environment.
    fn passes(&self, want: &Want) -> Result<Outcome, Failure> {
        let mut outcome = self.pass(want.clone());
        for _ in 1..PASSES {
            let Ok(Outcome::Left(_)) = outcome else { break };
            outcome = self.pass(want.clone());
        }
        outcome
    }

    /// Lets a few turns pass, or many: who comes first is not always who has least to look at.
    fn linger(&self, random: u64) {
        let most = 1 << ((random >> 32) % LATEST);
        (0..random % most).for_each(|_| self.machine.turns.step());
    }

    fn rollback(&self) -> Result<String, String> {
        self.give(Order::Rollback { to: Target::Previous, until: Until::Resume })
    }

    /// How many switches there had been when it was obeyed.
    fn suspend(&self) -> Result<usize, String> {
        self.give(Order::Suspend { until: None })?;
        Ok(self.machine.switches.lock().expect("nobody panicked").len())
    }

    fn give(&self, order: Order) -> Result<String, String> {
        let wait = Some(Duration::from_hours(24));
        let given = Given { order, by: "anna".to_owned(), reason: Some("cart broken".to_owned()), wait };
        carry_out(&self.cx(), &name(), &given).map_err(|error| transaction::chain(&error))
    }

    /// Passes until nothing is left to do.
    fn settle(&self, want: &Want) -> EnvPlan {
        for _ in 0..4 {
            drop(transaction::recover(&self.cx(), &name(), Watch::Bake).expect("what is left can be ended"));
            let plan = self.plan(want.clone()).expect("it is decided");
            if !plan.changes() {
                return plan;
            }
            drop(self.pass(want.clone()));
        }
        panic!("it does not come to rest: {:?}", self.plan(want.clone()));
    }

    /// What serves; generation, slot, socket and processes are of one state.
    fn serving(&self) -> Wanted {
        let cx = self.cx();
        let services = cx.host.services().services().expect("they answer");
        let installed = transaction::installed(&cx, &name(), &services).expect("it is whole");
        let generation = installed.generation.expect("something serves");
        let slot = SlotId { env: name(), slot: generation.slot };
        let runs = self.machine.runs(&slot).expect("the slot runs");
        assert!(runs.ends_with(&format!("/{}", generation.number)), "slot {} runs {runs}", slot.slot);
        let socket = cx.host.files().look(&self.layout.web_socket(&name())).expect("it is looked at");
        assert_eq!(socket, Found::Link(format!("{}/s", slot.slot).into()));
        let journal = cx.host.files().list(&self.layout.journal()).expect("it is listed");
        assert!(journal.is_empty(), "the journal is open");
        assert!(installed.drift.is_empty(), "{:?}", installed.drift);
        generation.wanted
    }
}

/// What happened to each actor.
type Said = Mutex<Vec<(&'static str, Result<Outcome, Failure>)>>;

/// Nothing failed: what gave way says so, and that is all.
fn sound(said: &Said) -> Result<(), String> {
    for (who, outcome) in said.lock().expect("nobody panicked").iter() {
        let failure = match outcome {
            Ok(Outcome::Failed(failure) | Outcome::NotReleased { failure, .. }) => failure.as_ref(),
            Err(failure) => failure,
            Ok(_) => continue,
        };
        if !matches!(failure.kind, FailureKind::Cancelled | FailureKind::GaveWay) {
            return Err(format!("{who}: {failure:?}"));
        }
    }
    Ok(())
}

/// Only the older one gave way.
fn none_stopped(said: &Said) -> bool {
    let said = said.lock().expect("nobody panicked");
    said.iter()
        .filter(|(who, _)| *who != "older")
        .all(|(_, outcome)| !matches!(outcome, Ok(Outcome::NotReleased { .. }) | Err(_)))
}

/// Whether there was nothing to go back to for a while, or nothing else.
fn removed(said: &Said) -> bool {
    said.lock().expect("nobody panicked").iter().any(|(_, outcome)| matches!(outcome, Ok(Outcome::Removed(_))))
}

fn check(condition: bool, words: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(words()) }
}

/// Who comes between the two agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Third {
    /// An agent that wants the same as the newer one.
    Twin,
    /// A person who goes back.
    Rollback,
    /// An agent that wants `v4` with another configuration.
    Renewal,
    /// An agent that was told to take all of it away; what the newer one wants is put back afterwards.
    Removal,
    /// Those three of them at once. A rollback of what is gone comes to nothing.
    All,
    /// A person who wants nothing to move.
    Suspend,
}

impl Third {
    fn of(seed: u64) -> Self {
        match seed % 6 {
            0 => Self::Rollback,
            1 => Self::Twin,
            2 => Self::Renewal,
            3 => Self::Removal,
            4 => Self::All,
            _ => Self::Suspend,
        }
    }

    /// What the repository says in the end.
    fn last(self) -> Want {
        if matches!(self, Self::Renewal | Self::All) {
            Want::Wanted(Box::new(wanted("v4", RENEWED)))
        } else {
            want("v4")
        }
    }
}

/// An agent that wants `v3`, one that looked later and wants `v4`, and perhaps a third.
fn play(seed: u64, third: Third) -> Result<u64, String> {
    let world = World::new();
    let (said, back, still) = (Said::default(), Mutex::new(None), Mutex::new(None));
    // The older one looked before anything began.
    let looked = world.machine.now();
    let older = world.plan(want("v3")).expect("it is decided");
    let tell = |who, outcome| said.lock().expect("nobody panicked").push((who, outcome));
    let mut actors: Vec<Box<dyn FnOnce() + Send>> = vec![
        Box::new(|| {
            world.linger(seed.wrapping_mul(0xd134_2543_de82_ef95));
            tell("older", Ok(environment(&world.cx(), &older, looked)));
        }),
        Box::new(|| tell("newer", world.passes(&want("v4")))),
    ];
    if third == Third::Twin {
        actors.push(Box::new(|| tell("twin", world.passes(&want("v4")))));
    }
    if matches!(third, Third::Rollback | Third::All) {
        actors.push(Box::new(|| {
            world.linger(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            *back.lock().expect("nobody panicked") = Some(world.rollback());
        }));
    }
    if matches!(third, Third::Renewal | Third::All) {
        actors.push(Box::new(|| tell("renewal", world.passes(&third.last()))));
    }
    if matches!(third, Third::Removal | Third::All) {
        actors.push(Box::new(|| tell("removal", world.passes(&Want::Absent { tombstone: true }))));
    }
    if third == Third::Suspend {
        actors.push(Box::new(|| {
            world.linger(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            *still.lock().expect("nobody panicked") = Some(world.suspend());
        }));
    }
    let switches = world.machine.turns.run(seed, actors);
    sound(&said)?;
    check(third != Third::Twin || none_stopped(&said), || {
        format!("what is wanted was stopped for itself: {:?}", said.lock())
    })?;
    let plan = world.settle(&third.last());
    let serving = world.serving();
    let title = serving.title();
    if let Some(suspended) = still.into_inner().expect("nobody panicked") {
        let (then, now) = (suspended?, world.machine.switches.lock().expect("nobody panicked").len());
        check(then == now, || format!("suspended after {then} switches, and there were {now}"))?;
        check(matches!(plan.action, Action::Suspended(_)), || format!("not suspended: {:?}", plan.action))?;
        return Ok(switches);
    }
    match (back.into_inner().expect("nobody panicked"), third.last()) {
        (Some(Ok(words)), _) => {
            check(words.starts_with(&format!("{title} serves again")), || format!("{words}, but {title} serves"))?;
            check(matches!(plan.action, Action::Held(_)), || format!("not held: {:?}", plan.action))?;
        }
        (Some(Err(words)), _) if !removed(&said) => return Err(format!("no rollback: {words}")),
        (_, Want::Wanted(last)) => check(serving.digest == last.digest, || format!("{title} serves"))?,
        (_, other) => return Err(format!("nothing is wanted: {other:?}")),
    }
    let may_go_back = matches!(third, Third::Rollback | Third::All);
    check(may_go_back || !fell_back(&world), || "an older plan replaced a newer release".to_owned())?;
    Ok(switches)
}

/// Whether `v3` ever came after `v4`.
fn fell_back(world: &World) -> bool {
    let titles = world.machine.switches.lock().expect("nobody panicked");
    titles.iter().skip_while(|title| *title != "v4").any(|title| title == "v3")
}

#[test]
fn whatever_the_order_one_state_serves_and_the_last_word_counts() {
    let count = std::env::var("PORTREEVE_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(SCHEDULES);
    let next = std::sync::atomic::AtomicU64::new(0);
    let (switches, wrong) = (std::sync::atomic::AtomicU64::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    if seed >= count {
                        return;
                    }
                    match play(seed, Third::of(seed)) {
                        Ok(some) => drop(switches.fetch_add(some, std::sync::atomic::Ordering::SeqCst)),
                        Err(words) => wrong.lock().expect("nobody panicked").push(format!("seed {seed}: {words}")),
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("nobody panicked");
    let switches = switches.into_inner();
    told::told(&format!("{count} schedules, {switches} changes of turn, {} wrong", wrong.len()));
    assert!(wrong.is_empty(), "{}", wrong.iter().take(10).cloned().collect::<Vec<_>>().join("\n"));
}
