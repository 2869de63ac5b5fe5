//! A server of its own for a test, a small HTTP client, and the real orders.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::{Value, json};

/// A `shop dev` on a port of its own; killed when it is dropped.
pub struct Server {
    child: Child,
    address: String,
    stdout: BufReader<ChildStdout>,
}

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    headers: Vec<(String, String)>,
}

impl Server {
    /// One whose data goes with it.
    pub fn ephemeral() -> Server {
        Server::with(&["--ephemeral"])
    }

    /// One without an orchestrator, whose data go with it.
    pub fn choreographed() -> Server {
        Server::with(&["--ephemeral", "--choreography"])
    }

    /// One on this directory.
    pub fn on(data: &Path) -> Server {
        Server::with(&["--data", data.to_str().expect("a path in UTF-8")])
    }

    /// Likewise, where nobody directs.
    pub fn choreographed_on(data: &Path) -> Server {
        Server::with(&["--choreography", "--data", data.to_str().expect("a path in UTF-8")])
    }

    /// One on this directory that takes few sagas at once.
    pub fn small(data: &Path, sagas_max: &str) -> Server {
        Server::with(&["--data", data.to_str().expect("a path in UTF-8"), "--sagas-max", sagas_max])
    }

    fn with(args: &[&str]) -> Server {
        Server::with_env(args, &[])
    }

    /// Likewise, with these variables set.
    pub fn with_env(args: &[&str], variables: &[(&str, &str)]) -> Server {
        let mut command = sagamore(&["dev", "--listen", "127.0.0.1:0"]);
        command.args(args).env("RUST_LOG", "off").envs(variables.iter().copied()); // the faults are wanted
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("its output is read"));
        let mut server = Server { child, address: String::new(), stdout };
        while server.address.is_empty() {
            let mut line = String::new();
            let read = server.stdout.read_line(&mut line).expect("it says where it listens");
            assert_ne!(read, 0, "it ended at once");
            if let Some((_, address)) = line.split_once("http://") {
                address.trim().clone_into(&mut server.address);
            }
        }
        server
    }

    /// One of the processes that want Kafka and PostgreSQL, with a configuration of this text: neither need be there.
    pub fn configured(text: &str, role: &[&str]) -> Server {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("its address").to_string();
        drop(free);
        let file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a file");
        std::fs::write(file.path(), text).expect("the configuration is written");
        let path = file.path().to_str().expect("a path in UTF-8");
        let mut command = sagamore(&["--config", path]);
        command
            .args(role)
            .args(["--listen", &address])
            .env("RUST_LOG", "off")
            .stderr(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("its output is read"));
        while TcpStream::connect(&address).is_err() {
            assert!(child.try_wait().expect("it can be asked for").is_none(), "it ended at once");
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
        self.ask(method, path, headers, body).answer()
    }

    /// Reads what is at `path` of the server under this name.
    pub fn named(&self, host: &str, path: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).expect("the server listens");
        let text = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).expect("the head goes out");
        Asked { stream }.answer()
    }

    /// Sends a request and leaves the answer for later.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Asked {
        let mut stream = TcpStream::connect(&self.address).expect("the server listens");
        let mut text =
            format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address);
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        stream.write_all(text.as_bytes()).expect("the head goes out");
        // a server that refuses a large body may close before it has read it all
        let _ = stream.write_all(body.as_bytes());
        Asked { stream }
    }

    /// Starts a saga by its definition's name.
    pub fn start(&self, key: &str, input: &Value, headers: &[(&str, &str)]) -> Answer {
        let body = json!({ "definition": "checkout", "key": key, "input": input });
        self.post("/api/v1/sagas", headers, &body.to_string())
    }

    /// Runs a command of the command line against this server.
    pub fn cli(&self, args: &[&str]) -> Output {
        sagamore(args)
            .env("SAGAMORE_SERVER", self.url())
            .stdin(Stdio::null())
            .output()
            .expect("the command runs")
    }

    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// SIGTERM, and all that it has said on stdout.
    pub fn last_words(mut self) -> String {
        let sent = Command::new("kill").args(["-TERM", &self.pid()]).status().expect("kill runs");
        assert!(sent.success());
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).expect("text");
        said
    }

    /// SIGTERM, and what came of it.
    pub fn terminate(mut self) -> std::process::ExitStatus {
        let sent = Command::new("kill").args(["-TERM", &self.pid()]).status().expect("kill runs");
        assert!(sent.success());
        self.child.wait().expect("it ends")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request that was sent.
pub struct Asked {
    stream: TcpStream,
}

impl Asked {
    /// Waits for the answer.
    pub fn answer(mut self) -> Answer {
        let mut text = String::new();
        // a connection that is reset behind the answer has given it all the same
        let _ = self.stream.read_to_string(&mut text);
        let (head, body) =
            text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP answer: {text:?}"));
        let mut lines = head.lines();
        let status =
            lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Answer {
            status: status.expect("a status"),
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

    /// The article's answers hold nothing but this.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().expect("a message").to_owned()
    }

    /// A problem document with this status and code.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.body);
        let told = self.json();
        assert_eq!((self.status, told["code"].as_str()), (status, Some(code)), "{}", self.body);
        assert_eq!(told["status"], status);
        assert_eq!(told["type"], format!("/docs/errors#{}", code.to_lowercase()));
        assert!(!told["title"].as_str().unwrap_or_default().is_empty());
    }
}

/// The binary under test.
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

/// An order of the sample's customer, product and country.
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

/// An order of a customer without an account.
pub fn an_order_nobody_pays(id: &str) -> Value {
    let mut order = an_order(id, 1);
    order["customerId"] = json!("NOBODY");
    order
}

/// Data on which a server has been, then changed by hand with `sql` in the database of `service`.
pub fn data_with(service: &str, sql: &str) -> tempfile::TempDir {
    let data = tempfile::tempdir().expect("a directory");
    assert!(Server::on(data.path()).terminate().success());
    change(data.path(), service, sql);
    data
}

/// Changes a service's database by hand.
pub fn change(data: &Path, service: &str, sql: &str) {
    let database = rusqlite::Connection::open(data.join(format!("{service}.sqlite")))
        .expect("the database opens");
    database.execute_batch(sql).expect("the change is made");
}

/// Where charges break and are asked again and again: every checkout waits at its second step.
pub fn data_where_nobody_can_pay() -> tempfile::TempDir {
    data_with("payment", "ALTER TABLE charge RENAME TO charge_elsewhere")
}

/// Where somebody takes the lock of every order, so that it cannot be confirmed.
pub fn data_where_orders_lose_their_lock() -> tempfile::TempDir {
    data_with(
        "order",
        "CREATE TRIGGER taken AFTER INSERT ON orders
         BEGIN UPDATE orders SET locked_by = 'somebody' WHERE order_id = NEW.order_id; END",
    )
}

/// The folder of real orders, if it is here.
pub fn northwind() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/northwind");
    let folder = std::env::var_os("SAGAMORE_NORTHWIND").map_or(beside, PathBuf::from);
    let found = folder.join("orders.jsonl").is_file();
    if !found {
        // not `eprintln!`, which nobody sees when the tests pass
        let _ = writeln!(
            std::io::stderr(),
            "\nLEFT OUT: a test on real orders, which are not at {}; set SAGAMORE_NORTHWIND to their folder.\n",
            folder.display()
        );
    }
    found.then_some(folder)
}
