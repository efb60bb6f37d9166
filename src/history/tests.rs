//! A history through loss, damage and company.

use super::*;
use crate::model::{CommitId, Digest, ReleaseId};

fn record(path: &Path, event: &Event, remains: Remains<'_>) -> Result<Option<String>> {
    Writer::default().record(path, event, remains)
}

fn now() -> Timestamp {
    "2026-11-21T02:41:07.123Z".parse().unwrap()
}

fn env(name: &str) -> EnvName {
    EnvName::parse(name).unwrap()
}

fn event(name: &str, summary: &str) -> Event {
    Event::new(now(), Some(env(name)), EventKind::Released, summary)
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.sqlite");
    (directory, path)
}

/// A host of which nothing is known.
fn nothing() -> Vec<Event> {
    Vec::new()
}

/// Two generations that are still there.
fn generations() -> Vec<Event> {
    [1, 2]
        .map(|number| Event { generation: Some(number), ..event("bakery/pro", &format!("released v{number}")) })
        .into()
}

fn open(path: &Path) -> History {
    History::open(path, now(), &nothing).unwrap().0
}

impl History {
    fn add(&self, event: &Event) {
        event.insert(&self.connection).unwrap();
    }
}

fn summaries(history: &History) -> Vec<String> {
    history.list(None, 100).unwrap().events.into_iter().map(|event| event.summary).collect()
}

#[test]
fn an_event_comes_back_whole() {
    let (_directory, path) = file();
    let commit = CommitId::parse(&"8c1f2ab0".repeat(5)).unwrap();
    let whole = Event {
        generation: Some(43),
        release: Some(ReleaseId::new(&commit, &Digest::of(b"key"))),
        rev: Some("v1.5.0".into()),
        deploy_commit: Some(commit),
        by: Some("anna".into()),
        why: Some("cart'); DROP TABLE event; --\n".into()),
        took: Some(Duration::from_millis(6200)),
        ..event("bakery/pro", "v1.4.2 -> v1.5.0")
    };
    assert_eq!(record(&path, &whole, &nothing).unwrap(), None);
    let reader = History::open_to_read(&path).unwrap().unwrap();
    assert_eq!(reader.list(Some(&env("bakery/pro")), 10).unwrap().events, [whole]);
    assert!(reader.list(Some(&env("bakery/dev")), 10).unwrap().events.is_empty());
}

#[test]
fn every_kind_is_stored_as_serde_writes_it() {
    use EventKind as K;
    let (_directory, path) = file();
    let history = open(&path);
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
        K::Begun,
    ];
    for kind in kinds {
        history.add(&Event { kind, ..event("bakery/pro", kind.as_str()) });
    }
    for event in history.list(None, 100).unwrap().events.iter().filter(|event| event.env.is_some()) {
        assert_eq!(event.summary, event.kind.as_str());
    }
}

#[test]
fn the_newest_come_first_and_each_environment_has_a_latest() {
    let (_directory, path) = file();
    let history = open(&path);
    for (name, summary) in [("bakery/pro", "1"), ("bakery/dev", "2"), ("bakery/pro", "3")] {
        history.add(&event(name, summary));
    }
    assert_eq!(summaries(&history), ["3", "2", "1", "the history begins here"]);
    assert_eq!(history.list(None, 2).unwrap().events.len(), 2);
    let latest = history.latest_by_env().unwrap();
    assert_eq!(latest.values().map(|event| event.summary.as_str()).collect::<Vec<_>>(), ["2", "3"]);
}

#[test]
fn readers_do_not_wait_for_a_writer() {
    let (_directory, path) = file();
    let history = open(&path);
    history.add(&event("bakery/pro", "before"));
    let writer = Connection::open(&path).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE; DELETE FROM event;").unwrap();
    let reader = History::open_to_read(&path).unwrap().unwrap();
    assert_eq!(summaries(&reader)[0], "before");
}

#[test]
fn no_history_yet_is_no_error() {
    let (_directory, path) = file();
    assert!(History::open_to_read(&path).unwrap().is_none());
    std::fs::write(&path, b"").unwrap();
    assert!(History::open_to_read(&path).unwrap().is_none());
}

fn database_with(path: &Path, events: usize) {
    let history = open(path);
    (0..events).for_each(|n| history.add(&event("bakery/pro", &format!("event {n} {}", "x".repeat(200)))));
}

/// The file is moved aside, what remains is written first, and the one line says all of it.
#[track_caller]
fn is_rebuilt(directory: &Path, path: &Path) {
    let said = record(path, &event("bakery/pro", "after"), &generations).unwrap().expect("a line");
    let kept = directory.join("history.sqlite.corrupt-20261121T024107Z");
    assert!(said.contains("rebuilt from what this host still knows: 2 events; the one before was damaged ("), "{said}");
    assert!(said.contains(&kept.display().to_string()) && said.lines().count() == 1, "{said}");
    assert!(kept.exists());
    let reader = History::open_to_read(path).unwrap().unwrap();
    let begun = "rebuilt from what this host still knows: 2 events";
    assert_eq!(summaries(&reader), ["after", begun, "released v2", "released v1"]);
    assert_eq!(record(path, &event("bakery/pro", "later"), &generations).unwrap(), None, "said once");
}

#[test]
fn garbage_is_kept_aside_and_the_history_is_rebuilt() {
    let (directory, path) = file();
    std::fs::write(&path, b"not a database at all, but long enough to be looked at".repeat(100)).unwrap();
    assert!(matches!(History::open_to_read(&path), Err(HistoryError::Damaged { .. })));
    is_rebuilt(directory.path(), &path);
    let kept = std::fs::read(directory.path().join("history.sqlite.corrupt-20261121T024107Z")).unwrap();
    assert!(kept.starts_with(b"not a database"));
}

