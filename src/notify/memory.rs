//! What was told to whom, and what waits to be told: one JSON record.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Message;
use super::state::Face;
use crate::manifest::Notify;
use crate::model::Boot;

/// The format that this program writes.
const FORMAT: u32 = 1;

/// The record. No record is [`Memory::default`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Who is told; kept for passes that can't read the repository.
    #[serde(with = "addresses")]
    pub notify: Notify,
    /// The host as a whole.
    pub host: Known,
    /// The environments, by their names.
    pub environments: BTreeMap<String, Known>,
    /// What waits to be sent, oldest first.
    pub outbox: Vec<Letter>,
    /// Channels whose last attempt failed.
    pub failing: BTreeMap<Channel, Failing>,
}

/// What is known of an environment, or of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// What people were told last; at first, that all is well.
    pub told: Face,
    /// What was seen since, and not told yet because it may pass by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
}

/// Something that may pass by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// What.
    pub face: Face,
    /// Since when.
    pub since: Timestamp,
}

/// A message on its way through one channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Which way it goes.
    pub channel: Channel,
    /// What is told.
    pub message: Message,
    /// How often it was tried.
    pub attempts: u32,
    /// Not tried before.
    pub next: Timestamp,
}

/// A way to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Mail.
    Email,
    /// HTTP POST.
    Webhook,
    /// HTTP GET after each good pass.
    Heartbeat,
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Email => "email",
            Self::Webhook => "webhook",
            Self::Heartbeat => "heartbeat",
        })
    }
}

/// A channel that does not work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// Since when.
    pub since: Timestamp,
    /// Why, in a few words, without the address.
    pub cause: String,
}

/// Why the record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// A newer portreeve wrote it.
    #[error(
        "format {found}, of a newer portreeve (this one knows {FORMAT}): install that version again; until then nobody is told"
    )]
    Newer {
        /// Its format.
        found: u32,
    },
    /// Truncated or edited.
    #[error("damaged; what is wrong now is told once more")]
    Damaged(#[source] serde_json::Error),
}

#[derive(Deserialize)]
struct Header {
    format: u32,
}

/// The record around a memory.
#[derive(Serialize, Deserialize)]
struct Record<T> {
    format: u32,
    /// By whose clock its times are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot: Option<Boot>,
    memory: T,
}

impl Memory {
    /// Reads a record; its times are by the clock as it is set `now`.
    pub fn parse(bytes: &[u8], now: &Boot) -> Result<Self, MemoryError> {
        let header: Header = serde_json::from_slice(bytes).map_err(MemoryError::Damaged)?;
        if header.format > FORMAT {
            return Err(MemoryError::Newer { found: header.format });
        }
        let Record { boot, memory, .. } =
            serde_json::from_slice::<Record<Self>>(bytes).map_err(MemoryError::Damaged)?;
        Ok(memory.by(|time| now.by_now(boot.as_ref(), time)))
    }

    /// The record. It holds addresses, so it is root's alone.
    pub fn to_bytes(&self, now: &Boot) -> Vec<u8> {
        let record = Record { format: FORMAT, boot: Some(now.clone()), memory: self };
        let mut bytes = serde_json::to_vec_pretty(&record).unwrap_or_else(|_| unreachable!("all keys are text"));
        bytes.push(b'\n');
        bytes
    }

    /// The same with each time that something waits for as another clock has it. When a thing was seen stays what people were told.
    #[must_use]
    fn by(mut self, clock: impl Fn(Timestamp) -> Timestamp) -> Self {
        let known = std::iter::once(&mut self.host).chain(self.environments.values_mut());
        known.filter_map(|known| known.pending.as_mut()).for_each(|pending| pending.since = clock(pending.since));
        self.outbox.iter_mut().for_each(|letter| letter.next = clock(letter.next));
        self.failing.values_mut().for_each(|failing| failing.since = clock(failing.since));
        self
    }

    /// A line for each channel that does not work: which, why, since when, and what waits for it.
    pub fn troubles(&self) -> impl Iterator<Item = (Channel, &Failing, usize)> {
        self.failing.iter().map(|(channel, failing)| {
            let waiting = self.outbox.iter().filter(|letter| letter.channel == *channel).count();
            (*channel, failing, waiting)
        })
    }

    /// Where a channel leads, fit to be shown.
    pub fn address(&self, channel: Channel) -> String {
        let shown = |address: Option<&dyn fmt::Display>| address.map(ToString::to_string).unwrap_or_default();
        match channel {
            Channel::Email => shown(self.notify.email.as_ref().map(|address| address as _)),
            Channel::Webhook => shown(self.notify.webhook.as_ref().map(|url| url as _)),
            Channel::Heartbeat => shown(self.notify.heartbeat.as_ref().map(|url| url as _)),
        }
    }
}

/// Addresses are secrets everywhere but in the one file that has to keep them.
mod addresses {
    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    use crate::manifest::Notify;
    use crate::model::{MailAddress, SecretUrl};

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Plain<T> {
        email: Option<T>,
        webhook: Option<T>,
        heartbeat: Option<T>,
    }

    pub fn serialize<S: Serializer>(notify: &Notify, to: S) -> Result<S::Ok, S::Error> {
        let email = notify.email.as_ref().map(MailAddress::as_str);
        let (webhook, heartbeat) =
            (notify.webhook.as_ref().map(SecretUrl::expose), notify.heartbeat.as_ref().map(SecretUrl::expose));
        Plain { email, webhook, heartbeat }.serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Notify, D::Error> {
        let Plain::<String> { email, webhook, heartbeat } = Plain::deserialize(from)?;
        let url = |text: Option<String>| text.and_then(|text| SecretUrl::parse(&text).ok());
        let email = email.and_then(|text| MailAddress::parse(&text).ok());
        Ok(Notify { email, webhook: url(webhook), heartbeat: url(heartbeat) })
    }
}
