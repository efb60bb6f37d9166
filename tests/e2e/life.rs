//! One environment's life on a booted host: whatever [`Step`] says happens for real.
//!
//! But for one: no time is waited for. And whenever it is to be killed something is pushed, for most passes of a life have nothing
//! to do at which they could be. What the outside world does is on the disk at once; what the program does is when it says so.

use std::collections::BTreeSet;
use std::time::Duration;

use portreeve::policy::Until;

use crate::cmd::CmdResult;
use crate::crash::{Point, died, pass_until};
use crate::edits::{HEALTH_500, HEALTH_500_IN_FRONT, IMPORT_ERROR_AT_START, NO_INDEX};
use crate::ledger::{Became, Counts, Extent, Ledger, Order, Passed, Seen, Wanted};
use crate::oracle::agreed;
use crate::seen::{Started, see};
use crate::step::{Accident, Behaviour, SAME_PACKAGES, Step};
use crate::traces::until_within;
use crate::world::{Edits, World};

const PRO: &str = "projects/bakery/pro.toml";
const PIP: &str = "/etc/pip.conf";
const AGENT: &str = "/etc/portreeve/agent.toml";
const TOMBSTONE: &str = "removed = true\n";

/// Waits that fit two hundred steps, and enough of them for a busy machine to boot gunicorn.
const PRO_TOML: &str = r#"rev = "v1-well"
domains = ["bakery.example", "www.bakery.example"]
keep_releases = 2
warm = "10s"

[web.gunicorn]
workers = 1

[health]
path = "/healthz"
status = 200
timeout = "2s"
deadline = "15s"
passes = 1
bake = "0s"
"#;

/// gunicorn reads this file in its working directory. So the journal says which release was started.
const TELLS: (&str, Option<&str>) = (
    "gunicorn.conf.py",
    Some("def on_starting(server):\n    server.log.info('started %s', open('bakery/__init__.py').read())\n"),
);

/// Where a release changes something, from its first note to its last, and how often at least.
const PLACES: [(&str, u32); 7] = [
    ("/var/lib/portreeve/journal", 3),
    ("/etc/portreeve/generations/bakery_pro", 2),
    ("/home/foouser/bakery/pro/releases", 2),
    ("/etc/portreeve/slots/bakery_pro", 2),
    ("/etc/systemd/system", 1),
    ("/etc/portreeve/active", 3),
    ("/run/portreeve/bakery_pro", 2),
];

/// How they change something there.
const CALLS: &str = "renameat,renameat2,fsync,unlinkat,symlinkat,mkdirat";

/// What may keep a pass from its work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hindrance {
    NoPackages,
    NoRoom,
    /// A pass that lacked something was killed: what it failed by may be in the journal alone, and waits from the next pass on.
    Untold,
}

/// The environment's world.
pub struct Life {
    pub world: World,
    /// What was pushed, oldest first, as the tags are called.
    pushed: Vec<String>,
    /// The commit that was followed when the branch was rewritten.
    followed: Option<String>,
    git: bool,
    /// How packages are found, where they are.
    index: String,
    hindered: BTreeSet<Hindrance>,
    /// How the next pass that gets there ends: killed at a point, and whether the power goes with it.
    doom: Option<(Point, bool)>,
    ledger: Ledger,
    /// By how many the program's clock is wrong.
    days: i64,
}

impl Life {
    /// A release is wanted; nothing is there yet.
    pub fn new(name: &str) -> Self {
        let world = World::on_its_own_disk(name);
        world.host.exec_ok(&["systemctl", "enable", "--now", "nginx"]);
        world.deploy.write(PRO, PRO_TOML);
        let ledger = Ledger::default();
        let index = world.host.read_file(PIP);
        let mut life = Self {
            world,
            pushed: Vec::new(),
            followed: None,
            git: true,
            index,
            hindered: BTreeSet::new(),
            doom: None,
            ledger,
            days: 0,
        };
        life.push(Behaviour::Well);
        life.world.host.sync();
        life
    }

    /// A step, and the pass that comes next. What it did, or the promise that was broken.
    pub fn live(&mut self, step: &Step) -> Result<String, String> {
        let order = self.happen(step)?.map(|order| order.said());
        let said = order.iter().filter_map(|said| said.lines().next()).map(|line| format!("{line}; "));
        let said: String = said.collect();
        Ok(said + &self.pass()?)
    }

