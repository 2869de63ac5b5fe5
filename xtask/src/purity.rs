//! Checks that core is pure: it does not mention clocks, async or databases. Elsewhere, one file
//! reads clocks, and files that measure durations are listed with the reason.

use anyhow::Result;

use sagamore_e2e::workspace::{Source, Workspace};

const CORE: &str = "crates/core/src/";
const IMPURE: &[&str] = &["SystemTime", "Instant", "tokio", "async fn", "rusqlite"];

/// The file that reads clocks.
const CLOCK: &str = "crates/database/src/clock.rs";
/// Words of wall clocks.
const WALL_CLOCKS: &[&str] = &["SystemTime", "Timestamp::now", "clock_gettime", "clock_timestamp"];
/// Words of monotonic clocks.
const STOPWATCHES: &[&str] = &["Instant::now"];
/// Files that measure durations. Nothing stored or sent depends on these.
const MEASURE: &[(&str, &str)] = &[
    ("crates/kafka/src/", "time limits of calls to the brokers, and the interval of reports"),
    (
        "crates/sdk/src/chunk/silence.rs",
        "idle time of a handler, because the database ends idle transactions",
    ),
    ("crates/gateway/src/gateway/call.rs", "duration of a call, for metrics"),
    ("crates/gateway/src/reactor/work.rs", "duration of a call, for metrics"),
    ("crates/engine/src/handle.rs", "time limit of a wait for a saga"),
    ("crates/engine/src/observer/chains.rs", "time limit of a wait for a chain"),
    ("shop/src/http/service.rs", "time limit of a request's wait"),
    ("shop/src/replay", "duration of a replay"),
    ("shop/src/bench", "latency and throughput"),
    ("crates/sagamore/src/cli/", "time limit of a command's wait"),
    ("crates/sagamore/examples/memory.rs", "duration of the traffic"),
    ("crates/sagamore/examples/poison/", "latency of the sagas beside a poisoned one"),
    ("crates/sagamore/examples/http_participants.rs", "latency and throughput"),
    ("crates/sagamore/examples/takeover.rs", "duration of a takeover"),
    ("sim/src/main.rs", "duration of a simulator run"),
];

/// Returns the lines of core that are not pure, and the lines elsewhere that read a clock.
pub fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let sources = workspace.tracked()?;
    Ok([offences(&sources), clocks(&sources)].concat())
}

fn clocks(sources: &[Source]) -> Vec<String> {
    let is_tool_or_test = |path: &str| {
        path.contains("/tests/") || ["xtask/", "e2e/"].iter().any(|tool| path.starts_with(tool))
    };
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".rs")) {
        if source.path == CLOCK || is_tool_or_test(&source.path) {
            continue;
        }
        let measures = MEASURE.iter().any(|(path, _)| source.path.starts_with(path));
        let words = WALL_CLOCKS.iter().chain(STOPWATCHES.iter().filter(|_| !measures));
        for (index, line) in source.text.lines().enumerate() {
            for word in words.clone().filter(|word| contains_word(line, word)) {
                found.push(format!(
                    "{}:{}: {word}: only {CLOCK} reads clocks",
                    source.path,
                    index + 1
                ));
            }
        }
    }
    found
}

fn offences(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with(CORE)) {
        for (index, line) in source.text.lines().enumerate() {
            for word in IMPURE.iter().filter(|word| contains_word(line, word)) {
                found.push(format!("{}:{}: {word}", source.path, index + 1));
            }
        }
    }
    found
}

/// Whether the line contains the word, not merely as a part of a longer one.
fn contains_word(line: &str, word: &str) -> bool {
    let part_of_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.match_indices(word).any(|(begin, _)| {
        let before = line[..begin].chars().next_back();
        let after = line[begin + word.len()..].chars().next();
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clocks_and_unlisted_stopwatches_are_found() {
        let cases: &[(&str, &str, usize)] = &[
            ("crates/database/src/clock.rs", "SystemTime::now()", 0),
            ("crates/engine/src/orchestrator.rs", "let now = SystemTime::now();", 1),
            ("crates/server/src/clock.rs", "jiff::Timestamp::now()", 1),
            ("crates/engine/src/store.rs", "SELECT clock_timestamp()", 1),
            ("crates/engine/src/orchestrator.rs", "let begun = Instant::now();", 1),
            ("crates/sagamore/src/cli/watch.rs", "let begun = Instant::now();", 0),
            ("crates/sagamore/src/cli/watch.rs", "let at = SystemTime::now();", 1),
            ("shop/tests/observed.rs", "Instant::now()", 0),
            ("docs/operate.md", "SystemTime::now()", 0),
        ];
        for (path, text, expected) in cases {
            let source = Source { path: (*path).to_owned(), text: (*text).to_owned() };
            assert_eq!(clocks(&[source]).len(), *expected, "{path}: {text}");
        }
    }

    #[test]
    fn clocks_async_and_databases_in_core_are_found() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("crates/core/src/time.rs", "pub struct Timestamp(pub i64);", &[]),
            (
                "crates/core/src/time.rs",
                "\nuse std::time::SystemTime;",
                &["crates/core/src/time.rs:2: SystemTime"],
            ),
            (
                "crates/core/src/a.rs",
                "use std::time::{Duration, Instant};",
                &["crates/core/src/a.rs:1: Instant"],
            ),
            ("crates/core/src/a.rs", "/// Instantly.", &[]),
            ("crates/core/src/a.rs", "pub async fn go() {}", &["crates/core/src/a.rs:1: async fn"]),
            (
                "crates/core/src/a/b.rs",
                "tokio::spawn(rusqlite)",
                &["crates/core/src/a/b.rs:1: tokio", "crates/core/src/a/b.rs:1: rusqlite"],
            ),
            ("crates/database/src/sqlite.rs", "use rusqlite::Connection;", &[]),
        ];
        for (path, text, expected) in cases {
            let source = Source { path: (*path).to_owned(), text: (*text).to_owned() };
            assert_eq!(&offences(&[source]), expected, "{path}: {text}");
        }
    }
}
