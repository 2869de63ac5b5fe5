//! Processes that outlive this program, identified by id and start time, because ids are reused.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The size of a log above which the next start truncates it.
const LOG_BYTES_MAX: u64 = 8 << 20;

/// A process, as identified by its id and start time.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    pid: u32,
    /// The start time from /proc, and the boot id.
    began: String,
}

impl Process {
    /// Returns the process with this id, if it runs.
    pub fn find(pid: u32) -> Option<Process> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let ticks = began(&stat)?;
        Some(Process { pid, began: format!("{ticks}@{}", boot.trim()) })
    }

    /// Returns its id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the process still runs.
    pub fn runs(&self) -> bool {
        Process::find(self.pid).as_ref() == Some(self)
    }

    /// Whether this process listens on this loopback port, as opposed to another one.
    pub fn listens_on(&self, port: u16) -> bool {
        let tables = ["tcp", "tcp6"]
            .map(|table| std::fs::read_to_string(format!("/proc/{}/net/{table}", self.pid)));
        let sockets: Vec<String> =
            tables.iter().flatten().flat_map(|table| listening(table, port)).collect();
        let Ok(files) = std::fs::read_dir(format!("/proc/{}/fd", self.pid)) else { return false };
        let links = files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        links
            .into_iter()
            .any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
    }

    /// Sends a signal to the process, unless it has ended.
    pub fn signal(&self, name: &str) -> Result<()> {
        if !self.runs() {
            return Ok(());
        }
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.pid)])
            .status()
            .context("run sh")?;
        if !status.success() && self.runs() {
            bail!("cannot send {name} to process {}: it may belong to another user", self.pid);
        }
        Ok(())
    }

    /// Formats the process for a file.
    pub fn to_line(&self) -> String {
        format!("{} {}\n", self.pid, self.began)
    }

    /// Parses a stored process, and returns it if it still runs.
    pub fn of_line(line: &str) -> Option<Process> {
        let (pid, began) = line.trim().split_once(' ')?;
        let process = Process { pid: pid.parse().ok()?, began: began.to_owned() };
        process.runs().then_some(process)
    }
}

/// Starts a server in its own process group, so that it outlives this program and ignores its
/// Ctrl-C. Output goes to a file.
pub fn start(mut command: Command, log: &Path) -> Result<Process> {
    let action = format!("start {}", command.get_program().display());
    let output = open_log(log)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone().context("share the log")?)
        .stderr(output)
        .process_group(0)
        .spawn()
        .with_context(|| action.clone())?;
    let process = Process::find(child.id());
    // Reap the child while this program runs: PostgreSQL mistakes the id of a zombie for a live
    // server.
    std::thread::spawn(move || child.wait());
    process.with_context(|| format!("{action}: the process ended at once; see {}", log.display()))
}

/// Runs a command to its end and returns its stdout. The error includes the output.
pub fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {program}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        bail!("{program} failed:\n{}\n{}", text(&output.stdout), text(&output.stderr));
    }
    Ok(text(&output.stdout))
}

fn open_log(path: &Path) -> Result<File> {
    let long = path.metadata().is_ok_and(|about| about.len() > LOG_BYTES_MAX);
    let mut options = OpenOptions::new();
    options.create(true).write(true).append(!long).truncate(long);
    options.open(path).with_context(|| format!("open {}", path.display()))
}

/// Returns the sockets that listen on this port in a table of /proc/net/tcp, in the form of links
/// in /proc/PID/fd.
fn listening(table: &str, port: u16) -> Vec<String> {
    const LISTENS: &str = "0A";
    let suffix = format!(":{port:04X}");
    let socket = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        (local.ends_with(&suffix) && *state == LISTENS).then(|| format!("socket:[{inode}]"))
    };
    table.lines().filter_map(socket).collect()
}

/// Returns the start time in the text of /proc/PID/stat, or `None` for a zombie. The second field,
/// the program's name in brackets, may contain any character.
fn began(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.nth(18)?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_identified_by_its_start_time() {
        let ours = Process::find(std::process::id()).expect("this process runs");
        assert_eq!(Process::of_line(&ours.to_line()), Some(ours.clone()));
        let other = Process { began: format!("1{}", ours.began), ..ours };
        assert!(!other.runs(), "the same id of another process");
        assert_eq!(Process::of_line(&other.to_line()), None);
        assert_eq!(Process::of_line("nothing"), None);
    }

    #[test]
    fn the_process_that_listens_on_a_port_is_identified() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ours = Process::find(std::process::id()).expect("this process runs");
        assert!(ours.listens_on(port));
        let other = Process::find(1).expect("the first process runs");
        assert!(!other.listens_on(port), "the port belongs to another process");
        drop(listener);
        assert!(!ours.listens_on(port));
    }

    #[test]
    fn the_start_time_is_read_after_any_program_name() {
        let fields = "0 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(began(&format!("7 (a) b (c)) S {fields}")), Some(4711));
        assert_eq!(began(&format!("7 (java) Z {fields}")), None);
        assert_eq!(began("7 (java) S 1 2"), None);
    }
}
