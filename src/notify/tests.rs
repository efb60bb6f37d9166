//! Many ticks, and what people are told of them.

use std::sync::Mutex;

use super::*;
use crate::host::{Mail, Post};
use crate::model::{Boot, MailAddress, SecretUrl};
use crate::notify::deliver;

const WEB1: &str = "web1";

fn at(minutes: i64) -> Timestamp {
    let start: Timestamp = "2026-11-21T02:41:00Z".parse().unwrap();
    start.checked_add(SignedDuration::from_mins(minutes)).unwrap()
}

fn pro() -> EnvName {
    EnvName::parse("bakery/pro").unwrap()
}

fn webhook() -> Notify {
    Notify { webhook: SecretUrl::parse("https://chat.example.org/hook/s3cret").ok(), ..Notify::default() }
}

fn seen(minutes: i64, sight: Option<Sight>) -> Seen<'static> {
    let environments = BTreeMap::from([(pro(), sight)]);
    Seen { host: WEB1, at: at(minutes), whole: true, itself: Sight::ok(), environments }
}

fn broken(content: &str) -> Sight {
    let about = Some(content.to_owned());
    let wants = Some(content.to_owned());
    Sight { about, wants, attempt: Some(43), ..Sight::of(State::Quarantined, "health: GET /healthz answered 500") }
}

#[expect(clippy::unnecessary_wraps, reason = "as it is asked for")]
fn active(title: &str, runs: bool) -> Option<Active> {
    Some(Active { title: title.to_owned(), runs })
}

/// What is told of these sights, one a minute.
fn told(sights: impl IntoIterator<Item = Option<Sight>>) -> Vec<String> {
    let mut memory = Memory::default();
    for (minute, sight) in (0..).zip(sights) {
        memory = memory.after(&seen(minute, sight), &webhook(), &|_| active("v1.4.2 (generation 42)", true));
    }
    memory.outbox.iter().map(|letter| format!("{} <- {}", letter.message.state, letter.message.was)).collect()
}

#[test]
fn a_broken_release_is_told_once_over_a_thousand_ticks_and_its_recovery_once() {
    let ok = || std::iter::repeat_n(Some(Sight::ok()), 1000);
    let ticks = ok().chain(std::iter::repeat_n(Some(broken("v2")), 1000)).chain(ok());
    assert_eq!(told(ticks), ["quarantined <- ok", "ok <- quarantined"]);
}

#[test]
fn other_content_that_is_broken_too_is_another_thing_to_tell() {
    assert_eq!(
        told([broken("v2"), broken("v3"), broken("v3")].map(Some)),
        ["quarantined <- ok", "quarantined <- quarantined"]
    );
}

#[test]
fn a_pass_that_knows_nothing_changes_nothing() {
    assert_eq!(told([Some(broken("v2")), None, Some(broken("v2"))]), ["quarantined <- ok"]);
}

#[test]
fn what_passes_by_itself_is_told_when_it_has_lasted() {
    let stale = || Some(Sight { passing: true, ..Sight::of(State::Stale, "connection timed out") });
    let blip = (0..100).map(|minute| if minute % 15 == 14 { Some(Sight::ok()) } else { stale() });
    assert_eq!(told(blip), [""; 0]);
    assert_eq!(told((0..15).map(|_| stale())), [""; 0]);
    assert_eq!(told((0..60).map(|_| stale()).chain([Some(Sight::ok())])), ["stale <- ok", "ok <- stale"]);
}

#[test]
fn a_clock_that_was_set_back_begins_the_wait_again() {
    let stale = Sight { passing: true, ..Sight::of(State::Stale, "connection timed out") };
    let memory = Memory::default().after(&seen(0, Some(stale.clone())), &webhook(), &|_| None);
    let back = memory.after(&seen(-60 * 24 * 3650, Some(stale.clone())), &webhook(), &|_| None);
    assert!(back.outbox.is_empty());
    let later = back.after(&seen(-60 * 24 * 3650 + 15, Some(stale)), &webhook(), &|_| None);
    assert_eq!(later.outbox.len(), 1);
}

/// By a clock that was set by so many minutes.
fn boot(set: i64) -> Boot {
    Boot::new("one", at(set - 60))
}

