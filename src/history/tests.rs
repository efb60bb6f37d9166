//! A history through loss, damage and company.

use super::*;
use crate::model::{CommitId, Digest, ReleaseId};

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

fn summaries(history: &History) -> Vec<String> {
    history.list(None, 100).unwrap().into_iter().map(|event| event.summary).collect()
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
    History::open(&path, now()).unwrap().append(&whole).unwrap();
    let reader = History::open_to_read(&path).unwrap().unwrap();
    assert_eq!(reader.list(Some(&env("bakery/pro")), 10).unwrap(), [whole]);
    assert!(reader.list(Some(&env("bakery/dev")), 10).unwrap().is_empty());
}

#[test]
fn every_kind_is_stored_as_serde_writes_it() {
    use EventKind as K;
    let (_directory, path) = file();
    let mut history = History::open(&path, now()).unwrap();
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
        history.append(&Event { kind, ..event("bakery/pro", kind.as_str()) }).unwrap();
    }
    for event in history.list(None, 100).unwrap().iter().filter(|event| event.env.is_some()) {
        assert_eq!(event.summary, event.kind.as_str());
    }
}

#[test]
fn the_newest_come_first_and_each_environment_has_a_latest() {
    let (_directory, path) = file();
    let mut history = History::open(&path, now()).unwrap();
    for (name, summary) in [("bakery/pro", "1"), ("bakery/dev", "2"), ("bakery/pro", "3")] {
        history.append(&event(name, summary)).unwrap();
    }
    assert_eq!(summaries(&history), ["3", "2", "1", "the history begins here"]);
    assert_eq!(history.list(None, 2).unwrap().len(), 2);
    let latest = history.latest_by_env().unwrap();
    assert_eq!(latest.values().map(|event| event.summary.as_str()).collect::<Vec<_>>(), ["2", "3"]);
}

#[test]
fn readers_do_not_wait_for_a_writer() {
    let (_directory, path) = file();
    let mut history = History::open(&path, now()).unwrap();
    history.append(&event("bakery/pro", "before")).unwrap();
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

#[test]
fn a_damaged_history_is_kept_aside_and_a_fresh_one_says_so() {
    let (directory, path) = file();
    std::fs::write(&path, b"not a database at all, but long enough to be looked at".repeat(100)).unwrap();
    assert!(matches!(History::open_to_read(&path), Err(HistoryError::Damaged { .. })));
    let mut history = History::open(&path, now()).unwrap();
    history.append(&event("bakery/pro", "after")).unwrap();
    let events = history.list(None, 10).unwrap();
    assert_eq!((events.len(), events[1].kind), (2, EventKind::Begun));
    assert!(events[1].why.as_ref().unwrap().contains("history.sqlite.corrupt-20261121T024107Z"));
    let kept = std::fs::read(directory.path().join("history.sqlite.corrupt-20261121T024107Z")).unwrap();
    assert!(kept.starts_with(b"not a database"));
}

#[test]
fn damage_that_shows_only_at_a_write_is_survived_too() {
    let (_directory, path) = file();
    let mut history = History::open(&path, now()).unwrap();
    Connection::open(&path).unwrap().execute_batch("DROP TABLE event").unwrap();
    history.append(&event("bakery/pro", "after")).unwrap();
    assert_eq!(summaries(&history), ["after", "the history begins here"]);
}

#[test]
fn a_newer_schema_is_left_alone() {
    let (_directory, path) = file();
    drop(History::open(&path, now()).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    assert!(matches!(History::open(&path, now()), Err(HistoryError::Newer { found: 2, .. })));
    assert!(matches!(History::open_to_read(&path), Err(HistoryError::Newer { found: 2, .. })));
}

#[test]
fn a_missing_directory_is_a_plain_refusal() {
    let error = History::open(Path::new("/nonexistent/history.sqlite"), now()).unwrap_err();
    assert!(matches!(error, HistoryError::Sqlite { .. }), "{error:?}");
}