    /// The next pass that gets to a point dies there.
    fn doomed(&mut self, share: u16, power: bool) {
        self.doom = Some((point(share), power));
        self.push(Behaviour::Well);
    }

    /// What happens; the order, if it is one.
    fn happen(&mut self, step: &Step) -> Result<Option<CmdResult>, String> {
        match step {
            Step::Push(behaviour) => self.push(*behaviour),
            Step::PushSame => {
                self.world.push_deploy(&[]);
            }
            Step::PushOld(back) => {
                let old = self.pushed.iter().rev().nth(*back).cloned();
                if let Some(old) = old {
                    self.want(old);
                }
            }
            Step::ForcePush => self.rewrite(),
            Step::PutBack => self.put_back(),
            Step::Rollback(until) => {
                let flag: &[&str] = if *until == Until::Resume { &["--until-resume"] } else { &[] };
                let words = [&["rollback", "--reason", "cart broken"], flag].concat();
                return self.order(Order::Rollback(*until), &words);
            }
            Step::Suspend(hours) => {
                let time = format!("{}h", hours.unwrap_or(1_000));
                let length = hours.map(|hours| Duration::from_hours(hours.unsigned_abs()));
                return self.order(Order::Suspend(length), &["suspend", "--reason", "db move", "--for", &time]);
            }
            Step::Resume => return self.order(Order::Resume, &["resume"]),
            Step::Retry => return self.order(Order::Retry, &["retry"]),
            Step::Stop => return self.order(Order::Stop, &["stop"]),
            Step::Start => return self.order(Order::Start, &["start"]),
            Step::Restart => return self.order(Order::Restart, &["restart"]),
            Step::Reboot(days) => {
                let served = self.see().answers;
                self.world.host.power_off();
                self.boots(served);
                self.set_clock(*days);
                self.ledger.booted(Duration::ZERO);
            }
            Step::Remove(minutes) => self.remove(*minutes),
            Step::Name => self.name(),
            Step::Drift(accident) if !self.removed() => {
                self.ledger.drifted = true;
                self.world.host.sh(&format!("{ACTIVE}{}", script(*accident)));
            }
            Step::Git(answers) => {
                self.git = *answers;
                self.world.host.sh(if self.git { "systemctl start ssh" } else { "systemctl stop ssh" });
            }
            Step::Index(answers) => self.index(*answers),
            Step::Room(more) => {
                self.hinder(Hindrance::NoRoom, more.is_some());
                self.due();
            }
            Step::Kill(share) => self.doomed(*share, false),
            Step::PowerCut(share, _) => self.doomed(*share, true),
            Step::Clock(days) => self.set_clock(*days),
            Step::Drift(_) | Step::Wait(_) => {}
        }
        self.is_kept(step);
        Ok(None)
    }

    /// What came from outside is on the disk. Of a push no more than that: what orders and passes did before it is their own to sync.
    fn is_kept(&self, step: &Step) {
        match step {
            Step::Drift(_) | Step::Index(_) | Step::Room(_) | Step::Remove(_) => self.world.host.sync(),
            _ => drop(self.world.host.sh("find /srv/git -mmin -10 -exec sync {} +")),
        }
    }

    fn set_clock(&mut self, days: i64) {
        if days != self.days {
            self.days = days;
            self.ledger.clock_was_set();
            self.world.set_clock((days != 0).then(|| format!("{days:+}d")).as_deref());
        }
    }

    /// Says whether it did so before.
    fn hinder(&mut self, by: Hindrance, does: bool) -> bool {
        let did = self.hindered.remove(&by);
        if does {
            self.hindered.insert(by);
        }
        did
    }

    fn index(&mut self, answers: bool) {
        self.hinder(Hindrance::NoPackages, !answers);
        self.world.host.put_file(PIP, if answers { &self.index } else { NO_INDEX });
        self.due();
    }

    /// What waits for its next try is tried by the next pass.
    fn due(&self) {
        if self.world.host.exec(&["grep", "-q", "\"retry\"", "/etc/portreeve/policy/bakery_pro.json"]).code == 0 {
            self.world.next_try_in(0);
        }
    }

