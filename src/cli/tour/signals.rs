//! Ctrl-C, and what else asks a program to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use crate::host::HostError;

/// Sets `cancel` when somebody wants us to end. The servers are in sessions of their own, so that a terminal tells us alone.
pub(super) fn watch(cancel: Arc<AtomicBool>) -> Result<(), HostError> {
    let failed = |error: std::io::Error| HostError::Program { program: "signals".into(), why: error.to_string() };
    let runtime = crate::host::runtime()?;
    let mut signals = {
        let _inside = runtime.enter();
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal)
    };
    for taken in &mut signals {
        if let Err(error) = taken {
            return Err(failed(std::io::Error::from(error.kind())));
        }
    }
    let wait = move || {
        runtime.block_on(async {
            let mut waits = tokio::task::JoinSet::new();
            for mut signal in signals.into_iter().flatten() {
                waits.spawn(async move { signal.recv().await });
            }
            waits.join_next().await;
        });
        cancel.store(true, Ordering::Relaxed);
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop).map_err(failed)
}
