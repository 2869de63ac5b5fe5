//! The program under a wrong wall clock, set by libfaketime at its start or while it runs.
//!
//! libfaketime does not affect the boot clock, which the program reads by a system call. So these
//! tests change only the clock that an administrator or a time server can change.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sagamore::database::testing::skipped;
use serde_json::Value;

use crate::support::{Server, an_order, change, data_with_failing_charges};

const ALL_CAN_PAY: &str = "ALTER TABLE charge_elsewhere RENAME TO charge";

/// The libfaketime library.
struct FakeTime {
    library: String,
}

impl FakeTime {
    /// Finds the library that the `faketime` program preloads. If it is missing, reports a skipped
    /// test.
    fn find() -> Option<FakeTime> {
        let output = Command::new("faketime").args(["+1 day", "env"]).output().ok();
        let output = output
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        let library = output.lines().find_map(|line| line.strip_prefix("LD_PRELOAD="));
        if library.is_none() {
            skipped("`faketime` is not installed (apt-get install faketime)");
        }
        Some(FakeTime { library: library?.to_owned() })
    }

    /// Starts a server with a clock that is off by this many seconds.
    fn off_by(&self, seconds: i64, data: &Path, style: &[&str]) -> Server {
        let offset = format!("{seconds:+}");
        self.start(data, style, ("FAKETIME", &offset))
    }

    /// Starts a server whose clock is off by the content of this file.
    fn off_by_file(&self, file: &Path, data: &Path) -> Server {
        self.start(
            data,
            &[],
            ("FAKETIME_TIMESTAMP_FILE", file.to_str().expect("the path is UTF-8")),
        )
    }

    fn start(&self, data: &Path, style: &[&str], (name, value): (&str, &str)) -> Server {
        let args = [style, &["--data", data.to_str().expect("the path is UTF-8")]].concat();
        let fake =
            [("LD_PRELOAD", self.library.as_str()), ("FAKETIME_NO_CACHE", "1"), (name, value)];
        // only the wall clock: a monotonic clock never jumps on a real machine
        Server::with_env(
            &args,
            &[&fake[..], &[("FAKETIME_DONT_FAKE_MONOTONIC", "1"), ("DONT_FAKE_MONOTONIC", "1")]]
                .concat(),
        )
    }
}

const DAY: i64 = 86_400;

fn saga(server: &Server, key: &str) -> Value {
    server.get(&format!("/api/v1/sagas/checkout:{key}")).json()
}

/// The time after which a missing condition fails the test.
const HANGS_AFTER: Duration = Duration::from_secs(200);

/// Polls until the condition holds.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < HANGS_AFTER, "timed out waiting for {what}");
    }
}

/// Waits until a step of this saga has a fault.
fn until_it_backs_off(server: &Server, key: &str) {
    let met = |saga: &Value| {
        let steps = saga["steps"].as_array().expect("steps");
        steps.iter().any(|step| step["fault"].is_string())
    };
    until("a fault", || met(&saga(server, key)));
}

fn number(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| line.starts_with(name) && !line.starts_with('#'))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[test]
fn a_backoff_under_a_clock_a_day_ahead_ends_once_the_clock_is_right() {
    let Some(fake) = FakeTime::find() else { return };
    let data = data_with_failing_charges();
    let ahead = fake.off_by(DAY, data.path(), &[]);
    assert_eq!(ahead.start("c3", &an_order("c3", 1), &[]).status, 202);
    until_it_backs_off(&ahead, "c3");
    assert!(ahead.terminate().success());

    let right = Server::on(data.path());
    let waits = || number(&right.get("/metrics").body, "sagamore_oldest_outstanding_step_seconds");
    // well before the day by which the clock was ahead
    until("the age of the outstanding step", || waits().is_some_and(|seconds| seconds > 0.0));
    assert!(right.terminate().success());
    change(data.path(), "payment", ALL_CAN_PAY);

    let right = Server::on(data.path());
    let after = right.start("c4", &an_order("c4", 1), &[("prefer", "wait=30")]);
    assert_eq!(after.json()["status"], "completed", "{}", after.body);
    let held = right.get("/saga/start/c3?wait=30");
    assert_eq!(
        held.message(),
        "Saga completed successfully for order c3",
        "{}",
        saga(&right, "c3")
    );
}

