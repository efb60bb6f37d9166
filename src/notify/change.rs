//! Which change of state deserves a message. Pure: the same memory, sights and time give the same messages.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::memory::{Known, Pending};
use super::message::{About, served};
use super::state::{Active, Face, Sight, State};
use super::{Channel, Letter, Memory, Message};
use crate::manifest::Notify;
use crate::model::EnvName;

/// What may pass by itself is told when it has lasted so long.
const PATIENCE: SignedDuration = SignedDuration::from_mins(15);
/// So many messages wait for one channel, and beyond them only the newest of each environment.
const OUTBOX: usize = 100;
/// So many at most; the oldest go first.
const MOST: usize = 1000;

/// The release that an environment has; `None`: none.
type ActiveOf<'a> = dyn Fn(&EnvName) -> Option<Active> + 'a;

/// What a pass saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen<'a> {
    /// The host's name in the deploy repository.
    pub host: &'a str,
    /// When.
    pub at: Timestamp,
    /// Whether all environments of the host were looked at: one that is not among them then is gone.
    pub whole: bool,
    /// The host as a whole: its repository, the pass itself.
    pub itself: Sight,
    /// The environments; `None`: nothing can be said of it now, and it is as it was.
    pub environments: BTreeMap<EnvName, Option<Sight>>,
}

impl Memory {
    /// The memory after a pass, with what is to be told in its outbox. `notify`: who is told now. `active` says what the users of
    /// an environment get; it is asked for messages only.
    #[must_use]
    pub fn after(&self, seen: &Seen<'_>, notify: &Notify, active: &ActiveOf<'_>) -> Self {
        let mut next = Self { notify: notify.clone(), ..self.clone() };
        next.close_channels();
        if let Some(was) = next.host.see(&seen.itself, seen.at) {
            let served = &next.served(active);
            let about = About { at: seen.at, host: seen.host, environment: None, was, active: None, served };
            next.tell(&Message::new(about, &seen.itself));
        }
        for (name, sight) in seen.environments.iter().filter_map(|(name, sight)| Some((name, sight.as_ref()?))) {
            let known = next.environments.entry(name.to_string()).or_default();
            if let Some(was) = known.see(sight, seen.at) {
                next.tell_of(seen, name, was, sight, active);
            }
        }
        if seen.whole {
            next.forget_the_gone(seen, active);
        }
        next
    }

    fn tell_of(&mut self, seen: &Seen<'_>, name: &EnvName, was: State, sight: &Sight, active: &ActiveOf<'_>) {
        let active = active(name);
        let active = active.as_ref();
        let about = About { at: seen.at, host: seen.host, environment: Some(name), was, active, served: &[] };
        self.tell(&Message::new(about, sight));
    }

    /// Who is served by what on this host, as far as something was told of him.
    fn served(&self, active: &ActiveOf<'_>) -> Vec<String> {
        let here = self.environments.iter().filter(|(_, known)| known.told.state != State::Removed);
        here.filter_map(|(name, _)| Some(served(name, active(&EnvName::parse(name).ok()?).as_ref()))).collect()
    }

    fn forget_the_gone(&mut self, seen: &Seen<'_>, active: &ActiveOf<'_>) {
        let here: BTreeSet<String> = seen.environments.keys().map(EnvName::to_string).collect();
        let gone: Vec<String> = self.environments.keys().filter(|name| !here.contains(*name)).cloned().collect();
        for name in gone {
            let was = self.environments.remove(&name).unwrap_or_default().told.state;
            if let Ok(name) = EnvName::parse(&name)
                && was != State::Removed
            {
                let sight = Sight::of(State::Removed, "no longer on this host; data, media, logs and backups stay");
                self.tell_of(seen, &name, was, &sight, active);
            }
        }
    }

    /// Puts a message into the outbox, once for each channel that tells people.
    fn tell(&mut self, message: &Message) {
        let channels =
            [(Channel::Email, self.notify.email.is_some()), (Channel::Webhook, self.notify.webhook.is_some())];
        for (channel, _) in channels.into_iter().filter(|(_, open)| *open) {
            self.outbox.push(Letter { channel, message: message.clone(), attempts: 0, next: message.at });
            if let Some(goes) = self.excess(channel) {
                self.outbox.remove(goes);
            }
        }
    }

    /// Which message goes where too many wait: the oldest that a newer one of the same environment tells better.
    fn excess(&self, channel: Channel) -> Option<usize> {
        let waiting = || self.outbox.iter().enumerate().filter(|(_, letter)| letter.channel == channel);
        let count = waiting().count();
        let mut newest = BTreeSet::new();
        let superseded = waiting().rev().filter(|(_, letter)| !newest.insert(&letter.message.environment)).last();
        let oldest = || waiting().next().filter(|_| count > MOST);
        superseded.filter(|_| count > OUTBOX).or_else(oldest).map(|(at, _)| at)
    }

    /// What was to go where nobody is told any more goes nowhere.
    fn close_channels(&mut self) {
        let Notify { email, webhook, heartbeat } = &self.notify;
        let open = |channel: Channel| match channel {
            Channel::Email => email.is_some(),
            Channel::Webhook => webhook.is_some(),
            Channel::Heartbeat => heartbeat.is_some(),
        };
        self.outbox.retain(|letter| open(letter.channel));
        self.failing.retain(|channel, _| open(*channel));
    }
}

impl Known {
    /// Takes in what is seen now. The state that was told before, when this is to be told.
    fn see(&mut self, sight: &Sight, now: Timestamp) -> Option<State> {
        let face = sight.face();
        if face == self.told {
            self.pending = None;
            return None;
        }
        if sight.passing && !self.has_lasted(&face, now) {
            return None;
        }
        self.pending = None;
        let before = std::mem::replace(&mut self.told, face);
        Some(before.state)
    }

    /// Whether something that may pass by itself has been there for long. A time to come is the mark of a clock that was set back.
    fn has_lasted(&mut self, face: &Face, now: Timestamp) -> bool {
        match &self.pending {
            Some(pending) if pending.face == *face && pending.since <= now => {
                now.duration_since(pending.since) >= PATIENCE
            }
            _ => {
                self.pending = Some(Pending { face: face.clone(), since: now });
                false
            }
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
