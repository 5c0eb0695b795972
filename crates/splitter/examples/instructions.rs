//! Prints what this processor can find events with, the fastest first.
#![allow(clippy::print_stdout, reason = "what it is for")]

use event_recovery_splitter::Instructions;

fn main() {
    for instructions in Instructions::available() {
        println!("{instructions}");
    }
}
