//! The log of what the program does, for debugging: off unless the environment turns it on.

use std::io;

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::failure::Failure;
use crate::terminal::say;

/// The environment variable that sets the level.
pub(crate) const VARIABLE: &str = "EVENT_RECOVERY_LOG";
/// The prefix of all log targets of this software. Targets of libraries are left out: their lines may hold
/// content.
const TARGETS: &str = "event_recovery";

const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// Writes the log to stderr, at the level that the environment sets.
pub(crate) fn init() -> Result<(), Failure> {
    let level = match std::env::var_os(VARIABLE) {
        Some(text) => parse(&text.to_string_lossy())?,
        None => LevelFilter::OFF,
    };
    if level == LevelFilter::OFF {
        return Ok(());
    }
    let lines = fmt::layer()
        .with_writer(|| Lines)
        // It would report a failing stderr there, and panic.
        .log_internal_errors(false)
        .with_filter(Targets::new().with_target(TARGETS, level));
    // Fails only where a subscriber is set already, which then logs.
    let _ = tracing_subscriber::registry().with(lines).try_init();
    Ok(())
}

/// An empty text counts as none.
fn parse(text: &str) -> Result<LevelFilter, Failure> {
    let found = LEVELS.iter().find(|(name, _)| *name == text);
    match found {
        Some((_, level)) => Ok(*level),
        None if text.is_empty() => Ok(LevelFilter::OFF),
        None => {
            let names = LEVELS.map(|(name, _)| format!("`{name}`")).join(", ");
            Err(Failure::usage(format!(
                "`{VARIABLE}` is not one of its levels; it accepts {names}: {text:?}"
            )))
        }
    }
}

/// Takes one line with each write, and never fails: what becomes of stderr changes nothing.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        say(String::from_utf8_lossy(bytes).trim_end());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_one_of_its_names_or_none() {
        assert_eq!(parse("debug").unwrap(), LevelFilter::DEBUG);
        assert_eq!(parse("").unwrap(), LevelFilter::OFF);
        let text = parse("loud").unwrap_err().text().unwrap();
        assert!(
            text.contains("`off`, `error`") && text.ends_with("\"loud\""),
            "{text}"
        );
    }
}
