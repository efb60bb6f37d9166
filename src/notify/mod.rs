//! `[notify]`: tells people of a change of state, once, by mail or webhook, and a watcher that passes are made.
//!
//! [`Memory`] is what was told: it outlives restarts and reboots in `/var/lib/portreeve/notify.json`; when that is lost, what is
//! wrong then is told once more. [`Memory::after`] compares it with what a pass saw and puts messages into an outbox, without
//! looking at anything; [`deliver`] sends them, after the pass. Attempts are spaced and bounded, so that a notifier that is down
//! holds up nothing. After six attempts a message is given up where a newer one of the same environment waits; the newest is tried
//! every 16 minutes until it is heard.
//!
//! What is a change: an environment that is in another of the states of `portreeve status`, or in the same one because of other
//! content or another order. A new release of a healthy environment is none. What may pass by itself (the network) is told when it
//! has lasted a quarter of an hour. A repository that can't be used is told once for the host, not for each environment.
//!
//! # What a webhook is sent
//!
//! `POST` with `content-type: application/json`, answered by 2xx within 5 s; redirects are not followed. `text` is the whole
//! message, which is what Slack, Mattermost and their like show; the others are for programs. Fields are only ever added.
//!
//! | field | |
//! |---|---|
//! | `schema` | 1 |
//! | `id` | the same for each attempt to send this message |
//! | `at` | RFC 3339, UTC |
//! | `host` | as the deploy repository names it |
//! | `environment` | `bakery/pro`; `null`: the host as a whole |
//! | `state`, `was` | `ok`, `quarantined`, `held`, `suspended`, `stopped`, `blocked`, `diverged`, `stale`, `removed` |
//! | `serves` | what users get: `v1.4.2 (generation 42)`; `null`: nothing, or the host as a whole |
//! | `wants` | what the repository wants; `null`: not known |
//! | `cause` | one line |
//! | `next` | what Portreeve does next; `null`: nothing |
//! | `you` | what a person may type or do, a list |
//! | `text` | all of it, as lines |
//!
//! The heartbeat is a `GET` after each good pass over the whole host: all as it is wanted, or as somebody ordered it. Its watcher
//! should expect one an interval of the schedule and a few minutes. It costs one connection after the pass, and none of its time.

mod change;
mod courier;
mod memory;
mod message;
mod state;

pub use change::Seen;
pub use courier::deliver;
pub use memory::{Channel, Failing, Known, Letter, Memory, MemoryError};
pub use message::Message;
pub use state::{Active, Sight, State};
