//! Prints what this processor can find events with, the fastest first.

use event_recovery_splitter::Instructions;

fn main() {
    for instructions in Instructions::available() {
        println!("{instructions}");
    }
}
