//! The files of `init`: they pass `check` and `test`, and the participants keep the HTTP contract.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Time limit of a participant's start.
const START_MAX: Duration = Duration::from_secs(30);

fn sagamore(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sagamore"));
    for variable in ["SAGAMORE_SERVER", "SAGAMORE_CONFIG", "SAGAMORE_DATA", "SAGAMORE_LISTEN"] {
        command.env_remove(variable);
    }
    command.current_dir(folder).args(args).output().expect("sagamore runs")
}

#[track_caller]
fn succeeds(folder: &Path, args: &[&str]) -> String {
    let output = sagamore(folder, args);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn initialized() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    succeeds(folder.path(), &["init"]);
    folder
}

#[test]
fn init_writes_a_definition_that_passes_check_and_test() {
    let folder = initialized();
    succeeds(folder.path(), &["check", "sagas/trip.yaml"]);
    let tested = succeeds(folder.path(), &["test", "sagas"]);
    assert!(tested.ends_with("3 passed, 0 failed\n"), "{tested}");
}

#[test]
fn init_overwrites_nothing() {
    let folder = initialized();
    std::fs::remove_file(folder.path().join("README.md")).unwrap();
    std::fs::write(folder.path().join("sagas/trip.yaml"), "mine").unwrap();
    let again = sagamore(folder.path(), &["init"]);
    let errors = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(again.status.code(), Some(1));
    assert!(errors.contains("sagas/trip.yaml exists\n"), "{errors}");
    assert!(errors.contains("Nothing was written."), "{errors}");
    assert_eq!(std::fs::read_to_string(folder.path().join("sagas/trip.yaml")).unwrap(), "mine");
    assert!(!folder.path().join("README.md").exists());
}

#[test]
fn a_case_that_does_not_hold_is_printed_with_its_place() {
    let folder = initialized();
    let path = folder.path().join("sagas/trip.test.yaml");
    let text = std::fs::read_to_string(&path).unwrap().replacen("- ends: completed", "- stuck", 1);
    std::fs::write(&path, &text).unwrap();
    let line = text.lines().position(|line| line.contains("- stuck")).unwrap() + 1;
    let tested = sagamore(folder.path(), &["test", "sagas/trip.test.yaml"]);
    let printed = String::from_utf8_lossy(&tested.stdout).into_owned();
    let place = format!("sagas/trip.test.yaml:{line}:9: expected the saga to be stuck");
    assert!(printed.contains(&place), "{printed}");
    assert!(printed.ends_with("2 passed, 1 failed\n"), "{printed}");
    assert_eq!(tested.status.code(), Some(1));
    let json = sagamore(folder.path(), &["test", "sagas", "-o", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!((&json["passed"], &json["failed"]), (&2.into(), &1.into()));
    let failure = &json["files"][0]["cases"][0]["failure"];
    assert_eq!((&failure["line"], &failure["saga"]["status"]), (&line.into(), &"completed".into()));
}

#[test]
fn a_test_file_without_its_definition_is_an_error() {
    let folder = initialized();
    std::fs::remove_file(folder.path().join("sagas/trip.yaml")).unwrap();
    let tested = sagamore(folder.path(), &["test", "sagas"]);
    let printed = String::from_utf8_lossy(&tested.stdout).into_owned();
    assert!(printed.contains("trip.test.yaml:2:13: cannot read sagas/trip.yaml"), "{printed}");
    assert!(printed.ends_with("0 passed, 0 failed, 1 file not run\n"), "{printed}");
    assert_eq!(tested.status.code(), Some(1));
}

/// A running participant, killed at the end.
struct Participant {
    process: Child,
    port: u16,
}

impl Drop for Participant {
    fn drop(&mut self) {
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

impl Participant {
    /// Starts a participant; `None` if its language is not installed.
    fn start(folder: &Path, language: &str, script: &str) -> Option<Participant> {
        let missing = || Command::new(language).arg("--version").output().is_err();
        if missing() {
            eprintln!("LEFT OUT: {language} is not installed, so {script} was not run");
            return None;
        }
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut command = Command::new(language);
        command.current_dir(folder).arg(script).arg(port.to_string()).stderr(Stdio::null());
        let participant = Participant { process: command.spawn().expect("it starts"), port };
        let until = Instant::now() + START_MAX;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "{script} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(participant)
    }

    /// Returns the answer to a GET, as the gateway sends it.
    fn announced(&self) -> serde_json::Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.write_all(b"GET / HTTP/1.0\r\nHost: cards\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {answer}"))
    }

    /// Sends a command as the gateway does. Returns the outcome and the body.
    fn send(&self, key: &str, message: &str, cents: i64) -> (String, String) {
        let body = format!("{{\"card\":\"VISA\",\"cents\":{cents}}}");
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        write!(
            stream,
            "POST / HTTP/1.1\r\nHost: cards\r\nConnection: close\r\nIdempotency-Key: {key}\r\n\
             ce-id: {key}\r\nce-type: {message}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let lower = answer.to_lowercase();
        let outcome = lower.lines().find_map(|line| line.strip_prefix("sagamore-outcome: "));
        let outcome = outcome.unwrap_or_else(|| panic!("no outcome: {answer}")).to_owned();
        (outcome, answer)
    }
}

#[track_caller]
fn keeps_the_contract(language: &str, script: &str) {
    let folder = initialized();
    let Some(cards) = Participant::start(folder.path(), language, script) else { return };
    let announced = cards.announced();
    let expected = serde_json::json!({ "participant": "cards", "messages": [
        { "name": "cards.charge", "kind": "action" },
        { "name": "cards.refund", "kind": "compensation" },
    ] });
    assert_eq!(announced, expected);
    let (outcome, first) = cards.send("t:1/charge/action/1", "cards.charge", 60_000);
    assert!(outcome == "done" && first.contains("R-1"), "{first}");
    let (outcome, answer) = cards.send("t:2/charge/action/1", "cards.charge", 60_000);
    assert!(outcome == "refused" && answer.contains("\"not-enough-money\""), "{answer}");
    let (outcome, _) = cards.send("t:1/charge/x/1", "cards.unknown", 60_000);
    assert_eq!(outcome, "fault");
    drop(cards);

    let cards = Participant::start(folder.path(), language, script).expect("it ran before");
    let (outcome, repeated) = cards.send("t:1/charge/action/1", "cards.charge", 60_000);
    assert!(outcome == "done" && repeated.contains("R-1"), "{repeated}");
    let (outcome, _) = cards.send("t:2/charge/action/1", "cards.charge", 60_000);
    assert_eq!(outcome, "refused");
    for _ in 0..2 {
        let (outcome, answer) = cards.send("t:1/charge/compensation/1", "cards.refund", 60_000);
        assert_eq!(outcome, "done", "{answer}");
    }
    // one charge was refunded once: the whole limit is free
    let (outcome, _) = cards.send("t:3/charge/action/1", "cards.charge", 100_000);
    assert_eq!(outcome, "done");
    let (outcome, _) = cards.send("t:4/charge/action/1", "cards.charge", 1);
    assert_eq!(outcome, "refused");
}

#[test]
fn the_participant_in_python_answers_each_key_once() {
    keeps_the_contract("python3", "participants/cards.py");
}

#[test]
fn the_participant_in_node_answers_each_key_once() {
    keeps_the_contract("node", "participants/cards.mjs");
}
