//! Processes that outlive this program, known by their id and the moment they began: an id alone is used again one day.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A log that is longer than this is begun anew at the next start.
const LOG_BYTES_MAX: u64 = 8 << 20;

/// A process that ran when it was looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    pid: u32,
    /// The moment it began, as /proc tells it, and the boot in which that moment lies.
    began: String,
}

impl Process {
    /// The process with this id, if it runs.
    pub fn find(pid: u32) -> Option<Process> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let ticks = began(&stat)?;
        Some(Process { pid, began: format!("{ticks}@{}", boot.trim()) })
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it runs still.
    pub fn runs(&self) -> bool {
        Process::find(self.pid).as_ref() == Some(self)
    }

    /// Whether it is this process that listens on this port of loopback: another one may have been faster.
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

    /// Sends it a signal, if it is still the same.
    pub fn signal(&self, name: &str) -> Result<()> {
        if !self.runs() {
            return Ok(());
        }
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.pid)])
            .status()
            .context("run sh")?;
        if !status.success() && self.runs() {
            bail!("process {} cannot be sent {name}: it may be another user's", self.pid);
        }
        Ok(())
    }

    /// As it is written in a file.
    pub fn to_line(&self) -> String {
        format!("{} {}\n", self.pid, self.began)
    }

    /// The one that was written, if it runs still.
    pub fn of_line(line: &str) -> Option<Process> {
        let (pid, began) = line.trim().split_once(' ')?;
        let process = Process { pid: pid.parse().ok()?, began: began.to_owned() };
        process.runs().then_some(process)
    }
}

/// Starts a server that goes on without us, with its output in a file, out of reach of the terminal's Ctrl-C.
pub fn start(mut command: Command, log: &Path) -> Result<Process> {
    let told = format!("start {}", command.get_program().display());
    let output = open_log(log)?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone().context("share the log")?)
        .stderr(output)
        .process_group(0)
        .spawn()
        .with_context(|| told.clone())?;
    let process = Process::find(child.id());
    // while we run, what it leaves behind is cleared away: PostgreSQL takes a dead one's id for one that lives
    std::thread::spawn(move || child.wait());
    process.with_context(|| format!("{told}: it ended at once; see {}", log.display()))
}

/// Runs a command to its end; its output is the error's text when it fails.
pub fn run(command: &mut Command) -> Result<String> {
    let told = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {told}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        bail!("{told} failed:\n{}\n{}", text(&output.stdout), text(&output.stderr));
    }
    Ok(text(&output.stdout))
}

fn open_log(path: &Path) -> Result<File> {
    let long = path.metadata().is_ok_and(|about| about.len() > LOG_BYTES_MAX);
    let mut options = OpenOptions::new();
    options.create(true).write(true).append(!long).truncate(long);
    options.open(path).with_context(|| format!("open {}", path.display()))
}

/// The sockets that listen on this port, of the text of /proc/net/tcp, as links of open files show them.
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

/// The moment a process began, of the text of /proc/PID/stat; none when it has ended and only its parent has not seen it.
/// The second field is the program's name in brackets, which may hold anything.
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
    fn a_process_is_known_by_the_moment_it_began() {
        let ours = Process::find(std::process::id()).expect("we run");
        assert_eq!(Process::of_line(&ours.to_line()), Some(ours.clone()));
        let other = Process { began: format!("1{}", ours.began), ..ours };
        assert!(!other.runs(), "the same id, and another process");
        assert_eq!(Process::of_line(&other.to_line()), None);
        assert_eq!(Process::of_line("nothing"), None);
    }

    #[test]
    fn the_process_that_listens_on_a_port_is_told_from_others() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let ours = Process::find(std::process::id()).expect("we run");
        assert!(ours.listens_on(port));
        let other = Process::find(1).expect("the first process runs");
        assert!(!other.listens_on(port), "another one's port is not taken for its own");
        drop(listener);
        assert!(!ours.listens_on(port));
    }

    #[test]
    fn the_moment_is_read_behind_any_name() {
        let fields = "0 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        assert_eq!(began(&format!("7 (a) b (c)) S {fields}")), Some(4711));
        assert_eq!(began(&format!("7 (java) Z {fields}")), None);
        assert_eq!(began("7 (java) S 1 2"), None);
    }
}
