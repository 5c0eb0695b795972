//! Standard input and output as the caller handed them over.
//!
//! The handles of the standard library would conceal two mistakes. Before `main` it opens `/dev/null` where
//! one of the streams is closed, and its own [`io::stdin`] and [`io::stdout`] take "bad file descriptor"
//! for an end of input and for a success. Data would be lost, and the exit code would be 0.

use std::fs::File;
use std::io::{self, Write as _};

use crate::failure::Failure;

/// Standard input, without a buffer.
///
/// # Errors
///
/// It is closed.
pub(crate) fn stdin() -> io::Result<File> {
    #[cfg(unix)]
    if at_start::STDIN_WAS_CLOSED.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(closed());
    }
    file_of(io::stdin())
}

/// Standard output, without a buffer.
///
/// # Errors
///
/// It is closed.
pub(crate) fn stdout() -> io::Result<File> {
    #[cfg(unix)]
    if at_start::STDOUT_WAS_CLOSED.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(closed());
    }
    file_of(io::stdout())
}

/// Prints data, and says what it was if that fails.
pub(crate) fn print(what: &str, data: &[u8]) -> Result<(), Failure> {
    stdout()
        .and_then(|mut stdout| stdout.write_all(data))
        .map_err(|error| Failure::of_stdout(what, &error))
}

fn closed() -> io::Error {
    io::Error::other("it is closed")
}

#[cfg(unix)]
fn file_of(stream: impl std::os::fd::AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

#[cfg(windows)]
fn file_of(stream: impl std::os::windows::io::AsHandle) -> io::Result<File> {
    stream.as_handle().try_clone_to_owned().map(File::from)
}

/// What can be detected only before the standard library has opened `/dev/null` in place of a closed
/// stream. Afterwards it looks like a `/dev/null` that the caller chose: shells open theirs for writing,
/// but Python, Node and daemons open it for reading as well, as the library does.
#[cfg(unix)]
mod at_start {
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::io::fcntl_getfd;
    use rustix::stdio::{stdin, stdout};

    pub(super) static STDIN_WAS_CLOSED: AtomicBool = AtomicBool::new(false);
    pub(super) static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

    ctor::declarative::ctor! {
        // Runs before the standard library is set up: it may call the system, and store the answer.
        #[ctor(unsafe)]
        fn look() {
            STDIN_WAS_CLOSED.store(fcntl_getfd(stdin()).is_err(), Ordering::Relaxed);
            STDOUT_WAS_CLOSED.store(fcntl_getfd(stdout()).is_err(), Ordering::Relaxed);
        }
    }
}
