//! Prints the instructions that the splitter can use on this processor, fastest first.
#![allow(clippy::print_stdout, reason = "an example that prints")]

use event_recovery_splitter::Instructions;

fn main() {
    for instructions in Instructions::available() {
        println!("{instructions}");
    }
}
