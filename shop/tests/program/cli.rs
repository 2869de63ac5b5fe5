//! The command line against a running server: what it prints, and how it ends.

use std::io::Read;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::support::{
    Server, an_order_nobody_pays, data_where_nobody_can_pay, data_where_orders_lose_their_lock,
    sagamore,
};

#[track_caller]
fn check(output: &Output, code: i32, said: &str) {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    assert!(out.contains(said) || err.contains(said), "'{said}' is not in\n{out}{err}");
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON document on stdout")
}

#[test]
fn the_exit_code_is_the_outcome() {
    let server = Server::ephemeral();
    check(&server.cli(&["start", "1", "--wait", "30s"]), 0, "completed");
    let input = an_order_nobody_pays("2").to_string();
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
fn a_wait_that_is_over_and_a_stuck_saga_have_exit_codes_of_their_own() {
    let data = data_where_nobody_can_pay();
    let server = Server::on(data.path());
    check(&server.cli(&["start", "3", "--wait", "0s"]), 5, "shop watch checkout:3");
    drop(server);
    let data = data_where_orders_lose_their_lock();
    let server = Server::on(data.path());
    check(&server.cli(&["start", "4", "--wait", "30s"]), 4, "stuck");
    check(&server.cli(&["watch", "4"]), 4, "needs an operator");
}

/// Its order was taken by somebody, so that its last step is refused.
#[test]
fn a_stuck_saga_is_decided_about_from_the_command_line() {
    let data = data_where_orders_lose_their_lock();
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
    check(&server.cli(&["watch", "7"]), 4, "needs an operator"); // it is refused again
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

/// The output of each command goes to a reader that has gone, and to a disk that is full.
#[test]
fn output_may_end_in_every_way_without_a_panic() {
    let server = Server::ephemeral();
    check(&server.cli(&["start", "1", "--wait", "30s"]), 0, "completed");
    let run = |args: &[&str], out: Stdio| {
        let mut command = sagamore(args);
        let output =
            command.env("SAGAMORE_SERVER", server.url()).stdin(Stdio::null()).stdout(out).output();
        output.expect("the command runs")
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
    assert!(output.stderr.is_empty(), "a pager that quits is no error to tell: {output:?}");
}

/// A pipe without a reader.
fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn full_disk() -> Stdio {
    std::fs::File::options().write(true).open("/dev/full").expect("a full disk").into()
}

#[test]
fn a_key_that_never_started_is_reserved_by_a_cancel_and_the_prompt_says_so() {
    let server = Server::ephemeral();
    check(&server.cli(&["cancel", "9"]), 2, "reserves its key");
    check(&server.cli(&["start", "1", "--wait", "30s"]), 0, "completed");
    check(&server.cli(&["cancel", "1"]), 2, "is completed: the cancel will be rejected");
}

/// C31: what is printed for pasting is one word of a shell.
#[test]
fn hints_quote_an_id_that_a_shell_would_read_otherwise() {
    let data = data_where_nobody_can_pay();
    let server = Server::on(data.path());
    check(&server.cli(&["start", "a;b c", "--wait", "0s"]), 5, "shop watch 'checkout:a;b c'");
}

#[test]
fn a_server_by_https_is_an_error_that_says_what_works() {
    let output =
        sagamore(&["list", "--server", "https://127.0.0.1:3000"]).output().expect("it runs");
    check(&output, 1, "this client does not support TLS");
    let output = sagamore(&["dev", "--data", "d", "--ephemeral"]).output().expect("it runs");
    check(&output, 2, "--data conflicts with --ephemeral");
    let output =
        sagamore(&["start", "1", "--wait", "18446744073709551615s"]).output().expect("it runs");
    check(&output, 2, "at most 3650d");
}

/// The same start is sent again: its key makes it the same.
#[test]
fn a_command_that_waits_survives_a_restart_of_its_server() {
    let data = data_where_nobody_can_pay();
    let server = Server::on(data.path());
    let mut command = sagamore(&["start", "5", "--wait", "20s"]);
    let mut waiting = command
        .env("SAGAMORE_SERVER", server.url())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    while server.get("/api/v1/sagas/checkout:5").status != 200 {
        assert!(waiting.try_wait().expect("it can be asked").is_none(), "it waits");
        std::thread::yield_now();
    }
    let mut watching = sagamore(&["watch", "5"]);
    let mut watching = watching
        .env("SAGAMORE_SERVER", server.url())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut drawn = [0];
    watching
        .stdout
        .as_mut()
        .expect("its output")
        .read_exact(&mut drawn)
        .expect("it has seen the saga");
    let address = server.address().to_owned();
    drop(server);
    let path = data.path().to_str().expect("UTF-8");
    let mut again = sagamore(&["dev", "--listen", &address, "--data", path]);
    let mut again =
        again.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts again");
    while std::net::TcpStream::connect(&address).is_err() {
        assert!(again.try_wait().expect("it can be asked").is_none(), "it listens again");
        std::thread::yield_now();
    }
    for command in [&mut waiting, &mut watching] {
        assert!(command.try_wait().expect("it can be asked").is_none(), "it waits still");
    }
    again.kill().expect("it ends");
    again.wait().expect("it ended");
    for mut command in [waiting, watching] {
        command.kill().expect("it ends");
        command.wait().expect("it ended");
    }
}

#[test]
fn everything_can_be_had_as_json() {
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
fn without_a_server_the_command_says_how_to_start_one() {
    let output = sagamore(&["list", "--server", "http://127.0.0.1:1"]).output().expect("it runs");
    check(&output, 1, "`shop dev`");
    assert!(output.stdout.is_empty(), "errors go to stderr");
}

#[test]
fn the_reference_pages_are_written_from_the_program() {
    check(&sagamore(&["docs", "errors"]).output().expect("it runs"), 0, "SAGA-0203");
    check(&sagamore(&["docs", "cli"]).output().expect("it runs"), 0, "shop replay");
}

#[test]
fn a_short_benchmark_counts_what_it_ran() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("a path in UTF-8");
    for (args, completed, compensated) in [
        (&["--via", "http"][..], 40, 0),
        (&["--via", "library", "--refuse-at", "schedule-shipment"][..], 0, 40),
    ] {
        let output =
            sagamore(&["bench", "--sagas", "40", "--clients", "8", "--data", path, "-o", "json"])
                .args(args)
                .output()
                .expect("it runs");
        let report = json(&output);
        assert_eq!((&report["sagas"], &report["unfinished"]), (&40.into(), &0.into()), "{report}");
        assert_eq!(
            (&report["completed"], &report["compensated"]),
            (&completed.into(), &compensated.into())
        );
    }
    assert_eq!(
        directory.path().read_dir().expect("it is there").count(),
        0,
        "it leaves nothing behind"
    );
}
