//! What is on disks stays readable: the records of each version are kept here, and every later version reads them.
//!
//! `vN/` holds records as a portreeve wrote them whose format number was N. They are never changed. A record that this program
//! writes must hold everything that the newest fixture holds, in its place: whoever renames or drops a field gives the format
//! another number, and a directory of its own. A fixture that is missing is a failure; `PORTREEVE_FIXTURES=write` writes it, from
//! the values below:
//!
//! ```sh
//! PORTREEVE_FIXTURES=write cargo nextest run --test formats
//! ```
//!
//! Not here: `/run/portreeve/pass`, a cache (see `agent/idle/cache.rs`), and what has no format of its own: secrets, marks and
//! flags. `exec.json`, `listing.json` and `N.migrated` belong to a generation and have its record's number; `N.static`
//! has its fixture in `transaction/statics.rs`.

#![expect(clippy::disallowed_methods, reason = "fixtures are files")]

mod values;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use portreeve::agent::{Floors, LastPass, Troubles};
use portreeve::desired::{Generation, GenerationError, Listing};
use portreeve::history::{History, HistoryError, Writer};
use portreeve::model::Boot;
use portreeve::notify::Memory;
use portreeve::observed::Removed;
use portreeve::policy::Standing;
use portreeve::resource::Exec;
use portreeve::settings::AgentSettings;
use portreeve::transaction::{Applied, Intent, JournalError};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/v1").join(name)
}

/// What writes fixtures that are missing, when it is `write`.
const WRITES: &str = "PORTREEVE_FIXTURES";

/// A fixture's bytes. One that is missing is written, from `written`, for whoever asks for that.
fn fixture(name: &str, written: impl FnOnce() -> Vec<u8>) -> Vec<u8> {
    let path = path(name);
    if !path.exists() {
        assert!(
            std::env::var(WRITES).is_ok_and(|value| value == "write"),
            "{} is missing: take it back from git, or write a new one with {WRITES}=write",
            path.display()
        );
        std::fs::write(&path, written()).unwrap();
    }
    std::fs::read(&path).unwrap()
}

/// Whether everything that stands in `old` stands in `new` as well, in its place and with its value.
fn holds(new: &serde_json::Value, old: &serde_json::Value, at: &str) {
    match (new, old) {
        (serde_json::Value::Object(new), serde_json::Value::Object(old)) => {
            for (key, value) in old {
                let found = new.get(key).unwrap_or_else(|| panic!("{at}.{key} is no longer written"));
                holds(found, value, &format!("{at}.{key}"));
            }
        }
        _ => assert_eq!(new, old, "{at} is written in another way"),
    }
}

fn json(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).unwrap()
}

fn toml_as_json(bytes: &[u8]) -> serde_json::Value {
    let table: toml::Table = toml::from_str(std::str::from_utf8(bytes).unwrap()).unwrap();
    serde_json::to_value(table).unwrap()
}

/// Records whose times say by whose clock they are, and older ones of the same format, which don't.
fn with_and_without_a_boot(name: &str) -> [(String, Option<Boot>); 2] {
    [(name.to_owned(), None), (format!("boot-{name}"), Some(values::boot()))]
}

#[test]
fn generations_are_read() {
    let first = with_and_without_a_boot("generation.toml").map(|(name, boot)| (0, name, boot));
    let second = (1, "formula-generation.toml".to_owned(), Some(values::boot()));
    for (formula, name, boot) in first.into_iter().chain([second]) {
        let bytes = fixture(&name, || values::generation(formula, boot.clone()).to_bytes().unwrap());
        let generation = Generation::parse(&bytes).unwrap();
        assert_eq!((generation.format, generation.number, generation.wanted.title().as_str()), (1, 43, "v1.4.2"));
        assert_eq!(
            generation.wanted.is_comparable(),
            formula == 1,
            "digests of the first covered what the host had as well"
        );
        assert_eq!((generation.wanted.env.domains.len(), &generation.boot), (2, &boot));
        let again = generation.to_bytes().unwrap();
        assert_eq!(Generation::parse(&again).unwrap(), generation);
        holds(&toml_as_json(&again), &toml_as_json(&bytes), &name);
        let newer = String::from_utf8(bytes).unwrap().replacen("format = 1", "format = 2", 1);
        let refused = Generation::parse(newer.as_bytes()).unwrap_err();
        assert!(matches!(refused, GenerationError::Newer(2)), "{refused}");
    }
}

