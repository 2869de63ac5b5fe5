//! The forms of the shop under test: one process, one choreographed process, and processes on Kafka
//! and PostgreSQL.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::services::Services;
use crate::wire::{Connection, Outcome, Request, Response};
use crate::workspace::Workspace;

/// The time limit for a process to become ready.
const READY_MAX: Duration = Duration::from_secs(60);
const ANSWER_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);
/// The variables that name running servers, and those of the configuration.
const SERVERS: [(&str, &str); 2] = [
    ("SAGAMORE_TEST_KAFKA", "SAGAMORE__KAFKA__BROKERS"),
    ("SAGAMORE_TEST_POSTGRES", "SAGAMORE__POSTGRES__URL"),
];

/// A form of the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `shop dev`.
    OneProcess,
    /// `shop dev --choreography`.
    Choreographed,
    /// An orchestrator and the four services, on Kafka and PostgreSQL.
    Processes,
}

/// A process of a form.
pub struct Server {
    /// The printed name.
    pub name: &'static str,
    /// The listening address.
    pub address: SocketAddr,
    child: Child,
}

/// The processes of a form, killed on drop.
pub struct Form {
    /// The form of the shop.
    pub kind: Kind,
    /// The processes.
    pub servers: Vec<Server>,
    folder: PathBuf,
}

impl Kind {
    /// All forms.
    pub const ALL: [Kind; 3] = [Kind::OneProcess, Kind::Choreographed, Kind::Processes];

    /// Returns the printed name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::OneProcess => "one process",
            Kind::Choreographed => "choreographed",
            Kind::Processes => "Kafka and PostgreSQL",
        }
    }

    /// Returns the name and the arguments of each process.
    fn roles(self) -> Vec<(&'static str, Vec<&'static str>)> {
        match self {
            Kind::OneProcess => vec![("dev", vec!["dev", "--ephemeral"])],
            Kind::Choreographed => vec![("dev", vec!["dev", "--ephemeral", "--choreography"])],
            Kind::Processes => {
                let services = ["order", "payment", "inventory", "shipping"]
                    .map(|name| (name, vec!["service", name]));
                [("orchestrator", vec!["serve"])].into_iter().chain(services).collect()
            }
        }
    }
}

impl Form {
    /// Starts the processes of `program` and waits until all are ready.
    pub fn start(workspace: &Workspace, program: &Path, kind: Kind) -> Result<Form> {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let namespace = format!("fuzz-{}", since.as_millis() % 100_000_000);
        let folder = workspace.path("target/fuzz").join(&namespace);
        std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let roles = kind.roles();
        let mut variables = vec![
            ("SAGAMORE__NAMESPACE".to_owned(), namespace),
            ("RUST_LOG".to_owned(), "warn".to_owned()),
        ];
        let held = roles
            .iter()
            .map(|_| TcpListener::bind("127.0.0.1:0"))
            .collect::<std::io::Result<Vec<_>>>()?;
        let addresses =
            held.iter().map(TcpListener::local_addr).collect::<std::io::Result<Vec<_>>>()?;
        drop(held);
        for ((name, _), address) in roles.iter().zip(&addresses) {
            variables
                .push((format!("SAGAMORE__{}__LISTEN", name.to_uppercase()), address.to_string()));
        }
        if kind == Kind::Processes {
            variables.push((
                "SAGAMORE__ORCHESTRATOR__SERVERS".to_owned(),
                format!("http://{}", addresses[0]),
            ));
            variables.extend(servers(workspace)?);
        } else {
            variables.retain(|(name, _)| name == "RUST_LOG");
        }
        let command = || {
            let mut command = Command::new(program);
            command
                .envs(variables.iter().map(|(name, value)| (name, value)))
                .stdin(Stdio::null())
                .current_dir(&folder);
            command
        };
        if kind == Kind::Processes {
            let applied =
                command().args(["topics", "apply"]).output().context("run topics apply")?;
            ensure!(
                applied.status.success(),
                "topics apply: {}",
                String::from_utf8_lossy(&applied.stderr)
            );
        }
        let mut form = Form { kind, servers: Vec::new(), folder: folder.clone() };
        for ((name, arguments), address) in roles.into_iter().zip(addresses) {
            let log = File::create(folder.join(format!("{name}.log")))?;
            let mut started = command();
            started.args(arguments).args(["--listen", &address.to_string()]);
            let child = started
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .with_context(|| format!("start {name}"))?;
            form.servers.push(Server { name, address, child });
        }
        for at in 0..form.servers.len() {
            form.wait_until_ready(at)?;
        }
        if kind == Kind::Processes {
            form.load_samples()?;
        }
        Ok(form)
    }

