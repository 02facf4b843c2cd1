//! What a benchmark runs on, for the head of its tables.

use std::fs;

/// The cores, the CPU's name and the kernel.
pub fn description() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, {}, Linux {}", cpu.map_or("CPU unknown", |(_, name)| name), kernel.trim())
}

/// How many processes want a core now, on average over the last minute: what else the machine does. `None` where the
/// kernel does not say.
pub fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}
