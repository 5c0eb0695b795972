//! The command line of event-recovery: reads the arguments and hands over.

mod arguments;
mod bytes;
mod failure;
mod local_ledger;
mod location;
mod progress;
mod run;
mod sample;
mod split;
mod start;
mod status;
mod storage;
mod summary;
mod terminal;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::arguments::{Arguments, Command};

/// A writer of Parquet asks for large blocks and gives them back, page after page. The system's
/// allocator has the kernel clear them each time, which is a sixth of all the work.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match arguments.command {
        Command::Sample(arguments) => sample::sample(&arguments),
        Command::Run(arguments) => run::run(&arguments),
        Command::Start(arguments) => start::start(&arguments),
        Command::Status(arguments) => status::status(&arguments),
        Command::Split(arguments) => split::split(&arguments),
        Command::Completions { shell } => {
            let mut command = Arguments::command();
            clap_complete::generate(
                shell,
                &mut command,
                "event-recovery",
                &mut std::io::stdout(),
            );
            Ok(ExitCode::SUCCESS)
        }
    };
    ended.unwrap_or_else(|failure| {
        eprintln!("{}", terminal::printable(&failure.to_string()));
        failure.exit_code()
    })
}
