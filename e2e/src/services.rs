//! Apache Kafka and PostgreSQL for tests and trials: started on loopback, in a folder under `target/`, and stopped again.
//!
//! What runs is known by its process id and the moment it began, so that nothing else is ever stopped.

mod folder;
mod kafka;
mod postgres;
mod process;
mod secure;

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use folder::{Folder, Ports};
pub use kafka::Door;
pub use process::Process;

const USAGE: &str = "\
usage: cargo xtask services up [--fresh]   starts Kafka and PostgreSQL, unless they run; --fresh removes their data first
       cargo xtask services down           stops what `up` started; the data stays
       cargo xtask services status         what runs, and where
       cargo xtask services env            the variables that tests want: eval \"$(cargo xtask services env)\"
";

/// How long a service may take to answer.
const READY_MAX: Duration = Duration::from_secs(90);
/// How long it may take to end before it is killed.
const STOP_MAX: Duration = Duration::from_secs(30);
/// How often a service that ends while it starts is started again: what was killed leaves locks for a moment.
const ATTEMPTS_MAX: u32 = 4;
const POLL: Duration = Duration::from_millis(100);
const TELL_EVERY: Duration = Duration::from_secs(5);

/// One server.
trait Service {
    /// What to call it, and its folder.
    fn name(&self) -> &'static str;

    /// Fetches, creates and writes what it needs to start; harmless when all is there.
    fn prepare(&self) -> Result<()>;

    /// The command that is the server.
    fn command(&self) -> Result<Command>;

    /// Whether it takes requests.
    fn answers(&self) -> bool;

    /// What is to be done once it answers.
    fn settle(&self) -> Result<()>;

    /// The signal by which it ends in good order.
    fn stop_signal(&self) -> &'static str;
}

/// The services of a checkout.
pub struct Services {
    folder: Folder,
    doors: Vec<Door>,
}

/// Does what these arguments say.
pub fn obey(workspace: &Workspace, arguments: &[&str]) -> Result<ExitCode> {
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
        _ => bail!("'services {}' is not understood\n{USAGE}", arguments.join(" ")),
    }
    .map(|()| ExitCode::SUCCESS)
}

impl Services {
    /// Those of this checkout.
    pub fn of(workspace: &Workspace) -> Services {
        Services::at(workspace, "target/services")
    }

    /// Services of their own in this folder, counted from the root of the checkout.
    pub fn at(workspace: &Workspace, folder: &str) -> Services {
        let folder = Folder::new(workspace.path(folder), workspace.path("e2e/services/pom.xml"));
        Services { folder, doors: Vec::new() }
    }

    /// Gives Kafka further listeners from its next start on.
    pub fn with_doors(self, doors: Vec<Door>) -> Services {
        Services { doors, ..self }
    }

    /// Whether any of them runs.
    pub fn any_runs(&self) -> Result<bool> {
        Ok(self.folder.running("kafka")?.is_some() || self.folder.running("postgres")?.is_some())
    }

    /// Starts what does not run, waits until all answer, and writes where they are.
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
                Some(process) => eprintln!("{}: runs (process {})", service.name(), process.pid()),
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

    /// Stops what runs.
    pub fn down(&self) -> Result<()> {
        let _lock = self.folder.lock()?;
        let ports = self.folder.ports()?.unwrap_or_default();
        for service in self.both(&ports) {
            self.stop(service.as_ref())?;
        }
        Ok(())
    }

    /// Kills a server with -9, starts it again and waits until it answers.
    pub fn kill_and_start(&self, name: &str) -> Result<()> {
        self.kill(name)?;
        self.up()
    }

    /// The same with nothing of what it had stored.
    pub fn kill_and_start_empty(&self, name: &str) -> Result<()> {
        self.kill(name)?;
        self.folder.remove_data_of(name)?;
        self.up()
    }

    /// Has a group that has no members begin anew.
    pub fn reset_offsets(&self, group: &str) -> Result<()> {
        let ports = self
            .folder
            .ports()?
            .context("the ports are not known: run `cargo xtask services up`")?;
        kafka::Kafka::new(&self.folder, ports).reset_offsets(group)
    }

    /// Publishes one record with this body to a topic.
    pub fn produce(&self, topic: &str, body: &str) -> Result<()> {
        let ports = self
            .folder
            .ports()?
            .context("the ports are not known: run `cargo xtask services up`")?;
        kafka::Kafka::new(&self.folder, ports).produce(topic, body)
    }