    /// Takes all the room that there is, or gives it back.
    fn fill(&self, full: bool) {
        // What is allocated takes some room for its own record, too.
        let take = "most=$(($(df --output=avail -B1 / | tail -n 1) - (8 << 20)))
            test $most -le 0 || fallocate -l $most /srv/full
            dd if=/dev/zero of=/srv/full.rest bs=64k 2>/dev/null || true";
        self.world.host.sh(if full { take } else { "rm -f /srv/full /srv/full.rest" });
    }

    fn push(&mut self, behaviour: Behaviour) {
        let version = format!("v{}-{}", self.pushed.len() + 1, behaviour.word());
        let edits: Edits<'_> = match behaviour {
            Behaviour::Well => &[],
            Behaviour::Dies => IMPORT_ERROR_AT_START,
            Behaviour::Fails => HEALTH_500,
            Behaviour::FailsInFront => HEALTH_500_IN_FRONT,
        };
        let packages = self.pushed.len() / SAME_PACKAGES as usize;
        let packages = format!("# {packages}\nDjango>=5.2,<5.3\ngunicorn==27.0.1\n");
        let all = [edits, &[TELLS, ("requirements.txt", Some(&*packages))]].concat();
        self.world.push_app(&version, &all, &version);
        self.want(version);
    }

    fn want(&mut self, version: String) {
        self.world.set_rev(&version);
        self.pushed.push(version);
    }

    /// What somebody changed would be left, and be in the way of whoever comes back: that is another tale.
    fn remove(&self, minutes: u64) {
        if self.ledger.drifted || self.removed() {
            return;
        }
        let grace = format!("sed -i '/prune/,$d' {AGENT}; printf '[prune]\\ngrace = \"{minutes}m\"\\n' >>{AGENT}");
        self.world.host.sh(&grace);
        self.world.edit_pro(|text| format!("{TOMBSTONE}{text}"));
    }

    fn name(&self) {
        if self.removed() {
            self.world.edit_pro(|text| text.replacen(TOMBSTONE, "", 1));
        }
    }

    /// It is to be gone.
    fn removed(&self) -> bool {
        self.world.deploy.read(PRO).contains(TOMBSTONE)
    }

    /// What nobody has followed yet can't be rewritten.
    fn rewrite(&mut self) {
        if self.ledger.followed {
            let deploy = &self.world.deploy;
            let tip = deploy.git(&["rev-parse", "HEAD"]).stdout.trim().to_owned();
            self.followed.get_or_insert(tip);
            deploy.git(&["checkout", "--quiet", "--orphan", &format!("other-{}", self.pushed.len())]);
            deploy.commit("rewritten");
            deploy.push_forced();
        }
        self.push(Behaviour::Well);
    }

    /// What is wanted now, on top of what was followed.
    fn put_back(&mut self) {
        if let Some(followed) = self.followed.take() {
            let deploy = &self.world.deploy;
            deploy.git(&["reset", "--quiet", "--soft", &followed]);
            deploy.commit("put back");
            deploy.push_forced();
        }
    }

    fn order(&mut self, order: Order, words: &[&str]) -> Result<Option<CmdResult>, String> {
        let before = self.see();
        let said = self.world.portreeve(&[&words[..1], &["bakery/pro"], &words[1..]].concat());
        self.ledger.ordered(order, said.code == 0, Duration::ZERO, (&before, &self.see()))?;
        Ok(Some(said))
    }

    /// The git server boots with the host. What served is back before any pass, unless something is in its way.
    fn boots(&mut self, serves: bool) {
        self.world.host.boot_again();
        self.fill(false);
        self.git = true;
        self.ledger.booted(Duration::ZERO);
        if serves && !self.ledger.drifted {
            let comes_back = || self.see().answers;
            until_within(Duration::from_secs(90), "the site answers without a pass", comes_back);
        }
    }

    fn see(&self) -> Seen {
        see(&self.world)
    }

    fn wanted<'a>(&self, pushed: &'a str) -> Wanted<'a> {
        match (self.git && self.followed.is_none(), self.removed()) {
            (false, _) => Wanted::Unknown,
            (true, true) => Wanted::Gone,
            (true, false) => Wanted::Release(pushed),
        }
    }

    /// A pass, and the promises after it. What became of it.
    pub fn pass(&mut self) -> Result<String, String> {
        let pushed = self.pushed.last().cloned().unwrap_or_default();
        let wanted = self.wanted(&pushed);
        let (before, started) = (self.see(), Started::from_now(&self.world));
        self.fill(self.hindered.contains(&Hindrance::NoRoom));
        let pass = match self.doom {
            Some((point, _)) => pass_until(&self.world, point, &["--json"]),
            None => self.world.portreeve(&["reconcile", "--json"]),
        };
        self.fill(false);
        let (after, started) = (self.see(), started.until_now(&self.world));
        let hindered = !self.hindered.is_empty();
        let doomed = self.doom.take_if(|_| died(&pass));
        if self.hinder(Hindrance::Untold, hindered && doomed.is_some()) {
            self.due();
        }
        let (became, said) = became(&pass)?;
        let now = Duration::ZERO;
        let passed = Passed { wanted, hindered, before: &before, after: &after, started: &started, now, became };
        let judged = self.ledger.judged(&passed, |extent| agreed(&self.world, extent).map(drop));
        judged.map_err(|why| format!("{why}\n{pass}\n{passed:#?}\n{:#?}", self.ledger))?;
        if doomed.is_some_and(|(_, cut)| cut) {
            self.world.host.power_cut();
            self.boots(self.ledger.served && before.answers && !self.removed());
            let back = self.see();
            let passed = Passed { after: &back, ..passed };
            if self.ledger.comes_back(&passed, self.removed())? {
                agreed(&self.world, Extent::Settled)?;
            }
            return Ok(said + ", and the power went");
        }
        Ok(format!("{said}, {} serves", after.front.as_deref().unwrap_or("nothing")))
    }

    /// What was counted so far.
    pub fn counts(&self) -> &Counts {
        &self.ledger.counts
    }

    /// Nobody does anything any more, and nothing keeps a pass from its work.
    pub fn calm(&mut self) -> Result<(), String> {
        self.doom = None;
        self.set_clock(0);
        self.hinder(Hindrance::NoRoom, false);
        self.index(true);
        self.happen(&Step::Git(true)).and_then(|_| self.happen(&Step::Resume)).map(drop)
    }
}

