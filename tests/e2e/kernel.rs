//! Kills the program before each system call by which it changes something, lets each of those calls fail, and lets the next
//! pass put things right: on a real kernel, with real systemd and nginx.
//!
//! A call is killed on entering it, so it does not take place; what a kill after it would leave is what the next point finds, and
//! the run's own end is the last one. Each point has a fresh host that begins as the same one ended. What comes after is tried
//! twice: once the next pass comes at once, and once the power goes with the program, and with it what nobody synced, and the host
//! boots before that pass. Where nothing was synced since the point before, a power cut leaves what it left there. Of hosts that
//! were left alike (`left.py`) the first is judged for all: an error in a build leaves what its neighbours do.
//!
//! Points that another thread's call hides from the tracer are not killed; the sweep begins with naming them, a handful. Those that
//! no later run comes by are named at its end: of what a program says, each run notes another number of pieces. More than one in a
//! hundred of these is a mistake of the sweep.
//!
//! Recovery is killed at each of its own points after every [`PAIRED`]th kill: a pair costs some seconds, and there are some
//! hundred thousand, which the sweep in memory (`tests/crash`) tries all. The whole takes two processors some ten hours.
//!
//! `PORTREEVE_CRASH=20` tries every 20th point, `PORTREEVE_CRASH=3/20` the same from the third on; `PORTREEVE_SCENE=rollback`
//! sweeps the scenes of that name only, `PORTREEVE_PART=kills` (`errors`, `pairs`) does nothing else.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use crate::calls::{self, Blow, Point, killable};
use crate::cmd::CmdResult;
use crate::host::Snapshot;
use crate::http;
use crate::oracle::{comes_back, one_generation};
use crate::scenes::{self, Scene};
use crate::share::Share;
use crate::tally::Tally;
use crate::told::told;
use crate::traces::until;
use crate::world::{SITE, World};

/// What a disk answers when it is full, broken, protected, or when the program has too many files open.
const ERRNOS: [&str; 5] = ["ENOSPC", "EIO", "EROFS", "EMFILE", "EDQUOT"];

/// After one kill in so many, recovery is killed too.
const PAIRED: usize = 16;

/// Process numbers that nothing else comes near: of the work, and of the recovery.
const WORK: u32 = 20_000;
const RECOVERY: u32 = 25_000;

/// How often a point may be missed, because a run went another way, before it is given up.
const TRIES: usize = 5;

/// More than there are points.
const ONCE: usize = 10_000;

/// Of so many points one may be hidden.
const FEW: usize = 20;

/// After so many points it is said how far the sweep is.
const TOLD: usize = 10;

/// How the work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Or recovery did: what it left half-made goes with its journal.
    Killed,
    /// A call of it failed: what it could not take away may stay until the next transaction.
    Refused,
}

/// A scene, the host before it, and the points of its work.
struct Sweep {
    scene: &'static Scene,
    /// What its hosts are called; others may run meanwhile.
    name: String,
    before: Snapshot,
    points: Vec<Point>,
    /// What serves at rest where a host was left like this.
    known: RefCell<BTreeMap<String, Option<String>>>,
    tally: Tally,
}

impl Sweep {
    #[track_caller]
    fn of(number: usize, scene: &'static Scene) -> Self {
        let name = format!("kernel{number}");
        let world = World::new(&format!("{name}-before"));
        (scene.before)(&world);
        let before = Snapshot::of(world.host);
        let mut sweep =
            Self { scene, name, before, points: Vec::new(), known: RefCell::default(), tally: Tally::default() };
        let mut world = sweep.world();
        let (done, points) = calls::list(&world.host, WORK, scene.work);
        done.ok();
        sweep.is_done(&world);
        world.host.power_cut();
        world.host.boot_again();
        sweep.boots(&world);
        sweep.is_done(&world);
        sweep.rests(&world, End::Killed);
        sweep.is_done(&world);
        let hidden = points.iter().filter(|point| !point.can_be_killed());
        let hidden = hidden.map(|point| format!("{}: not killed, hidden by another thread's: {point}", scene.name));
        sweep.tally.hidden = hidden.inspect(|line| say(line)).collect();
        say(&format!("{}: {} points", scene.name, points.len()));
        sweep.points = points;
        sweep
    }

