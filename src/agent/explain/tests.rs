//! One night a rule: what is said, whole.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::agent::{Left, Moving, NextPass};
use crate::desired::{Interpreter, Wanted, WantedInput, Why};
use crate::manifest::{self, Entry, Environment, Rev, Tree};
use crate::model::{Activity, Digest, Service};
use crate::observed::Removed;
use crate::policy::{self, Accepted, Hold, HoldKind, Phase, Until};

fn now() -> Timestamp {
    "2026-11-21T02:59:00Z".parse().unwrap()
}

fn before(minutes: i64) -> Timestamp {
    now().checked_sub(SignedDuration::from_mins(minutes)).unwrap()
}

fn commit(digit: char) -> CommitId {
    CommitId::parse(&digit.to_string().repeat(40)).unwrap()
}

fn environment(rev: &str) -> Environment {
    let files = [
        ("portreeve.toml", "schema = 1\n".to_owned()),
        ("hosts/web1.toml", "environments = [\"bakery/pro\"]\n".to_owned()),
        (
            "projects/bakery/project.toml",
            "user = \"foouser\"\nports = \"60000-60049\"\n[source]\ngit = \"https://git.example.org/b.git\"\n\
             [web.gunicorn]\napp = \"bakery.wsgi:application\"\n[django]\nsettings = \"bakery.settings\"\n"
                .to_owned(),
        ),
        (
            "projects/bakery/pro.toml",
            format!("rev = \"{rev}\"\ndomains = [\"bakery.example\"]\n[health]\npath = \"/healthz\"\nstatus = 200\n"),
        ),
    ];
    let tree: Tree = files.into_iter().map(|(path, text)| (path.to_owned(), Entry::File(text.into_bytes()))).collect();
    let (repository, found) = manifest::parse(&tree);
    assert!(found.errors().next().is_none(), "{found:?}");
    repository.unwrap().environments.into_values().next().unwrap().unwrap()
}

/// What an environment could want.
pub fn wanted(rev: &str, app: char, deploy: char) -> Wanted {
    wanted_of(environment(rev), app, deploy, b"")
}

fn wanted_of(env: Environment, app: char, deploy: char, secrets: &[u8]) -> Wanted {
    let python = Interpreter { program: "/usr/bin/python3".into(), version: "3.11.2".to_owned() };
    let (commit, deploy_commit) = (commit(app), commit(deploy));
    let (requirements, installer) = (&b"Django"[..], "pip");
    Wanted::new(WantedInput { env, commit, deploy_commit, python, requirements, installer, secrets, processors: 2 })
}

/// A host on which v1.4.2 serves, and a repository that wants v1.5.0.
struct Night {
    installed: Installed,
    standing: Result<Standing, String>,
    last: LastPass,
    moving: Option<Moving>,
    answer: Option<Answered>,
    pinned: Generation,
    since: Option<Timestamp>,
    next_pass: NextPass,
}

impl Night {
    fn calm() -> Self {
        let serving = wanted("v1.4.2", 'a', '8');
        let name = serving.env.name.clone();
        let generation = Generation {
            format: Generation::FORMAT,
            name: name.clone(),
            number: 42,
            slot: Slot::A,
            at: before(600),
            boot: None,
            why: Why::Push,
            wanted: serving.clone(),
        };
        let pinned = generation.clone();
        let up = Service { activity: Activity::Active, pid: 7, restarts: 0, masked: false };
        let installed = Installed {
            active: Some(42),
            generation: Some(generation),
            services: BTreeMap::from([(Slot::A, up)]),
            newest: 43,
            ..Installed::nothing(name.clone())
        };
        let seen = Seen {
            wants: Some(serving.title()),
            digest: Some(serving.digest),
            changed: Vec::new(),
            current: true,
            left: None,
        };
        let last = LastPass {
            format: 1,
            at: Some(now()),
            fetched: Some(now()),
            tip: Some(commit('8')),
            trouble: None,
            environments: BTreeMap::from([(name, seen)]),
        };
        let answer = Some(Answered::Status { status: 200, took_ms: 11 });
        Self {
            installed,
            standing: Ok(Standing::default()),
            last,
            moving: None,
            answer,
            pinned,
            since: None,
            next_pass: NextPass::At("2026-11-21T02:59:12Z".parse().unwrap()),
        }
    }

