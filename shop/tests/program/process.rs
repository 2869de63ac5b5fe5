//! The process stops gracefully, has its port and its data to itself, and continues after a
//! restart.

use std::time::{Duration, Instant};

use crate::support::{Server, an_order, data_with_failing_charges, sagamore};

#[test]
fn a_server_is_ready_once_it_prints_its_address() {
    let server = Server::ephemeral();
    assert_eq!(server.get("/livez").status, 200);
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(server.get("/version").json()["name"], "sagamore");
}

/// Waiting clients get the current status. The stop takes as long as a turn, not as long as the
/// wait.
#[test]
fn a_graceful_stop_answers_waiting_clients_and_loses_nothing() {
    let data = data_with_failing_charges();
    let server = Server::on(data.path());
    let waiting = server.send_request(
        "POST",
        "/orders",
        &[("prefer", "wait=30")],
        &an_order("1", 1).to_string(),
    );
    while server.get("/orders/1").status != 200 {} // until the order is accepted
    let begun = Instant::now();
    let status = server.terminate();
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let answer = waiting.response();
    assert_eq!(
        (answer.status, &answer.json()["status"]),
        (202, &"running".into()),
        "{}",
        answer.body
    );
    let again = Server::on(data.path());
    assert_eq!(again.get("/api/v1/sagas/checkout:1").json()["status"], "running");
}

#[test]
fn a_running_saga_continues_after_a_restart() {
    let data = data_with_failing_charges();
    let server = Server::on(data.path());
    assert_eq!(server.start("2", &an_order("2", 1), &[]).status, 202);
    assert!(server.terminate().success());
    crate::support::change(data.path(), "payment", "ALTER TABLE charge_elsewhere RENAME TO charge");
    let again = Server::on(data.path());
    assert_eq!(
        again.get("/saga/start/2?wait=30").message(),
        "Saga completed successfully for order 2"
    );
}

#[test]
fn a_taken_port_is_explained() {
    let server = Server::ephemeral();
    let second =
        sagamore(&["dev", "--ephemeral", "--listen", server.address()]).output().expect("run shop");
    let stderr = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        stderr.contains("is in use") && stderr.contains("shop dev --listen 127.0.0.1:"),
        "{stderr}"
    );

    // if the address is configured: its key, and the command that was run
    let stderr = |variables: &[(&str, &str)], role: &[&str]| {
        let output = sagamore(role).envs(variables.iter().copied()).output().expect("run shop");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let by_key =
        stderr(&[("SAGAMORE__PAYMENT__LISTEN", server.address())], &["service", "payment"]);
    assert!(by_key.contains("SAGAMORE__PAYMENT__LISTEN: payment.listen: port "), "{by_key}");
    assert!(by_key.contains("shop service payment --listen 127.0.0.1:"), "{by_key}");
    let by_flag = stderr(&[], &["serve", "--listen", server.address()]);
    assert!(
        by_flag.contains("--listen: port ") && by_flag.contains("shop serve --listen"),
        "{by_flag}"
    );
}

#[test]
fn a_public_listen_address_is_refused() {
    let output =
        sagamore(&["dev", "--ephemeral", "--listen", "0.0.0.0:0"]).output().expect("run shop");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no authentication"));
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let data = tempfile::tempdir().expect("create a directory");
    let server = Server::on(data.path());
    let path = data.path().to_str().expect("the path is UTF-8");
    let second =
        sagamore(&["dev", "--listen", "127.0.0.1:0", "--data", path]).output().expect("run shop");
    let stderr = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr.contains(&server.pid()) && stderr.contains("in use"), "{stderr}");
    assert_eq!(server.get("/readyz").status, 200, "the first process continues");
}

#[test]
fn a_lost_service_database_prevents_the_start() {
    let data = tempfile::tempdir().expect("create a directory");
    assert!(Server::on(data.path()).terminate().success());
    std::fs::remove_file(data.path().join("payment.sqlite")).expect("remove the database");
    let path = data.path().to_str().expect("the path is UTF-8");
    let refused =
        sagamore(&["dev", "--listen", "127.0.0.1:0", "--data", path]).output().expect("run shop");
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr.contains("payment.sqlite is missing") && stderr.contains("Restore"), "{stderr}");
}

#[test]
fn a_killed_process_releases_its_data() {
    let data = tempfile::tempdir().expect("create a directory");
    drop(Server::on(data.path()));
    assert_eq!(Server::on(data.path()).get("/readyz").status, 200);
}
