//! What the history says of orders. It is written last and never in the way.

use super::{Given, Order, Ordered};
use crate::agent::chronicle;
use crate::desired::Wanted;
use crate::history::{Event, EventKind};
use crate::model::{EnvName, GenerationNumber};
use crate::transaction::{self, Context, Failure, FailureKind};

/// An order was carried out.
pub(super) fn done(cx: &Context<'_>, name: &EnvName, given: &Given, said: &str) {
    let kind = match given.order {
        Order::Rollback { .. } | Order::Suspend { .. } => EventKind::Held,
        Order::Stop => EventKind::Stopped,
        Order::Start => EventKind::Started,
        Order::Restart => EventKind::Restarted,
        Order::Resume => EventKind::Resumed,
        Order::Retry => EventKind::Retried,
        Order::Accept(_) => EventKind::Accepted,
    };
    let event = Event { why: given.reason.clone(), ..ordered(cx, name, given, kind, said) };
    let moved = matches!(given.order, Order::Rollback { .. } | Order::Restart);
    let event = match transaction::serving(cx, name).filter(|_| moved) {
        Some(generation) => about(event, generation.number, &generation.wanted),
        None => event,
    };
    chronicle::write(cx, &event);
}

impl Ordered<'_> {
    /// An order led to the generation `number`, which was not kept. `seen`: by users.
    pub(super) fn failed(&self, number: GenerationNumber, wanted: &Wanted, failure: &Failure, seen: bool) {
        if failure.kind == FailureKind::Cancelled {
            return;
        }
        let (kind, words) =
            if seen { (EventKind::RolledBack, "rolled back") } else { (EventKind::NotReleased, "not released") };
        let said = format!("{} {words}: {}", wanted.title(), failure.cause);
        let why = self.given.reason.clone().or_else(|| Some(failure.cause.clone()));
        let event = Event { why, ..ordered(self.cx, self.name, self.given, kind, &said) };
        chronicle::write(self.cx, &about(event, number, wanted));
    }
}

fn ordered(cx: &Context<'_>, name: &EnvName, given: &Given, kind: EventKind, said: &str) -> Event {
    let now = cx.host.clock().now();
    Event { by: Some(given.by.clone()), ..Event::new(now, Some(name.clone()), kind, said) }
}

fn about(event: Event, number: GenerationNumber, wanted: &Wanted) -> Event {
    Event {
        generation: Some(number),
        release: Some(wanted.release.clone()),
        rev: Some(wanted.title()),
        deploy_commit: Some(wanted.deploy_commit.clone()),
        ..event
    }
}
