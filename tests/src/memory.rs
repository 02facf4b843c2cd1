//! The memory of a process, from the system's books.

use std::fs;

/// Mebibytes that a process has in memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Now.
    pub resident: u64,
    /// At most, since it started or since [`forget_peak`].
    pub peak: u64,
}

/// The memory of a process.
///
/// # Panics
/// There is no such process.
pub fn of(pid: u32) -> Memory {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or_else(|| panic!("no {name} in {path}")) / 1024
    };
    Memory { resident: field("VmRSS"), peak: field("VmHWM") }
}

/// Begins the peak of a process anew.
///
/// # Panics
/// There is no such process of ours.
pub fn forget_peak(pid: u32) {
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, "5").unwrap_or_else(|error| panic!("{path}: {error}"));
}
