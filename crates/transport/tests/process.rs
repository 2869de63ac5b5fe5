//! The log under the death of processes. This binary starts itself as the other process.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::*;
use sagamore_transport::log::{Log, Options};
use tempfile::TempDir;

const DIRECTORY: &str = "SAGAMORE_TEST_LOG";

fn options() -> Options {
    Options { segment_bytes: 20_000, ..Options::default() }
}

/// Runs one test of this binary in another process, on this directory.
fn start(test: &str, directory: &Path) -> Child {
    let program = std::env::current_exe().expect("this binary has a path");
    let mut command = Command::new(program);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(DIRECTORY, directory);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("start this binary again")
}

/// Returns the directory in the other process.
fn directory() -> Option<std::path::PathBuf> {
    std::env::var_os(DIRECTORY).map(Into::into)
}

/// Not a test by itself: the process that is killed. It prints each number after the log has
/// acknowledged it.
#[test]
fn child_publishes_until_it_is_killed() {
    let Some(directory) = directory() else { return };
    let log = Log::open(&directory, options()).expect("open");
    create(&log, "a");
    for n in 0..u64::MAX {
        publish(&log, "a", n);
        println!("\nacknowledged {n}");
    }
}

/// Not a test by itself: the second process.
#[test]
fn child_opens_and_prints_the_error() {
    let Some(directory) = directory() else { return };
    let error = Log::open(&directory, options()).err().expect("it is in use");
    println!("\nrefused {error}");
}

fn told(line: &str, what: &str) -> Option<String> {
    line.strip_prefix(what).map(str::to_owned)
}

#[test]
fn acknowledged_records_survive_kill_9() {
    let directory = TempDir::new().expect("make a directory");
    let mut acknowledged: BTreeSet<u64> = BTreeSet::new();
    let mut child = start("child_publishes_until_it_is_killed", directory.path());
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    for number in lines.filter_map(|line| told(&line, "acknowledged ")) {
        acknowledged.extend(number.parse::<u64>());
        if acknowledged.len() == 2_000 {
            child.kill().expect("kill -9");
        }
    }
    child.wait().expect("it is dead");
    assert!(acknowledged.len() >= 2_000);
    let log = Log::open(directory.path(), options()).expect("open again");
    let found: BTreeSet<u64> =
        numbers(&drain(&mut subscribe(&log, "group", "a"))).into_iter().collect();
    let lost: Vec<&u64> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "acknowledged but lost: {lost:?}");
}

#[test]
fn a_second_process_is_rejected_with_the_id_of_the_first() {
    let directory = TempDir::new().expect("make a directory");
    let log = Log::open(directory.path(), options()).expect("open");
    let mut child = start("child_opens_and_prints_the_error", directory.path());
    let mut lines =
        BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let refused = lines.find_map(|line| told(&line, "refused ")).expect("the child was refused");
    child.wait().expect("it ends");
    let (directory, pid) = (directory.path().display(), std::process::id());
    assert!(refused.starts_with(&format!("{directory} is in use by process {pid}: ")), "{refused}");
    drop(log);
}

#[test]
fn a_closed_log_is_synced_and_can_be_reopened() {
    let directory = TempDir::new().expect("make a directory");
    for n in 0..3 {
        let log = Log::open(directory.path(), options()).expect("open");
        create(&log, "a");
        publish(&log, "a", n);
        let mut consumer = subscribe(&log, "group", "a");
        assert_eq!(numbers(&drain(&mut consumer)), (0..=n).collect::<Vec<u64>>());
    }
}