    /// v1.5.0 is wanted, and the last pass left it for this reason.
    fn wants_more(left: Option<Left>) -> Self {
        let mut night = Self::calm();
        let wanted = v1_5_0();
        let serving = &night.installed.generation.as_ref().unwrap().wanted;
        let changed = crate::plan::differences(serving, &wanted);
        let (wants, digest) = (Some(wanted.title()), Some(wanted.digest));
        *night.seen() = Seen { wants, digest, changed, current: true, left };
        night
    }

    /// The last pass could not find out what is wanted.
    fn unknown(left: Left) -> Self {
        let mut night = Self::wants_more(Some(left));
        night.seen().current = false;
        night
    }

    fn seen(&mut self) -> &mut Seen {
        self.last.environments.values_mut().next().unwrap()
    }

    fn standing(mut self, change: impl FnOnce(Standing) -> Standing) -> Self {
        self.standing = self.standing.map(change);
        self
    }

    fn explained(&self) -> Explanation {
        let tip =
            CommitInfo { id: commit('8'), subject: "release v1.5.0".into(), author: "Anna".into(), time: before(20) };
        explain(&Facts {
            installed: &self.installed,
            standing: self.standing.as_ref().map_err(String::as_str),
            last: &self.last,
            since: self.since,
            branch: "main",
            tip: Some(&tip),
            moving: self.moving.as_ref(),
            answer: self.answer.as_ref(),
            pinned: Some(&self.pinned),
            next_pass: self.next_pass,
            now: now(),
        })
    }

    /// State, the table's words, and the story.
    fn says(&self) -> String {
        let told = self.explained();
        let rows =
            |label: &str, lines: &[String]| lines.iter().flat_map(|line| [label, " ", line, "\n"]).collect::<String>();
        let mark = if told.needs_you { "!" } else { "" };
        let head = format!("{}{mark} | {} | {}", told.state.as_str(), told.detail, told.users);
        let head = format!("{}\n", head.trim_end());
        [
            head,
            rows("changed", &told.changed),
            rows("rule", &told.rule),
            rows("next", &[told.next]),
            rows("you", &told.you),
        ]
        .concat()
    }
}

fn v1_4_2() -> Digest {
    wanted("v1.4.2", 'a', '8').digest
}

fn v1_5_0() -> Wanted {
    wanted("v1.5.0", 'b', '8')
}

fn failed(class: FailureClass) -> policy::Failure {
    policy::Failure {
        class,
        phase: Phase::Health,
        digest: v1_5_0().digest,
        generation: Some(43),
        cause: "health answered 500, expected 200".to_owned(),
        evidence: Some("ConnectionRefusedError: 127.0.0.1:6380".to_owned()),
        help: None,
        host: None,
    }
}

fn by_anna(kind: HoldKind) -> Hold {
    Hold { kind, by: "anna".into(), reason: Some("cart broken".into()), since: before(120) }
}

fn rollback(until: Until) -> Hold {
    let excludes = BTreeSet::from([v1_5_0().digest]);
    by_anna(HoldKind::RolledBack { pinned: 42, excludes, until, left: Some("v1.5.0".to_owned()) })
}

#[track_caller]
fn is(night: &Night, said: &str) {
    let lines: Vec<&str> = said.trim().lines().map(str::trim).collect();
    assert_eq!(night.says().trim(), lines.join("\n"));
}

#[test]
fn all_is_well() {
    is(
        &Night::calm(),
        "ok |  |
        rule ok: what serves is what the repository wants
        next looked at by each pass (02:59:12 UTC)
        you nothing",
    );
}

