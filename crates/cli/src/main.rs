//! The command line of event-recovery: reads the arguments and hands over.

mod accept_loss;
mod arguments;
mod bytes;
mod cancel;
mod common_arguments;
mod compare;
mod dead_letters;
mod deliver;
mod delivery_arguments;
mod failure;
mod folders;
mod follow;
mod handling_arguments;
mod known_run;
mod ledger_place;
mod list;
mod location;
mod log;
mod output;
mod preflight;
mod progress;
mod recheck;
mod report;
mod request_arguments;
mod resume;
mod run;
mod runtime;
mod salvage;
mod sample;
mod signals;
mod split;
mod standing;
mod start;
mod status;
mod storage;
mod streams;
mod summary;
mod terminal;
mod verify_signature;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};

use crate::arguments::{Arguments, Command};
use crate::failure::Failure;

/// A writer of Parquet asks for large blocks and gives them back, page after page. The system's
/// allocator has the kernel clear them each time, which is a sixth of all the work.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let ended = match Arguments::try_parse() {
        Ok(arguments) => log::init().and_then(|()| carry_out(&arguments.command)),
        Err(error) => explain(&error),
    };
    ended.unwrap_or_else(|failure| failure.end())
}

fn carry_out(command: &Command) -> Result<ExitCode, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    tracing::debug!(version, command = command.name(), "begins");
    if let Some(what) = command.data() {
        // Fails before hours of work instead of after them.
        streams::stdout().map_err(|error| Failure::of_stdout(what, &error))?;
    }
    match command {
        Command::Sample(arguments) => sample::sample(arguments),
        Command::Preflight(arguments) => preflight::preflight(arguments),
        Command::Run(arguments) => run::run(arguments),
        Command::Start(arguments) => start::start(arguments),
        Command::Status(arguments) => status::status(arguments),
        Command::List(arguments) => list::list(arguments),
        Command::Resume(arguments) => resume::resume(arguments),
        Command::Recheck(arguments) => recheck::recheck(arguments),
        Command::Salvage(arguments) => salvage::salvage(arguments),
        Command::Cancel(arguments) => cancel::cancel(arguments),
        Command::AcceptLoss(arguments) => accept_loss::accept(arguments),
        Command::Report(arguments) => report::report(arguments),
        Command::VerifySignature(arguments) => verify_signature::verify(arguments),
        Command::Compare(arguments) => compare::compare(arguments),
        Command::Deliver(arguments) => deliver::deliver(arguments),
        Command::DeadLetters(arguments) => dead_letters::dead_letters(arguments),
        Command::Split(arguments) => split::split(arguments),
        Command::Completions { shell } => {
            let mut completions = Vec::new();
            let mut command = Arguments::command();
            // Not to stdout, where it would panic if it can't write.
            clap_complete::generate(*shell, &mut command, "event-recovery", &mut completions);
            streams::print("the completions", &completions)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Says what is wrong with the arguments, or prints the help or version that they ask for.
fn explain(error: &clap::Error) -> Result<ExitCode, Failure> {
    if error.use_stderr() {
        // Where stderr is broken, the exit code tells.
        let _ = error.print();
        return Ok(ExitCode::from(failure::USAGE));
    }
    let what = match error.kind() {
        ErrorKind::DisplayVersion => "the version",
        _ => "the help",
    };
    // A terminal gets it in colour, and can't be full.
    if !io::stdout().is_terminal() || error.print().is_err() {
        streams::print(what, error.to_string().as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
