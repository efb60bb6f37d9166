//! What is said while a person's rollback lasts.

use super::words::{Said, by, fine, reason, since};
use super::{Facts, State};
use crate::desired::{Generation, Wanted};
use crate::policy::{Hold, HoldKind, Until};

/// What is said of a rollback.
pub fn held(facts: &Facts<'_>, hold: &Hold) -> Said {
    let HoldKind::RolledBack { pinned, until, left, .. } = &hold.kind else { return fine(facts) };
    let name = &facts.installed.name;
    let left = left.clone().unwrap_or_else(|| "what served before".to_owned());
    let target = facts.pinned.map(|generation| &generation.wanted);
    let pinned = target.map_or_else(|| format!("generation {pinned}"), Wanted::title);
    let done = format!("{} rolled back {left} -> {pinned}, {} ago{}", hold.by, since(hold, facts.now), reason(hold));
    let differs = |serving: &Generation| target.is_some_and(|target| target.digest != serving.wanted.digest);
    if facts.serving().is_some_and(differs) {
        let serving = facts.title();
        return Said::new(State::Held, format!("held: {done}"), format!("stays on {serving}, and moves neither way"))
            .in_short(format!("the rollback by {} was interrupted; {serving} still serves", hold.by))
            .you([format!("portreeve rollback {name} once more; or portreeve resume {name}")])
            .needs_you();
    }
    let (next, push) = match until {
        Until::Change => (
            format!(
                "stays on {pinned}; ends by itself when this environment's content differs from {}",
                kept_away(facts, &left)
            ),
            "push a fix; or ",
        ),
        Until::Resume => (format!("stays on {pinned}, whatever is pushed, until somebody resumes it"), ""),
    };
    Said::new(State::Held, format!("held: {done}"), next)
        .in_short(by(hold, facts.now))
        .you([format!("{push}{}", goes_on(facts))])
}

/// What was gone back from does not come by itself; nor does what is wanted now.
fn kept_away(facts: &Facts<'_>, left: &str) -> String {
    match facts.seen().and_then(|seen| seen.wants.as_ref()) {
        Some(wants) if wants != left => format!("{wants}'s and {left}'s"),
        _ => format!("{left}'s"),
    }
}

/// What ends it, and what comes then: what failed here is kept from coming by more than the rollback.
fn goes_on(facts: &Facts<'_>) -> String {
    let name = &facts.installed.name;
    let wants = facts.seen().and_then(|seen| seen.wants.clone()).unwrap_or_else(|| "what is wanted".to_owned());
    let wanted = facts.seen().and_then(|seen| seen.digest);
    let failed = facts.standing.ok().zip(wanted).and_then(|(standing, wanted)| standing.quarantined(wanted));
    match failed {
        Some(_) => format!(
            "portreeve resume {name} and portreeve retry {name}, which tries {wants} again: resume alone leaves it quarantined"
        ),
        None => format!("portreeve resume {name}, which releases {wants} again"),
    }
}
