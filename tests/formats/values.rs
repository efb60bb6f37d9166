//! What the fixtures say, with every kind of value in it that a record may hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portreeve::agent::{LastPass, Left, Seen as SeenThen};
use portreeve::desired::{Generation, Interpreter, Listed, Listing, Wanted, WantedInput, Why};
use portreeve::history::{Event, EventKind};
use portreeve::manifest::{Entry, Environment, Notify, Tree, parse};
use portreeve::model::{Boot, CommitId, Digest, EnvName, Identity, MailAddress, ReleaseId, SecretUrl, Slot};
use portreeve::notify::{Active, Channel, Failing, Memory, Seen, Sight, State};
use portreeve::policy::{Accepted, Backoff, FailureClass, Hold, HoldKind, Phase, Quarantined, Standing, Until};
use portreeve::resource::Exec;
use portreeve::transaction::Intent;

use super::at;

pub const AGENT_TOML: &str = r#"repo = "ssh://git@git.example.org/deploy.git"
branch = "main"
host = "web1"
schedule = "*/2 * * * *"
jitter = "30s"
manager = "systemd"
allow_local_git = true
[git]
key = "/etc/portreeve/deploy_key"
known_hosts = "/etc/portreeve/known_hosts"
deadline = "2m"
[nginx]
port = 8480
[python]
wheelhouse = "/srv/wheels"
"#;

const MANIFESTS: [(&str, &str); 4] = [
    ("portreeve.toml", "schema = 1\n"),
    ("hosts/web1.toml", "environments = [\"bakery/pro\"]\n"),
    (
        "projects/bakery/project.toml",
        r#"user = "foouser"
ports = "60000-60049"
[source]
git = "https://git.example.org/bakery.git"
[python]
version = "3.11"
requirements = "requirements/pro.txt"
[web.gunicorn]
app = "bakery.wsgi:application"
workers = 3
threads = 2
timeout = "40s"
[django]
settings = "bakery.settings"
"#,
    ),
    (
        "projects/bakery/pro.toml",
        r#"rev = "v1.4.2"
domains = ["bakery.example", "www.bakery.example"]
keep_releases = 3
[health]
path = "/healthz"
status = 200
timeout = "5s"
deadline = "60s"
passes = 2
bake = "10s"
[settings]
EMAIL_HOST = "localhost"
EMAIL_PORT = 25
RATE = 1.5
ADMINS = [["Anna", "anna@example.org"]]
CACHES = { default = { BACKEND = "django.core.cache.backends.locmem.LocMemCache" } }
USE_TZ = true
[env]
LOG_LEVEL = "info"
[nginx]
max_body = "20M"
headers = { X-Frame-Options = "DENY" }
"#,
    ),
];

fn pro() -> EnvName {
    EnvName::parse("bakery/pro").unwrap()
}

fn commit(digit: &str) -> CommitId {
    CommitId::parse(&digit.repeat(40)).unwrap()
}

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn environment() -> Environment {
    let tree: Tree = MANIFESTS.map(|(path, text)| (path, Entry::File(text.as_bytes().to_vec()))).into_iter().collect();
    let (repository, complaints) = parse(&tree);
    assert!(!complaints.has_errors(), "{complaints:?}");
    repository.unwrap().environments.remove(&pro()).unwrap().unwrap()
}

pub fn generation(formula: u32, boot: Option<Boot>) -> Generation {
    let wanted = Wanted::new(WantedInput {
        env: environment(),
        commit: commit("a"),
        deploy_commit: commit("b"),
        python: Interpreter { program: "/usr/bin/python3.11".into(), version: "3.11.2".to_owned() },
        requirements: b"Django>=5.2,<5.3\n",
        installer: "pip",
        secrets: b"secret",
        processors: 2,
    });
    let (at, wanted) = (at("2026-11-21T02:41:07.123456789Z"), Wanted { formula, ..wanted });
    Generation { format: 1, name: pro(), number: 43, slot: Slot::B, at, boot, why: Why::Rollback(41), wanted }
}

pub fn listing() -> Listing {
    let file = Listed::File { sha256: digest("x"), mode: 0o440, owner: Identity { uid: 0, gid: 998 } };
    Listing(BTreeMap::from([
        ("nginx.conf".to_owned(), file),
        ("release".to_owned(), Listed::Link("/home/foouser/bakery/pro/releases/x".into())),
    ]))
}

pub fn exec() -> Exec {
    Exec {
        program: "/home/foouser/bakery/pro/venvs/x/bin/gunicorn".into(),
        args: vec!["--workers=3".to_owned(), "bakery.wsgi:application".to_owned()],
        directory: "/home/foouser/bakery/pro/releases/x".into(),
        env_file: "/etc/portreeve/slots/bakery_pro/b/env.conf".into(),
    }
}

fn hold(kind: HoldKind, reason: Option<&str>) -> Hold {
    Hold { kind, by: "anna".to_owned(), reason: reason.map(str::to_owned), since: at("2026-11-21T02:31:00Z") }
}

pub fn boot() -> Boot {
    Boot::new("5a9ae4bb-4f9a-4e0e-9a59-1ea3d7ec0a3e", at("2026-11-20T18:00:00Z"))
}