    /// Once more the host before the work.
    fn world(&self) -> World {
        let world = World::on(self.before.boot(&self.name));
        (self.scene.booted)(&world);
        world.host.sync();
        world
    }

    /// A world in which the work was struck at `point`.
    fn struck(&self, point: &Point, blow: Blow) -> Result<(World, CmdResult), Missed> {
        in_some_run("the work", || {
            let world = self.world();
            let result = calls::strike(&world.host, WORK, self.scene.work, point, blow).map_err(Missed)?;
            Ok((world, result))
        })
    }

    /// Keeps what is wrong, if `judge` finds anything. How many points it tried: one, or none if it missed that.
    fn judge(&mut self, what: &str, judge: impl FnOnce(&Self) -> Result<(), Missed>) -> usize {
        let (tried, found, text) = match catch_unwind(AssertUnwindSafe(|| judge(self))) {
            Ok(Ok(())) => return 1,
            Ok(Err(Missed(text))) => (0, &mut self.tally.missed, text),
            Err(panic) => (1, &mut self.tally.half_applied, words(&*panic)),
        };
        let line = format!("{}: {what}: {text}", self.scene.name);
        say(&line);
        found.push(line);
        tried
    }

    /// How far it is, now and then.
    fn tell(&self) {
        let Tally { kills, errors, pairs, .. } = &self.tally;
        if (kills + errors + pairs) % TOLD == 0 {
            say(&format!("{}: {}", self.scene.name, self.tally));
        }
    }

    fn kills(&mut self, share: Share) {
        for (number, point) in share.of(killable(&self.points)) {
            let mut done = None;
            self.tally.kills += self.judge(&format!("{number}: killed before {point}"), |sweep| {
                let (world, _) = sweep.struck(&point, Blow::Kill)?;
                if point.after_sync {
                    world.host.keep_for_power_cut();
                }
                sweep.meanwhile(&world);
                sweep.ends_well(&world, End::Killed);
                done = Some(world);
                Ok(())
            });
            if let Some(mut world) = done.filter(|_| point.after_sync) {
                self.tally.cuts += self.judge(&format!("{number}: power cut before {point}"), |sweep| {
                    world.host.power_cut();
                    world.host.boot_again();
                    sweep.boots(&world);
                    sweep.ends_well(&world, End::Killed);
                    Ok(())
                });
            }
            self.tell();
        }
    }

    fn errors(&mut self, share: Share) {
        let points = self.points.clone();
        for (number, (point, errno)) in share.of(points.iter().flat_map(|point| ERRNOS.map(|errno| (point, errno)))) {
            self.tally.errors += self.judge(&format!("{number}: {errno} from {point}"), |sweep| {
                let (world, result) = sweep.struck(point, Blow::Error(errno))?;
                let named = result.stderr.split_whitespace().any(|word| word.starts_with('/'));
                assert!(result.code == 0 || named, "the message names no path: {result}");
                sweep.meanwhile(&world);
                // Before another pass makes it true.
                if result.code == 0 {
                    sweep.is_done(&world);
                }
                let serves = sweep.ends_well(&world, End::Refused);
                assert!(result.code != 0 || serves.as_deref() == sweep.goal(), "{serves:?} serves: {result}");
                Ok(())
            });
            self.tell();
        }
    }

