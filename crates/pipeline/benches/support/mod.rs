//! The argument of the benchmarks, and what Linux says about the process.

use std::io::Read;

/// The number of objects on the command line. `cargo bench` appends `--bench` to the arguments.
pub(crate) fn objects_argument() -> Option<u64> {
    let argument = std::env::args().skip(1).find(|text| text != "--bench")?;
    Some(argument.parse().expect("a number of objects"))
}

/// User and system time since the process began.
pub(crate) fn cpu_secs() -> f64 {
    let mut text = String::new();
    let mut stat = std::fs::File::open("/proc/self/stat").unwrap();
    stat.read_to_string(&mut text).unwrap();
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    // utime and stime, fields 14 and 15 (proc_pid_stat(5)), in ticks of 1/100 s. Counted after the last
    // parenthesis, because the second field, the command's name, may hold spaces.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// The high-water mark of the resident set since the process began.
pub(crate) fn peak_resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}
