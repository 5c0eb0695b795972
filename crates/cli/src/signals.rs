//! What interrupts a command.

use tokio::sync::watch;

use crate::failure::INTERRUPTED;

/// Sends `true` at the first signal, after `on_first`, and ends the process at the second.
pub(crate) async fn stop_on_signal(stop: watch::Sender<bool>, on_first: impl FnOnce()) {
    if next_signal().await.is_err() {
        return;
    }
    on_first();
    // Nobody listens any more when the run has ended.
    let _ = stop.send(true);
    if next_signal().await.is_ok() {
        std::process::exit(i32::from(INTERRUPTED));
    }
}

/// Waits for SIGINT or SIGTERM.
#[cfg(unix)]
pub(crate) async fn next_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// Waits for Ctrl-C.
#[cfg(not(unix))]
pub(crate) async fn next_signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}
