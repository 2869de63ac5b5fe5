//! Apache Kafka and PostgreSQL for tests and trials: started on loopback in a folder under
//! `target/`, and stopped again.
//!
//! A server is identified by its process id and its start time, so that no other process is ever
//! stopped.

mod folder;
mod kafka;
mod postgres;
mod process;
mod secure;
mod service;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use folder::{Folder, Ports};
pub use kafka::Listener;
pub use process::Process;
use service::Service;

const USAGE: &str = "\
usage: cargo xtask services up [--fresh]   start both servers; --fresh deletes their data first
       cargo xtask services down           stop both servers and keep their data
       cargo xtask services status         show the state and the addresses
       cargo xtask services env            print variables: eval \"$(cargo xtask services env)\"
";

/// The time limit for a server to become ready.
const READY_MAX: Duration = Duration::from_secs(90);
/// The time limit for a server to stop before it is killed.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Attempts to start a server that exits during its start, because a killed one leaves locks for a
/// moment.
const ATTEMPTS_MAX: u32 = 4;
const POLL: Duration = Duration::from_millis(100);
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Kafka and PostgreSQL of one folder.
pub struct Services {
    folder: Folder,
    listeners: Vec<Listener>,
}

/// Runs `cargo xtask services` with these arguments.
pub fn run_command(workspace: &Workspace, arguments: &[&str]) -> Result<ExitCode> {
    let services = Services::of(workspace);
    match arguments {
        ["up"] => services.up(),
        ["up", "--fresh"] => services
            .down()
            .and_then(|()| services.folder.remove_data())
            .and_then(|()| services.up()),
        ["down"] => services.down(),
        ["status"] => return services.status(),
        ["env"] => services.variables().map(|variables| {
            variables.iter().for_each(|(name, value)| println!("export {name}='{value}'"));
        }),
        _ => bail!("unknown arguments 'services {}'\n{USAGE}", arguments.join(" ")),
    }
    .map(|()| ExitCode::SUCCESS)
}

impl Services {
    /// Returns the services of this checkout.
    pub fn of(workspace: &Workspace) -> Services {
        Services::at(workspace, "target/services")
    }

    /// Returns separate services in this folder, relative to the root of the checkout.
    pub fn at(workspace: &Workspace, folder: &str) -> Services {
        let folder = Folder::new(workspace.path(folder), workspace.path("e2e/services/pom.xml"));
        Services { folder, listeners: Vec::new() }
    }

    /// Adds listeners to Kafka, from its next start.
    pub fn with_listeners(self, listeners: Vec<Listener>) -> Services {
        Services { listeners, ..self }
    }

    /// Whether any of the servers runs.
    pub fn any_runs(&self) -> Result<bool> {
        Ok(self.folder.running("kafka")?.is_some() || self.folder.running("postgres")?.is_some())
    }

    /// Starts the servers that do not run, waits until both are ready, and writes the
    /// configuration.
    pub fn up(&self) -> Result<()> {
        let begun = Instant::now();
        let _lock = self.folder.lock()?;
        let ports_lock = Folder::lock_ports()?;
        let ports = self.folder.choose_ports()?;
        secure::prepare(&self.folder)?;
        let both = self.both(&ports);
        let mut started = Vec::new();
        for service in &both {
            let service = service.as_ref();
            match self.folder.running(service.name())? {
                Some(process) => {
                    eprintln!("{}: running (process {})", service.name(), process.pid())
                }
                None => {
                    service.prepare().with_context(|| format!("prepare {}", service.name()))?;
                    self.start(service)?;
                    started.push(service.name());
                }
            }
        }
        for service in &both {
            self.wait(service.as_ref(), &ports)?;
            service.settle().with_context(|| format!("set up {}", service.name()))?;
        }
        drop(ports_lock);
        let path = self.folder.write_configuration(&ports)?;
        secure::write_configurations(&self.folder, &ports)?;
        eprintln!("ready after {:.1} s: {}", begun.elapsed().as_secs_f64(), path.display());
        Ok(())
    }

    /// Stops the servers.
    pub fn down(&self) -> Result<()> {
        let _lock = self.folder.lock()?;
        let ports = self.folder.ports()?.unwrap_or_default();
        for service in self.both(&ports) {
            self.stop(service.as_ref())?;
        }
        Ok(())
    }

    /// Kills a server with SIGKILL, restarts it and waits until it is ready.
    pub fn kill_and_start(&self, name: &str) -> Result<()> {
        self.kill(name)?;
        self.up()
    }

    /// Kills a server, deletes its data and restarts it.
    pub fn kill_and_start_empty(&self, name: &str) -> Result<()> {
        self.kill(name)?;
        self.folder.remove_data_of(name)?;
        self.up()
    }

    /// Resets the offsets of a group without members to the start.
    pub fn reset_offsets(&self, group: &str) -> Result<()> {
        let ports =
            self.folder.ports()?.context("the ports are unknown: run `cargo xtask services up`")?;
        kafka::Kafka::new(&self.folder, ports).reset_offsets(group)
    }

    /// Publishes one record with this body to a topic.
    pub fn produce(&self, topic: &str, body: &str) -> Result<()> {
        let ports =
            self.folder.ports()?.context("the ports are unknown: run `cargo xtask services up`")?;
        kafka::Kafka::new(&self.folder, ports).produce(topic, body)
    }

    /// Returns the number of records ever published to a topic.
    pub fn published(&self, topic: &str) -> Result<u64> {
        let ports =
            self.folder.ports()?.context("the ports are unknown: run `cargo xtask services up`")?;
        kafka::Kafka::new(&self.folder, ports).published(topic)
    }

