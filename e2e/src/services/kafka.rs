//! Apache Kafka: one broker that is its own controller, from jars that Maven downloads once.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::folder::{Folder, Ports, create, write};
use super::process::run;
use super::secure::{HOST, PASSWORD, USER};
use super::service::Service;

/// The cluster id: 16 arbitrary bytes in base64.
const CLUSTER: &str = "c2FnYW1vcmVzYWdhbW9yZQ";
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";
const HEAP: [&str; 2] = ["-Xms256m", "-Xmx768m"];
/// The broker's session timeout. A killed broker cannot register again before it has expired.
const SESSION_MS: u32 = 4_000;
const HEARTBEAT_MS: u32 = 1_000;
const ANSWER_MAX: Duration = Duration::from_secs(1);

const LOGGING: &str = "\
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %m (%c)%n
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server
logger.server.level = INFO
";

/// An additional plain listener. The broker refers its clients to `advertised` for all requests.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    /// The address that the broker binds.
    pub listen: SocketAddr,
    /// The address that clients connect to: a proxy in front of `listen`.
    pub advertised: SocketAddr,
}

/// The broker.
pub struct Kafka {
    folder: PathBuf,
    pom: PathBuf,
    secure: PathBuf,
    ports: Ports,
    listeners_added: Vec<Listener>,
}

impl Kafka {
    /// Returns the broker of this folder.
    pub fn new(folder: &Folder, ports: Ports) -> Kafka {
        let (pom, secure) = (folder.pom().to_owned(), folder.secure());
        Kafka { folder: folder.of("kafka"), pom, secure, ports, listeners_added: Vec::new() }
    }

    /// Adds listeners.
    pub fn with_listeners(self, listeners_added: Vec<Listener>) -> Kafka {
        Kafka { listeners_added, ..self }
    }

    /// Downloads the jars, unless the ones in the Maven file are present.
    fn fetch(&self) -> Result<()> {
        let wanted = fs::read_to_string(&self.pom)
            .with_context(|| format!("read {}", self.pom.display()))?;
        let jars = self.folder.join("jars");
        if fs::read_to_string(jars.join("pom.xml")).is_ok_and(|had| had == wanted) {
            return Ok(());
        }
        eprintln!("kafka: downloading about 45 MB of jars with Maven");
        let fetched = self.folder.join("jars.new");
        for old in [&fetched, &jars] {
            if old.exists() {
                fs::remove_dir_all(old).with_context(|| format!("remove {}", old.display()))?;
            }
        }
        let mut maven = Command::new("mvn");
        maven
            .args(["-q", "-B", "-f"])
            .arg(&self.pom)
            .arg("dependency:copy-dependencies")
            .arg("-DincludeScope=runtime");
        maven.arg(format!("-DoutputDirectory={}", fetched.display()));
        run(&mut maven).context(
            "download Kafka's jars (requires `mvn` of the package maven, and access to \
                its repository)",
        )?;
        write(&fetched.join("pom.xml"), &wanted)?;
        fs::rename(&fetched, &jars).with_context(|| format!("rename to {}", jars.display()))
    }

    /// Publishes one record with this body.
    pub fn produce(&self, topic: &str, body: &str) -> Result<()> {
        let mut java = self.java();
        java.args([
            "org.apache.kafka.tools.ConsoleProducer",
            "--bootstrap-server",
            &self.ports.brokers(),
        ]);
        // A broker without its data assigns producer ids again, so it would reject an idempotent
        // producer as an old one.
        java.args([
            "--producer-property",
            "enable.idempotence=false",
            "--producer-property",
            "acks=all",
        ]);
        java.args(["--topic", topic])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = java.spawn().context("run the console producer")?;
        child.stdin.take().context("stdin is piped")?.write_all(format!("{body}\n").as_bytes())?;
        ensure!(child.wait()?.success(), "publish to {topic}");
        Ok(())
    }

    /// Returns the number of records ever published to a topic, or 0 for a missing topic.
    pub fn published(&self, topic: &str) -> Result<u64> {
        let mut java = self.java();
        java.args([
            "org.apache.kafka.tools.GetOffsetShell",
            "--bootstrap-server",
            &self.ports.brokers(),
        ]);
        let output = java.args(["--topic", topic]).output().context("run the offset shell")?;
        let ends = String::from_utf8_lossy(&output.stdout).into_owned(); // topic:partition:end
        Ok(ends.lines().filter_map(|line| line.rsplit_once(':')?.1.parse::<u64>().ok()).sum())
    }

