//! The processes of a campaign: orchestrators and services, each with its own proxies to Kafka and
//! PostgreSQL, and its own clock.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::proxy::Proxy;
use crate::services::{Listener, Process, Services};
use crate::workspace::Workspace;

/// The time limit for a process to become ready.
const READY_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// The time limit of an HTTP response, longer than a client's longest wait.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// Reply partitions: two for each of three orchestrators, three for each of two.
const PARTITIONS: &str = "6";
/// The library that fakes a process's clock.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Orchestrators that run from the start.
pub const ORCHESTRATORS: [&str; 2] = ["orchestrator-1", "orchestrator-2"];
/// An orchestrator that joins and leaves.
pub const JOINER: &str = "orchestrator-3";
/// The services, one process each.
pub const SERVICES: [&str; 4] = ["order", "payment", "inventory", "shipping"];
/// A second process of the payment service, for rebalances.
pub const SECOND: &str = "payment-second";

/// The port, proxies and clock of a process.
struct SiteProcess {
    port: u16,
    kafka: Proxy,
    postgres: Proxy,
    clock: PathBuf,
}

/// All processes of a campaign, with their own topics and schemas. They are killed on drop.
pub struct Site {
    /// Kafka and PostgreSQL of this campaign.
    pub services: Services,
    /// The prefix of all topics and schemas.
    pub namespace: String,
    program: PathBuf,
    folder: PathBuf,
    members: BTreeMap<&'static str, SiteProcess>,
    children: Mutex<BTreeMap<&'static str, Child>>,
}

/// An HTTP response.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub code: u16,
    /// The status line and the headers.
    pub head: String,
    pub body: String,
}

impl Site {
    /// Starts servers and processes in `folder`, and waits until all are ready.
    pub fn start(workspace: &Workspace, folder: &str) -> Result<Site> {
        let path = workspace.path(folder);
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let namespace = format!("chaos-{}", since.as_millis() % 100_000_000);
        let logs = path.join(&namespace);
        std::fs::create_dir_all(&logs).with_context(|| format!("create {}", logs.display()))?;
        let plain = Services::at(workspace, &format!("{folder}/services"));
        plain.up()?; // chooses the ports
        let postgres = SocketAddr::from(([127, 0, 0, 1], plain.postgres_port()?));
        let (mut members, mut listeners, mut held) = (BTreeMap::new(), Vec::new(), Vec::new());
        for name in ORCHESTRATORS.into_iter().chain([JOINER]).chain(SERVICES).chain([SECOND]) {
            let (port, listen) = (free_port(&mut held)?, free_port(&mut held)?);
            let listen = SocketAddr::from(([127, 0, 0, 1], listen));
            let kafka = Proxy::to(listen)?;
            listeners.push(Listener { listen, advertised: kafka.address() });
            let clock = logs.join(format!("{name}.clock"));
            std::fs::write(&clock, "+0\n")?;
            members
                .insert(name, SiteProcess { port, kafka, postgres: Proxy::to(postgres)?, clock });
        }
        drop(held);
        plain.down()?;
        let services = plain.with_listeners(listeners);
        services.up()?;
        let program = path.join("shop");
        let _ = std::fs::remove_file(&program); // left by an earlier campaign
        // copied, because a build may replace the program during the campaign
        std::fs::copy(workspace.path("target/debug/shop"), &program).context("copy the program")?;
        let site = Site {
            services,
            namespace,
            program,
            folder: logs,
            members,
            children: Mutex::default(),
        };
        site.apply_topics()?;
        for name in ORCHESTRATORS.into_iter().chain(SERVICES) {
            site.spawn(name)?;
        }
        for name in ORCHESTRATORS.into_iter().chain(SERVICES) {
            site.wait_until_ready(name)?;
        }
        Ok(site)
    }