#[test]
fn a_backoff_ends_although_the_clock_is_set_back_an_hour() {
    let Some(fake) = FakeTime::find() else { return };
    let data = data_with_failing_charges();
    let file: PathBuf = data.path().join("offset");
    std::fs::write(&file, "+0\n").expect("write the offset");
    let server = fake.off_by_file(&file, data.path());
    assert_eq!(server.start("c3", &an_order("c3", 1), &[]).status, 202);
    until_it_backs_off(&server, "c3");
    std::fs::write(&file, "-3600\n").expect("write the offset");
    change(data.path(), "payment", ALL_CAN_PAY);
    let held = server.get("/saga/start/c3?wait=30");
    assert_eq!(
        held.message(),
        "Saga completed successfully for order c3",
        "{}",
        saga(&server, "c3")
    );
}

fn rows(data: &Path, service: &str, table: &str) -> i64 {
    let database = rusqlite::Connection::open(data.join(format!("{service}.sqlite")))
        .expect("open the database");
    database
        .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
        .expect("count the rows")
}

fn all_rows(data: &Path, tables: &[(&str, &str)]) -> Vec<i64> {
    tables.iter().map(|(service, table)| rows(data, service, table)).collect()
}

#[test]
fn a_clock_200_days_ahead_removes_no_rows() {
    let Some(fake) = FakeTime::find() else { return };
    let tables = [
        ("engine", "saga"),
        ("engine", "journal"),
        ("engine", "idempotency"),
        ("order", "barrier"),
        ("payment", "barrier"),
        ("inventory", "barrier"),
        ("shipping", "barrier"),
    ];
    let data = tempfile::tempdir().expect("create a directory");
    let server = Server::on(data.path());
    let key = [("idempotency-key", "k"), ("prefer", "wait=30")];
    let first = server.start("s1", &an_order("s1", 1), &key);
    assert_eq!(first.json()["status"], "completed", "{}", first.body);
    assert!(server.terminate().success());
    let before = all_rows(data.path(), &tables);
    assert!(before.iter().all(|rows| *rows > 0), "{before:?}");

    let ahead = fake.off_by(200 * DAY, data.path(), &[]);
    // the engine and the participants have swept
    let swept = |metrics: &str| {
        let ages = metrics.lines().filter(|line| line.starts_with("sagamore_swept_age_seconds{"));
        ages.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
            .filter(|age: &f64| age.is_finite())
            .count()
            == 4
    };
    until("all four sweeps", || swept(&ahead.get("/metrics").body));
    assert!(ahead.terminate().success());
    assert_eq!(all_rows(data.path(), &tables), before);

    let right = Server::on(data.path());
    let again = right.start("s1", &an_order("s1", 1), &key);
    assert_eq!(again.json()["status"], "completed", "{}", again.body);
    right.start("s1", &an_order("s1", 2), &[]).is_problem(409, "SAGA-0203");
    assert_eq!(all_rows(data.path(), &tables), before);
}

#[test]
fn a_clock_200_days_ahead_removes_no_chains() {
    let Some(fake) = FakeTime::find() else { return };
    let tables = [
        ("observer", "chain"),
        ("observer", "chain_event"),
        ("order", "emitted"),
        ("payment", "barrier"),
    ];
    let data = tempfile::tempdir().expect("create a directory");
    let server = Server::choreographed_on(data.path());
    let place = |server: &Server, id: &str| {
        let placed = server.post("/orders", &[("prefer", "wait=30")], &an_order(id, 1).to_string());
        assert_eq!(placed.json()["status"], "completed", "{}", placed.body);
    };
    place(&server, "1");
    assert!(server.terminate().success());
    let folder = data.path().join("choreography");
    let before = all_rows(&folder, &tables);
    assert!(before.iter().all(|rows| *rows > 0), "{before:?}");

    let ahead = fake.off_by(200 * DAY, data.path(), &["--choreography"]);
    place(&ahead, "2");
    assert!(ahead.terminate().success());
    let after = all_rows(&folder, &tables);
    assert_eq!(
        after,
        before.iter().map(|rows| rows * 2).collect::<Vec<_>>(),
        "the second chain's rows are added"
    );

    let right = Server::choreographed_on(data.path());
    place(&right, "1"); // returns the existing order
    assert_eq!(all_rows(&folder, &tables), after);
}