#[test]
fn a_clock_that_is_set_makes_nothing_older_or_due() {
    let years = 60 * 24 * 3650;
    for set in [years, -years] {
        let by = |memory: &Memory| Memory::parse(&memory.to_bytes(&boot(0)), &boot(set)).unwrap();
        let stale = Sight { passing: true, ..Sight::of(State::Stale, "connection timed out") };
        let began = by(&Memory::default().after(&seen(0, Some(stale.clone())), &webhook(), &|_| None));
        let after = |minutes| began.after(&seen(set + minutes, Some(stale.clone())), &webhook(), &|_| None).outbox;
        assert_eq!((after(14).len(), after(15).len()), (0, 1), "{set}");

        let sink = Sink { down: Mutex::new(Some("answered 500")), ..Sink::default() };
        let memory = Memory::default().after(&seen(0, Some(broken("v2"))), &webhook(), &|_| None);
        let (memory, _) = deliver(&sink, &memory, at(0), false);
        got(&sink);
        let memory = by(&memory);
        rounds(&sink, memory.clone(), set..set + 1);
        assert_eq!(got(&sink), [""; 0], "{set}: it waits for its minute");
        rounds(&sink, memory, set + 1..set + 2);
        assert_eq!(got(&sink), ["quarantined"], "{set}");
    }
}

#[test]
fn who_ordered_what_is_told_and_who_ended_it() {
    let held = |state, by: &str| Some(Sight { about: Some(by.to_owned()), ..Sight::of(state, by) });
    let sights = [
        held(State::Held, "by anna: \"cart broken\""),
        held(State::Held, "by anna: \"cart broken\""),
        held(State::Stopped, "by marco"),
        held(State::Held, "by anna: \"cart broken\""),
        Some(Sight::ok()),
    ];
    assert_eq!(told(sights), ["held <- ok", "stopped <- held", "held <- stopped", "ok <- held"]);
}

#[test]
fn a_lost_memory_repeats_what_is_wrong_once_and_nothing_of_what_is_well() {
    assert_eq!(told([Some(broken("v2")), Some(broken("v2"))]).len(), 1, "as if it was lost before");
    assert_eq!(told([Some(Sight::ok())]), [""; 0]);
}

#[test]
fn an_environment_that_is_gone_is_told_by_a_whole_pass_only() {
    let memory = Memory::default().after(&seen(0, Some(Sight::ok())), &webhook(), &|_| None);
    let none = Seen { environments: BTreeMap::new(), ..seen(1, None) };
    let partial = Seen { whole: false, ..none.clone() };
    assert!(memory.after(&partial, &webhook(), &|_| None).outbox.is_empty());
    let gone = memory.after(&none, &webhook(), &|_| None);
    assert_eq!(gone.outbox[0].message.subject(), "bakery/pro on web1: removed; nothing serves");
    assert_eq!(gone.after(&none, &webhook(), &|_| None).outbox.len(), 1);
}

#[test]
fn the_host_as_a_whole_is_told_of_once_for_all_its_environments() {
    let unusable = Seen { itself: Sight::of(State::Blocked, "no such branch: main"), ..seen(0, None) };
    let memory = Memory::default().after(&unusable, &webhook(), &|_| None);
    assert_eq!(memory.outbox.len(), 1);
    let text = &memory.outbox[0].message.text;
    assert!(text.starts_with("web1\n\nrule    blocked: no such branch: main\n"), "{text}");

    let known = Memory::default().after(&seen(0, Some(Sight::ok())), &webhook(), &|_| None);
    let starts = |runs: bool, line: &str| {
        let memory = known.after(&unusable, &webhook(), &|_| active("v1 (generation 1)", runs));
        let text = &memory.outbox[0].message.text;
        assert!(text.starts_with(&format!("web1:\nbakery/pro serves {line}\n\nrule    blocked: ")), "{text}");
    };
    starts(true, "v1 (generation 1)");
    starts(false, "nothing; v1 (generation 1) does not run");
}

