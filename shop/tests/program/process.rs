//! The process: it stops in order, shares its port and its data with nobody, and goes on where it was.

use std::time::{Duration, Instant};

use crate::support::{Server, an_order, data_where_nobody_can_pay, sagamore};

#[test]
fn it_is_ready_when_it_says_so() {
    let server = Server::ephemeral();
    assert_eq!(server.get("/livez").status, 200);
    assert_eq!(server.get("/readyz").status, 200);
    assert_eq!(server.get("/version").json()["name"], "sagamore");
}

/// What waits for an outcome is told that it is not known yet; the stop takes its turn's time, not the wait's.
#[test]
fn a_graceful_stop_answers_who_waits_and_loses_nothing() {
    let data = data_where_nobody_can_pay();
    let server = Server::on(data.path());
    let waiting =
        server.ask("POST", "/orders", &[("prefer", "wait=30")], &an_order("1", 1).to_string());
    while server.get("/orders/1").status != 200 {} // until it was accepted
    let begun = Instant::now();
    let status = server.terminate();
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let answer = waiting.answer();
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
fn what_was_under_way_goes_on_after_a_restart() {
    let data = data_where_nobody_can_pay();
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
        sagamore(&["dev", "--ephemeral", "--listen", server.address()]).output().expect("it runs");
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1));
    assert!(told.contains("is in use") && told.contains("shop dev --listen 127.0.0.1:"), "{told}");

    // where the configuration says it: its key, and the command that was run
    let told = |variables: &[(&str, &str)], role: &[&str]| {
        let output = sagamore(role).envs(variables.iter().copied()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let by_key = told(&[("SAGAMORE__PAYMENT__LISTEN", server.address())], &["service", "payment"]);
    assert!(by_key.contains("SAGAMORE__PAYMENT__LISTEN: payment.listen: port "), "{by_key}");
    assert!(by_key.contains("shop service payment --listen 127.0.0.1:"), "{by_key}");
    let by_flag = told(&[], &["serve", "--listen", server.address()]);
    assert!(
        by_flag.contains("--listen: port ") && by_flag.contains("shop serve --listen"),
        "{by_flag}"
    );
}

#[test]
fn an_address_that_can_be_reached_from_outside_is_refused() {
    let told =
        sagamore(&["dev", "--ephemeral", "--listen", "0.0.0.0:0"]).output().expect("it runs");
    assert_eq!(told.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&told.stderr).contains("no authentication"));
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::on(data.path());
    let path = data.path().to_str().expect("a path in UTF-8");
    let second =
        sagamore(&["dev", "--listen", "127.0.0.1:0", "--data", path]).output().expect("it runs");
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1));
    assert!(told.contains(&server.pid()) && told.contains("in use"), "{told}");
    assert_eq!(server.get("/readyz").status, 200, "the first one goes on");
}

#[test]
fn a_service_whose_database_is_lost_is_not_begun_anew_behind_the_sagas() {
    let data = tempfile::tempdir().expect("a directory");
    assert!(Server::on(data.path()).terminate().success());
    std::fs::remove_file(data.path().join("payment.sqlite")).expect("it was there");
    let path = data.path().to_str().expect("a path in UTF-8");
    let refused =
        sagamore(&["dev", "--listen", "127.0.0.1:0", "--data", path]).output().expect("it runs");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(told.contains("payment.sqlite is missing") && told.contains("Restore"), "{told}");
}

#[test]
fn a_process_that_is_killed_lets_go_of_its_data() {
    let data = tempfile::tempdir().expect("a directory");
    drop(Server::on(data.path()));
    assert_eq!(Server::on(data.path()).get("/readyz").status, 200);
}
