//! Sends what waits in the outbox. Nothing here fails anything: what can't be sent waits, for a while.

use jiff::{SignedDuration, Timestamp};

use super::memory::Failing;
use super::{Channel, Letter, Memory, Message};
use crate::host::{Mail, Post};
use crate::manifest::Notify;

/// A message is tried so often, and then given up where a newer one tells better.
const ATTEMPTS: u32 = 6;
/// The wait after the first attempt; doubled after each.
const FIRST_WAIT: SignedDuration = SignedDuration::from_mins(1);
/// No wait is longer.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(16);
/// So many messages go through one channel after one pass: with 5 s for each, the next pass is not held up for long.
const AT_ONCE: usize = 8;

/// How one channel fared.
struct Round {
    channel: Channel,
    /// How many of its letters, of those that were due, were sent.
    sent: usize,
    /// Why the next one was not.
    failed: Option<String>,
}

/// Sends what is due, and, after a good pass, the heartbeat: the channels side by side, each until its first failure. Returns the
/// memory after it and a line for everything that a person should know of the channels themselves.
pub fn deliver(post: &dyn Post, memory: &Memory, now: Timestamp, good: bool) -> (Memory, Vec<String>) {
    let rounds: Vec<Round> = std::thread::scope(|scope| {
        let people = [Channel::Email, Channel::Webhook].into_iter().filter_map(|channel| {
            let due: Vec<&Letter> = memory.due(channel, now).collect();
            (!due.is_empty()).then(|| scope.spawn(move || round(post, &memory.notify, channel, &due)))
        });
        let heart = memory.notify.heartbeat.as_ref().filter(|_| good);
        let heart = heart.map(|url| {
            scope.spawn(|| Round { channel: Channel::Heartbeat, sent: 0, failed: post.ask(url, None).err() })
        });
        let running: Vec<_> = people.chain(heart).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let mut next = memory.clone();
    let notes = rounds.into_iter().flat_map(|round| next.take_in(round, now)).collect();
    (next, notes)
}

fn round(post: &dyn Post, notify: &Notify, channel: Channel, due: &[&Letter]) -> Round {
    for (sent, letter) in due.iter().enumerate() {
        if let Err(cause) = send(post, notify, channel, &letter.message) {
            return Round { channel, sent, failed: Some(cause) };
        }
    }
    Round { channel, sent: due.len(), failed: None }
}

fn send(post: &dyn Post, notify: &Notify, channel: Channel, message: &Message) -> Result<(), String> {
    match (channel, &notify.email, &notify.webhook) {
        (Channel::Email, Some(to), _) => post.mail(&Mail {
            to: to.clone(),
            id: message.id.clone(),
            subject: message.subject(),
            text: message.text.clone(),
        }),
        (Channel::Webhook, _, Some(url)) => post.ask(url, Some(&serde_json::to_vec(message).unwrap_or_default())),
        _ => Ok(()),
    }
}

impl Memory {
    /// A channel's letters whose time has come, up to the first whose time has not: messages arrive in their order.
    fn due(&self, channel: Channel, now: Timestamp) -> impl Iterator<Item = &Letter> {
        let letters = self.outbox.iter().filter(move |letter| letter.channel == channel);
        letters.take_while(move |letter| letter.is_due(now)).take(AT_ONCE)
    }

    fn take_in(&mut self, round: Round, now: Timestamp) -> Vec<String> {
        let Round { channel, sent, failed } = round;
        let mut left = sent;
        self.outbox.retain(|letter| {
            let delivered = letter.channel == channel && left > 0;
            left -= usize::from(delivered);
            !delivered
        });
        let address = self.address(channel);
        let Some(cause) = failed else {
            let worked = self.failing.remove(&channel);
            return worked.map(|_| format!("{channel} {address} works again")).into_iter().collect();
        };
        let mut notes = Vec::new();
        let before = self.failing.get(&channel);
        if before.is_none_or(|failing| failing.cause != cause) {
            notes.push(format!("{channel} {address} failed: {cause}"));
        }
        let since = before.map_or(now, |failing| failing.since);
        self.failing.insert(channel, Failing { since, cause });
        notes.extend(self.postpone(channel, now));
        notes
    }

    /// The first letter of a channel is tried again later; or never, where a newer one of the same environment is to follow.
    fn postpone(&mut self, channel: Channel, now: Timestamp) -> Option<String> {
        let first = self.outbox.iter().position(|letter| letter.channel == channel)?;
        let mut letter = self.outbox.remove(first);
        letter.attempts = letter.attempts.saturating_add(1);
        let wait = FIRST_WAIT.saturating_mul(1 << letter.attempts.saturating_sub(1).min(16)).min(LONGEST_WAIT);
        letter.next = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        if letter.attempts < ATTEMPTS {
            self.outbox.insert(first, letter);
            return None;
        }
        if self.outbox.iter().any(|other| letter.is_of_the_same(other)) {
            return Some(format!(
                "{channel}: given up after {} attempts: {}",
                letter.attempts,
                letter.message.subject()
            ));
        }
        // Nobody else tells of it; and what is never taken keeps the others not waiting for ever.
        self.outbox.push(letter);
        None
    }
}

impl Letter {
    /// Whether both tell the same people of the same environment: the newer says what is so.
    fn is_of_the_same(&self, other: &Self) -> bool {
        (self.channel, &self.message.environment) == (other.channel, &other.message.environment)
    }

    /// A time further off than any wait is the mark of a clock that was set back.
    fn is_due(&self, now: Timestamp) -> bool {
        self.next <= now || self.next.duration_since(now) > LONGEST_WAIT
    }
}
