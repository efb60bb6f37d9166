//! What stays after a release, and for how long.

use std::time::Duration;

use super::{Context, Event, slot};
use crate::desired::Generation;
use crate::host::{Request, Target};
use crate::manifest::Web;
use crate::model::Slot;
use crate::observed::Installed;

/// A connect(2) of nginx's that found the old socket just before it moved may have been put aside by a busy kernel: nothing shows it.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// A slot that has not answered by then is asked again.
const ASK: Duration = Duration::from_secs(2);

/// Retires the old slot, unless it is to stay warm, and collects what nobody needs. The release stands whatever happens here.
pub fn after_release(cx: &Context<'_>, generation: &Generation, before: &Installed) {
    let old = generation.slot.other();
    let warm = generation.wanted.env.warm.duration() > Duration::ZERO;
    if before.runs(old) && !warm {
        cx.host.clock().sleep(ON_ITS_WAY);
        drain(cx, generation, old);
    }
    // One that does not run keeps no flag either: it would run again after whatever starts it.
    if (!warm || !before.runs(old))
        && let Err(error) = slot::retire(cx, &generation.name, old)
    {
        cx.report.event(&Event::Note { text: &format!("the old slot still runs: {error}") });
    }
    super::prune::after(cx, &generation.wanted, true);
}

/// Waits, once visitors are led elsewhere, until the slot has taken up all who came before, at most for as long as a stop may take.
/// The kernel queues them, a server accepts them in their order (unix(7), accept(2)), and drops on SIGTERM whom it has not
/// accepted: so a question asked now is answered when nobody waits any more.
pub fn drain(cx: &Context<'_>, generation: &Generation, slot: Slot) {
    let socket = Target::Socket(cx.layout.slot_socket(&generation.name, slot));
    let request = Request { timeout: ASK, ..slot::request(generation, socket, true) };
    let Web::Gunicorn(gunicorn) = &generation.wanted.env.web;
    let clock = cx.host.clock();
    let end = clock.monotonic() + gunicorn.graceful_timeout.duration();
    loop {
        let asked = clock.monotonic();
        let silent = matches!(cx.host.probe().get(&request), Ok(Err(_)));
        let now = clock.monotonic();
        // One that refuses is not there any more: only one that lets us wait may be busy.
        if !silent || now.saturating_sub(asked) < ASK || now >= end || clock.cancelled() {
            return;
        }
    }
}