    /// Kills a server and waits until its ports are free, which may be after its exit.
    fn kill(&self, name: &str) -> Result<()> {
        let Some(process) = self.folder.running(name)? else { return Ok(()) };
        process.signal("KILL")?;
        wait_for_end(&process)?;
        let (begun, ports) = (Instant::now(), self.folder.ports()?.unwrap_or_default());
        while !ports.are_free(name) {
            if begun.elapsed() > STOP_MAX {
                bail!("the ports of {name} are still in use after it was killed");
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Returns PostgreSQL's URL.
    pub fn postgres_url(&self) -> Result<String> {
        Ok(self
            .folder
            .ports()?
            .context("the ports are unknown: run `cargo xtask services up`")?
            .postgres_url())
    }

    /// Returns the folder of Kafka's records.
    pub fn kafka_folder(&self) -> PathBuf {
        self.folder.of("kafka").join("data")
    }

    /// Returns the folder of PostgreSQL's data.
    pub fn postgres_folder(&self) -> PathBuf {
        self.folder.of("postgres")
    }

    /// Returns PostgreSQL's port.
    pub fn postgres_port(&self) -> Result<u16> {
        Ok(self
            .folder
            .ports()?
            .context("the ports are unknown: run `cargo xtask services up`")?
            .postgres)
    }

    /// Returns the configuration file that names the services.
    pub fn configuration(&self) -> PathBuf {
        self.folder.configuration()
    }

    /// Returns the variables that name the services for tests. Fails if one does not run.
    pub fn variables(&self) -> Result<[(&'static str, String); 3]> {
        for name in ["kafka", "postgres"] {
            if self.folder.running(name)?.is_none() {
                bail!("{name} is not running: start it with `cargo xtask services up`");
            }
        }
        let ports =
            self.folder.ports()?.context("the ports are unknown: run `cargo xtask services up`")?;
        Ok([
            ("SAGAMORE_TEST_POSTGRES", ports.postgres_url()),
            ("SAGAMORE_TEST_KAFKA", ports.brokers()),
            ("SAGAMORE_TEST_SECURE", self.folder.secure().display().to_string()),
        ])
    }

    fn status(&self) -> Result<ExitCode> {
        let ports = self.folder.ports()?.unwrap_or_default();
        let mut all = true;
        for service in self.both(&ports) {
            let name = service.name();
            let state = match self.folder.running(name)? {
                Some(process) if service.answers() => {
                    format!("ready at {} (process {})", ports.of(name), process.pid())
                }
                Some(process) => format!("not ready (process {})", process.pid()),
                None => "not running".to_owned(),
            };
            all &= state.starts_with("ready");
            println!("{name:<9} {state}");
        }
        Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn both(&self, ports: &Ports) -> [Box<dyn Service>; 2] {
        let kafka = kafka::Kafka::new(&self.folder, *ports).with_listeners(self.listeners.clone());
        [Box::new(kafka), Box::new(postgres::Postgres::new(&self.folder, *ports))]
    }

    fn start(&self, service: &dyn Service) -> Result<()> {
        let name = service.name();
        let process = process::start(service.command()?, &self.folder.log(name))?;
        self.folder.remember(name, &process)?;
        eprintln!("{name}: starting (process {})", process.pid());
        Ok(())
    }

    /// Waits until the server is ready. Checks that its own process listens, since another
    /// checkout's server would answer too.
    fn wait(&self, service: &dyn Service, ports: &Ports) -> Result<()> {
        let (name, begun) = (service.name(), Instant::now());
        let (mut reported, mut attempts) = (begun, 1);
        let listens =
            |process: Process| ports.all_of(name).into_iter().all(|port| process.listens_on(port));
        while !(self.folder.running(name)?.is_some_and(listens) && service.answers()) {
            if self.folder.running(name)?.is_none() {
                if attempts == ATTEMPTS_MAX {
                    bail!("{name} exited during its start{}", self.folder.end_of_log(name));
                }
                attempts += 1;
                std::thread::sleep(POLL * 5);
                self.start(service)?;
            }
            if begun.elapsed() > READY_MAX {
                bail!(
                    "{name} is not ready after {} s{}",
                    READY_MAX.as_secs(),
                    self.folder.end_of_log(name)
                );
            }
            if reported.elapsed() > REPORT_INTERVAL {
                reported = Instant::now();
                eprintln!("{name}: not ready yet, after {} s", begun.elapsed().as_secs());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn stop(&self, service: &dyn Service) -> Result<()> {
        let name = service.name();
        let Some(process) = self.folder.running(name)? else {
            eprintln!("{name}: not running");
            return self.folder.forget(name);
        };
        let begun = Instant::now();
        process.signal(service.stop_signal())?;
        while process.runs() {
            if begun.elapsed() > STOP_MAX {
                eprintln!("{name}: still running, killing it");
                process.signal("KILL")?;
                wait_for_end(&process)?;
                break;
            }
            std::thread::sleep(POLL);
        }
        eprintln!("{name}: stopped (process {})", process.pid());
        self.folder.forget(name)
    }
}

fn wait_for_end(process: &Process) -> Result<()> {
    let begun = Instant::now();
    while process.runs() {
        if begun.elapsed() > STOP_MAX {
            bail!(
                "process {} still runs after SIGKILL: check it with `ps {}`",
                process.pid(),
                process.pid()
            );
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}