/// What became of a pass, and in its own word.
fn became(pass: &CmdResult) -> Result<(Became, String), String> {
    if died(pass) {
        return Ok((Became::Killed, "the pass was killed".to_owned()));
    }
    let told: serde_json::Value =
        serde_json::from_str(&pass.stdout).map_err(|error| format!("no answer: {error}\n{pass}"))?;
    let environment = &told["environments"][0];
    let outcome = environment["outcome"].as_str().zip(environment["exit_code"].as_i64());
    let (outcome, code) = outcome.ok_or("the pass says nothing of the environment")?;
    let became = match (outcome, code) {
        ("failed", _) => Became::Failed,
        ("released", _) => Became::Released,
        // A recovery may have found that it is to be in quarantine.
        ("quarantined", _) | (_, 3) => Became::Refused,
        _ => Became::Over,
    };
    Ok((became, outcome.to_owned()))
}

/// One of the points at which a pass may die: drawn by a number, and the same for the same number.
fn point(share: u16) -> Point {
    let points = PLACES.iter().flat_map(|&(path, times)| (1..=times).map(move |nth| (path, nth)));
    let points: Vec<_> = points.collect();
    let (path, nth) = points[usize::from(share) % points.len()];
    Point { name: "somewhere", call: CALLS, path, nth }
}

/// The directory of what serves, and its slot; without one nothing befalls it.
const ACTIVE: &str = "cd /etc/portreeve/active/bakery_pro 2>/dev/null && slot=$(ls -d slot-?) || exit 0
unit=portreeve-bakery_pro@${slot#slot-}.service\n";

fn script(accident: Accident) -> &'static str {
    match accident {
        Accident::NginxLinkGone => "rm -f /etc/nginx/sites-enabled/portreeve-bakery_pro.conf",
        Accident::LogrotateLinkGone => "rm -f /etc/logrotate.d/portreeve-bakery_pro",
        Accident::VhostEdited => "echo '# mine' >>nginx.conf",
        Accident::SettingsReadable => "chmod 644 settings_local.py",
        Accident::UnitEdited => "echo '# mine' >>/etc/systemd/system/$unit; systemctl daemon-reload",
        Accident::SlotStopped => "systemctl stop $unit",
        Accident::SocketMoved => "rm -f /run/portreeve/bakery_pro/web.sock",
    }
}