#[test]
fn a_release_was_refused() {
    let night = Night::wants_more(None).standing(|it| it.after_failure(failed(FailureClass::Release), before(18)));
    is(
        &night,
        "quarantined! | health: health answered 500, expected 200, 18m ago | users are not affected
        changed rev v1.4.2 -> v1.5.0
        rule quarantined: generation 43 failed health at 02:41 UTC (18m ago)
        rule health answered 500, expected 200; log: ConnectionRefusedError: 127.0.0.1:6380
        next not tried again until its content changes; drift is still corrected
        you portreeve logs bakery/pro --release 43
        you push a fix, or, if the cause lay outside: portreeve retry bakery/pro",
    );
}

/// Of what failed it wants nothing any more: there is nothing to push, and nobody is needed.
#[test]
fn it_was_removed_after_a_release_was_refused() {
    let words = "removed 21 Nov 02:00 UTC; its files go 22 Nov 02:00 UTC; /home/foouser/bakery/pro/data stay";
    let failed = |it: Standing| it.after_failure(failed(FailureClass::Release), before(18));
    let mut night = Night::unknown(Left::Held(words.to_owned())).standing(failed);
    let removed = Some(Removed { format: 1, since: before(59), boot: None, anew: None, kept: Vec::new() });
    night.installed =
        Installed { active: Some(0), newest: 43, removed, ..Installed::nothing(night.installed.name.clone()) };
    night.answer = None;
    let told = night.explained();
    assert_eq!((told.state, told.needs_you, told.detail.as_str()), (State::Stopped, false, words));
}

#[test]
fn somebody_went_back() {
    let held = |until| Night::wants_more(None).standing(|it| it.rolled_back(rollback(until), v1_4_2()));
    is(
        &held(Until::Change),
        "held | by anna, 2h ago: \"cart broken\" | users are not affected
        changed rev v1.4.2 -> v1.5.0
        rule held: anna rolled back v1.5.0 -> v1.4.2, 2h ago: \"cart broken\"
        next stays on v1.4.2; ends by itself when this environment's content differs from v1.5.0's
        you push a fix; or portreeve resume bakery/pro, which releases v1.5.0 again",
    );
    is(
        &held(Until::Resume),
        "held | by anna, 2h ago: \"cart broken\" | users are not affected
        changed rev v1.4.2 -> v1.5.0
        rule held: anna rolled back v1.5.0 -> v1.4.2, 2h ago: \"cart broken\"
        next stays on v1.4.2, whatever is pushed, until somebody resumes it
        you portreeve resume bakery/pro, which releases v1.5.0 again",
    );
}

#[test]
fn somebody_went_back_from_what_served_beside_what_failed_here() {
    let excludes = BTreeSet::from([v1_5_0().digest, Digest::of(b"v1.4.3")]);
    let (until, left) = (Until::Change, Some("v1.4.3".to_owned()));
    let back = by_anna(HoldKind::RolledBack { pinned: 42, excludes, until, left });
    let failed = |it: Standing| it.after_failure(failed(FailureClass::Release), before(180));
    let mut night = Night::wants_more(None).standing(failed).standing(|it| it.rolled_back(back, v1_4_2()));
    night.seen().changed = vec!["rev v1.4.3 -> v1.5.0".to_owned()];
    is(
        &night,
        "held | by anna, 2h ago: \"cart broken\" | users are not affected
        changed rev v1.4.2 -> v1.5.0
        changed the rest is not known before a pass has read the repository
        rule held: anna rolled back v1.4.3 -> v1.4.2, 2h ago: \"cart broken\"
        next stays on v1.4.2; ends by itself when this environment's content differs from v1.5.0's and v1.4.3's
        you push a fix; or portreeve resume bakery/pro and portreeve retry bakery/pro, which tries v1.5.0 again: resume alone leaves it quarantined",
    );
}