/// Cut anywhere, the events that are asked for come out of it, or it is known to be damaged; a pass always gets its event in.
#[test]
fn a_truncated_history_is_damaged_or_whole_and_always_writable() {
    let (_directory, whole) = file();
    database_with(&whole, 100);
    let bytes = std::fs::read(&whole).unwrap();
    let mut rebuilt = 0;
    for length in (1..bytes.len()).step_by(997) {
        let (_directory, path) = file();
        std::fs::write(&path, &bytes[..length]).unwrap();
        rebuilt += usize::from(record(&path, &event("bakery/pro", "after"), &generations).unwrap().is_some());
        let reader = History::open_to_read(&path).unwrap().unwrap();
        assert_eq!(reader.list(None, 1).unwrap().events[0].summary, "after", "{length} of {} bytes", bytes.len());
    }
    assert!(rebuilt > 5, "only {rebuilt} of the cuts were seen");
}

#[test]
fn a_page_that_was_overwritten_is_damage() {
    let (directory, path) = file();
    database_with(&path, 100);
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 4096;
    bytes[4096..last].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    is_rebuilt(directory.path(), &path);
}

#[test]
fn an_order_to_go_back_does_not_take_the_place_of_the_release_that_it_went_back_to() {
    let (_directory, path) = file();
    let back = Event { generation: Some(1), kind: EventKind::Held, ..event("bakery/pro", "v1 serves again") };
    record(&path, &back, &generations).unwrap();
    let begun = "rebuilt from what this host still knows: 2 events";
    assert_eq!(summaries(&open(&path)), ["v1 serves again", begun, "released v2", "released v1"]);
}

#[test]
fn a_lost_history_is_rebuilt_and_the_event_itself_is_not_told_twice() {
    let (_directory, path) = file();
    let second = Event { generation: Some(2), ..event("bakery/pro", "released v2 in 3s") };
    let said = record(&path, &second, &generations).unwrap().expect("a line");
    assert!(said.ends_with("history.sqlite: rebuilt from what this host still knows: 1 event"), "{said}");
    let begun = "rebuilt from what this host still knows: 1 event";
    assert_eq!(summaries(&open(&path)), ["released v2 in 3s", begun, "released v1"]);
}

#[test]
fn a_hosts_first_event_is_nothing_to_speak_of() {
    let (_directory, path) = file();
    assert_eq!(record(&path, &event("bakery/pro", "released v1"), &nothing).unwrap(), None);
    assert_eq!(summaries(&open(&path)), ["released v1", "the history begins here"]);
}

#[test]
fn damage_that_shows_only_at_a_write_is_survived_too() {
    let (_directory, path) = file();
    drop(open(&path));
    Connection::open(&path).unwrap().execute_batch("DROP INDEX event_env; ALTER TABLE event RENAME TO gone").unwrap();
    assert!(record(&path, &event("bakery/pro", "after"), &nothing).unwrap().is_some());
    assert_eq!(summaries(&open(&path)), ["after", "the history begins here"]);
}

#[test]
fn a_newer_schema_is_refused_by_name_and_left_alone() {
    let (_directory, path) = file();
    drop(open(&path));
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let before = std::fs::read(&path).unwrap();
    for error in [
        record(&path, &event("bakery/pro", "after"), &generations).unwrap_err(),
        History::open_to_read(&path).unwrap_err(),
    ] {
        assert!(matches!(error, HistoryError::Newer { found: 2, .. }));
        let said = error.to_string();
        assert!(said.starts_with(&path.display().to_string()) && said.contains("schema 2, this one knows 1"), "{said}");
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_missing_directory_is_a_plain_refusal() {
    let path = Path::new("/nonexistent/history.sqlite");
    let error = record(path, &event("bakery/pro", "after"), &nothing).unwrap_err();
    assert!(matches!(error, HistoryError::Sqlite { .. }), "{error:?}");
}

#[test]
fn a_writer_goes_on_in_the_file_that_is_there() {
    let (_directory, path) = file();
    let writer = Writer::default();
    let add = |summary: &str| writer.record(&path, &event("bakery/pro", summary), &generations).unwrap();
    assert!(add("first").is_some());
    assert_eq!(add("second"), None);
    let begun = "rebuilt from what this host still knows: 2 events";
    assert_eq!(summaries(&open(&path)), ["second", "first", begun, "released v2", "released v1"], "while it is open");
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(beside(&path, suffix)).unwrap();
    }
    assert!(add("third").is_some(), "begun anew");
    assert_eq!(summaries(&open(&path)), ["third", begun, "released v2", "released v1"]);
}

/// As a newer version leaves it, or a person with `sqlite3`.
#[test]
fn an_event_that_means_nothing_to_us_hides_no_other() {
    let (_directory, path) = file();
    let history = open(&path);
    for (summary, change) in [("1", "kind = 'teleported'"), ("2", "at = 'yesterday'"), ("3", "env = 'No Name'")] {
        history.add(&event("bakery/pro", summary));
        history.connection.execute(&format!("UPDATE event SET {change} WHERE summary = '{summary}'"), []).unwrap();
    }
    assert_eq!(record(&path, &event("bakery/pro", "after"), &nothing).unwrap(), None, "it goes on in the same file");
    let listed = History::open_to_read(&path).unwrap().unwrap().list(None, 100).unwrap();
    let told: Vec<&str> = listed.events.iter().map(|event| event.summary.as_str()).collect();
    assert_eq!((told, listed.unread), (vec!["after", "the history begins here"], 3));
}