    fn wait_until_ready(&mut self, at: usize) -> Result<()> {
        let (begun, name) = (Instant::now(), self.servers[at].name);
        while !self.get(at, "/readyz").is_ok_and(|response| response.code == 200) {
            ensure!(
                self.servers[at].child.try_wait()?.is_none(),
                "{name} ended: see {}",
                self.folder.display()
            );
            ensure!(
                begun.elapsed() < READY_MAX,
                "{name} is not ready: see {}",
                self.folder.display()
            );
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Loads the rows that `dev` creates by itself: an account, a product and a country.
    fn load_samples(&self) -> Result<()> {
        let loads = [
            (
                2,
                "/accounts",
                r#"{"customerId":"SAMPLE","name":"S","balanceCents":1000000000000000}"#,
            ),
            (3, "/stock", r#"{"sku":"SAMPLE","name":"S","onHand":1000000000000}"#),
            (4, "/destinations", r#"{"country":"Sampleland","served":true}"#),
        ];
        for (at, path, body) in loads {
            let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
            let (method, target) = ("POST".to_owned(), path.to_owned());
            let request = Request { method, target, headers, body: body.as_bytes().to_vec() };
            let answer = Connection::to(self.servers[at].address).send(&request, ANSWER_MAX);
            ensure!(
                matches!(&answer, Outcome::Answered(response) if response.code == 200),
                "{path}: {answer:?}"
            );
        }
        Ok(())
    }

    /// Returns the response to a GET at a server.
    pub fn get(&self, at: usize, path: &str) -> Result<Response> {
        let request =
            Request { method: "GET".to_owned(), target: path.to_owned(), ..Request::default() };
        match Connection::to(self.servers[at].address).send(&request, ANSWER_MAX) {
            Outcome::Answered(response) => Ok(response),
            other => anyhow::bail!("GET {path} of {}: {other:?}", self.servers[at].name),
        }
    }

    /// Returns the JSON at a path of a server, null for 404.
    pub fn json(&self, at: usize, path: &str) -> Result<Value> {
        let response = self.get(at, path)?;
        match response.code {
            200 => serde_json::from_slice(&response.body).with_context(|| format!("GET {path}")),
            404 => Ok(Value::Null),
            code => anyhow::bail!("GET {path}: {code} {}", String::from_utf8_lossy(&response.body)),
        }
    }

    /// Returns the processes that have ended by themselves.
    pub fn ended(&mut self) -> Vec<&'static str> {
        let ended =
            |server: &mut Server| server.child.try_wait().ok().flatten().map(|_| server.name);
        self.servers.iter_mut().filter_map(ended).collect()
    }

    /// Returns the folder of the logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Returns the variables that name Kafka and PostgreSQL: running servers, or else those of this
/// checkout.
fn servers(workspace: &Workspace) -> Result<Vec<(String, String)>> {
    let given =
        || SERVERS.map(|(from, to)| std::env::var(from).ok().map(|value| (to.to_owned(), value)));
    if let [Some(kafka), Some(postgres)] = given() {
        return Ok(vec![kafka, postgres]);
    }
    let services = Services::of(workspace);
    services.up()?;
    let all = services.variables()?;
    let found = |(from, to): (&str, &str)| {
        let value = all.iter().find(|(name, _)| *name == from).map(|(_, value)| value.clone());
        Ok((to.to_owned(), value.with_context(|| format!("the services do not set {from}"))?))
    };
    SERVERS.into_iter().map(found).collect()
}

impl Drop for Form {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.child.kill(); // the process may have ended
            let _ = server.child.wait();
        }
    }
}