#[test]
fn the_order_is_who_is_served_the_cause_what_is_next_and_what_to_type() {
    let memory =
        Memory::default().after(&seen(0, Some(broken("v2"))), &webhook(), &|_| active("v1 (generation 1)", true));
    let message = &memory.outbox[0].message;
    assert_eq!(
        message.text,
        "bakery/pro on web1 serves v1 (generation 1)\n\n\
         wanted  v2\n\
         rule    quarantined: health: GET /healthz answered 500\n\
         next    not tried again until its content changes; drift is still corrected\n\
         you     portreeve logs bakery/pro --release 43\n        \
                 push a fix, or, if the cause lay outside: portreeve retry bakery/pro\n"
    );
    assert_eq!(message.subject(), "bakery/pro on web1: quarantined; v1 (generation 1) serves");
}

#[test]
fn what_does_not_run_serves_nobody() {
    let sights = [Sight::of(State::Stopped, "by anna"), Sight::of(State::Blocked, "start: the processes ended")];
    for (sight, runs) in sights.iter().flat_map(|sight| [(sight, true), (sight, false)]) {
        let known = |_: &EnvName| active("v1 (generation 1)", runs);
        let memory = Memory::default().after(&seen(0, Some(sight.clone())), &webhook(), &known);
        let message = &memory.outbox[0].message;
        let (subject, first) = if runs {
            ("v1 (generation 1) serves", "serves v1 (generation 1)")
        } else {
            ("nothing serves", "serves nothing; v1 (generation 1) does not run")
        };
        assert_eq!(message.serves.is_some(), runs);
        assert_eq!(message.subject(), format!("bakery/pro on web1: {}; {subject}", sight.state));
        assert_eq!(message.text.lines().next(), Some(format!("bakery/pro on web1 {first}").as_str()));
    }
}

#[test]
fn of_what_is_blocked_no_more_is_promised_than_is_known() {
    let next = |next: Option<&str>| {
        let sight = Sight { next: next.map(str::to_owned), ..Sight::of(State::Blocked, "the disk is full") };
        let memory = Memory::default().after(&seen(0, Some(sight)), &webhook(), &|_| None);
        memory.outbox[0].message.next.clone().unwrap()
    };
    assert_eq!(next(None), "looked at again by each pass, and goes on once this is put right");
    assert_eq!(
        next(Some("tried again by the first pass after 02:59:05 UTC")),
        "tried again by the first pass after 02:59:05 UTC"
    );
}

#[test]
fn what_others_write_stays_on_its_line() {
    let odd = Sight::of(State::Blocked, "\n \x1b[31mone\x07\r\nBcc: x@y\n");
    let memory = Memory::default().after(&seen(0, Some(odd)), &webhook(), &|_| None);
    assert_eq!(memory.outbox[0].message.cause, "[31mone");
    assert!(!memory.outbox[0].message.text.contains(['\x1b', '\x07', '\r']));
}

#[test]
fn the_outbox_is_bounded_and_closed_channels_get_nothing() {
    let mut memory = Memory::default();
    for minute in 0..300 {
        memory = memory.after(&seen(minute, Some(broken(&minute.to_string()))), &webhook(), &|_| None);
    }
    assert_eq!(memory.outbox.len(), OUTBOX);
    assert_eq!(memory.outbox.last().unwrap().message.wants.as_deref(), Some("299"));
    let mail = Notify { email: MailAddress::parse("ops@example.org").ok(), ..Notify::default() };
    assert!(memory.after(&seen(300, None), &mail, &|_| None).outbox.is_empty());
}

/// More environments than that are on no host.
#[test]
fn of_each_environment_the_newest_waits_however_many_there_are() {
    let many = |of: std::ops::Range<usize>| {
        let name = |number: usize| EnvName::parse(&format!("bakery{number}/pro")).unwrap();
        let environments = of.map(|number| (name(number), Some(broken("v2")))).collect();
        Seen { environments, whole: false, ..seen(0, None) }
    };
    let all = Memory::default().after(&many(0..OUTBOX + 5), &webhook(), &|_| None);
    assert_eq!(all.outbox.len(), OUTBOX + 5);
    assert_eq!(all.after(&many(OUTBOX..MOST + 5), &webhook(), &|_| None).outbox.len(), MOST);
}