#[test]
fn listings_and_launchers_of_generations_are_read() {
    let bytes = fixture("listing.json", || serde_json::to_vec(&values::listing()).unwrap());
    let listing: Listing = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(listing, values::listing());
    holds(&serde_json::to_value(&listing).unwrap(), &json(&bytes), "listing.json");
    let bytes = fixture("exec.json", || serde_json::to_vec_pretty(&values::exec()).unwrap());
    let exec: Exec = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(exec, values::exec());
}

/// How long a hold until a change lasts, by whether what it excludes can be compared with what is wanted now.
fn until(comparable: bool) -> serde_json::Value {
    if comparable { "change" } else { "resume" }.into()
}

#[test]
fn holds_and_quarantine_are_read() {
    for format in 1..=6 {
        let name = format!("v{format}/standing.json");
        let bytes = fixture(&format!("../{name}"), || values::standing(format).to_bytes(&values::boot()));
        let standing = Standing::parse(&bytes, &values::boot()).unwrap();
        assert_eq!(standing, values::standing(format));
        let mut as_then = json(&bytes);
        as_then["standing"]["covered"][1]["kind"]["rolled-back"]["until"] = until(format >= 6);
        holds(&json(&standing.to_bytes(&values::boot()))["standing"], &as_then["standing"], &name);
    }
}

