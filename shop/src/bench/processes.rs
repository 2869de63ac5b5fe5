//! The stack that `--config` measures: an orchestrator or an observer, and four services. Each is a
//! process, with its own topics and schemas, which are removed afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sagamore::config::Settings;
use sagamore::server::Client;
use sagamore::server::view::Lines;
use serde::Serialize;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::load::Target;
use super::machine;
use super::plan::{Rows, VARIABLE};

/// The time limit for a process to become ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
/// The services' names, in commands and in the configuration.
const SERVICES: [&str; 4] = ["order", "payment", "inventory", "shipping"];

/// Running processes, killed on drop.
pub struct Processes {
    settings: Settings,
    partitions: u32,
    /// The process that knows the outcomes: the orchestrator, or the observer.
    head: &'static str,
    children: Vec<(&'static str, SocketAddr, Child)>,
    output: TempDir,
}

/// CPU seconds by process.
pub type Seconds = BTreeMap<String, f64>;

impl Processes {
    /// Starts the processes and waits until all are ready.
    pub async fn start(
        mut settings: Settings,
        file: &Path,
        partitions: u32,
        choreography: bool,
    ) -> Result<Processes> {
        settings.namespace = format!("bench-{:06x}", fastrand::u32(..1 << 24));
        let output = tempfile::tempdir().context("create a directory for the processes' logs")?;
        let head = if choreography { "observer" } else { "orchestrator" };
        let mut processes = Processes { settings, partitions, head, children: Vec::new(), output };
        let roles: Vec<&str> = [head].into_iter().chain(SERVICES).collect();
        for (role, address) in roles.iter().zip(free_addresses(roles.len())?) {
            let child = processes.spawn(role, address, file)?;
            processes.children.push((role, address, child));
        }
        for (role, address, _) in &processes.children {
            processes.wait(role, *address).await?;
        }
        Ok(processes)
    }

    /// Returns the address that starts sagas.
    pub fn target(&self) -> Result<Target> {
        let head = self.address(self.head)?;
        Ok(match self.choreography() {
            true => Target::Choreography { orders: self.address("order")?, observer: Some(head) },
            false => Target::Http(head),
        })
    }

    fn choreography(&self) -> bool {
        self.head == "observer"
    }

    /// Loads accounts, stock and destinations.
    pub async fn load(&self, rows: &Rows) -> Result<()> {
        self.post("payment", "/accounts", &rows.accounts).await?;
        self.post("inventory", "/stock", &rows.products).await?;
        self.post("shipping", "/destinations", &rows.destinations).await
    }

    /// Returns the number of sagas that are not at rest, at most 500 per status.
    pub async fn unfinished(&self) -> Result<usize> {
        let client = self.client(self.head)?;
        let mut count = 0;
        for status in ["running", "compensating", "stuck"] {
            let body = client.get(&format!("/api/v1/sagas?status={status}&limit=500")).await?;
            count += client.read::<Lines>(&body)?.sagas.len();
        }
        Ok(count)
    }

    /// Returns the CPU seconds of each process, including Kafka and PostgreSQL on this machine.
    pub fn seconds(&self) -> Seconds {
        let mut seconds =
            machine::by_program(&[("kafka", "kafka.Kafka"), ("postgres", "postgres")]);
        for (role, _, child) in &self.children {
            let used = child.id().and_then(machine::of_process).unwrap_or_default();
            seconds.insert((*role).to_owned(), used);
        }
        seconds
    }

    /// Stops the processes and removes their topics and schemas.
    pub async fn remove(mut self) -> Result<()> {
        for (_, _, child) in &mut self.children {
            child.kill().await.context("stop a process")?;
        }
        let kafka = self.settings.kafka("bench", None)?;
        let topics = kafka.topics().await?;
        let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
        kafka.delete_topics(&names).await?;
        let own = if self.choreography() { "observer" } else { "engine" };
        for name in [own].into_iter().chain(SERVICES) {
            let open = self.settings.database(name)?.begin().await?;
            open.tx()
                .batch(&format!("DROP SCHEMA \"{}\" CASCADE", self.settings.schema(name)))
                .await?;
            open.commit().await?;
        }
        Ok(())
    }

    fn spawn(&self, role: &str, address: SocketAddr, file: &Path) -> Result<Child> {
        let words: &[&str] = match role {
            "orchestrator" => &["serve"],
            "observer" => &["observe"],
            service => &["service", service],
        };
        let log = fs::File::create(self.log(role)).context("create a process's log file")?;
        let mut command = Command::new(std::env::current_exe().context("find this program")?);
        for role in ["orchestrator", "observer"].into_iter().chain(SERVICES) {
            let variable = format!("SAGAMORE__{}__PARTITIONS", role.to_uppercase());
            command.env(variable, self.partitions.to_string());
        }
        command
            .arg("--config")
            .arg(file)
            .args(words)
            .args(["--listen", &address.to_string()])
            .env(VARIABLE, "1")
            .env("SAGAMORE__NAMESPACE", &self.settings.namespace)
            .env("SAGAMORE__CHOREOGRAPHY", self.choreography().to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {role}"))
    }

    async fn wait(&self, role: &str, address: SocketAddr) -> Result<()> {
        let (client, until) =
            (Client::new(&format!("http://{address}"))?, Instant::now() + READY_WITHIN);
        while let Err(error) = client.get("/readyz").await {
            if Instant::now() > until {
                let output = fs::read_to_string(self.log(role)).unwrap_or_default();
                bail!("{role} is not ready after {} s: {error}\n{output}", READY_WITHIN.as_secs());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn post<T: Serialize>(&self, role: &str, path: &str, rows: &[T]) -> Result<()> {
        let mut lines = Vec::new();
        for row in rows {
            serde_json::to_writer(&mut lines, row)?;
            lines.push(b'\n');
        }
        self.client(role)?.post(path, lines, None).await?;
        Ok(())
    }

    fn client(&self, role: &str) -> Result<Client> {
        Ok(Client::new(&format!("http://{}", self.address(role)?))?)
    }

    fn address(&self, role: &str) -> Result<SocketAddr> {
        let found = self.children.iter().find(|(name, ..)| *name == role);
        let (_, address, _) = found.with_context(|| format!("{role} is not running"))?;
        Ok(*address)
    }

    fn log(&self, role: &str) -> std::path::PathBuf {
        self.output.path().join(format!("{role}.log"))
    }
}

/// Returns distinct free addresses. All listeners stay open until the last address is found.
fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    let held =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<Vec<_>>>();
    let addresses = held.and_then(|held| held.iter().map(TcpListener::local_addr).collect());
    addresses.context("find free ports")
}