/// Right after a rollback, and for as long as git is away.
#[test]
fn what_the_last_pass_compared_serves_no_longer() {
    let changed = |kept: &[&str]| {
        let mut night = Night::wants_more(None);
        night.seen().changed = kept.iter().map(|&change| change.to_owned()).collect();
        night.explained().changed
    };
    let now = ["rev v1.4.2 -> v1.5.0", "the rest is not known before a pass has read the repository"];
    assert_eq!(changed(&[]), now, "it was the same");
    assert_eq!(changed(&["rev v1.4.3 -> v1.5.0", "domains"]), now);
    assert_eq!(changed(&["settings EMAIL_HOST"]), now, "a later v1.4.3 served");
    assert_eq!(changed(&["rev v1.4.2 -> v1.5.0", "domains"]), ["rev v1.4.2 -> v1.5.0", "domains"]);
    let mut same = Night::wants_more(None);
    same.seen().wants = Some("v1.4.2".to_owned());
    same.seen().changed = Vec::new();
    assert_eq!(same.explained().changed[0], "other content of v1.4.2");
}

#[test]
fn nobody_has_looked_for_days() {
    let days = SignedDuration::from_hours(72);
    for next_pass in [NextPass::Missed(days), NextPass::NoneSinceBoot(days)] {
        let mut night = Night { next_pass, ..Night::calm() };
        night.last.fetched = Some(now() - days);
        let told = night.explained();
        assert_eq!(told.rule, ["ok: what serves is what the repository wanted 3d ago; nobody has looked since"]);
        assert_eq!(told.next, format!("looked at by each pass ({next_pass})"));
    }
    let mut night = Night { next_pass: NextPass::NoneSinceBoot(days), ..Night::calm() };
    night.last = LastPass::default();
    let told = night.explained();
    assert!(told.rule[0].ends_with("no pass has looked at the repository since the host started"), "{told:?}");
    assert_eq!(told.you, ["systemctl status portreeve"]);
}

#[test]
fn a_rollback_died_on_its_way() {
    let mut night = Night::wants_more(None).standing(|it| it.rolled_back(rollback(Until::Change), v1_4_2()));
    night.installed.generation.as_mut().unwrap().wanted = v1_5_0();
    let told = night.explained();
    assert_eq!((told.state, told.needs_you), (State::Held, true));
    assert_eq!(told.detail, "the rollback by anna was interrupted; v1.5.0 still serves");
    assert_eq!(told.you, ["portreeve rollback bakery/pro once more; or portreeve resume bakery/pro"]);
}

#[test]
fn nothing_is_to_be_touched() {
    let until = now().checked_add(SignedDuration::from_mins(61)).unwrap();
    let suspended = by_anna(HoldKind::Suspended { until: Some(until) });
    let night = Night::wants_more(None).standing(|it| it.suspended(suspended));
    is(
        &night,
        "suspended | until 04:00 UTC, by anna: \"cart broken\" | users are not affected
        changed rev v1.4.2 -> v1.5.0
        rule suspended: until 04:00 UTC, by anna, 2h ago: \"cart broken\"
        next 04:00 UTC (in 1h 1m) it goes on by itself; until then nothing is changed, not even drift
        you portreeve resume bakery/pro",
    );
}

#[test]
fn somebody_stopped_it() {
    let mut night = Night::calm().standing(|it| it.stopped(by_anna(HoldKind::Stopped)));
    night.installed.services.clear();
    night.answer = Some(Answered::Status { status: 502, took_ms: 1 });
    is(
        &night,
        "stopped | by anna, 2h ago: \"cart broken\" | users get 502
        rule stopped: by anna, 2h ago: \"cart broken\"
        next stays stopped, over reboots and pushes
        you portreeve start bakery/pro",
    );
}

#[test]
fn it_should_run_and_does_not() {
    let mut night = Night::calm();
    night.installed.services.clear();
    night.answer = Some(Answered::Silent("connection refused".to_owned()));
    is(
        &night,
        "blocked! | not running; the next pass starts it | users get no answer: connection refused
        rule blocked: slot a does not run
        next started by the next pass, 02:59:12 UTC
        you portreeve logs bakery/pro
        you portreeve start bakery/pro, which does not wait for the pass",
    );
}

#[test]
fn it_runs_and_does_not_work() {
    let night = Night { answer: Some(Answered::Status { status: 500, took_ms: 1 }), ..Night::calm() };
    is(
        &night,
        "ok! | users get 500 | users get 500
        rule ok: what serves is what the repository wants
        next looked at by each pass (02:59:12 UTC)
        you portreeve logs bakery/pro
        you portreeve restart bakery/pro",
    );
}

