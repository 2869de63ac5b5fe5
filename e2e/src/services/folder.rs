//! The folder of the services: data, logs, process ids, the chosen ports and the configuration.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::process::Process;

/// The database that is created.
pub const DATABASE: &str = "sagamore";
/// The header of each configuration.
pub const WRITTEN: &str = "# Written by `cargo xtask services up`: the services of this checkout \
    on loopback, for trials and tests.\n\n";
/// The end of each configuration.
pub const PARTITIONS: &str = "\
# few, for one machine; in production at least as many as processes that share the work
[orchestrator]
partitions = 4

[order]
partitions = 2

[payment]
partitions = 2

[inventory]
partitions = 2

[shipping]
partitions = 2
";
/// Maximum ports that are tried, in sequence.
const PORTS_TRIED_MAX: u16 = 1000;
/// Lines of a log in an error.
const LOG_LINES: usize = 12;

/// The folder of the services.
#[derive(Clone)]
pub struct Folder {
    root: PathBuf,
    pom: PathBuf,
}

/// The ports of the services.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ports {
    /// Kafka's plain listener.
    pub kafka: u16,
    /// Kafka's controller.
    pub controller: u16,
    /// Kafka's TLS listener with passwords.
    pub kafka_sasl: u16,
    /// Kafka's TLS listener with client certificates.
    pub kafka_mutual: u16,
    /// PostgreSQL's listener.
    pub postgres: u16,
}

impl Folder {
    /// Creates the folder. `pom` lists the jars of Kafka.
    pub fn new(root: PathBuf, pom: PathBuf) -> Folder {
        Folder { root, pom }
    }

    /// Returns a service's own folder.
    pub fn of(&self, service: &str) -> PathBuf {
        self.root.join(service)
    }

    /// Returns the Maven file that lists the jars.
    pub fn pom(&self) -> &Path {
        &self.pom
    }

    /// Returns the file of a service's output.
    pub fn log(&self, service: &str) -> PathBuf {
        self.root.join(format!("{service}.log"))
    }

    /// Locks the folder against other processes of this program, until the file is dropped.
    pub fn lock(&self) -> Result<File> {
        create(&self.root)?;
        let path = self.root.join("lock");
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        file.lock().with_context(|| format!("lock {}", path.display()))?;
        Ok(file)
    }

    /// Locks the choice of ports against other checkouts, until the file is dropped. A port counts
    /// as free until a server listens.
    pub fn lock_ports() -> Result<File> {
        let path = ports_lock();
        let file = open_lock(&path)?;
        file.lock().with_context(|| format!("lock {}", path.display()))?;
        Ok(file)
    }

    /// Returns the process of a service, if it runs.
    pub fn running(&self, service: &str) -> Result<Option<Process>> {
        let path = self.pid_file(service);
        match fs::read_to_string(&path) {
            Ok(line) => Ok(Process::of_line(&line)),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(why).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Stores the process of a service.
    pub fn remember(&self, service: &str, process: &Process) -> Result<()> {
        write(&self.pid_file(service), &process.to_line())
    }

    /// Removes the stored process of a service.
    pub fn forget(&self, service: &str) -> Result<()> {
        remove_file(&self.pid_file(service))
    }

    /// Removes the data of the services, which must not run.
    pub fn remove_data(&self) -> Result<()> {
        ["kafka", "postgres"].into_iter().try_for_each(|service| self.remove_data_of(service))
    }

    /// Removes the data of a service, which must not run.
    pub fn remove_data_of(&self, service: &str) -> Result<()> {
        let data = self.of(service).join("data");
        if data.exists() {
            fs::remove_dir_all(&data).with_context(|| format!("remove {}", data.display()))?;
        }
        Ok(())
    }

    /// Returns the chosen ports, if any.
    pub fn ports(&self) -> Result<Option<Ports>> {
        let path = self.root.join("ports.json");
        let Ok(text) = fs::read_to_string(&path) else { return Ok(None) };
        let ports = serde_json::from_str(&text).ok().as_ref().and_then(Ports::read);
        ports.map(Some).with_context(|| {
            format!("{} is unreadable: stop the services and remove the file", path.display())
        })
    }

    /// Chooses the ports. A running service keeps its ports, and a port in use by another process
    /// is replaced.
    pub fn choose_ports(&self) -> Result<Ports> {
        let old = self.ports()?.unwrap_or_default();
        let (kafka, postgres) =
            (self.running("kafka")?.is_some(), self.running("postgres")?.is_some());
        let ports = Ports {
            kafka: choose(old.kafka, kafka, 19_092)?,
            controller: choose(old.controller, kafka, 29_092)?,
            kafka_sasl: choose(old.kafka_sasl, kafka, 20_092)?,
            kafka_mutual: choose(old.kafka_mutual, kafka, 21_092)?,
            postgres: choose(old.postgres, postgres, 15_432)?,
        };
        write(&self.root.join("ports.json"), &format!("{}\n", ports.write()))?;
        Ok(ports)
    }

    /// Writes the configuration that names the services.
    pub fn write_configuration(&self, ports: &Ports) -> Result<PathBuf> {
        let path = self.configuration();
        write(&path, &ports.configuration())?;
        Ok(path)
    }

    /// Returns the folder of the certificates, the keys and the configurations with TLS.
    pub fn secure(&self) -> PathBuf {
        self.root.join("secure")
    }

    /// Returns the path of the configuration.
    pub fn configuration(&self) -> PathBuf {
        self.root.join("sagamore.toml")
    }

    /// Returns the last lines of a service's log, for an error.
    pub fn end_of_log(&self, service: &str) -> String {
        let path = self.log(service);
        let text = fs::read(&path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n  ");
        format!("; the end of {}:\n  {end}", path.display())
    }

    fn pid_file(&self, service: &str) -> PathBuf {
        self.root.join(format!("{service}.pid"))
    }
}

impl Ports {
    /// Returns Kafka's address.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.kafka)
    }

    /// Returns PostgreSQL's URL.
    pub fn postgres_url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{DATABASE}", self.postgres)
    }

    /// Whether all ports of this service are free.
    pub fn are_free(&self, service: &str) -> bool {
        self.all_of(service).into_iter().all(is_free)
    }

    /// Returns every port of this service.
    pub fn all_of(&self, service: &str) -> Vec<u16> {
        let Ports { kafka, controller, kafka_sasl, kafka_mutual, postgres } = *self;
        if service == "kafka" {
            vec![kafka, controller, kafka_sasl, kafka_mutual]
        } else {
            vec![postgres]
        }
    }

    /// Returns the address of this service.
    pub fn of(&self, service: &str) -> String {
        if service == "kafka" { self.brokers() } else { self.postgres_url() }
    }

    fn configuration(&self) -> String {
        let (brokers, url) = (self.brokers(), self.postgres_url());
        format!(
            "{WRITTEN}[kafka]\nbrokers = \"{brokers}\"\n\n[postgres]\nurl = \
             \"{url}\"\n\n{PARTITIONS}"
        )
    }

    fn read(value: &Value) -> Option<Ports> {
        let port = |name: &str| u16::try_from(value[name].as_u64()?).ok();
        Some(Ports {
            kafka: port("kafka")?,
            controller: port("controller")?,
            kafka_sasl: port("kafka_sasl")?,
            kafka_mutual: port("kafka_mutual")?,
            postgres: port("postgres")?,
        })
    }

    fn write(&self) -> Value {
        let Ports { kafka, controller, kafka_sasl, kafka_mutual, postgres } = self;
        json!({
            "kafka": kafka, "controller": controller,
            "kafka_sasl": kafka_sasl, "kafka_mutual": kafka_mutual,
            "postgres": postgres
        })
    }
}

/// Returns the lock for the choice of ports by all checkouts of a user.
fn ports_lock() -> PathBuf {
    std::env::temp_dir().join("sagamore-services-ports.lock")
}

/// Opens a lock file, which may belong to another user and need not be writable.
fn open_lock(path: &Path) -> Result<File> {
    let made = File::options().create(true).append(true).open(path);
    made.or_else(|_| File::open(path)).with_context(|| format!("open {}", path.display()))
}

/// Creates a folder and its parents.
pub fn create(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))
}