    /// Creates missing topics.
    pub fn apply_topics(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let applied = self
                .command(SERVICES[0])
                .args(["topics", "apply"])
                .output()
                .context("run topics apply")?;
            if applied.status.success() {
                return Ok(());
            }
            let why = String::from_utf8_lossy(&applied.stderr).into_owned();
            ensure!(begun.elapsed() < READY_MAX, "topics apply: {why}");
            std::thread::sleep(POLL);
        }
    }

    /// Starts a process.
    pub fn spawn(&self, name: &'static str) -> Result<()> {
        let member = self.member(name)?;
        let mut command = self.command(name);
        if ORCHESTRATORS.contains(&name) || name == JOINER {
            command.args(["serve", "--listen", &format!("127.0.0.1:{}", member.port)]);
        } else {
            let service = if name == SECOND { "payment" } else { name };
            command.args(["service", service, "--listen", &format!("127.0.0.1:{}", member.port)]);
        }
        let log = File::options().create(true).append(true).open(self.log_of(name))?;
        command.stdout(log.try_clone()?).stderr(log);
        if Path::new(FAKETIME).exists() {
            command.env("LD_PRELOAD", FAKETIME).env("FAKETIME_TIMESTAMP_FILE", &member.clock);
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_CACHE_DURATION", "1");
        }
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        self.children().insert(name, child);
        Ok(())
    }

    /// Builds a command of the program, as a client or a process, with the addresses of this site.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.services.configuration()).stdin(Stdio::null());
        command.env("SAGAMORE__NAMESPACE", &self.namespace).env("RUST_LOG", "info");
        // enough for every orchestrator
        command.env("SAGAMORE__ORCHESTRATOR__PARTITIONS", PARTITIONS);
        let database = "sagamore";
        if let Some(member) = self.members.get(name) {
            let url = format!("postgres://postgres@{}/{database}", member.postgres.address());
            command.env("SAGAMORE__KAFKA__BROKERS", member.kafka.address().to_string());
            command.env("SAGAMORE__POSTGRES__URL", url);
        }
        for service in SERVICES {
            let variable = format!("SAGAMORE__{}__LISTEN", service.to_uppercase());
            command.env(variable, format!("127.0.0.1:{}", self.members[service].port));
        }
        let servers =
            ORCHESTRATORS.map(|name| format!("http://127.0.0.1:{}", self.members[name].port));
        command.env("SAGAMORE__ORCHESTRATOR__SERVERS", servers.join(","));
        command
    }

    /// Kills a process with SIGKILL and waits for its end, if it runs.
    pub fn kill(&self, name: &str) -> Result<()> {
        let child = self.children().remove(name);
        if let Some(mut child) = child {
            child.kill().and_then(|()| child.wait()).with_context(|| format!("kill {name}"))?;
        }
        Ok(())
    }

    /// Stops a process gracefully, and kills it after `limit`.
    pub fn stop(&self, name: &str, limit: Duration) -> Result<()> {
        self.signal(name, "TERM")?;
        let begun = Instant::now();
        while begun.elapsed() < limit {
            let ended = match self.children().get_mut(name) {
                Some(child) => child.try_wait()?.is_some(),
                None => true,
            };
            if ended {
                break;
            }
            std::thread::sleep(POLL);
        }
        self.kill(name)
    }

    /// Restarts every process that has ended, and returns their names.
    pub fn revive(&self) -> Result<Vec<&'static str>> {
        let ended: Vec<&'static str> = {
            let mut children = self.children();
            let ended = children
                .iter_mut()
                .filter_map(|(name, child)| child.try_wait().ok()?.map(|_| *name));
            ended.collect()
        };
        for name in &ended {
            self.children().remove(name);
            self.spawn(name)?;
        }
        Ok(ended)
    }

    /// Sends a signal to a process.
    pub fn signal(&self, name: &str, signal: &str) -> Result<()> {
        let pid = self.children().get(name).map(Child::id);
        match pid.and_then(Process::find) {
            Some(process) => process.signal(signal),
            None => Ok(()),
        }
    }

    /// Sets the offset of a process's wall clock: `+60d`, `-60d`, `+0`.
    pub fn set_clock(&self, name: &str, offset: &str) -> Result<()> {
        let path = &self.member(name)?.clock;
        std::fs::write(path, format!("{offset}\n"))
            .with_context(|| format!("write {}", path.display()))
    }

    /// Returns a process's port.
    pub fn port_of(&self, name: &str) -> Result<u16> {
        Ok(self.member(name)?.port)
    }

    /// Whether the clock of each process can be set.
    pub fn has_clocks() -> bool {
        Path::new(FAKETIME).exists()
    }

    /// Returns a process's proxy to Kafka.
    pub fn kafka_of(&self, name: &str) -> Result<&Proxy> {
        Ok(&self.member(name)?.kafka)
    }

    /// Returns a process's proxy to PostgreSQL.
    pub fn postgres_of(&self, name: &str) -> Result<&Proxy> {
        Ok(&self.member(name)?.postgres)
    }

    /// Returns every proxy, to Kafka and to PostgreSQL.
    pub fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.members.values().flat_map(|member| [&member.kafka, &member.postgres])
    }

    /// Waits until a process is ready.
    pub fn wait_until_ready(&self, name: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            let why = match self.http(name, "GET", "/readyz", "", None) {
                Ok(Response { code: 200, .. }) => return Ok(()),
                Ok(response) => response.body,
                Err(error) => format!("{error:#}"),
            };
            if begun.elapsed() > READY_MAX {
                bail!(
                    "{name} is not ready after {} s: {why}; see {}",
                    READY_MAX.as_secs(),
                    self.log_of(name).display()
                );
            }
            std::thread::sleep(POLL * 4);
        }
    }

    /// Sends one request and returns the response. HTTP/1.0, so that the response ends with the
    /// connection.
    pub fn http(
        &self,
        name: &str,
        method: &str,
        path: &str,
        body: &str,
        wait_s: Option<u64>,
    ) -> Result<Response> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.member(name)?.port));
        let mut stream = TcpStream::connect_timeout(&address, CONNECT_MAX)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let prefer =
            wait_s.map(|seconds| format!("prefer: wait={seconds}\r\n")).unwrap_or_default();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nhost: {address}\r\ncontent-type: \
             application/json\r\n{prefer}\
             content-length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) =
            answer.split_once("\r\n\r\n").with_context(|| format!("{name} returned {answer:?}"))?;
        let code =
            head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status code")?;
        Ok(Response { code, head: head.to_owned(), body: body.to_owned() })
    }

    /// Runs SQL as one transaction, directly at the server. Retries, because the server may have
    /// been killed.
    pub fn sql(&self, sql: &str) -> Result<String> {
        let url = self.services.postgres_url()?;
        let begun = Instant::now();
        loop {
            let mut psql = Command::new("psql");
            let output =
                psql.args(["-qtA", "-v", "ON_ERROR_STOP=1", "-d", &url, "-c", sql]).output();
            let output = output.context("run psql")?;
            if output.status.success() {
                return Ok(String::from_utf8(output.stdout)?.trim().to_owned());
            }
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(begun.elapsed() < READY_MAX, "psql: {why}");
            std::thread::sleep(POLL * 4);
        }
    }

    /// Returns the quoted name of a table of a service or of the engine, with its schema.
    pub fn table(&self, owner: &str, table: &str) -> String {
        format!("\"{}_{owner}\".{table}", self.namespace)
    }

    /// Returns the folder of the processes' logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn log_of(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    fn member(&self, name: &str) -> Result<&SiteProcess> {
        self.members.get(name).with_context(|| format!("{name} is not a process of this site"))
    }

    fn children(&self) -> MutexGuard<'_, BTreeMap<&'static str, Child>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for child in self.children().values_mut() {
            let _ = child.kill(); // the process may have ended
            let _ = child.wait();
        }
    }
}

/// Returns a free port. The listener stays open until all ports are chosen, so that they differ.
fn free_port(held: &mut Vec<TcpListener>) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
    let port = listener.local_addr()?.port();
    held.push(listener);
    Ok(port)
}
