//! A test without its server is reported, although libtest counts it as passed.

use std::process::Command;

use crate::server::VARIABLE;

#[test]
fn a_test_without_its_server_is_reported_by_name() {
    let test = "statements::every_connection_has_its_bounds_and_its_plans";
    let folder = tempfile::tempdir().expect("create a directory");
    let file = folder.path().join("skipped");
    let run = Command::new(std::env::current_exe().expect("find this program"))
        .args(["--exact", test])
        .env_remove(VARIABLE)
        .env("SAGAMORE_SKIPPED", &file)
        .output()
        .expect("run one test");
    let (output, reports) =
        (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(output.contains("1 passed"), "{output}");
    let report = format!(
        "SKIPPED postgres::{test}: SAGAMORE_TEST_POSTGRES is not set (cargo xtask services env)\n"
    );
    assert_eq!(reports, report);
    assert_eq!(std::fs::read_to_string(&file).expect("read the reports"), report);
}
