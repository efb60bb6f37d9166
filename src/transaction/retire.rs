//! What stays after a release, and for how long.

use std::time::Duration;

use super::{Context, Event, Failure, Phase, read, slot};
use crate::desired::Generation;
use crate::model::{Found, GenerationNumber};
use crate::observed::Installed;

/// gunicorn closes its listener first on SIGTERM; connections that nginx opened just before the socket moved must be accepted.
const GRACE: Duration = Duration::from_secs(1);

/// Retires the old slot, unless it is to stay warm, and prunes what is kept for nobody. The release stands whatever happens here.
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
    if let Err(failure) = prune(cx, generation) {
        cx.report.event(&Event::Note { text: &format!("old releases stay: {failure}") });
    }
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

/// So many attempts that never held stay, for `portreeve logs --release`.
const KEPT_ATTEMPTS: usize = 3;

/// Removes generations, and trees that no generation needs, beyond the newest `keep_releases`. Stays: what is active, what
/// either slot holds, and the last attempts that failed, which take no good one's place.
fn prune(cx: &Context<'_>, active: &Generation) -> Result<(), Failure> {
    let (mut kept, mut attempts, mut spare) = (Vec::new(), 0, Vec::new());
    for number in numbers(cx, active)?.into_iter().rev() {
        let Some(generation) = read::read_generation(cx, &active.name, number)? else { continue };
        let refused = read::was_refused(cx, &active.name, number)?;
        let room = if refused {
            attempts < KEPT_ATTEMPTS
        } else {
            kept.len() - attempts < active.wanted.env.keep_releases as usize
        };
        if number == active.number || room || held_by_slot(cx, &generation)? {
            attempts += usize::from(refused);
            kept.push(generation);
        } else {
            spare.push(generation);
        }
    }
    spare.iter().try_for_each(|generation| discard(cx, generation, &kept))?;
    forget_marks(cx, active)
}

/// Removes the marks of attempts of which nothing else is left; numbers below the active one are not given away again.
fn forget_marks(cx: &Context<'_>, active: &Generation) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Verify);
    let files = cx.host.files();
    let names = files.list(&cx.layout.env_generations(&active.name)).map_err(&fail)?;
    let marked = names.iter().filter_map(|name| name.strip_suffix(".refused")?.parse().ok());
    for number in marked.filter(|&number: &GenerationNumber| number < active.number) {
        if files.look(&cx.layout.generation(&active.name, number)).map_err(&fail)? == Found::Absent {
            files.remove(&cx.layout.refused_mark(&active.name, number)).map_err(&fail)?;
        }
    }
    Ok(())
}

fn discard(cx: &Context<'_>, generation: &Generation, kept: &[Generation]) -> Result<(), Failure> {
    let fail = Failure::on_host(Phase::Verify);
    let files = cx.host.files();
    files.remove_tree(&cx.directory(generation)).map_err(&fail)?;
    files.remove(&cx.layout.refused_mark(&generation.name, generation.number)).map_err(&fail)?;
    if kept.iter().all(|kept| kept.wanted.release != generation.wanted.release) {
        files.remove_tree(&cx.paths(&generation.wanted).release(&generation.wanted.release)).map_err(&fail)?;
    }
    Ok(())
}

fn numbers(cx: &Context<'_>, active: &Generation) -> Result<Vec<GenerationNumber>, Failure> {
    let names =
        cx.host.files().list(&cx.layout.env_generations(&active.name)).map_err(Failure::on_host(Phase::Verify))?;
    let mut numbers: Vec<_> = names.iter().filter_map(|name| name.parse().ok()).filter(|&number| number > 0).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn held_by_slot(cx: &Context<'_>, generation: &Generation) -> Result<bool, Failure> {
    let link = cx.layout.slot_link(&generation.name, generation.slot);
    let found = cx.host.files().look(&link).map_err(Failure::on_host(Phase::Verify))?;
    let number = generation.number.to_string();
    Ok(matches!(found, Found::Link(target) if target.file_name().is_some_and(|name| *name == *number)))
}
