//! The command line against a running server: output and exit codes.

use std::io::Read;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::support::{
    Server, an_unpayable_order, data_with_failing_charges, data_with_stolen_locks, sagamore,
};

#[track_caller]
fn check(output: &Output, code: i32, part: &str) {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    assert!(out.contains(part) || err.contains(part), "'{part}' is not in\n{out}{err}");
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON document on stdout")
}

#[test]
fn the_exit_code_reports_the_outcome() {
    let server = Server::ephemeral();
    check(&server.cli(&["start", "1", "--wait", "30s"]), 0, "completed");
    let input = an_unpayable_order("2").to_string();
    check(
        &server.cli(&["start", "checkout", "2", "--input", &input, "--wait", "30s"]),
        3,
        "compensated",
    );
    check(&server.cli(&["watch", "2"]), 3, "compensation: refused at charge-payment");
    check(&server.cli(&["show", "2"]), 0, "charge-payment");
    check(&server.cli(&["cancel", "1", "--yes"]), 1, "SAGA-0205");
    check(&server.cli(&["cancel", "1"]), 2, "--yes");
    check(&server.cli(&["show"]), 2, "Usage");
}

#[test]
fn an_expired_wait_and_a_stuck_saga_have_distinct_exit_codes() {
    let data = data_with_failing_charges();
    let server = Server::on(data.path());
    check(&server.cli(&["start", "3", "--wait", "0s"]), 5, "shop watch checkout:3");
    drop(server);
    let data = data_with_stolen_locks();
    let server = Server::on(data.path());
    check(&server.cli(&["start", "4", "--wait", "30s"]), 4, "stuck");
    check(&server.cli(&["watch", "4"]), 4, "needs an operator");
}

/// The order's lock is stolen, so that the last step is refused.
#[test]
fn a_stuck_saga_is_rescued_from_the_command_line() {
    let data = data_with_stolen_locks();
    let server = Server::on(data.path());
    for key in ["7", "8"] {
        check(&server.cli(&["start", key, "--wait", "30s"]), 4, "stuck");
    }
    check(&server.cli(&["show", "7"]), 4, "! confirm-order");
    check(&server.cli(&["show", "7"]), 4, "shop retry|skip|resolve checkout:7 --reason WHY");
    check(&server.cli(&["retry", "7"]), 2, "--reason");
    check(&server.cli(&["skip", "7", "--reason", "ann: it was sent back"]), 2, "add --yes");
    check(
        &server.cli(&["retry", "7", "--reason", "x", "--step", "create-order", "--yes"]),
        1,
        "SAGA-0208",
    );
    check(
        &server.cli(&["retry", "7", "--reason", "ann: try", "--yes"]),
        0,
        "retry of confirm-order requested",
    );
    check(&server.cli(&["watch", "7"]), 4, "needs an operator"); // refused again
    check(
        &server.cli(&["resolve", "7", "--reason", "ann: by telephone", "--yes", "-o", "json"]),
        0,
        "checkout:7",
    );
    check(&server.cli(&["watch", "7"]), 0, "completed");
    check(
        &server.cli(&["skip", "8", "--reason", "ann: it was sent back", "--yes"]),
        0,
        "shop watch checkout:8",
    );
    check(&server.cli(&["watch", "8"]), 0, "completed");
    check(
        &server.cli(&["skip", "8", "--reason", "once more", "--yes"]),
        1,
        "skip applies to none of its steps now",
    );
}

/// Covers the output of each command to a closed pipe and to a full disk.
#[test]
fn a_closed_pipe_or_a_full_disk_causes_no_panic() {
    let server = Server::ephemeral();
    check(&server.cli(&["start", "1", "--wait", "30s"]), 0, "completed");
    let run = |args: &[&str], out: Stdio| {
        let mut command = sagamore(args);
        let output =
            command.env("SAGAMORE_SERVER", server.url()).stdin(Stdio::null()).stdout(out).output();
        output.expect("run shop")
    };
    for args in [
        &["list"][..],
        &["list", "-o", "json"],
        &["show", "1"],
        &["show", "1", "-o", "json"],
        &["start", "1", "--wait", "30s"],
        &["docs", "cli"],
        &["docs", "errors"],
    ] {
        check(&run(args, closed_pipe()), 0, "");
        check(&run(args, full_disk()), 1, "write the output: No space left on device");
    }
    check(&run(&["cancel", "one", "--yes"], closed_pipe()), 0, "");
    check(
        &run(&["cancel", "two", "--yes"], full_disk()),
        1,
        "write the output: No space left on device",
    );
    let output = run(&["watch", "1"], closed_pipe());
    check(&output, 1, "");
    assert!(output.stderr.is_empty(), "a pager that quits is not an error: {output:?}");
}

/// A pipe without a reader.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("create a pipe");
    drop(reader);
    writer.into()
}

fn full_disk() -> Stdio {
    std::fs::File::options().write(true).open("/dev/full").expect("open /dev/full").into()
}

