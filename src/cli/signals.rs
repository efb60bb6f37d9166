//! SIGTERM, SIGINT and SIGHUP: a pass ends at its next safe point.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Fault;
use crate::host::ignores_hangup;

/// How often `alive` is called; also while a pass runs.
const ALIVE: Duration = Duration::from_secs(20);

/// A flag for a command, which the first of these signals sets. A second SIGTERM or SIGINT ends the program at once: what it
/// started dies with it, and the next pass takes up what the journal says.
///
/// A SIGHUP says that nobody reads on, not that somebody is in a hurry: it comes twice where a shell hands it on.
pub fn cancelled() -> Result<Arc<AtomicBool>, Fault> {
    let flag = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&flag);
    watch(&flag, || (), move || gone.store(true, Ordering::SeqCst))?;
    Ok(flag)
}

/// The same for the agent, which no SIGHUP ends: `hung_up` is called for each. `alive` is called now and every 20 s.
pub fn cancelled_agent(
    alive: impl Fn() + Send + 'static,
    hung_up: impl Fn() + Send + 'static,
) -> Result<Arc<AtomicBool>, Fault> {
    let flag = Arc::new(AtomicBool::new(false));
    watch(&flag, alive, hung_up)?;
    Ok(flag)
}

/// One thread waits for the signals, because a pass is synchronous.
fn watch(
    flag: &Arc<AtomicBool>,
    alive: impl Fn() + Send + 'static,
    hung_up: impl Fn() + Send + 'static,
) -> Result<(), Fault> {
    let failed = |error: std::io::Error| Fault::failed(&error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let signals = {
        let _inside = runtime.enter();
        Signals::taken().map_err(failed)?
    };
    let raised = Arc::clone(flag);
    std::thread::spawn(move || runtime.block_on(signals.wait(&raised, alive, hung_up)));
    Ok(())
}

struct Signals {
    term: Signal,
    int: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    fn taken() -> std::io::Result<Self> {
        let hangup = (!ignores_hangup()).then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())?, hangup })
    }

    async fn wait(mut self, flag: &AtomicBool, alive: impl Fn(), hung_up: impl Fn()) {
        let mut tick = tokio::time::interval(ALIVE);
        loop {
            tokio::select! {
                _ = self.term.recv() => raise(flag),
                _ = self.int.recv() => raise(flag),
                () = comes(self.hangup.as_mut()) => hung_up(),
                _ = tick.tick() => alive(),
            }
        }
    }
}

async fn comes(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// The second signal is from somebody who does not want to wait; the journal knows what is under way.
#[expect(clippy::disallowed_methods, reason = "main can't return while the pass runs")]
fn raise(flag: &AtomicBool) {
    if flag.swap(true, Ordering::SeqCst) {
        std::process::exit(1);
    }
}