#[test]
fn the_record_is_read_as_it_was_written_and_shows_no_address() {
    let mut memory = Memory::default().after(&seen(0, Some(broken("v2"))), &webhook(), &|_| None);
    memory.failing.insert(Channel::Webhook, super::super::Failing { since: at(0), cause: "answered 500".to_owned() });
    assert_eq!(Memory::parse(&memory.to_bytes(&boot(0)), &boot(0)).unwrap(), memory);
    assert!(!format!("{memory:?}").contains("s3cret"));
    let newer = String::from_utf8(memory.to_bytes(&boot(0))).unwrap().replacen("\"format\": 1", "\"format\": 2", 1);
    let refused = Memory::parse(newer.as_bytes(), &boot(0)).unwrap_err().to_string();
    assert!(refused.starts_with("format 2, of a newer portreeve (this one knows 1)"), "{refused}");
    for length in 0..newer.len() - 2 {
        assert!(Memory::parse(&memory.to_bytes(&boot(0))[..length], &boot(0)).is_err(), "{length}");
    }
}

/// Answers as it is told, and remembers what it was asked.
#[derive(Default)]
struct Sink {
    down: Mutex<Option<&'static str>>,
    /// Of this environment nothing is ever taken.
    refused: Option<&'static str>,
    got: Mutex<Vec<String>>,
}

impl Sink {
    fn take(&self, what: String) -> Result<(), String> {
        self.got.lock().unwrap().push(what);
        self.down.lock().unwrap().map_or(Ok(()), |why| Err(why.to_owned()))
    }
}

impl Post for Sink {
    fn mail(&self, mail: &Mail) -> Result<(), String> {
        self.take(format!("mail {}", mail.subject))
    }

    fn ask(&self, url: &SecretUrl, json: Option<&[u8]>) -> Result<(), String> {
        let message: Option<Message> = json.map(|json| serde_json::from_slice(json).unwrap());
        let about = message.as_ref().and_then(|message| Some(message.environment.as_ref()?.to_string()));
        if about.is_some() && about.as_deref() == self.refused {
            return Err("answered 400".to_owned());
        }
        let what = message.map_or_else(|| "heartbeat".to_owned(), |message| message.state.to_string());
        self.take(format!("{} {what}", url.expose()))
    }
}

#[test]
fn a_message_that_was_sent_is_sent_once_through_each_channel() {
    let notify = Notify { email: MailAddress::parse("ops@example.org").ok(), ..webhook() };
    let sink = Sink::default();
    let memory = Memory::default().after(&seen(0, Some(broken("v2"))), &notify, &|_| None);
    let (memory, notes) = deliver(&sink, &memory, at(0), false);
    assert!(notes.is_empty() && memory.outbox.is_empty());
    deliver(&sink, &memory, at(1), false);
    let mut got = sink.got.into_inner().unwrap();
    got.sort();
    assert_eq!(
        got,
        ["https://chat.example.org/hook/s3cret quarantined", "mail bakery/pro on web1: quarantined; nothing serves"]
    );
}

/// What is tried through this webhook, a minute between two rounds.
fn rounds(sink: &Sink, mut memory: Memory, minutes: std::ops::Range<i64>) -> (Memory, Vec<String>) {
    let mut said = Vec::new();
    for minute in minutes {
        let (next, notes) = deliver(sink, &memory, at(minute), false);
        (memory, said) = (next, [said, notes].concat());
    }
    (memory, said)
}

fn got(sink: &Sink) -> Vec<String> {
    let got = std::mem::take(&mut *sink.got.lock().unwrap());
    got.iter().map(|got| got.rsplit(' ').next().unwrap().to_owned()).collect()
}

/// Nobody else tells of that change.
#[test]
fn the_newest_of_a_notifier_that_is_down_is_tried_until_it_is_heard() {
    let sink = Sink { down: Mutex::new(Some("answered 500")), ..Sink::default() };
    let memory = Memory::default().after(&seen(0, Some(broken("v2"))), &webhook(), &|_| None);
    let (memory, said) = rounds(&sink, memory, 0..1000);
    assert_eq!(said, ["webhook https://chat.example.org/… failed: answered 500"], "said once");
    let tried = got(&sink).len();
    assert!((6 + 55..6 + 65).contains(&tried), "every 16 minutes in the end: {tried}");
    assert_eq!(
        memory.troubles().map(|(channel, _, waiting)| (channel, waiting)).collect::<Vec<_>>(),
        [(Channel::Webhook, 1)]
    );
    *sink.down.lock().unwrap() = None;
    let (memory, said) = rounds(&sink, memory, 1000..1017);
    assert_eq!(
        (got(&sink), said),
        (vec!["quarantined".to_owned()], vec!["webhook https://chat.example.org/… works again".to_owned()])
    );
    assert_eq!((memory.troubles().count(), memory.outbox.len()), (0, 0));
}