#[test]
fn the_host_stands_in_the_way() {
    let words = "port 60001 is held by node (pid 1432, user marco), not by us; stop pid 1432, or change ports in projects/bakery/pro.toml";
    is(
        &Night::wants_more(Some(Left::Blocked(words.to_owned()))),
        "blocked! | port 60001 is held by node (pid 1432, user marco), not by us | users are not affected
        changed rev v1.4.2 -> v1.5.0
        rule blocked: port 60001 is held by node (pid 1432, user marco), not by us
        next looked at again by each pass (02:59:12 UTC), and goes on once this is put right
        you stop pid 1432, or change ports in projects/bakery/pro.toml",
    );
    let full = policy::Failure {
        phase: Phase::Build,
        cause: "/home has 210 MB free; this release needs about 640 MB".to_owned(),
        help: Some("make room".to_owned()),
        ..failed(FailureClass::Host)
    };
    let night = Night::wants_more(None).standing(|it| it.after_failure(full, now()));
    is(&night, "blocked! | host, build: /home has 210 MB free; this release needs about 640 MB, again 02:59:05 UTC | users are not affected
        changed rev v1.4.2 -> v1.5.0
        rule blocked: /home has 210 MB free; this release needs about 640 MB
        rule at build; the host's fault, so the release is not quarantined
        next tried again when the host has changed, or by the first pass after 02:59:05 UTC (failed once; waits double up to 3m)
        you make room
        you portreeve retry bakery/pro, which does not wait");
}

#[test]
fn what_visitors_saw_often_enough_waits_for_the_host() {
    let dropped = || policy::Failure {
        phase: Phase::Switch,
        cause: "nginx was reloaded, but goes on with its old configuration".to_owned(),
        ..failed(FailureClass::Host)
    };
    let thrice = |it: Standing| (0..3).fold(it, |it, _| it.after_failure(dropped(), now()));
    let night = Night::wants_more(None).standing(thrice);
    is(
        &night,
        "blocked! | host, switch: nginx was reloaded, but goes on with its old configuration | users are not affected
        changed rev v1.4.2 -> v1.5.0
        rule blocked: nginx was reloaded, but goes on with its old configuration
        rule at switch; the host's fault, so the release is not quarantined
        next tried again when users, disks, nginx or its files, or who holds a port have changed (failed 3 times; visitors may see each try)
        you portreeve retry bakery/pro, which does not wait",
    );
    assert_eq!(night.explained().retry_at, None);
}

#[test]
fn the_network_failed_and_needs_nobody() {
    let twice = |it: Standing| {
        it.after_failure(failed(FailureClass::Transient), before(1))
            .after_failure(failed(FailureClass::Transient), now())
    };
    let told = Night::wants_more(None).standing(twice).explained();
    assert_eq!((told.state, told.class, told.needs_you), (State::Blocked, Some(FailureClass::Transient), false));
    assert!(told.detail.starts_with("network, health: health answered 500"), "{}", told.detail);
    assert_eq!(told.retry_at, now().checked_add(SignedDuration::from_secs(10)).ok());
    assert_eq!(told.next, "tried again by the first pass after 02:59:10 UTC (failed 2 times; waits double up to 3m)");
}

#[test]
fn the_branch_was_rewritten_until_somebody_agrees() {
    let mut night = Night::unknown(Left::Diverged(
        "main was rewritten; 7777777 (applied) is no ancestor of 8888888 (Anna, 02:39 UTC)
git log --oneline 7777777...8888888
portreeve accept bakery/pro 8888888"
            .to_owned(),
    ));
    night.installed.generation.as_mut().unwrap().wanted.deploy_commit = commit('7');
    let said =
        "diverged! | main was rewritten; 7777777 (applied) is no ancestor of 8888888 (Anna, 02:39 UTC) | users are not affected
        changed rev v1.4.2 -> v1.5.0
        rule diverged: main was rewritten; 7777777 (applied) is no ancestor of 8888888 (Anna, 02:39 UTC)
        next refused at every pass; what serves, serves on
        you git log --oneline 7777777...8888888
        you portreeve accept bakery/pro 8888888";
    is(&night, said);
    let agreed = |digit| Accepted { commit: commit(digit), over: BTreeSet::new(), by: "anna".into(), at: now() };
    let other = night.standing(|it| it.accepted(agreed('6')));
    is(&other, said);
    let accepted = other.standing(|it| it.accepted(agreed('8')));
    assert_ne!(accepted.explained().state, State::Diverged);
}

#[test]
fn the_git_server_is_away() {
    let mut night =
        Night::unknown(Left::Stale("git.example.org not reached (ssh: connection timed out); try later".into()));
    night.last.fetched = Some(before(372));
    night.last.trouble = Some("git.example.org not reached".to_owned());
    is(
        &night,
        "stale! | git.example.org not reached (ssh: connection timed out) | users are not affected
        changed rev v1.4.2 -> v1.5.0
        rule stale: git.example.org not reached (ssh: connection timed out); last read 6h 12m ago
        next tried again by each pass (02:59:12 UTC), by the agent within 3m; newer pushes are unknown here
        you nothing for users; rollback and restart work without git",
    );
    assert_eq!(night.explained().class, Some(FailureClass::Transient));
    let held = night.standing(|it| it.rolled_back(rollback(Until::Change), v1_4_2()));
    assert_eq!(held.explained().state, State::Held, "what a person decided is known without git");
}

#[test]
fn the_server_of_an_application_is_away() {
    let mut night = Night::unknown(Left::Stale("apps.example.org did not answer within 60s; try later".into()));
    (night.last.fetched, night.since) = (Some(before(1)), Some(before(372)));
    is(
        &night,
        "stale! | for 6h 12m: apps.example.org did not answer within 60s | users are not affected
        changed rev v1.4.2 -> v1.5.0
        rule stale: apps.example.org did not answer within 60s; not read for 6h 12m
        next tried again by each pass (02:59:12 UTC), by the agent within 3m; newer pushes are unknown here
        you nothing for users; rollback and restart work without git",
    );
}

#[test]
fn a_release_is_under_way() {
    let mut night = Night::wants_more(None);
    night.moving = Some(Moving {
        generation: 43,
        to: Some("v1.5.0".to_owned()),
        since: now().checked_sub(SignedDuration::from_secs(40)).ok(),
        phase: Some(Phase::Health),
        by: "portreeve (pid 7)".to_owned(),
    });
    is(
        &night,
        "releasing | v1.5.0, now at health, for 40s | users are not affected
        changed rev v1.4.2 -> v1.5.0
        rule releasing: v1.5.0 (generation 43) since 02:58:20 UTC (40s), now at health
        rule by portreeve (pid 7)
        next v1.5.0 serves once it is healthy; until then, and if it is not, v1.4.2
        you portreeve wait bakery/pro",
    );
}

#[test]
fn after_a_boot_only_the_host_is_known() {
    let failed = |it: Standing| it.after_failure(failed(FailureClass::Release), before(18));
    let mut night = Night::calm().standing(failed);
    night.last = LastPass::default();
    assert_eq!(night.explained().state, State::Quarantined);
    let mut later = night;
    later.installed.generation.as_mut().unwrap().at = before(5);
    is(
        &later,
        "ok |  |
        rule ok: nothing is known against it; no pass has looked at the repository since the host started
        next looked at by each pass (02:59:12 UTC)
        you nothing",
    );
}

#[test]
fn what_cannot_be_read_is_told_with_its_cure() {
    let night = Night { standing: Err("x.json: not a record; remove it to forget them".to_owned()), ..Night::calm() };
    let told = night.explained();
    assert_eq!((told.state, told.needs_you), (State::Blocked, true));
    assert_eq!(
        (told.rule, told.you),
        (vec!["blocked: x.json: not a record".to_owned()], vec!["remove it to forget them".to_owned()])
    );
}

#[test]
fn the_next_pass_will_release() {
    is(
        &Night::wants_more(None),
        "ok | v1.5.0 at the next pass | users are not affected
        changed rev v1.4.2 -> v1.5.0
        rule ok: nothing keeps it from v1.5.0
        next released by the next pass, 02:59:12 UTC
        you portreeve reconcile bakery/pro, which does not wait for the pass",
    );
}

#[test]
fn what_changed_is_named_and_never_its_value() {
    let from = wanted("v1", 'a', '8');
    let of = |to: Wanted| crate::plan::differences(&from, &to);
    assert_eq!(of(wanted("v1", 'a', '9')), Vec::<String>::new(), "another deploy commit is no other content");
    assert_eq!(of(wanted("v1", 'b', '8')), ["v1 aaaaaaa -> bbbbbbb"]);
    assert_eq!(of(wanted_of(environment("v1"), 'a', '8', b"secret")), ["a secret on this host"]);
    let mut env = Environment { rev: Rev::Named("v2".to_owned()), ..environment("v1") };
    env.env.insert("API_TOKEN".to_owned(), "hunter2".to_owned());
    env.health.path = "/".to_owned();
    let manifest::Web::Gunicorn(gunicorn) = &mut env.web;
    gunicorn.workers = Some(9);
    assert_eq!(of(wanted_of(env, 'b', '8', b"")), ["rev v1 -> v2", "env API_TOKEN", "health path", "workers 5 -> 9"]);
}

fn lefts() -> [Option<Left>; 5] {
    let words = || "cause; cure".to_owned();
    let all = [Left::Blocked(words()), Left::Stale(words()), Left::Diverged(words()), Left::Waiting(words())];
    let [blocked, stale, diverged, waiting] = all.map(Some);
    [None, blocked, stale, diverged, waiting]
}

fn hold(n: u8, since: Timestamp) -> Option<Hold> {
    let hold = match n {
        0 => return None,
        1 => rollback(Until::Resume),
        2 => by_anna(HoldKind::Suspended { until: None }),
        _ => by_anna(HoldKind::Stopped),
    };
    Some(Hold { since, ..hold })
}

proptest! {
    /// Whatever is so: a person's order is what is said, and every story says what is so, what comes next, and what to do.
    #[test]
    fn every_story_is_whole(
        order in 0..4u8, class in 0..4usize, left in 0..5usize, current in any::<bool>(), runs in any::<bool>(),
        serves in any::<bool>(), minutes in -600_000..600_000i64,
    ) {
        let mut night = Night::wants_more(lefts()[left].clone());
        night.seen().current = current;
        let classes = [FailureClass::Release, FailureClass::Host, FailureClass::Transient];
        let failure = classes.get(class).map(|class| failed(*class));
        let mut night = night.standing(|it| failure.map_or(it.clone(), |failure| it.after_failure(failure, before(minutes))));
        let hold = hold(order, before(minutes));
        night = night.standing(|it| match (order, hold) {
            (1, Some(hold)) => it.rolled_back(hold, v1_4_2()),
            (2, Some(hold)) => it.suspended(hold),
            (3, Some(hold)) => it.stopped(hold),
            _ => it,
        });
        if !runs {
            night.installed.services.clear();
        }
        if !serves {
            night.installed = Installed { active: Some(0), ..Installed::nothing(night.installed.name.clone()) };
            night.answer = None;
        }
        let told = night.explained();
        prop_assert!(!told.rule.is_empty() && !told.next.is_empty() && !told.you.is_empty(), "{told:?}");
        prop_assert!(told.rule[0].starts_with(told.state.as_str()), "{told:?}");
        let stands = [State::Ok, State::Held, State::Suspended, State::Stopped];
        match order {
            2 => prop_assert_eq!(told.state, State::Suspended),
            3 => prop_assert_eq!(told.state, State::Stopped),
            1 if runs || !serves => prop_assert!(matches!(told.state, State::Held | State::Diverged), "{told:?}"),
            _ => {}
        }
        prop_assert!(told.needs_you || stands.contains(&told.state) || told.class == Some(FailureClass::Transient), "{told:?}");
    }
}