    fn pairs(&mut self, share: Share) {
        for (number, first) in share.of(killable(&self.points)).step_by(PAIRED) {
            let mut seconds = Vec::new();
            self.judge(&format!("{number}: recovery after a kill before {first}"), |sweep| {
                seconds = sweep.recovery(&first)?;
                Ok(())
            });
            for (_, second) in (Share { from: 0, ..share }).of(&seconds) {
                let what = format!("{number}: killed before {first}, and recovery before {second}");
                self.tally.pairs += self.judge(&what, |sweep| {
                    let world = sweep.struck_twice(&first, second)?;
                    sweep.meanwhile(&world);
                    sweep.ends_well(&world, End::Killed);
                    Ok(())
                });
                self.tell();
            }
        }
    }

    /// The points of a recovery: of a pass until it closes the journal that it found.
    fn recovery(&self, first: &Point) -> Result<Vec<Point>, Missed> {
        let (world, _) = self.struck(first, Blow::Kill)?;
        if world.host.sh("ls /var/lib/portreeve/journal 2>/dev/null || true").is_empty() {
            return Ok(Vec::new());
        }
        let (_, points) = calls::list(&world.host, RECOVERY, &["reconcile"]);
        let closes = |point: &Point| point.is("unlinkat", "/var/lib/portreeve/journal");
        let end = points.iter().position(closes).expect("recovery closes the journal");
        Ok(killable(&points[..=end]))
    }

    /// A world in which the work was killed at one point, and the recovery at another.
    fn struck_twice(&self, first: &Point, second: &Point) -> Result<World, Missed> {
        in_some_run("recovery", || {
            let (world, _) = self.struck(first, Blow::Kill)?;
            calls::strike(&world.host, RECOVERY, &["reconcile"], second, Blow::Kill).map_err(Missed)?;
            Ok(world)
        })
    }

    /// Visitors have the old or the new, and nginx could start.
    #[track_caller]
    fn meanwhile(&self, world: &World) {
        world.host.exec_ok(&["nginx", "-t", "-q"]);
        assert_one_of(self.scene.meanwhile, serving(world).as_deref());
    }

    /// After a boot, and before any pass, all of it is one generation.
    #[track_caller]
    fn boots(&self, world: &World) {
        generation(world, || comes_back(world));
        self.meanwhile(world);
    }

    /// What the work is for.
    fn goal(&self) -> Option<&'static str> {
        self.scene.finally[0]
    }

    /// Whoever is told that it went well has it.
    #[track_caller]
    fn is_done(&self, world: &World) {
        assert_eq!(serving(world).as_deref(), self.goal());
        (self.scene.done)(world);
    }

    /// The next passes put everything right, here or where a host was left like this one. What serves then.
    #[track_caller]
    fn ends_well(&self, world: &World, end: End) -> Option<String> {
        let left = world.host.exec_ok(&["python3", "-I", "-S", "-c", include_str!("left.py")]).stdout;
        if let Some(serves) = self.known.borrow().get(&left) {
            return serves.clone();
        }
        self.rests(world, end);
        let serves = serving(world);
        self.known.borrow_mut().insert(left, serves.clone());
        serves
    }

    /// One pass puts everything right, however young what it finds, and the next one changes nothing. What was ordered stays as long
    /// as its hold.
    #[track_caller]
    fn rests(&self, world: &World, end: End) {
        if end == End::Killed {
            world.host.sh(&format!("{LEFT} -exec chmod --reference='{{}}' '{{}}' ';'"));
        }
        let pass = when_due(world).ok();
        if end == End::Killed {
            nothing_half_made(world);
            (self.scene.at_rest)(world);
        }
        let number = generation(world, || ());
        let serving = serving(world);
        assert_eq!(number.is_some(), serving.is_some(), "{serving:?} serves: {pass}");
        assert_one_of(self.scene.finally, serving.as_deref());
        if self.scene.finally.len() == 1 {
            (self.scene.done)(world);
        }
        if self.scene.finally.len() > 1 {
            let held =
                world.host.exec(&["grep", "-q", "rolled-back", "/etc/portreeve/policy/bakery_pro.json"]).code == 0;
            assert_eq!(serving.as_deref() == self.goal(), held, "what serves and the hold differ: {pass}");
        }
        assert_eq!(world.host.sh("ls -A /var/lib/portreeve/journal"), "", "{pass}");
        world.host.sh(SLOTS);
        let found = world.host.sh(ALL);
        let idle = world.reconcile().ok();
        assert_eq!(world.host.sh(ALL), found, "{idle}");
        assert_eq!(generation(world, || ()), number);
    }
}

