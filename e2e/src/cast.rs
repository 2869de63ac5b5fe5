//! The processes of the kill campaigns: two orchestrators (or observers) and four services, beside
//! the servers.

mod outcome;
mod query;
mod replay;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::services::{Process, Services};
use crate::workspace::Workspace;
pub use query::request;
pub use replay::Replay;

/// The time limit for a process to become ready.
const READY_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// Consecutive polls with progress that count as steady.
const STEADY: usize = 5;
/// The maximum time that the sagas of a killed orchestrator are watched.
const WATCHED_MAX: Duration = Duration::from_secs(15);

/// The processes of one campaign, on their own topics and schemas. They are killed on drop.
pub struct Cast<'a> {
    workspace: &'a Workspace,
    services: &'a Services,
    /// Whether the services run choreographed, with two observers instead of two orchestrators.
    choreography: bool,
    namespace: String,
    /// The definition of the orchestrators, if they are the product's, without the shop.
    definition: Option<PathBuf>,
    /// The command of the payment service, if it is another program's.
    payment: Option<Vec<PathBuf>>,
    /// The listening port of each process.
    ports: BTreeMap<&'static str, u16>,
    children: BTreeMap<&'static str, Child>,
}

impl<'a> Cast<'a> {
    /// The processes and servers that can be killed.
    pub const NAMES: [&'static str; 8] = [
        "orchestrator",
        "order",
        "payment",
        "inventory",
        "shipping",
        "standby",
        "kafka",
        "postgres",
    ];
    /// The processes and servers that can be killed in a choreography.
    pub const CHOREOGRAPHED: [&'static str; 8] =
        ["payment", "inventory", "shipping", "order", "observer", "second", "kafka", "postgres"];

    /// Whether this is the name of a server, as opposed to a process of the shop.
    pub fn is_server(name: &str) -> bool {
        ["kafka", "postgres"].contains(&name)
    }

    /// Starts all processes and waits until they are ready.
    pub fn start(workspace: &'a Workspace, services: &'a Services) -> Result<Cast<'a>> {
        Cast::play(workspace, services, false, None)
    }