/// Writes a file, replacing its content.
pub fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            Err(why).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Chooses a port below the ephemeral range, so that other programs rarely take it between two
/// starts.
fn choose(old: u16, in_use: bool, from: u16) -> Result<u16> {
    if in_use || (old != 0 && is_free(old)) {
        return Ok(old);
    }
    match (from..from + PORTS_TRIED_MAX).find(|port| is_free(*port)) {
        Some(port) => Ok(port),
        None => bail!("no port from {from} to {} is free on loopback", from + PORTS_TRIED_MAX),
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs::TryLockError;

    use super::*;

    #[test]
    fn a_port_is_reused_unless_another_process_listens() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(
            choose(port, true, 15_432).unwrap(),
            port,
            "the service itself listens on the port"
        );
        assert_ne!(choose(port, false, 15_432).unwrap(), port);
        drop(taken);
        assert_eq!(choose(port, false, 15_432).unwrap(), port);
    }

    /// The second checkout chooses once the servers of the first one listen.
    #[test]
    fn two_checkouts_that_start_together_choose_different_ports() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = |root: &Path| Folder::new(root.to_owned(), root.join("pom.xml"));
        let lock = Folder::lock_ports().unwrap();
        let other = open_lock(&ports_lock()).unwrap().try_lock();
        assert!(
            matches!(other, Err(TryLockError::WouldBlock)),
            "another checkout waits: {other:?}"
        );
        let ours = folder(first.path()).choose_ports().unwrap();
        let path = second.path().to_owned();
        let theirs = std::thread::spawn(move || {
            let _lock = Folder::lock_ports().unwrap();
            Folder::new(path.clone(), path.join("pom.xml")).choose_ports().unwrap()
        });
        let listen = |port| TcpListener::bind(("127.0.0.1", port)).unwrap();
        let servers: Vec<_> =
            ["kafka", "postgres"].iter().flat_map(|name| ours.all_of(name)).map(listen).collect();
        drop(lock);
        let theirs = theirs.join().unwrap();
        for name in ["kafka", "postgres"] {
            assert!(
                theirs.all_of(name).iter().all(|port| !ours.all_of(name).contains(port)),
                "{ours:?}, {theirs:?}"
            );
        }
        drop(servers);
    }

    #[test]
    fn ports_are_read_as_written() {
        let ports = Ports { kafka: 1, controller: 2, kafka_sasl: 4, kafka_mutual: 5, postgres: 3 };
        assert_eq!(Ports::read(&ports.write()), Some(ports));
        assert_eq!(Ports::read(&json!({ "kafka": 1 })), None);
        assert!(ports.configuration().contains(
            "[kafka]\nbrokers = \"127.0.0.1:1\"\n\n[postgres]\nurl = \
             \"postgres://postgres@127.0.0.1:3/sagamore\"\n"
        ));
    }
}
