//! Tests of the program `sagamore` without built-in services.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

fn sagamore() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sagamore"));
    for variable in ["SAGAMORE_SERVER", "SAGAMORE_CONFIG", "SAGAMORE_DATA", "SAGAMORE_LISTEN"] {
        command.env_remove(variable);
    }
    command
}

#[test]
fn dev_without_services_lists_no_sagas() {
    let mut command = sagamore();
    command.args(["dev", "--ephemeral", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
    let mut dev = command.spawn().expect("dev starts");
    // stays open, because dev prints more
    let mut lines = BufReader::new(dev.stdout.take().expect("dev's stdout")).lines();
    let address = |line: String| Some(line.split_once("server   ")?.1.to_owned());
    let server = lines.by_ref().map_while(Result::ok).find_map(address);
    let server = server.expect("dev prints its address");
    let listed =
        sagamore().args(["list", "--server", &server, "-o", "json"]).output().expect("list runs");
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let started =
        sagamore().args(["start", "1", "--server", &server]).output().expect("start runs");
    dev.kill().and_then(|()| dev.wait()).expect("dev is killed");
    assert_eq!(listed["sagas"].as_array().map(Vec::len), Some(0));
    let error = String::from_utf8_lossy(&started.stderr).into_owned();
    assert!(error.contains("name the definition"), "{error}");
}

#[test]
fn help_lists_no_verb_of_the_shop() {
    let help = sagamore().arg("--help").output().expect("help runs").stdout;
    let help = String::from_utf8_lossy(&help).into_owned();
    for verb in [
        "dev",
        "serve",
        "observe",
        "service",
        "start",
        "list",
        "reconcile",
        "check",
        "graph",
        "topics",
        "doctor",
    ] {
        assert!(help.contains(&format!("  {verb} ")), "{verb}: {help}");
    }
    for word in ["replay", "bench", "shop"] {
        assert!(!help.contains(word), "{word}: {help}");
    }
}

#[test]
fn the_configuration_may_name_services() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("sagamore.toml");
    std::fs::write(&file, "[services.seats]\nlisten = \"127.0.0.1:4001\"\n").expect("written");
    let output = sagamore()
        .args(["config", "-o", "json", "--config"])
        .arg(&file)
        .output()
        .expect("config runs");
    let values: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let listen = values
        .as_array()
        .expect("a list")
        .iter()
        .find(|value| value["key"] == "services.seats.listen");
    assert_eq!(listen.expect("the key")["value"], "127.0.0.1:4001");
}