#[test]
fn what_a_newer_one_tells_better_is_given_up_after_six_attempts() {
    let sink = Sink { down: Mutex::new(Some("answered 500")), ..Sink::default() };
    let memory = Memory::default().after(&seen(0, Some(broken("v2"))), &webhook(), &|_| None);
    let (memory, _) = rounds(&sink, memory, 0..10);
    let memory = memory.after(&seen(10, Some(Sight::ok())), &webhook(), &|_| None);
    let (memory, said) = rounds(&sink, memory, 10..300);
    assert_eq!(
        said,
        ["webhook: given up after 6 attempts: bakery/pro on web1: quarantined; nothing serves"],
        "of one environment the last word is kept"
    );
    got(&sink);
    *sink.down.lock().unwrap() = None;
    rounds(&sink, memory, 300..317);
    assert_eq!(got(&sink), ["ok"]);
}

/// What one server will not take, whoever else it is about, keeps no other from being heard.
#[test]
fn one_that_is_never_taken_lets_the_others_pass() {
    let name = |text: &str| EnvName::parse(text).unwrap();
    let both = BTreeMap::from(["bakery/dev", "bakery/pro"].map(|text| (name(text), Some(broken(text)))));
    let memory = Memory::default().after(&Seen { environments: both, ..seen(0, None) }, &webhook(), &|_| None);
    let sink = Sink { refused: Some("bakery/dev"), ..Sink::default() };
    let (memory, _) = rounds(&sink, memory, 0..60);
    let waits: Vec<_> = memory.outbox.iter().map(|letter| letter.message.environment.clone()).collect();
    assert_eq!(waits, [Some(name("bakery/dev"))]);
}

#[test]
fn messages_arrive_in_their_order_also_after_a_failure() {
    let sink = Sink { down: Mutex::new(Some("answered 502")), ..Sink::default() };
    let memory = Memory::default().after(&seen(0, Some(broken("v2"))), &webhook(), &|_| None);
    let (memory, _) = deliver(&sink, &memory, at(0), false);
    *sink.down.lock().unwrap() = None;
    let memory = memory.after(&seen(0, Some(Sight::ok())), &webhook(), &|_| None);
    let (memory, _) = deliver(&sink, &memory, at(0), false);
    assert_eq!(sink.got.lock().unwrap().len(), 1, "the second waits for the first");
    deliver(&sink, &memory, at(1), false);
    let got: Vec<_> =
        sink.got.into_inner().unwrap().iter().map(|got| got.rsplit(' ').next().unwrap().to_owned()).collect();
    assert_eq!(got, ["quarantined", "quarantined", "ok"]);
}

#[test]
fn the_heartbeat_beats_after_good_passes_and_is_remembered_only_when_it_fails() {
    let notify = Notify { heartbeat: SecretUrl::parse("https://watch.example.org/ping").ok(), ..Notify::default() };
    let memory = Memory::default().after(&seen(0, Some(Sight::ok())), &notify, &|_| None);
    let sink = Sink::default();
    let (after, notes) = deliver(&sink, &memory, at(0), true);
    assert_eq!((&after, notes.len()), (&memory, 0), "an idle pass writes nothing");
    deliver(&sink, &memory, at(1), false);
    assert_eq!(sink.got.lock().unwrap().as_slice(), ["https://watch.example.org/ping heartbeat"]);
    *sink.down.lock().unwrap() = Some("no such host");
    let (failing, notes) = deliver(&sink, &memory, at(2), true);
    assert_eq!(notes, ["heartbeat https://watch.example.org/… failed: no such host"]);
    let (again, notes) = deliver(&sink, &failing, at(3), true);
    assert_eq!((again, notes.len()), (failing, 0), "said once");
}
