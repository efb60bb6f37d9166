//! `portreeve agent`: passes on schedule, until told to stop, or until a new binary takes over.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;

use super::args::Global;
use super::takeover::Installed;
use super::{Fault, open, printer, signals};
use crate::agent::{App, Outcome, Witness, pass_telling, schedule, tell};
use crate::model::EnvName;
use crate::transaction::chain;

/// How late a signal is noticed between two passes.
const GLANCE: Duration = Duration::from_millis(500);

/// Runs until SIGTERM or SIGINT; a pass that is under way ends at its next safe point.
pub fn run(global: &Global) -> Result<u8, Fault> {
    let cancel = signals::cancelled(|| notify(&[NotifyState::Watchdog]))?;
    let mut app = open::app_with(global, Arc::clone(&cancel))?;
    // An environment that somebody is at work on has its turn at a later pass.
    app.wait = Some(Duration::ZERO);
    let mut installed = Installed::now(&app);
    notify(&[NotifyState::Ready]);
    let offset = schedule::offset(&app.name, app.settings.jitter.duration());
    // A pass that still has a release under way holds up no later one; all of them have ended when this does.
    std::thread::scope(|scope| {
        let mut passes = Vec::new();
        while !cancel.load(Ordering::SeqCst) {
            passes.push(scope.spawn(|| guarded(&app, global)));
            let now = app.host.clock().now();
            let next = app.settings.schedule.next_after(now, offset);
            let text = format!("next pass {}", next.strftime("%H:%M:%S UTC"));
            notify(&[NotifyState::Status(&text)]);
            wait(&app, next, &cancel);
            passes.retain(|pass| !pass.is_finished());
            if passes.is_empty() {
                installed.give_way(&app);
            }
        }
    });
    notify(&[NotifyState::Stopping]);
    Ok(0)
}

/// Our own mistakes end one pass, not the agent.
fn guarded(app: &App, global: &Global) {
    if catch_unwind(AssertUnwindSafe(|| one(app, global))).is_err() {
        printer::error(&Fault::blocked("portreeve itself failed in this pass; the next one comes; please report this"));
    }
}

fn one(app: &App, global: &Global) {
    let progress = printer::Progress::labelled(global);
    let told = Mutex::new(BTreeSet::new());
    let hear = |name: &EnvName, outcome: &Outcome| {
        // One at a time, so that nobody's lines stand among another's.
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        super::reconcile::tell_one(name, outcome, true);
        told.insert(name.clone());
    };
    let pass = pass_telling(app, &Witness::new(app, &progress), &BTreeSet::new(), &hear);
    let told = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    let notes = tell(app, pass.as_ref(), true);
    match pass {
        Ok(mut report) => {
            report.outcomes.retain(|name, _| !told.contains(name));
            super::reconcile::tell_all(&report, true);
        }
        Err(failure) => printer::error(&super::reconcile::fault(&failure)),
    }
    for note in notes {
        printer::note(&note);
    }
}

/// By the wall clock, as the schedule is, but never longer than a day: a clock that was set back must not stop the agent.
fn wait(app: &App, next: jiff::Timestamp, cancel: &AtomicBool) {
    let clock = app.host.clock();
    let longest = clock.monotonic() + Duration::from_hours(24);
    while !cancel.load(Ordering::SeqCst) && clock.now() < next && clock.monotonic() < longest {
        let left = next.duration_since(clock.now());
        let left = Duration::try_from(left).unwrap_or_default();
        clock.sleep(left.min(GLANCE));
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        printer::note(&format!("systemd was not told: {}", chain(&error)));
    }
}