#[test]
fn open_transactions_are_read() {
    let at = Path::new("/var/lib/portreeve/journal/bakery_pro.json");
    let first = with_and_without_a_boot("intent.json").map(|(name, boot)| (name, boot, None));
    let later = |format: u32, standing| {
        (format!("../v{format}/intent.json"), Some(values::boot()), Some(values::standing(standing)))
    };
    for (name, boot, before) in first.into_iter().chain([later(2, 4), later(3, 6)]) {
        let written = values::intent(boot, before);
        let bytes = fixture(&name, || serde_json::to_vec(&written).unwrap());
        let intent = Intent::parse(at, &bytes).unwrap();
        assert_eq!(intent, written);
        let mut as_then = json(&bytes);
        as_then["format"] = Intent::FORMAT.into();
        if let Some(held) = as_then.pointer_mut("/before/covered/1/kind/rolled-back/until") {
            *held = until(name.contains("v3"));
        }
        holds(&serde_json::to_value(&intent).unwrap(), &as_then, &name);
        for length in 0..bytes.len() {
            assert!(matches!(Intent::parse(at, &bytes[..length]), Err(JournalError::Foreign(_))), "{length}");
        }
    }
    let refused = Intent::parse(at, br#"{"format": 4, "shape": "unknown here"}"#).unwrap_err();
    assert!(matches!(refused, JournalError::Newer { found: 4, .. }));
    let words = "/var/lib/portreeve/journal/bakery_pro.json: format 4, of a newer portreeve (this one knows 3)";
    assert!(refused.to_string().starts_with(words), "{refused}");
}

#[test]
fn what_the_last_pass_saw_is_read() {
    let first = std::fs::read(path("last-pass.json")).unwrap();
    assert_eq!(LastPass::parse(&first), None, "its digests say another thing");
    let bytes = fixture("../v2/last-pass.json", || serde_json::to_vec(&values::last_pass()).unwrap());
    let last = LastPass::parse(&bytes).unwrap();
    assert_eq!(last, values::last_pass());
    holds(&serde_json::to_value(&last).unwrap(), &json(&bytes), "v2/last-pass.json");
    let mut newer = json(&bytes);
    newer["format"] = 7.into();
    assert_eq!(LastPass::parse(&serde_json::to_vec(&newer).unwrap()), None, "whatever else is as we know it");
}

#[test]
fn what_people_were_told_is_read() {
    for (name, _) in with_and_without_a_boot("notify.json") {
        let bytes = fixture(&name, || values::memory().to_bytes(&values::boot()));
        let memory = Memory::parse(&bytes, &values::boot()).unwrap();
        assert_eq!(memory, values::memory());
        holds(&json(&memory.to_bytes(&values::boot())), &json(&bytes), &name);
    }
}

#[test]
fn floors_removals_troubles_and_migrations_are_read() {
    let at = Path::new("/state");
    let bytes = std::fs::read(path("floors.json")).unwrap();
    holds(&serde_json::to_value(Floors::parse(at, &bytes).unwrap()).unwrap(), &json(&bytes), "floors.json");
    let bytes = std::fs::read(path("troubles.json")).unwrap();
    holds(&serde_json::to_value(Troubles::parse(at, &bytes).unwrap()).unwrap(), &json(&bytes), "troubles.json");
    let bytes = std::fs::read(path("removed.json")).unwrap();
    let removed = Removed::parse(at, &bytes).unwrap().expect("a whole note");
    holds(&serde_json::to_value(removed).unwrap(), &json(&bytes), "removed.json");
    let bytes = std::fs::read(path("43.migrated")).unwrap();
    let applied: Applied = serde_json::from_slice(&bytes).unwrap();
    holds(&serde_json::to_value(applied).unwrap(), &json(&bytes), "43.migrated");
}

/// A damaged one is none of these: what it said can be found out, or is asked again.
#[test]
fn newer_floors_removals_and_troubles_are_refused_by_name() {
    let newer = br#"{"format": 7, "shape": "unknown here"}"#;
    let refusals = |bytes: &[u8]| {
        let at = |name: &str| Path::new("/var/lib/portreeve").join(name);
        [
            Floors::parse(&at("floors.json"), bytes).err(),
            Troubles::parse(&at("troubles.json"), bytes).err(),
            Removed::parse(&at("removed.json"), bytes).err(),
        ]
    };
    for (refused, name) in refusals(newer).into_iter().zip(["floors", "troubles", "removed"]) {
        let words = format!("/var/lib/portreeve/{name}.json: format 7, of a newer portreeve (this one knows 1)");
        assert!(refused.as_ref().is_some_and(|newer| newer.to_string().starts_with(&words)), "{name}: {refused:?}");
    }
    assert_eq!(refusals(&newer[..20]), [None, None, None]);
}

#[test]
fn hosts_configurations_are_read() {
    let bytes = fixture("agent.toml", || values::AGENT_TOML.as_bytes().to_vec());
    let settings = AgentSettings::parse("agent.toml", std::str::from_utf8(&bytes).unwrap()).unwrap();
    let shown = (settings.repo.as_str(), settings.host.as_deref(), settings.nginx.port, settings.allow_local_git);
    assert_eq!(shown, ("ssh://git@git.example.org/deploy.git", Some("web1"), 8480, true));
    assert_eq!(AgentSettings::parse("agent.toml", &settings.to_toml()).unwrap(), settings);
}

/// The file is copied first: a reader makes files beside it.
#[test]
fn histories_are_read_and_added_to() {
    let directory = tempfile::tempdir().unwrap();
    let made = || {
        let path = directory.path().join("made.sqlite");
        for event in values::events() {
            Writer::default().record(&path, &event, &Vec::new).unwrap();
        }
        rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        std::fs::read(&path).unwrap()
    };
    let bytes = fixture("history.sqlite", made);
    let path = directory.path().join("history.sqlite");
    std::fs::write(&path, &bytes).unwrap();
    let read = || History::open_to_read(&path).unwrap().unwrap().list(None, 1000).unwrap().events;
    let mut found = read();
    found.reverse();
    assert_eq!(found[1..], values::events());
    let more = values::events().remove(0);
    assert_eq!(Writer::default().record(&path, &more, &Vec::new).unwrap(), None, "it goes on, and is not begun again");
    assert_eq!(read()[0], more);

    let fresh = directory.path().join("fresh.sqlite");
    Writer::default().record(&fresh, &more, &Vec::new).unwrap();
    assert_eq!(schema(&fresh), schema(&path), "another schema takes another number");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    assert!(matches!(History::open_to_read(&path), Err(HistoryError::Newer { found: 2, .. })));
}

fn schema(path: &Path) -> Vec<String> {
    let connection = rusqlite::Connection::open(path).unwrap();
    let mut tables = connection.prepare("SELECT sql FROM sqlite_master ORDER BY name").unwrap();
    let rows = tables.query_map([], |row| row.get::<_, String>(0)).unwrap();
    rows.map(|row| row.unwrap().split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}
