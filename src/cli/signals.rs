//! SIGTERM and SIGINT: a pass ends at its next safe point.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Fault;

/// How often `alive` is called; also while a pass runs.
const ALIVE: Duration = Duration::from_secs(20);

/// A flag that the first signal sets. The second one ends the program at once: what it started dies with it, and the next
/// pass takes up what the journal says.
///
/// One thread waits for the signals, because a pass is synchronous; it calls `alive` now and every 20 s.
pub fn cancelled(alive: impl Fn() + Send + 'static) -> Result<Arc<AtomicBool>, Fault> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| Fault::failed(&error))?;
    let guard = runtime.enter();
    let term = signal(SignalKind::terminate()).map_err(|error| Fault::failed(&error))?;
    let int = signal(SignalKind::interrupt()).map_err(|error| Fault::failed(&error))?;
    drop(guard);
    let flag = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&flag);
    std::thread::spawn(move || runtime.block_on(watch(term, int, &raised, alive)));
    Ok(flag)
}

async fn watch(mut term: Signal, mut int: Signal, flag: &AtomicBool, alive: impl Fn()) {
    let mut tick = tokio::time::interval(ALIVE);
    loop {
        tokio::select! {
            _ = term.recv() => raise(flag),
            _ = int.recv() => raise(flag),
            _ = tick.tick() => alive(),
        }
    }
}

/// The second signal is from somebody who does not want to wait; the journal knows what is under way.
#[expect(clippy::disallowed_methods, reason = "main can't return while the pass runs")]
fn raise(flag: &AtomicBool) {
    if flag.swap(true, Ordering::SeqCst) {
        std::process::exit(1);
    }
}