    fn java(&self) -> Command {
        let mut java = Command::new("java");
        java.args(HEAP).arg(format!(
            "-Dlog4j2.configurationFile={}",
            self.folder.join("log4j2.properties").display()
        ));
        java.arg("-cp").arg(self.folder.join("jars").join("*"));
        java
    }

    fn properties(&self) -> String {
        let Ports { kafka, controller, kafka_sasl, kafka_mutual, .. } = self.ports;
        let (data, secure) = (self.folder.join("data"), self.secure.display());
        let listeners_added = || self.listeners_added.iter().enumerate();
        let listeners: String = listeners_added()
            .map(|(at, listener)| format!(",DOOR{at}://{}", listener.listen))
            .collect();
        let advertised: String = listeners_added()
            .map(|(at, listener)| format!(",DOOR{at}://{}", listener.advertised))
            .collect();
        let protocols: String =
            listeners_added().map(|(at, _)| format!(",DOOR{at}:PLAINTEXT")).collect();
        format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{kafka},CONTROLLER://127.0.0.1:{controller},\
                       SASL_SSL://127.0.0.1:{kafka_sasl},SSL://127.0.0.1:{kafka_mutual}{listeners}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{kafka},\
                                  SASL_SSL://{HOST}:{kafka_sasl},SSL://{HOST}:{kafka_mutual}{advertised}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,\
                                            SASL_SSL:SASL_SSL,SSL:SSL{protocols}\n\
             inter.broker.listener.name=PLAINTEXT\n\
             sasl.enabled.mechanisms=SCRAM-SHA-512\n\
             listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={SCRAM} required;\n\
             listener.name.ssl.ssl.client.auth=required\n\
             ssl.keystore.type=PEM\n\
             ssl.keystore.location={secure}/server.both.pem\n\
             ssl.truststore.type=PEM\n\
             ssl.truststore.location={secure}/ca.pem\n\
             log.dirs={}\n\
             broker.session.timeout.ms={SESSION_MS}\n\
             broker.heartbeat.interval.ms={HEARTBEAT_MS}\n\
             auto.create.topics.enable=false\n\
             authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             allow.everyone.if.no.acl.found=true\n\
             group.initial.rebalance.delay.ms=0\n\
             offsets.topic.num.partitions=8\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n",
            data.display()
        )
    }

    /// Resets the offsets of a group without members to the earliest records.
    pub fn reset_offsets(&self, group: &str) -> Result<()> {
        let mut java = self.java();
        java.arg("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand");
        java.args(["--bootstrap-server", &self.ports.brokers(), "--group", group, "--all-topics"]);
        let output = run(java.args(["--reset-offsets", "--to-earliest", "--execute"]))?;
        ensure!(!output.contains("Error"), "reset the offsets of {group}: {output}");
        Ok(())
    }

    /// Sends an ApiVersions request. The broker answers it once it accepts any request.
    fn request_versions(&self) -> std::io::Result<()> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.ports.kafka));
        let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        // length, ApiVersions (18), version 0, correlation id 7, null client id
        stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff])?;
        let mut answer = [0; 10]; // length, correlation id, error code
        stream.read_exact(&mut answer)?;
        if answer[4..] == [0, 0, 0, 7, 0, 0] {
            Ok(())
        } else {
            Err(std::io::ErrorKind::InvalidData.into())
        }
    }
}

impl Service for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn prepare(&self) -> Result<()> {
        run(Command::new("java").arg("-version"))
            .context("Kafka requires Java 17 or newer: install default-jre-headless")?;
        create(&self.folder)?;
        self.fetch()?;
        let properties = self.folder.join("server.properties");
        write(&properties, &self.properties())?;
        write(&self.folder.join("log4j2.properties"), LOGGING)?;
        if !self.folder.join("data/meta.properties").exists() {
            eprintln!("kafka: preparing the data folder");
            let mut format = self.java();
            format
                .args(["kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER, "--config"])
                .arg(&properties);
            format
                .arg("--add-scram")
                .arg(format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]"));
            run(&mut format).context("prepare Kafka's data folder")?;
        }
        Ok(())
    }

    fn command(&self) -> Result<Command> {
        let mut java = self.java();
        java.arg("kafka.Kafka").arg(self.folder.join("server.properties"));
        Ok(java)
    }

    fn answers(&self) -> bool {
        self.request_versions().is_ok()
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }

    fn stop_signal(&self) -> &'static str {
        "TERM"
    }
}
