//! What stays after a release, and for how long.

use std::time::Duration;

use super::{Context, Event, Failure, Phase, slot};
use crate::desired::Generation;
use crate::observed::Installed;

/// gunicorn closes its listener first on SIGTERM; connections that nginx opened just before the socket moved must be accepted.
const GRACE: Duration = Duration::from_secs(1);

/// Retires the old slot, unless it is to stay warm, and collects what nobody needs. The release stands whatever happens here.
pub fn after_release(cx: &Context<'_>, generation: &Generation, before: &Installed) {
    let old = generation.slot.other();
    let warm = generation.wanted.env.warm.duration() > Duration::ZERO;
    if before.runs(old) && !warm {
        cx.host.clock().sleep(GRACE);
    }
    // One that does not run keeps no flag either: it would run again after whatever starts it.
    if (!warm || !before.runs(old))
        && let Err(error) = slot::retire(cx, &generation.name, old)
    {
        cx.report.event(&Event::Note { text: &format!("the old slot still runs: {error}") });
    }
    super::prune::after(cx, &generation.wanted, true);
}

/// Retires a slot that has been warm for long enough. True when it was.
pub fn retire_warm(cx: &Context<'_>, installed: &Installed) -> Result<bool, Failure> {
    let (Some(generation), Some(slot)) = (&installed.generation, installed.warm_slot()) else { return Ok(false) };
    let age = cx.host.clock().now().duration_since(generation.at);
    let warm = generation.wanted.env.warm.duration();
    let still = !age.is_negative() && age.unsigned_abs() < warm;
    if !still {
        slot::retire(cx, &installed.name, slot).map_err(Failure::on_host(Phase::Verify))?;
    }
    Ok(!still)
}
