//! A server per test, a small HTTP client, and the real orders.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use sagamore::database::testing::skipped;
use serde_json::{Value, json};

/// A `shop dev` on its own port, killed on drop.
pub struct Server {
    child: Child,
    address: String,
    stdout: BufReader<ChildStdout>,
}

/// A server's response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    headers: Vec<(String, String)>,
}

impl Server {
    /// Starts a server with temporary data.
    pub fn ephemeral() -> Server {
        Server::with(&["--ephemeral"])
    }

    /// Starts a choreographed server with temporary data.
    pub fn choreographed() -> Server {
        Server::with(&["--ephemeral", "--choreography"])
    }

    /// Starts a server on this directory.
    pub fn on(data: &Path) -> Server {
        Server::with(&["--data", data.to_str().expect("the path is UTF-8")])
    }

    /// Starts a choreographed server on this directory.
    pub fn choreographed_on(data: &Path) -> Server {
        Server::with(&["--choreography", "--data", data.to_str().expect("the path is UTF-8")])
    }

    /// Starts a server on this directory with a small bound on running sagas.
    pub fn small(data: &Path, sagas_max: &str) -> Server {
        Server::with(&[
            "--data",
            data.to_str().expect("the path is UTF-8"),
            "--sagas-max",
            sagas_max,
        ])
    }

    fn with(args: &[&str]) -> Server {
        Server::with_env(args, &[])
    }

    /// Starts a server with these environment variables.
    pub fn with_env(args: &[&str], variables: &[(&str, &str)]) -> Server {
        let mut command = sagamore(&["dev", "--listen", "127.0.0.1:0"]);
        // the tests cause faults on purpose
        command.args(args).env("RUST_LOG", "off").envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("start shop");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut server = Server { child, address: String::new(), stdout };
        while server.address.is_empty() {
            let mut line = String::new();
            let read = server.stdout.read_line(&mut line).expect("read the address");
            assert_ne!(read, 0, "the server ended at once");
            if let Some((_, address)) = line.split_once("http://") {
                address.trim().clone_into(&mut server.address);
            }
        }
        server
    }

    /// Starts a process that uses Kafka and PostgreSQL, with this configuration. Neither has to be
    /// available.
    pub fn configured(text: &str, role: &[&str]) -> Server {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("bind a port");
        let address = free.local_addr().expect("read the address").to_string();
        drop(free);
        let file = tempfile::Builder::new().suffix(".toml").tempfile().expect("create a file");
        std::fs::write(file.path(), text).expect("write the configuration");
        let path = file.path().to_str().expect("the path is UTF-8");
        let mut command = sagamore(&["--config", path]);
        command
            .args(role)
            .args(["--listen", &address])
            .env("RUST_LOG", "off")
            .stderr(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("start shop");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        while TcpStream::connect(&address).is_err() {
            assert!(
                child.try_wait().expect("poll the process").is_none(),
                "the process ended at once"
            );
            std::thread::yield_now();
        }
        Server { child, address, stdout }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.send("POST", path, headers, body)
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.send_request(method, path, headers, body).response()
    }

    /// Sends a GET with this host name.
    pub fn named(&self, host: &str, path: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).expect("the server listens");
        let text = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).expect("send the head");
        PendingResponse { stream }.response()
    }

    /// Sends a request without waiting for the response.
    pub fn send_request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> PendingResponse {
        let mut stream = TcpStream::connect(&self.address).expect("the server listens");
        let mut text =
            format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        stream.write_all(text.as_bytes()).expect("send the head");
        // a server may refuse a large body and close before reading it all
        let _ = stream.write_all(body.as_bytes());
        PendingResponse { stream }
    }

    /// Starts a checkout saga.
    pub fn start(&self, key: &str, input: &Value, headers: &[(&str, &str)]) -> Answer {
        let body = json!({ "definition": "checkout", "key": key, "input": input });
        self.post("/api/v1/sagas", headers, &body.to_string())
    }

    /// Runs a command against this server.
    pub fn cli(&self, args: &[&str]) -> Output {
        sagamore(args)
            .env("SAGAMORE_SERVER", self.url())
            .stdin(Stdio::null())
            .output()
            .expect("run shop")
    }

    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// Sends SIGTERM and returns the rest of stdout.
    pub fn terminate_and_read(mut self) -> String {
        let sent = Command::new("kill").args(["-TERM", &self.pid()]).status().expect("run kill");
        assert!(sent.success());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("read stdout");
        rest
    }

    /// Sends SIGTERM and returns the exit status.
    pub fn terminate(mut self) -> std::process::ExitStatus {
        let sent = Command::new("kill").args(["-TERM", &self.pid()]).status().expect("run kill");
        assert!(sent.success());
        self.child.wait().expect("wait for the server")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request whose response was not read yet.
pub struct PendingResponse {
    stream: TcpStream,
}

impl PendingResponse {
    /// Waits for the response.
    pub fn response(mut self) -> Answer {
        let mut text = String::new();
        // a reset after the response is not an error
        let _ = self.stream.read_to_string(&mut text);
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP response: {text:?}"));
        let mut lines = head.lines();
        let status =
            lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Answer {
            status: status.expect("the response has a status"),
            headers: headers.collect(),
            body: body.to_owned(),
        }
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(candidate, _)| candidate == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// Returns the only field of the responses of `/saga/start`.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().expect("the response has a message").to_owned()
    }

    /// Asserts a problem document with this status and code.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.body);
        let problem = self.json();
        assert_eq!((self.status, problem["code"].as_str()), (status, Some(code)), "{}", self.body);
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("/docs/errors#{}", code.to_lowercase()));
        assert!(!problem["title"].as_str().unwrap_or_default().is_empty());
    }
}