/// What the records of this format hold.
pub fn standing(format: u32) -> Standing {
    let second = format >= 2;
    let more = |text: &str| second.then(|| text.to_owned());
    let excludes = BTreeSet::from([digest("one"), digest("two")]);
    Standing {
        hold: Some(hold(HoldKind::Stopped, None)),
        covered: vec![
            hold(HoldKind::Suspended { until: Some(at("2026-11-21T04:00:00Z")) }, Some("db move")),
            hold(
                HoldKind::RolledBack {
                    pinned: 42,
                    excludes: excludes.clone(),
                    // By the digests of the older ones nobody can tell a change.
                    until: if format >= 6 { Until::Change } else { Until::Resume },
                    left: more("v1.5.0"),
                },
                Some("cart broken"),
            ),
        ],
        quarantine: vec![Quarantined {
            digest: digest("two"),
            generation: Some(43),
            phase: Phase::Health,
            cause: "health answered 500".to_owned(),
            evidence: more("KeyError: 'cache'"),
            help: more("start the cache"),
            at: at("2026-11-21T02:41:07Z"),
        }],
        // Before there was a list of it, all that the holds exclude.
        left: if format >= 4 { vec![digest("two")] } else { excludes.iter().copied().collect() },
        retry: Some(Backoff {
            digest: digest("three"),
            failures: 3,
            seen: if format >= 5 { 2 } else { 0 },
            next: at("2026-11-21T02:42:07Z"),
            class: FailureClass::Transient,
            phase: Phase::Build,
            cause: "no route to the package index".to_owned(),
            help: more("wait"),
            host: second.then(|| digest("host")),
        }),
        accepted: Some(Accepted {
            commit: commit("c"),
            over: (format >= 3).then(|| commit("b")).into_iter().collect(),
            by: "anna".to_owned(),
            at: at("2026-11-21T02:45:00Z"),
        }),
    }
}

/// As it is read, whatever the format it was written in.
pub fn intent(boot: Option<Boot>, before: Option<Standing>) -> Intent {
    Intent {
        boot,
        format: Intent::FORMAT,
        env: pro(),
        from: 42,
        to: 43,
        slot: Slot::B,
        slot_before: Some(41),
        digest: Some(digest("two")),
        at: Some(at("2026-11-21T02:41:07Z")),
        asked: false,
        failed: None,
        before,
        met: None,
    }
}

pub fn last_pass() -> LastPass {
    let seen = |left: Option<Left>| SeenThen {
        wants: Some("v1.4.2".to_owned()),
        digest: Some(digest("content")),
        changed: vec!["commit".to_owned()],
        current: true,
        left,
    };
    let environments = ["held", "quarantined", "waiting", "blocked", "diverged", "stale", "none"].map(|state| {
        let words = "by anna".to_owned();
        let left = match state {
            "held" => Some(Left::Held(words)),
            "quarantined" => Some(Left::Quarantined(words)),
            "waiting" => Some(Left::Waiting(words)),
            "blocked" => Some(Left::Blocked(words)),
            "diverged" => Some(Left::Diverged(words)),
            "stale" => Some(Left::Stale(words)),
            _ => None,
        };
        (EnvName::parse(&format!("bakery/{state}")).unwrap(), seen(left))
    });
    LastPass {
        format: 2,
        at: Some(at("2026-11-21T02:41:07Z")),
        fetched: Some(at("2026-11-21T02:39:07Z")),
        tip: Some(commit("b")),
        trouble: Some("connection timed out".to_owned()),
        environments: environments.into(),
    }
}

pub fn memory() -> Memory {
    let notify = Notify {
        email: MailAddress::parse("ops@example.org").ok(),
        webhook: SecretUrl::parse("https://chat.example.org/hook/token").ok(),
        heartbeat: SecretUrl::parse("https://watch.example.org/ping/token").ok(),
    };
    let name = |text: &str| EnvName::parse(text).unwrap();
    let broken = Sight {
        about: Some(digest("two").to_string()),
        wants: Some("v1.5.0".to_owned()),
        attempt: Some(43),
        ..Sight::of(State::Quarantined, "health: GET /healthz answered 500")
    };
    let stale = Sight { passing: true, ..Sight::of(State::Stale, "connection timed out") };
    let environments = BTreeMap::from([
        (name("bakery/pro"), Some(broken)),
        (name("bakery/stage"), Some(stale)),
        (name("bakery/dev"), Some(Sight::ok())),
    ]);
    let seen = Seen { host: "web1", at: at("2026-11-21T02:41:07Z"), whole: true, itself: Sight::ok(), environments };
    let mut memory = Memory::default()
        .after(&seen, &notify, &|_| Some(Active { title: "v1.4.2 (generation 42)".to_owned(), runs: true }));
    let failing = Failing { since: at("2026-11-21T02:41:08Z"), cause: "answered 500".to_owned() };
    memory.failing.insert(Channel::Webhook, failing);
    memory
}

/// One of each kind, the first with all that an event may hold.
pub fn events() -> Vec<Event> {
    use EventKind as K;
    let kinds = [
        K::Released,
        K::NotReleased,
        K::RolledBack,
        K::Repaired,
        K::Held,
        K::Resumed,
        K::Retried,
        K::Stopped,
        K::Started,
        K::Restarted,
        K::Removed,
        K::Adopted,
        K::Accepted,
    ];
    let event = |kind: K| Event::new(at("2026-11-21T02:41:07.123Z"), Some(pro()), kind, format!("this was {kind:?}"));
    let mut events: Vec<Event> = kinds.map(event).into();
    let commit = commit("b");
    events[0] = Event {
        generation: Some(43),
        release: Some(ReleaseId::new(&commit, &digest("key"))),
        rev: Some("v1.5.0".to_owned()),
        deploy_commit: Some(commit),
        by: Some("anna".to_owned()),
        why: Some("cart broken".to_owned()),
        took: Some(Duration::from_millis(6200)),
        ..events[0].clone()
    };
    events
}
