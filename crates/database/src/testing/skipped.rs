//! Reports of tests that cannot run on this machine. libtest counts such a test as passed, because
//! a running test cannot report itself as skipped.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

/// The variable that names a file. Each skipped test appends a line to it.
const FILE: &str = "SAGAMORE_SKIPPED";

/// Reports that the current test, or a part of it, is skipped, and why. Each report is printed once
/// per process.
///
/// The report is a line on standard error, which libtest does not capture from a direct write. The
/// file that `SAGAMORE_SKIPPED` names gets the same line. Name the part first if the rest of the
/// test runs: `"on Kafka: SAGAMORE_TEST_KAFKA is not set"`.
pub fn skipped(why: &str) {
    let thread = std::thread::current();
    // a test's thread has its name, unless `--test-threads=1` runs it on the main thread
    let test = thread.name().filter(|name| *name != "main").map(|name| format!("::{name}"));
    report(&format!("SKIPPED {}{}: {why}\n", program(), test.unwrap_or_default()));
}

/// Reports once per process that its tests run on a substitute.
pub(super) fn substituted(why: &str) {
    report(&format!("SKIPPED {}: {why}\n", program()));
}

fn report(line: &str) {
    static REPORTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if !REPORTED.lock().expect("no report panics").insert(line.to_owned()) {
        return;
    }
    // not `eprint!`, whose output libtest hides when tests pass
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os(FILE) {
        let file = File::options().create(true).append(true).open(Path::new(&path));
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .unwrap_or_else(|why| panic!("append to {}: {why}", Path::new(&path).display()));
    }
}

/// Returns the name of the test program, without the hash that cargo appends.
fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.rsplit_once('-').map_or(stem.as_ref(), |(name, _)| name).to_owned()
}
