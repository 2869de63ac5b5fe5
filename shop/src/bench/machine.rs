//! CPU time and memory of this process and of the machine, read from Linux's `/proc`.

use std::collections::BTreeMap;
use std::fs;

/// Linux reports CPU time in hundredths of a second, independent of its timer frequency.
const TICKS_PER_S: f64 = 100.0;

/// CPU time since the start, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    ours_s: f64,
    busy_s: f64,
    total_s: f64,
}

impl CpuTime {
    /// Reads the current values. All zero on systems without `/proc`.
    pub fn now() -> CpuTime {
        let (busy_s, total_s) = fs::read_to_string("/proc/stat")
            .ok()
            .and_then(|text| machine(&text))
            .unwrap_or_default();
        let ours_s = fs::read_to_string("/proc/self/stat")
            .ok()
            .and_then(|text| process(&text))
            .unwrap_or_default();
        CpuTime { ours_s, busy_s, total_s }
    }

    /// Returns the CPU time of this process since `earlier`, in seconds.
    pub fn ours_since(&self, earlier: &CpuTime) -> f64 {
        self.ours_s - earlier.ours_s
    }

    /// Returns the share of `seconds` in the machine's CPU time since `earlier`, in percent.
    pub fn percent_of_machine(&self, earlier: &CpuTime, seconds: f64) -> f64 {
        let total = self.total_s - earlier.total_s;
        if total > 0.0 { 100.0 * seconds / total } else { 0.0 }
    }

    /// Returns the share of other processes in the machine's CPU time since `earlier`, in percent.
    pub fn others_percent_since(&self, earlier: &CpuTime) -> f64 {
        let total = self.total_s - earlier.total_s;
        let others = (self.busy_s - earlier.busy_s) - self.ours_since(earlier);
        if total > 0.0 { (100.0 * others / total).max(0.0) } else { 0.0 }
    }
}

/// Returns the CPU time of a process, in seconds.
pub fn of_process(id: u32) -> Option<f64> {
    process(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// Returns the CPU time of running processes whose command line contains a word, summed by the name
/// paired with it.
pub fn by_program(words: &[(&str, &str)]) -> BTreeMap<String, f64> {
    let mut seconds = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if let Some((name, _)) = words.iter().find(|(_, word)| command.contains(word)) {
            *seconds.entry((*name).to_owned()).or_default() += of_process(id).unwrap_or_default();
        }
    }
    seconds
}

/// Returns this process's resident memory in MiB.
pub fn memory_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Parses busy and total seconds from `/proc/stat`.
fn machine(text: &str) -> Option<(f64, f64)> {
    let fields: Vec<f64> = text
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .take(8)
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let total: f64 = fields.iter().sum();
    let idle = fields.get(3)? + fields.get(4)?; // idle and iowait
    Some(((total - idle) / TICKS_PER_S, total / TICKS_PER_S))
}

/// Parses user plus system seconds from `/proc/self/stat`: fields 14 and 15, counted after the name
/// in brackets.
fn process(text: &str) -> Option<f64> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_times_of_proc_are_parsed() {
        assert_eq!(machine("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3\n"), Some((1.5, 10.0)));
        let stat = "7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0";
        assert_eq!(process(stat), Some(2.0));
    }
}
