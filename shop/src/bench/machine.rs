//! What this process and the whole machine have used, as Linux counts it.

use std::collections::BTreeMap;
use std::fs;

/// Linux counts processor time in hundredths of a second, whatever its real clock is.
const TICKS_PER_S: f64 = 100.0;

/// Processor time so far, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    ours_s: f64,
    busy_s: f64,
    total_s: f64,
}

impl Used {
    /// Until now; zeros where the system does not tell.
    pub fn now() -> Used {
        let (busy_s, total_s) = fs::read_to_string("/proc/stat")
            .ok()
            .and_then(|text| machine(&text))
            .unwrap_or_default();
        let ours_s = fs::read_to_string("/proc/self/stat")
            .ok()
            .and_then(|text| process(&text))
            .unwrap_or_default();
        Used { ours_s, busy_s, total_s }
    }

    /// What this process has used since `earlier`, in seconds.
    pub fn ours_since(&self, earlier: &Used) -> f64 {
        self.ours_s - earlier.ours_s
    }

    /// What so many seconds were of the whole machine since `earlier`, in percent.
    pub fn percent_of_machine(&self, earlier: &Used, seconds: f64) -> f64 {
        let total = self.total_s - earlier.total_s;
        if total > 0.0 { 100.0 * seconds / total } else { 0.0 }
    }

    /// The share of the whole machine that others have taken since `earlier`, in percent.
    pub fn others_percent_since(&self, earlier: &Used) -> f64 {
        let total = self.total_s - earlier.total_s;
        let others = (self.busy_s - earlier.busy_s) - self.ours_since(earlier);
        if total > 0.0 { (100.0 * others / total).max(0.0) } else { 0.0 }
    }
}

/// Seconds of processor time of a process so far.
pub fn of_process(id: u32) -> Option<f64> {
    process(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// Seconds of all processes whose command line holds a word, by the name that it stands for. What has ended is not in it.
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

/// This process's memory in MiB.
pub fn memory_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Busy and total seconds from `/proc/stat`.
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
    let idle = fields.get(3)? + fields.get(4)?; // idle and waiting for a disk
    Some(((total - idle) / TICKS_PER_S, total / TICKS_PER_S))
}

/// User and system seconds from `/proc/self/stat`: the 14th and 15th field, counted behind the name in brackets.
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
    fn what_linux_tells_is_read() {
        assert_eq!(machine("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2 3\n"), Some((1.5, 10.0)));
        let stat = "7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0";
        assert_eq!(process(stat), Some(2.0));
    }
}