    /// Starts all processes like [`Cast::start`]. The orchestrators are the product's, which know
    /// the definition in this file only.
    pub fn start_with_file(
        workspace: &'a Workspace,
        services: &'a Services,
        definition: &Path,
    ) -> Result<Cast<'a>> {
        Cast::play(workspace, services, false, Some(definition.to_owned()))
    }

    /// Starts all processes of a choreography and waits until they are ready.
    pub fn start_choreographed(
        workspace: &'a Workspace,
        services: &'a Services,
    ) -> Result<Cast<'a>> {
        Cast::play(workspace, services, true, None)
    }

    fn play(
        workspace: &'a Workspace,
        services: &'a Services,
        choreography: bool,
        definition: Option<PathBuf>,
    ) -> Result<Cast<'a>> {
        let mut free = Vec::new(); // all stay open, so that all ports differ
        let mut ports = BTreeMap::new();
        let names: &[&'static str] = if choreography { &Cast::CHOREOGRAPHED } else { &Cast::NAMES };
        let ours = || names.iter().copied().filter(|name| !Cast::is_server(name));
        for name in ours() {
            let listener = TcpListener::bind("127.0.0.1:0").context("find a free port")?;
            ports.insert(name, listener.local_addr()?.port());
            free.push(listener);
        }
        drop(free);
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let namespace = format!("kills-{}-{}", std::process::id(), since.as_millis() % 100_000);
        let mut cast = Cast {
            workspace,
            services,
            choreography,
            namespace,
            definition,
            payment: None,
            ports,
            children: BTreeMap::new(),
        };
        for name in ours() {
            cast.spawn(name)?;
        }
        for name in ours() {
            cast.wait_until_ready(name)?;
        }
        Ok(cast)
    }

    /// Restarts all processes with empty topics and schemas.
    pub fn restart_empty(self) -> Result<Cast<'a>> {
        let (workspace, services) = (self.workspace, self.services);
        drop(self);
        Cast::start(workspace, services)
    }

    /// Kills a process or a server with SIGKILL, and restarts it.
    pub fn kill(&mut self, name: &'static str) -> Result<()> {
        if Cast::is_server(name) {
            return self.services.kill_and_start(name);
        }
        if let Some(mut child) = self.children.remove(name) {
            child.kill().and_then(|()| child.wait()).with_context(|| format!("kill {name}"))?;
        }
        self.spawn(name)
    }

    /// Replaces the payment service by this command, with the same group, schema and address.
    pub fn replace_payment(&mut self, command: Vec<PathBuf>) -> Result<()> {
        self.payment = Some(command);
        self.kill("payment")?;
        self.wait_until_ready("payment")
    }

    /// Builds a command of another program, with the configuration as variables.
    pub fn tool(&self, program: &Path) -> Result<Command> {
        let mut tool = Command::new(program);
        let ours = self.program();
        tool.envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let [(_, postgres), (_, kafka), ..] = self.services.variables()?;
        tool.env("SAGAMORE__POSTGRES__URL", postgres).env("SAGAMORE__KAFKA__BROKERS", kafka);
        Ok(tool)
    }

    /// Whether any process has logged this error code of the database.
    pub fn has_logged(&self, code: &str) -> Result<bool> {
        for name in self.children.keys() {
            if std::fs::read_to_string(self.folder()?.join(format!("{name}.log")))?.contains(code) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Kills Kafka, deletes all its data and recreates the topics. Returns the number of unfinished
    /// sagas.
    pub fn wipe_kafka(&mut self) -> Result<usize> {
        let open = self
            .query_engine("SELECT count(*) FROM saga WHERE ended_at IS NULL")?
            .trim()
            .parse()?;
        self.services.kill_and_start_empty("kafka")?;
        let applied =
            self.program().args(["topics", "apply"]).output().context("recreate the topics")?;
        ensure!(
            applied.status.success(),
            "topics apply: {}",
            String::from_utf8_lossy(&applied.stderr)
        );
        Ok(open)
    }

    /// Stops the services, resets the offsets of their groups to the start, and restarts them.
    /// Returns the number of commands that are consumed again.
    pub fn rewind_services(&mut self) -> Result<u64> {
        let names = ["order", "payment", "inventory", "shipping"];
        for name in names {
            self.signal(name, "TERM")?;
            self.children.get_mut(name).context("the service is not running")?.wait()?;
        }
        for name in names {
            // a static member stays in its group until its session times out
            let (begun, group) = (Instant::now(), format!("{}.{name}", self.namespace));
            while let Err(why) = self.services.reset_offsets(&group) {
                ensure!(begun.elapsed() < READY_MAX, "{why:#}");
            }
            self.spawn(name)?;
        }
        names.into_iter().map(|name| self.commands_taken(name)).sum()
    }

    /// Returns the number of commands that a service has answered since its start, once the number
    /// stays the same.
    fn commands_taken(&self, name: &str) -> Result<u64> {
        let begun = Instant::now();
        let (mut last, mut steady) = (0, 0);
        while steady < STEADY {
            ensure!(begun.elapsed() < READY_MAX, "{name} still answers commands");
            std::thread::sleep(POLL * 4);
            let metrics = self.get_patiently(name, "/metrics")?;
            let figures = metrics
                .lines()
                .filter(|line| line.starts_with("sagamore_participant_messages_total"));
            let taken =
                figures.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
            steady = if taken == last && taken > 0 { steady + 1 } else { 0 };
            last = taken;
        }
        Ok(last)
    }

    /// Kills an orchestrator. Returns the time until each of its sagas progressed.
    pub fn kill_orchestrator(&mut self) -> Result<Vec<Duration>> {
        let owner = format!("%/127.0.0.1:{}/%", self.ports["orchestrator"]);
        let of_it = format!(
            "SELECT s.seq || ' ' || s.revision FROM saga s JOIN ownership o USING (reply_partition)
             WHERE o.owner LIKE '{owner}' AND s.ended_at IS NULL AND s.status <> 'stuck'"
        );
        let mut waiting: BTreeMap<String, String> = pairs(&self.query_engine(&of_it)?);
        self.kill("orchestrator")?;
        let (begun, mut progress) = (Instant::now(), Vec::new());
        while !waiting.is_empty() && begun.elapsed() < WATCHED_MAX {
            std::thread::sleep(POLL);
            let list = waiting.keys().cloned().collect::<Vec<_>>().join(",");
            let now = pairs(&self.query_engine(&format!(
                "SELECT seq || ' ' || revision FROM saga WHERE seq IN ({list})"
            ))?);
            waiting.retain(|seq, revision| {
                let waits = now.get(seq) == Some(revision);
                if !waits {
                    progress.push(begun.elapsed());
                }
                waits
            });
        }
        progress.extend(waiting.iter().map(|_| WATCHED_MAX));
        Ok(progress)
    }

    /// Waits for steady progress of sagas. Returns false if the replay has ended or there is no
    /// progress for long.
    pub fn wait_for_progress(&self, replay: &mut Replay) -> Result<bool> {
        let begun = Instant::now();
        let (mut last, mut steady) = (String::new(), 0);
        while begun.elapsed() < WATCHED_MAX * 2 && !replay.is_over()? {
            let now = self.query_engine("SELECT coalesce(sum(revision), 0) FROM saga")?;
            steady = if now == last { 0 } else { steady + 1 };
            if steady == STEADY {
                return Ok(true);
            }
            last = now;
            std::thread::sleep(POLL * 4);
        }
        Ok(false)
    }

    /// Sends a signal to a process.
    pub fn signal(&self, name: &str, signal: &str) -> Result<Process> {
        let child = self.children.get(name).with_context(|| format!("{name} is not running"))?;
        let process =
            Process::find(child.id()).with_context(|| format!("{name} is not running"))?;
        process.signal(signal)?;
        Ok(process)
    }

    /// Starts a replay of a folder.
    pub fn replay(&self, orders: &Path, arguments: &[&str]) -> Result<Replay> {
        let output = self.folder()?.join("replay.json");
        let mut command = self.program();
        command.args(["replay", "-o", "json"]).args(arguments).arg(orders);
        command.stdout(File::create(&output)?).stderr(File::create(output.with_extension("log"))?);
        Ok(Replay {
            child: command.spawn().context("start the replay")?,
            output,
            begun: Instant::now(),
        })
    }

    /// Places an order at the first of these that accepts it, and waits for its outcome.
    pub fn place(&self, id: &str, orchestrators: &[&str]) -> Result<()> {
        let body = format!(
            concat!(
                r#"{{"orderId":"{}","customerId":"NOBODY","#,
                r#""lines":[{{"sku":"11","quantity":1,"unitPriceCents":100}}],"#,
                r#""shipTo":{{"name":"N","address":"A","city":"C","country":"France"}}}}"#
            ),
            id
        );
        let begun = Instant::now();
        while begun.elapsed() < READY_MAX {
            for name in orchestrators {
                let answer = self.http(name, "POST", "/orders", &body);
                if answer.is_ok_and(|answer| answer.contains("\"compensated\"")) {
                    return Ok(()); // the customer does not exist
                }
            }
            std::thread::sleep(POLL);
        }
        bail!("order {id} has no outcome after {} s", READY_MAX.as_secs())
    }

    fn spawn(&mut self, name: &'static str) -> Result<()> {
        let mut command = match (name, &self.payment, &self.definition) {
            ("payment", Some(payment), _) => return self.spawn_payment(payment.clone()),
            ("orchestrator" | "standby", _, Some(definition)) => self.product(definition)?,
            _ => self.program(),
        };
        match name {
            "orchestrator" | "standby" => command.arg("serve"),
            "observer" | "second" => command.arg("observe"),
            service => command.args(["service", service]),
        };
        command.args(["--listen", &format!("127.0.0.1:{}", self.ports[name])]);
        self.start_process(name, command)
    }

    fn spawn_payment(&mut self, payment: Vec<PathBuf>) -> Result<()> {
        let (program, arguments) = payment.split_first().context("the command is empty")?;
        let mut command = self.tool(program)?;
        command.args(arguments);
        self.start_process("payment", command)
    }

    fn start_process(&mut self, name: &'static str, mut command: Command) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder()?.join(format!("{name}.log")))?;
        command.stdout(log.try_clone()?).stderr(log);
        self.children.insert(name, command.spawn().with_context(|| format!("start {name}"))?);
        Ok(())
    }

    fn wait_until_ready(&self, name: &str) -> Result<()> {
        self.get_patiently(name, "/readyz").map(drop)
    }

    /// Builds a command of the program with the campaign's configuration.
    fn program(&self) -> Command {
        let mut command = Command::new(self.workspace.path("target/debug/shop"));
        command
            .arg("--config")
            .arg(self.services.configuration())
            .env("SAGAMORE__NAMESPACE", &self.namespace);
        command.stdin(Stdio::null()).env("RUST_LOG", "info");
        for name in ["order", "payment", "inventory", "shipping"] {
            let variable = format!("SAGAMORE__{}__LISTEN", name.to_uppercase());
            command.env(variable, format!("127.0.0.1:{}", self.ports[name]));
        }
        if self.choreography {
            command
                .env("SAGAMORE__CHOREOGRAPHY", "true")
                .env("SAGAMORE__OBSERVER__PARTITIONS", "2");
            let servers =
                ["observer", "second"].map(|name| format!("http://127.0.0.1:{}", self.ports[name]));
            command.env("SAGAMORE__OBSERVER__SERVERS", servers.join(","));
        } else {
            let servers = ["orchestrator", "standby"]
                .map(|name| format!("http://127.0.0.1:{}", self.ports[name]));
            command.env("SAGAMORE__ORCHESTRATOR__SERVERS", servers.join(","));
        }
        command
    }

    /// Builds a command of the product without the shop.
    fn product(&self, definition: &Path) -> Result<Command> {
        let mut command = Command::new(self.workspace.path("target/debug/sagamore"));
        let [(_, postgres), (_, kafka), ..] = self.services.variables()?;
        command
            .env("SAGAMORE__NAMESPACE", &self.namespace)
            .env("SAGAMORE__POSTGRES__URL", postgres)
            .env("SAGAMORE__KAFKA__BROKERS", kafka)
            .env("SAGAMORE__ORCHESTRATOR__PARTITIONS", "4")
            .env("SAGAMORE__DEFINITIONS", definition);
        for name in ["ORDER", "PAYMENT", "INVENTORY", "SHIPPING"] {
            command.env(format!("SAGAMORE__SERVICES__{name}__PARTITIONS"), "2");
        }
        command.stdin(Stdio::null()).env("RUST_LOG", "info");
        Ok(command)
    }

    fn folder(&self) -> Result<PathBuf> {
        let folder = self.workspace.path("target/kills").join(&self.namespace);
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(folder)
    }
}

impl Drop for Cast<'_> {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            let _ = child.kill(); // the process may have ended
            let _ = child.wait();
        }
    }
}

/// Maps the first word of each line to the second.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| {
        line.split_once(' ').map(|(first, second)| (first.to_owned(), second.to_owned()))
    };
    text.lines().filter_map(pair).collect()
}
