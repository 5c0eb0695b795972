//! Arbitrary bytes, starting from seeds that are valid, torn, embedded and escaped.
#![no_main]

use event_recovery_fuzz::check;
use event_recovery_splitter::Limits;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The last three bytes choose limits and chunks, so that a seed can be any stream.
    let (stream, [limits, first, second]) = match input.split_last_chunk::<3>() {
        Some((stream, choice)) => (stream, *choice),
        None => (input, [0, 0, 0]),
    };
    let limits = match limits % 8 {
        0 => Limits {
            event_bytes_max: 64,
            nesting_max: 4,
        },
        1 => Limits {
            event_bytes_max: 300,
            nesting_max: 70,
        },
        _ => Limits::default(),
    };
    check(stream, limits, &[first.into(), usize::from(second) * 3]);
});
