//! Definitions of files in the real program: `dev`, `serve --data`, `apply`, `definitions`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

const TRIP: &str = "\
name: trip
version: 1
input: [tripId]
steps:
  - name: reserve-seat
    kind: pivot
    action: { participant: seats, message: seats.reserve, fields: { tripId: input.tripId } }
";

const VISIT: &str = "\
name: visit
version: 1
begins:
  name: ring
  service: guest
  event: bell.rung
  undo: { on: [host.away], emits: guest.gone }
reactions:
  - name: open
    service: host
    on: [bell.rung]
    emits: [door.opened]
    fails: [host.away]
    pivot: true
";

fn sagamore(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sagamore"));
    for variable in ["SAGAMORE_SERVER", "SAGAMORE_CONFIG", "SAGAMORE_DATA", "SAGAMORE_LISTEN"] {
        command.env_remove(variable);
    }
    command.current_dir(folder);
    command
}

/// A server of the program in a folder of its own.
struct Running {
    folder: PathBuf,
    process: Child,
    server: String,
    errors: Arc<Mutex<String>>,
}

impl Running {
    fn start(folder: &Path, arguments: &[&str]) -> Running {
        let mut command = sagamore(folder);
        command.args(arguments).args(["--listen", "127.0.0.1:0"]);
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let errors = Arc::new(Mutex::new(String::new()));
        let (written, lines) = (errors.clone(), process.stderr.take().expect("stderr"));
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                written.lock().expect("no panic").push_str(&format!("{line}\n"));
            }
        });
        let mut lines = BufReader::new(process.stdout.take().expect("stdout")).lines();
        let server = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.find("http://").map(|at| line[at..].trim().to_owned()))
            .unwrap_or_else(|| panic!("no address: {}", errors.lock().expect("no panic")));
        std::thread::spawn(move || lines.for_each(drop)); // the program may print more
        Running { folder: folder.to_owned(), process, server, errors }
    }

    fn output(&self, arguments: &[&str]) -> Output {
        sagamore(&self.folder)
            .args(arguments)
            .args(["--server", &self.server])
            .output()
            .expect("the command runs")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.output(&[arguments, &["-o", "json"]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {error}"))
    }

    /// Starts a saga, and returns its version.
    fn version_of_a_start(&self, key: &str, more: &[&str]) -> i64 {
        let input = format!("{{\"tripId\":\"{key}\"}}");
        let arguments = [&["start", "trip", key, "--input", &input], more].concat();
        let started = self.output(&arguments);
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        self.json(&["show", &format!("trip:{key}")])["version"].as_i64().expect("a version")
    }

    /// Posts YAML, and returns the status line with the JSON of the answer.
    fn post(&self, path: &str, yaml: &str) -> (String, Value) {
        self.post_as("application/yaml", path, yaml)
    }

    fn post_as(&self, media: &str, path: &str, body: &str) -> (String, Value) {
        let authority = self.server.trim_start_matches("http://");
        let mut connection = TcpStream::connect(authority).expect("connected");
        let length = body.len();
        write!(
            connection,
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: {media}\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .expect("sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        let status = head.lines().next().unwrap_or_default().to_owned();
        (status, serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}")))
    }

    /// Waits until stderr contains a text.
    fn until(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.errors.lock().expect("no panic").contains(text) {
            let errors = self.errors.lock().expect("no panic").clone();
            assert!(Instant::now() < deadline, "'{text}' was not printed: {errors}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn folder_with_a_trip() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(folder.path().join("sagas")).expect("created");
    write(folder.path(), "sagas/trip.yaml", TRIP);
    folder
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("written");
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_second_version_is_applied_activated_and_rolled_back() {
    let folder = folder_with_a_trip();
    let dev = Running::start(folder.path(), &["dev", "--ephemeral", "--slow", "reserve-seat=1h"]);
    assert_eq!(dev.version_of_a_start("1", &[]), 1);

    write(folder.path(), "next.yaml", &TRIP.replace("version: 1", "version: 2"));
    let checked = dev.output(&["apply", "next.yaml", "--dry-run"]);
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.contains("trip@2  registered (dry run: nothing was stored)"), "{checked}");
    assert_eq!(dev.json(&["definitions", "list"])["definitions"].as_array().map(Vec::len), Some(1));

    let applied = dev.json(&["apply", "next.yaml"]);
    assert_eq!(applied["definitions"][0]["active"], false, "{applied}");
    assert_eq!(dev.version_of_a_start("2", &[]), 1);
    assert_eq!(dev.version_of_a_start("3", &["--version", "2"]), 2);
    assert!(dev.output(&["definitions", "activate", "trip@2"]).status.success());
    assert_eq!(dev.version_of_a_start("4", &[]), 2);
    assert!(dev.output(&["definitions", "activate", "trip@1"]).status.success());
    assert_eq!(dev.version_of_a_start("5", &[]), 1);

    let listed = dev.json(&["definitions", "list", "trip"]);
    let running: Vec<_> = listed["definitions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|line| (line["version"].as_i64(), line["running"].as_i64(), line["active"].as_bool()))
        .collect();
    assert_eq!(running, [(Some(1), Some(3), Some(true)), (Some(2), Some(2), Some(false))]);
    let shown = dev.output(&["definitions", "show", "trip@2"]);
    write(folder.path(), "shown.json", &String::from_utf8_lossy(&shown.stdout));
    let again = dev.json(&["apply", "shown.json"]);
    assert_eq!(again["definitions"][0]["outcome"], "unchanged", "what show prints is a file");

    let asked = dev.output(&["definitions", "retire", "trip@1"]);
    assert_eq!(asked.status.code(), Some(2), "{}", error(&asked));
    assert!(error(&asked).contains("Its unfinished sagas (3) continue. No version of trip is"));
    assert!(dev.output(&["definitions", "retire", "trip@1", "--yes"]).status.success());
    let refused = dev.output(&["start", "trip", "6", "--input", "{\"tripId\":\"6\"}"]);
    assert!(error(&refused).contains("SAGA-0212"), "{}", error(&refused));
}

#[test]
fn apply_warns_of_a_message_that_no_process_handles_and_succeeds() {
    let folder = folder_with_a_trip();
    let serve = Running::start(folder.path(), &["serve", "--data", "data"]);
    for arguments in [&["apply", "sagas/trip.yaml", "--dry-run"][..], &["apply", "sagas"]] {
        let applied = serve.output(arguments);
        assert!(applied.status.success(), "{}", error(&applied));
        let expected = "warning: seats: no process has announced itself\n";
        assert_eq!(error(&applied).lines().next(), Some(expected.trim_end()), "{arguments:?}");
    }
    let started = serve.output(&["start", "trip", "1", "--input", "{\"tripId\":\"1\"}"]);
    assert!(started.status.success(), "{}", error(&started));
    let shown = serve.output(&["show", "trip:1"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("  warning: seats: no process has announced itself\n"), "{shown}");
    drop(serve);
    let dev = Running::start(folder.path(), &["dev", "--ephemeral", "--slow", "reserve-seat=1h"]);
    let applied = dev.output(&["apply", "sagas", "--dry-run"]);
    assert_eq!(error(&applied), "", "a stand-in plays the participant");
}

#[test]
fn a_conflict_and_a_mistake_store_nothing() {
    let folder = folder_with_a_trip();
    let dev = Running::start(folder.path(), &["dev", "sagas/trip.yaml", "--ephemeral"]);
    write(folder.path(), "other.yaml", &TRIP.replace("seats.reserve", "seats.take"));
    let conflict = dev.output(&["apply", "other.yaml"]);
    assert_eq!(conflict.status.code(), Some(1));
    let why = error(&conflict);
    assert!(why.contains("other.yaml: trip version 1 is registered with other contents"), "{why}");
    assert!(why.contains("SAGA-0213"), "{why}");

    write(folder.path(), "bad.yaml", &TRIP.replace("input.tripId", "input.trip"));
    let mistake = dev.output(&["apply", "bad.yaml"]);
    assert_eq!(mistake.status.code(), Some(1));
    assert!(error(&mistake).contains("bad.yaml:7:"), "{}", error(&mistake));
    assert!(error(&mistake).contains("Nothing was applied."), "{}", error(&mistake));
    assert_eq!(dev.json(&["definitions", "list"])["definitions"].as_array().map(Vec::len), Some(1));
}

#[test]
fn every_violation_is_a_part_of_the_problem_document() {
    let folder = tempfile::tempdir().expect("a directory");
    let dev = Running::start(folder.path(), &["dev", "--ephemeral", "--slow", "reserve-seat=1h"]);
    let bad = TRIP.replace("input.tripId", "input.trip").replace("name: reserve-seat", "nam: x");
    let (status, problem) = dev.post("/api/v1/definitions", &bad);
    assert!(status.contains(" 422 "), "{status}");
    assert_eq!(problem["code"], "SAGA-0214");
    let errors = problem["errors"].as_array().expect("errors");
    assert!(!errors.is_empty(), "{problem}");
    for error in errors {
        let has = |field: &str| !error[field].is_null();
        assert!(["pointer", "detail", "line", "column"].into_iter().all(has), "{error}");
    }
    let (status, checked) = dev.post("/api/v1/definitions?dryRun=true", TRIP);
    assert!(status.contains(" 200 "), "{status}");
    assert_eq!((&checked["outcome"], &checked["dryRun"]), (&"registered".into(), &true.into()));
    let (status, _) = dev.post("/api/v1/definitions", TRIP);
    assert!(status.contains(" 201 "), "{status}");
    let (status, _) = dev.post("/api/v1/definitions", TRIP);
    assert!(status.contains(" 200 "), "{status}");
}

#[test]
fn dev_loads_a_changed_file_again_and_survives_a_mistake() {
    let folder = folder_with_a_trip();
    let dev = Running::start(folder.path(), &["dev", "--ephemeral", "--slow", "reserve-seat=1h"]);
    let hash = || dev.json(&["definitions", "show", "trip@1"])["hash"].clone();
    let first = hash();
    dev.version_of_a_start("1", &[]);
    write(folder.path(), "sagas/trip.yaml", &TRIP.replace("seats.reserve", "seats.take"));
    let changed = Instant::now();
    dev.until("trip@1 replaced");
    assert!(changed.elapsed() < Duration::from_secs(2), "{:?}", changed.elapsed());
    assert_ne!(hash(), first);
    dev.version_of_a_start("2", &[]);
    let message = |key: &str| dev.json(&["show", key])["waitsFor"][0]["messages"][0].clone();
    assert_eq!(
        (message("trip:1"), message("trip:2")),
        ("seats.reserve".into(), "seats.take".into())
    );

    write(folder.path(), "sagas/trip.yaml", &TRIP.replace("kind: pivot", "kind: pivotal"));
    dev.until("trip.yaml:6:");
    dev.until("The last valid contents stay in use.");
    dev.version_of_a_start("3", &[]);
    write(folder.path(), "sagas/second.yaml", &TRIP.replace("name: trip", "name: tour"));
    dev.until("tour@1 registered");
    assert_eq!(dev.json(&["definitions", "list"])["definitions"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_plan_is_applied_activated_and_replaced_without_a_restart() {
    let folder = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(folder.path().join("sagas")).expect("created");
    write(folder.path(), "sagas/visit.yaml", VISIT);
    // the chains do not end
    let dev = Running::start(folder.path(), &["dev", "--ephemeral", "--slow", "open=1h"]);
    let begin = |id: &str| {
        let event = format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/test\",\
             \"type\":\"bell.rung\",\"data\":{{}}}}"
        );
        let (status, begun) = dev.post_as("application/cloudevents+json", "/api/v1/events", &event);
        assert!(status.contains(" 202 "), "{status} {begun}");
        begun["version"].as_i64()
    };
    assert_eq!(begin("1"), Some(1));
    write(folder.path(), "next.yaml", &VISIT.replace("version: 1", "version: 2"));
    let applied = dev.json(&["apply", "next.yaml"]);
    assert_eq!(applied["plans"][0]["active"], false, "{applied}");
    assert_eq!(begin("2"), Some(1));
    assert!(dev.output(&["plans", "activate", "visit@2"]).status.success());
    assert_eq!(begin("3"), Some(2));

    let changed = VISIT.replace("version: 1", "version: 1\ndeadlineMs: 5000");
    write(folder.path(), "other.yaml", &changed);
    let conflict = error(&dev.output(&["apply", "other.yaml"]));
    assert!(conflict.contains("SAGA-0213"), "{conflict}");
    write(folder.path(), "sagas/visit.yaml", &changed);
    dev.until("visit@1 replaced (running chains keep the former contents)");
    let diff = dev.output(&["plans", "diff", "visit", "1", "2"]);
    assert!(diff.status.success(), "{}", error(&diff));

    let listed = dev.json(&["plans", "list"]);
    let lines = listed["plans"].as_array().expect("a list");
    let active: Vec<_> = lines.iter().map(|line| line["active"].as_bool()).collect();
    assert_eq!(active, [Some(false), Some(true)]);
    let shown = dev.output(&["plans", "show", "visit@2"]);
    write(folder.path(), "shown.json", &String::from_utf8_lossy(&shown.stdout));
    let again = dev.json(&["apply", "shown.json"]);
    assert_eq!(again["plans"][0]["outcome"], "unchanged", "what show prints is a file");
    let shown = dev.output(&["plans", "show", "visit@2", "-o", "yaml"]);
    let yaml = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(yaml.starts_with("name: visit\nversion: 2\n"), "{yaml}");
    write(folder.path(), "shown.yaml", &yaml);
    let again = dev.json(&["apply", "shown.yaml"]);
    assert_eq!(again["plans"][0]["outcome"], "unchanged", "{yaml}");
    assert!(dev.output(&["plans", "retire", "visit@2", "--yes"]).status.success());
    let (status, problem) = dev.post("/api/v1/definitions", VISIT);
    assert!(status.contains(" 422 "), "{status}");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("post it to /api/v1/plans"), "{problem}");
}

/// Neither the plan nor a service was known when `dev` started.
#[test]
fn stand_ins_play_the_services_of_a_plan_that_is_applied_later() {
    let folder = tempfile::tempdir().expect("a directory");
    write(folder.path(), "visit.yaml", VISIT);
    let dev = Running::start(folder.path(), &["dev", "--ephemeral", "--refuse", "open=asleep"]);
    assert!(dev.output(&["apply", "visit.yaml"]).status.success());
    let event = r#"{"specversion":"1.0","id":"1","source":"/test","type":"bell.rung","data":{}}"#;
    let path = "/api/v1/events?wait=30";
    let (status, begun) = dev.post_as("application/cloudevents+json", path, event);
    assert!(status.contains(" 200 ") && begun["status"] == "compensated", "{status} {begun}");
    let shown = dev.json(&["show", "visit:1"]);
    let open = &shown["steps"][1];
    assert_eq!((&open["standIn"], &open["refusal"]["code"]), (&true.into(), &"asleep".into()));
    let drawn = dev.output(&["show", "visit:1"]);
    let drawn = String::from_utf8_lossy(&drawn.stdout).into_owned();
    assert!(drawn.contains("(stand-in)"), "{drawn}");
    assert_eq!(dev.json(&["list"])["sagas"][0]["standIn"], true);
}

#[test]
fn dev_without_files_points_to_init() {
    let folder = tempfile::tempdir().expect("a directory");
    let dev = Running::start(folder.path(), &["dev", "--ephemeral", "--slow", "reserve-seat=1h"]);
    let none = dev.output(&["definitions", "list"]);
    assert!(error(&none).contains("no definitions; register one with: sagamore apply FILE"));
    write(folder.path(), "trip.yaml", TRIP);
    assert!(dev.output(&["apply", "trip.yaml"]).status.success());
    assert_eq!(dev.version_of_a_start("1", &[]), 1);
    let missing = sagamore(folder.path()).args(["dev", "nothing.yaml"]).output().expect("dev runs");
    assert!(
        error(&missing).contains("nothing.yaml: no such file or folder"),
        "{}",
        error(&missing)
    );
}

#[test]
fn serve_on_the_embedded_stack_registers_its_files_and_stops_on_a_conflict() {
    let folder = folder_with_a_trip();
    write(folder.path(), "sagamore.toml", "definitions = [\"sagas\"]\n");
    let arguments = ["serve", "--data", "data", "--config", "sagamore.toml"];
    let serve = Running::start(folder.path(), &arguments);
    assert_eq!(serve.version_of_a_start("1", &[]), 1);
    write(folder.path(), "sagas/next.yaml", &TRIP.replace("version: 1", "version: 2"));
    drop(serve);
    let serve = Running::start(folder.path(), &arguments);
    assert_eq!(serve.version_of_a_start("2", &[]), 2, "a deployment activates a higher version");
    assert!(serve.output(&["definitions", "activate", "trip@1"]).status.success());
    drop(serve);
    let serve = Running::start(folder.path(), &arguments);
    assert_eq!(serve.version_of_a_start("3", &[]), 1, "a rollback survives a restart");
    drop(serve);

    write(folder.path(), "sagas/trip.yaml", &TRIP.replace("seats.reserve", "seats.take"));
    let conflict = sagamore(folder.path())
        .args(arguments)
        .args(["--listen", "127.0.0.1:0"])
        .output()
        .expect("serve runs");
    assert_eq!(conflict.status.code(), Some(1));
    let why = error(&conflict);
    assert!(why.contains("trip version 1 is registered with other contents"), "{why}");
    write(folder.path(), "sagas/trip.yaml", "name: [");
    let mistake = sagamore(folder.path()).args(arguments).output().expect("serve runs");
    assert!(error(&mistake).contains("sagas/trip.yaml:1:"), "{}", error(&mistake));
}

/// Serves one HTTP participant that answers every command with *done*.
fn participant() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = BufReader::new(connection.expect("a connection"));
            let (mut line, mut length) = (String::new(), 0);
            while connection.read_line(&mut line).expect("a request") > 2 {
                let header = line.to_ascii_lowercase();
                if let Some(value) = header.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                line.clear();
            }
            connection.read_exact(&mut vec![0; length]).expect("a body");
            let answer = "HTTP/1.1 200 OK\r\nsagamore-outcome: done\r\nconnection: close\r\n\
                content-length: 2\r\n\r\n{}";
            connection.get_mut().write_all(answer.as_bytes()).expect("answered");
        }
    });
    url
}

/// The gateway knows the contract of a definition as soon as it is registered.
#[test]
fn serve_on_the_embedded_stack_calls_http_participants() {
    let folder = folder_with_a_trip();
    let bound = format!("[participants.seats]\nurl = \"{}\"\n", participant());
    write(folder.path(), "sagamore.toml", &bound);
    let arguments = ["serve", "--data", "data", "--config", "sagamore.toml"];
    let serve = Running::start(folder.path(), &arguments);
    for version in 1..=3 {
        let next = TRIP.replace("version: 1", &format!("version: {version}"));
        let contract = "participants: { seats: { repeat: never } }\n";
        assert!(serve.post("/api/v1/definitions", &format!("{next}{contract}")).0.contains("201"));
        let (key, version) = (version.to_string(), version.to_string());
        let input = format!("{{\"tripId\":\"{key}\"}}");
        let start = ["start", "trip", &key, "--input", &input, "--version", &version];
        let started = serve.output(&[&start[..], &["--wait", "10s"]].concat());
        assert!(started.status.success(), "{}", error(&started));
        let shown = serve.json(&["show", &format!("trip:{key}")]);
        assert_eq!(shown["status"], "completed", "{shown}");
        assert_eq!(shown["steps"][0]["attempts"], 1, "the first command was answered: {shown}");
    }
}