#[test]
fn the_prompt_of_a_cancel_before_the_start_mentions_the_reserved_key() {
    let server = Server::ephemeral();
    check(&server.cli(&["cancel", "9"]), 2, "reserves its key");
    check(&server.cli(&["start", "1", "--wait", "30s"]), 0, "completed");
    check(&server.cli(&["cancel", "1"]), 2, "is completed: the cancel will be rejected");
}

/// A printed command can be pasted into a shell.
#[test]
fn hints_quote_ids_with_shell_metacharacters() {
    let data = data_with_failing_charges();
    let server = Server::on(data.path());
    check(&server.cli(&["start", "a;b c", "--wait", "0s"]), 5, "shop watch 'checkout:a;b c'");
}

#[test]
fn invalid_arguments_are_explained() {
    let output =
        sagamore(&["list", "--server", "https://127.0.0.1:3000"]).output().expect("run shop");
    check(&output, 1, "this client does not support TLS");
    let output = sagamore(&["dev", "--data", "d", "--ephemeral"]).output().expect("run shop");
    check(&output, 2, "--data conflicts with --ephemeral");
    let output =
        sagamore(&["start", "1", "--wait", "18446744073709551615s"]).output().expect("run shop");
    check(&output, 2, "at most 3650d");
}

/// The command repeats its start, which its key makes idempotent.
#[test]
fn a_waiting_command_survives_a_restart_of_its_server() {
    let data = data_with_failing_charges();
    let server = Server::on(data.path());
    let mut command = sagamore(&["start", "5", "--wait", "20s"]);
    let mut waiting = command
        .env("SAGAMORE_SERVER", server.url())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start shop");
    while server.get("/api/v1/sagas/checkout:5").status != 200 {
        assert!(waiting.try_wait().expect("poll the process").is_none(), "the command waits");
        std::thread::yield_now();
    }
    let mut watching = sagamore(&["watch", "5"]);
    let mut watching = watching
        .env("SAGAMORE_SERVER", server.url())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start shop");
    let mut drawn = [0];
    watching
        .stdout
        .as_mut()
        .expect("stdout is piped")
        .read_exact(&mut drawn)
        .expect("read the drawing");
    let address = server.address().to_owned();
    drop(server);
    let path = data.path().to_str().expect("UTF-8");
    let mut again = sagamore(&["dev", "--listen", &address, "--data", path]);
    let mut again =
        again.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("restart the server");
    while std::net::TcpStream::connect(&address).is_err() {
        assert!(again.try_wait().expect("poll the process").is_none(), "the server runs");
        std::thread::yield_now();
    }
    for command in [&mut waiting, &mut watching] {
        assert!(command.try_wait().expect("poll the process").is_none(), "the command still waits");
    }
    again.kill().expect("kill the server");
    again.wait().expect("wait for the server");
    for mut command in [waiting, watching] {
        command.kill().expect("kill the command");
        command.wait().expect("wait for the command");
    }
}

#[test]
fn every_command_prints_json() {
    let server = Server::ephemeral();
    assert_eq!(
        json(&server.cli(&["start", "5", "--wait", "30s", "-o", "json"]))["status"],
        "completed"
    );
    assert_eq!(json(&server.cli(&["list", "-o", "json"]))["sagas"][0]["id"], "checkout:5");
    assert_eq!(
        json(&server.cli(&["list", "--status", "stuck", "-o", "json"]))["sagas"],
        Value::Array(Vec::new())
    );
    assert_eq!(json(&server.cli(&["show", "5", "-o", "json"]))["steps"][0]["name"], "create-order");
    assert_eq!(json(&server.cli(&["watch", "checkout:5", "-o", "json"]))["status"], "completed");
    assert_eq!(json(&server.cli(&["cancel", "6", "--yes", "-o", "json"]))["status"], "compensated");
}

#[test]
fn a_missing_server_is_reported_with_the_command_that_starts_one() {
    let output = sagamore(&["list", "--server", "http://127.0.0.1:1"]).output().expect("run shop");
    check(&output, 1, "`shop dev`");
    assert!(output.stdout.is_empty(), "errors go to stderr");
}

#[test]
fn the_program_prints_the_reference_pages() {
    check(&sagamore(&["docs", "errors"]).output().expect("run shop"), 0, "SAGA-0203");
    check(&sagamore(&["docs", "cli"]).output().expect("run shop"), 0, "shop replay");
}

#[test]
fn a_short_benchmark_counts_its_sagas() {
    let directory = tempfile::tempdir().expect("create a directory");
    let path = directory.path().to_str().expect("the path is UTF-8");
    for (args, completed, compensated) in [
        (&["--via", "http"][..], 40, 0),
        (&["--via", "library", "--refuse-at", "schedule-shipment"][..], 0, 40),
    ] {
        let output =
            sagamore(&["bench", "--sagas", "40", "--clients", "8", "--data", path, "-o", "json"])
                .args(args)
                .output()
                .expect("run shop");
        let report = json(&output);
        assert_eq!((&report["sagas"], &report["unfinished"]), (&40.into(), &0.into()), "{report}");
        assert_eq!(
            (&report["completed"], &report["compensated"]),
            (&completed.into(), &compensated.into())
        );
    }
    assert_eq!(
        directory.path().read_dir().expect("read the directory").count(),
        0,
        "the data directory is removed"
    );
}