/// Builds a command of the binary under test.
pub fn sagamore(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command
        .args(args)
        .env_remove("SAGAMORE_SERVER")
        .env_remove("SAGAMORE_CONFIG")
        .env_remove("SAGAMORE_DATA")
        .env_remove("RUST_LOG");
    command
}

/// Returns an order of the sample's customer, product and country.
pub fn an_order(id: &str, quantity: i64) -> Value {
    json!({
        "orderId": id,
        "customerId": "SAMPLE",
        "lines": [{ "sku": "SAMPLE", "quantity": quantity, "unitPriceCents": 250 }],
        "shipTo": {
            "name": "A", "address": "Street 1", "city": "B", "region": null, "postalCode": null,
            "country": "Sampleland"
        }
    })
}

/// Returns an order of a customer without an account.
pub fn an_unpayable_order(id: &str) -> Value {
    let mut order = an_order(id, 1);
    order["customerId"] = json!("NOBODY");
    order
}

/// Creates data by running a server, and changes it with `sql` in the database of `service`.
pub fn data_with(service: &str, sql: &str) -> tempfile::TempDir {
    let data = tempfile::tempdir().expect("create a directory");
    assert!(Server::on(data.path()).terminate().success());
    change(data.path(), service, sql);
    data
}

/// Changes a service's database by hand.
pub fn change(data: &Path, service: &str, sql: &str) {
    let database = rusqlite::Connection::open(data.join(format!("{service}.sqlite")))
        .expect("open the database");
    database.execute_batch(sql).expect("run the statements");
}

/// Creates data whose charges fail and are retried, so every checkout waits at its second step.
pub fn data_with_failing_charges() -> tempfile::TempDir {
    data_with("payment", "ALTER TABLE charge RENAME TO charge_elsewhere")
}

/// Creates data whose orders lose their lock, so they cannot be confirmed.
pub fn data_with_stolen_locks() -> tempfile::TempDir {
    data_with(
        "order",
        "CREATE TRIGGER taken AFTER INSERT ON orders
         BEGIN UPDATE orders SET locked_by = 'somebody' WHERE order_id = NEW.order_id; END",
    )
}

/// Returns the folder of the real orders, if it exists.
pub fn northwind() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/northwind");
    let folder = std::env::var_os("SAGAMORE_NORTHWIND").map_or(beside, PathBuf::from);
    let found = folder.join("orders.jsonl").is_file();
    if !found {
        skipped("SAGAMORE_NORTHWIND does not name the folder of the real orders");
    }
    found.then_some(folder)
}
