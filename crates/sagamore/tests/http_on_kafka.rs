//! HTTP services of a choreography on Kafka and PostgreSQL, in processes of the real program: plans
//! are registered while `gateway`, `serve` and `observe` run.

#[allow(dead_code, reason = "the tests on the embedded stack use the rest")]
#[path = "http_choreography/shop.rs"]
mod shop;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use sagamore::database::Database;
use sagamore::database::postgres::Options;
use sagamore::database::testing::{NO_SERVER, skipped};
use sagamore::server::Client;

use shop::{Python, SERVICES, apply, created, faulted, order, outcome, plan};

/// The servers, with a namespace of its own.
struct Servers {
    brokers: String,
    postgres: String,
    namespace: String,
}

impl Servers {
    /// Reports a skipped test without them.
    fn find() -> Option<Servers> {
        let Ok(brokers) = std::env::var("SAGAMORE_TEST_KAFKA") else {
            skipped("SAGAMORE_TEST_KAFKA is not set (cargo xtask services env)");
            return None;
        };
        let Ok(postgres) = std::env::var("SAGAMORE_TEST_POSTGRES") else {
            skipped(NO_SERVER);
            return None;
        };
        let namespace = format!("test{:08x}", fastrand::u32(..));
        Some(Servers { brokers, postgres, namespace })
    }

    fn configuration(&self, python: &Python) -> String {
        let Servers { brokers, postgres, namespace } = self;
        let mut text = format!(
            "namespace = \"{namespace}\"\nkafka.brokers = \"{brokers}\"\n\
             postgres.url = \"{postgres}\"\norchestrator.partitions = 2\n\
             observer.partitions = 2\n"
        );
        for name in SERVICES {
            text.push_str(&format!("participants.{name}.url = \"{}/{name}\"\n", python.url));
        }
        text
    }

    async fn remove_schemas(&self) {
        let database = Database::postgres(Options::new(self.postgres.clone())).expect("a URL");
        let open = database.begin().await.expect("open");
        for name in ["engine", "observer", "gateway"] {
            let sql = format!("DROP SCHEMA IF EXISTS {}_{name} CASCADE", self.namespace);
            open.tx().execute(&sql, ()).await.expect("removed");
        }
        open.commit().await.expect("committed");
    }
}

/// A process of the program.
struct Process {
    child: Child,
    /// The server's address, if it has one.
    address: Option<String>,
}

impl Process {
    /// Starts a process, and waits until it is ready.
    fn start(folder: &Path, arguments: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sagamore"));
        command.args(["--config", "sagamore.toml"]).args(arguments).current_dir(folder);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("started");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("a line");
        assert!(line.contains("is ready"), "{arguments:?}: {line}");
        // the process must be able to write more
        std::thread::spawn(move || output.read_to_end(&mut Vec::new()));
        let address = line.split_once("http://").map(|(_, address)| address.trim().to_owned());
        Process { child, address }
    }

    fn client(&self) -> Client {
        let address = self.address.as_ref().expect("a server");
        Client::new(&format!("http://{address}")).expect("an address")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn a_plan_of_http_services_is_registered_while_every_process_runs() {
    let Some(servers) = Servers::find() else { return };
    let (python, folder) = (Python::start(), tempfile::tempdir().expect("a directory"));
    std::fs::write(folder.path().join("sagamore.toml"), servers.configuration(&python))
        .expect("written");
    let gateway = Process::start(folder.path(), &["gateway"]);
    let serve = Process::start(folder.path(), &["serve", "--listen", "127.0.0.1:0"]);
    let observe = Process::start(folder.path(), &["observe", "--listen", "127.0.0.1:0"]);
    let (client, observer) = (serve.client(), observe.client());

    apply(&client, plan(1)).await;
    let first = order("1", 500, "TEA");
    client.begin(&created("1", &first), None).await.expect("begun");
    assert_eq!(outcome(&client, "shop:1").await.0, "completed");

    // a service that faults is shown by every process
    python.be_away("payment", true).await;
    let second = order("2", 500, "LOST");
    client.begin(&created("2", &second), None).await.expect("begun");
    for client in [&client, &observer] {
        let charge = faulted(client, "shop:2").await;
        assert!(charge["fault"].as_str().is_some_and(|why| why.contains("503")), "{charge}");
        assert!(charge["due"].is_string() && charge["backingOff"] == true, "{charge}");
    }
    python.be_away("payment", false).await;
    assert_eq!(outcome(&client, "shop:2").await.0, "compensated");

    // another version, through the observer
    apply(&observer, plan(2)).await;
    observer.post("/api/v1/plans/shop/2/activate", "", None).await.expect("activated");
    let third = order("3", 500, "TEA");
    let begun = observer.begin(&created("3", &third), None).await.expect("begun");
    assert_eq!(begun.version, 2);
    assert_eq!(outcome(&client, "shop:3").await.0, "completed");
    let figures = python.figures().await;
    for (effect, count) in [("charge/action", 3), ("ship/action", 3), ("charge/compensation", 1)] {
        assert_eq!(figures["effects"][effect], count, "{figures}");
    }
    drop((gateway, serve, observe));
    servers.remove_schemas().await;
}