    /// How many records were ever published to a topic.
    pub fn published(&self, topic: &str) -> Result<u64> {
        let ports = self
            .folder
            .ports()?
            .context("the ports are not known: run `cargo xtask services up`")?;
        kafka::Kafka::new(&self.folder, ports).published(topic)
    }

    /// Until its ports are free again: a process of many threads is gone a moment before they are.
    fn kill(&self, name: &str) -> Result<()> {
        let Some(process) = self.folder.running(name)? else { return Ok(()) };
        process.signal("KILL")?;
        wait_for_end(&process)?;
        let (begun, ports) = (Instant::now(), self.folder.ports()?.unwrap_or_default());
        while !ports.are_free(name) {
            if begun.elapsed() > STOP_MAX {
                bail!("{name} was killed, and somebody still has its ports");
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Where PostgreSQL is.
    pub fn postgres_url(&self) -> Result<String> {
        Ok(self
            .folder
            .ports()?
            .context("the ports are not known: run `cargo xtask services up`")?
            .postgres_url())
    }

    /// Where Kafka stores its records.
    pub fn kafka_folder(&self) -> PathBuf {
        self.folder.of("kafka").join("data")
    }

    /// Where PostgreSQL stores its data.
    pub fn postgres_folder(&self) -> PathBuf {
        self.folder.of("postgres")
    }

    /// Where PostgreSQL listens.
    pub fn postgres_port(&self) -> Result<u16> {
        Ok(self
            .folder
            .ports()?
            .context("the ports are not known: run `cargo xtask services up`")?
            .postgres)
    }

    /// The configuration that points at the services.
    pub fn configuration(&self) -> PathBuf {
        self.folder.configuration()
    }

    /// The variables that tell tests where the services are. An error when one does not run.
    pub fn variables(&self) -> Result<[(&'static str, String); 3]> {
        for name in ["kafka", "postgres"] {
            if self.folder.running(name)?.is_none() {
                bail!("{name} does not run: start it with `cargo xtask services up`");
            }
        }
        let ports = self
            .folder
            .ports()?
            .context("the ports are not known: run `cargo xtask services up`")?;
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
                    format!("answers on {} (process {})", ports.of(name), process.pid())
                }
                Some(process) => format!("runs, and does not answer (process {})", process.pid()),
                None => "does not run".to_owned(),
            };
            all &= state.starts_with("answers");
            println!("{name:<9} {state}");
        }
        Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn both(&self, ports: &Ports) -> [Box<dyn Service>; 2] {
        let kafka = kafka::Kafka::new(&self.folder, *ports).with_doors(self.doors.clone());
        [Box::new(kafka), Box::new(postgres::Postgres::new(&self.folder, *ports))]
    }

    fn start(&self, service: &dyn Service) -> Result<()> {
        let name = service.name();
        let process = process::start(service.command()?, &self.folder.log(name))?;
        self.folder.remember(name, &process)?;
        eprintln!("{name}: starting (process {})", process.pid());
        Ok(())
    }

    /// Until it answers, and it is ours that does: the server of another checkout answers as well.
    fn wait(&self, service: &dyn Service, ports: &Ports) -> Result<()> {
        let (name, begun) = (service.name(), Instant::now());
        let (mut told, mut attempts) = (begun, 1);
        let listens =
            |process: Process| ports.all_of(name).into_iter().all(|port| process.listens_on(port));
        while !(self.folder.running(name)?.is_some_and(listens) && service.answers()) {
            if self.folder.running(name)?.is_none() {
                if attempts == ATTEMPTS_MAX {
                    bail!("{name} ended while it started{}", self.folder.end_of_log(name));
                }
                attempts += 1;
                std::thread::sleep(POLL * 5);
                self.start(service)?;
            }
            if begun.elapsed() > READY_MAX {
                bail!(
                    "{name} does not answer after {} s{}",
                    READY_MAX.as_secs(),
                    self.folder.end_of_log(name)
                );
            }
            if told.elapsed() > TELL_EVERY {
                told = Instant::now();
                eprintln!("{name}: not ready yet, after {} s", begun.elapsed().as_secs());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn stop(&self, service: &dyn Service) -> Result<()> {
        let name = service.name();
        let Some(process) = self.folder.running(name)? else {
            eprintln!("{name}: does not run");
            return self.folder.forget(name);
        };
        let begun = Instant::now();
        process.signal(service.stop_signal())?;
        while process.runs() {
            if begun.elapsed() > STOP_MAX {
                eprintln!("{name}: does not end, and is killed");
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
                "process {} outlives a kill: look at it with `ps {}`",
                process.pid(),
                process.pid()
            );
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}