/// Nothing half-made is left by a pass that follows a kill at once, nor, where others make something as well, by the next whole one.
#[track_caller]
fn nothing_half_made(world: &World) {
    if world.host.sh(LEFT).is_empty() {
        return;
    }
    until("what was left is nobody's", || world.host.sh(&format!("{LEFT} -newerct '-3 seconds'")).is_empty());
    world.host.sh("rm -f /run/portreeve/pass");
    let pass = world.reconcile().ok();
    assert_eq!(world.host.sh(LEFT), "", "nobody's, and still there: {pass}");
}

/// What was made half. A link may be anybody's for a minute.
const LEFT: &str = "find $(ls -d /etc /home/foouser /run/portreeve /var/lib/portreeve 2>/dev/null) ! -type l \\
        '(' -name '.*.new-*' -o -name '.*.gone-*' ')'";

/// What a pass at rest leaves as it is: whatever there is, and whatever runs.
const ALL: &str =
    "find /etc /home/foouser /run/portreeve/bakery_pro /var/lib/portreeve -not -path '*/history.sqlite*' \\
        -printf '%p %i %l %u %g %m %C@\\n' | sort
    systemctl show --property=Id,MainPID,NRestarts,ActiveState 'portreeve-*'
    ps -o pid,args --ppid $(cat /run/nginx.pid)";

/// A slot holds a generation with its unit, or nothing; also the one that does not serve.
const SLOTS: &str = "for slot in a b; do
        unit=portreeve-bakery_pro@$slot.service
        if test -L /etc/portreeve/slots/bakery_pro/$slot; then
            cmp /etc/systemd/system/$unit /etc/portreeve/slots/bakery_pro/$slot/unit
        else
            test ! -e /etc/systemd/system/$unit
        fi
        test $(systemctl show --property=NeedDaemonReload --value $unit) = no
    done";

/// A point that a run did not come by, and what the last one that did not saw.
struct Missed(String);

/// What the first run gives that comes by the point. `who` runs, for the message.
fn in_some_run<T>(who: &str, mut run: impl FnMut() -> Result<T, Missed>) -> Result<T, Missed> {
    let mut last = String::new();
    for _ in 0..TRIES {
        match run() {
            Ok(struck) => return Ok(struck),
            Err(Missed(words)) => last = words,
        }
    }
    Err(Missed(format!("{who} did not come by in {TRIES} runs; the last one: {last}")))
}

