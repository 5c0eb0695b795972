//! The asynchronous runtime of a command.

use crate::failure::Failure;

/// Runs a command to its end on a runtime of its own.
pub(crate) fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::could_not_run(format!("could not start the threads: {error}"))
                .hint("raise the limit on threads, or end other programs")
        })?
        .block_on(command)
}