/// Which generation all of it is, static files too, once that is `ready`; before the first release and after a removal there is
/// none.
#[track_caller]
fn generation(world: &World, ready: impl FnOnce()) -> Option<u64> {
    let serves = world.host.exec(&["sh", "-c", "ls /etc/portreeve/active/bakery_pro/slot-?"]).code == 0;
    serves.then(|| {
        ready();
        world.host.sh("curl -sf -H 'Host: bakery.example' http://127.0.0.1/static/shop/bakery.css \\
            | cmp - /etc/portreeve/active/bakery_pro/release/shop/static/shop/bakery.css");
        one_generation(world)
    })
}

#[track_caller]
fn serving(world: &World) -> Option<String> {
    let answer = http::get(&world.host, SITE, "/").expect("nginx answers");
    let release = answer.release().map(str::to_owned);
    assert!(release.is_none() || answer.status == 200, "{answer:?}");
    release
}

#[track_caller]
fn assert_one_of(allowed: &[Option<&str>], found: Option<&str>) {
    assert!(allowed.contains(&found), "{found:?} serves, not one of {allowed:?}");
}

/// A pass; after an error there is none for some seconds, which nobody waits for here.
#[track_caller]
fn when_due(world: &World) -> CmdResult {
    let pass = world.reconcile();
    if !["waiting", "blocked"].iter().any(|state| pass.said().contains(&format!("bakery/pro is {state}: "))) {
        return pass;
    }
    world.next_try_in(0);
    world.reconcile()
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

#[expect(clippy::print_stdout, reason = "a sweep takes hours, and tells how far it is")]
fn say(line: &str) {
    println!("{line}");
}

#[test]
fn a_slice_of_the_second_release_is_never_half_applied() {
    let mut sweep = Sweep::of(0, &scenes::SECOND);
    // One of the kills comes between the rename and the socket.
    let moves = |point: &Point| point.is("renameat", "/run/portreeve/bakery_pro");
    let socket = killable(&sweep.points).iter().position(moves).expect("visitors are led to the other slot");
    sweep.kills(Share { from: socket % 110, step: 110 });
    // Before one after that the power goes as well.
    let synced = killable(&sweep.points).iter().skip(socket).position(|point| point.after_sync);
    sweep.kills(Share { from: socket + synced.expect("something is synced"), step: ONCE });
    sweep.errors(Share { from: 200, step: 600 });
    sweep.pairs(Share { from: socket, step: ONCE });
    let Tally { kills, cuts, errors, pairs, hidden, .. } = &sweep.tally;
    assert!([kills, cuts, errors, pairs].into_iter().all(|tried| *tried > 0), "{}", sweep.tally);
    assert!(hidden.len() * FEW <= sweep.points.len(), "{} of {} are hidden", hidden.len(), sweep.points.len());
    told(&sweep.tally.to_string());
    assert_eq!((sweep.tally.half_applied, sweep.tally.missed), (vec![], vec![]));
}

/// What a sweep does, by its name.
type Part = (&'static str, fn(&mut Sweep, Share));

/// One after the other.
const PARTS: [Part; 3] = [("kills", Sweep::kills), ("errors", Sweep::errors), ("pairs", Sweep::pairs)];

/// The wanted parts of a scene.
fn swept(number: usize, scene: &'static Scene, part: &str, share: Share) -> Tally {
    let mut sweep = Sweep::of(number, scene);
    for (_, all) in PARTS.iter().filter(|(name, _)| name.contains(part)) {
        all(&mut sweep, share);
        say(&format!("{}: {}", scene.name, sweep.tally));
    }
    sweep.tally
}

/// All of it: hours, with a scene for each processor at a time. `make crash`.
#[test]
#[ignore = "takes hours: make crash"]
fn nothing_is_ever_half_applied() {
    let wanted = |name: &str| std::env::var(name).unwrap_or_default();
    let (scene, part, share) = (wanted("PORTREEVE_SCENE"), wanted("PORTREEVE_PART"), Share::wanted());
    let scenes = scenes::ALL.iter().enumerate().filter(|(_, all)| all.name.contains(&scene));
    let (scenes, all) = (Mutex::new(scenes), Mutex::new(Tally::default()));
    let next = || scenes.lock().expect("nobody panicked").next();
    let work = || {
        while let Some((number, scene)) = next() {
            let tally = swept(number, scene, &part, share);
            all.lock().expect("nobody panicked").add(tally);
        }
    };
    std::thread::scope(|scope| {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        (0..processors).for_each(|_| drop(scope.spawn(work)));
    });
    let all = all.into_inner().expect("nobody panicked");
    told(&format!("{} points hidden, {} missed, not counted", all.hidden.len(), all.missed.len()));
    all.missed.iter().for_each(|missed| told(missed.lines().next().unwrap_or_default()));
    told(&all.to_string());
    assert_eq!(all.half_applied, [""; 0]);
    assert!(all.kills < FEW || all.cuts > 0, "no power cut came after a sync");
    let tried = all.kills + all.errors + all.pairs;
    assert!(tried > 0, "no scene or part of that name, or no such point");
    assert!(all.missed.len() * 100 <= tried, "more than one in a hundred was missed");
}
