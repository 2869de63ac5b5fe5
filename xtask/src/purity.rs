//! Core takes values in and gives values out: what would bring a clock, async or a database in is not even mentioned. And one
//! file reads clocks; what only measures how long something takes is listed here, with the reason.

use anyhow::Result;

use sagamore_e2e::workspace::{Source, Workspace};

const CORE: &str = "crates/core/src/";
const IMPURE: &[&str] = &["SystemTime", "Instant", "tokio", "async fn", "rusqlite"];

/// The file that reads clocks.
const CLOCK: &str = "crates/database/src/clock.rs";
/// What reads a clock that can be set.
const WALL_CLOCKS: &[&str] = &["SystemTime", "Timestamp::now", "clock_gettime", "clock_timestamp"];
/// What reads a clock that only measures.
const STOPWATCHES: &[&str] = &["Instant::now"];
/// Where durations are measured: nothing stored or sent depends on one of these.
const MEASURE: &[(&str, &str)] = &[
    (
        "crates/kafka/src/",
        "how long a call to the brokers, and the pause between two reports, may take",
    ),
    (
        "crates/sdk/src/chunk/silence.rs",
        "how long a handler was silent: the database ends a transaction that is idle",
    ),
    ("crates/engine/src/handle.rs", "how long a caller waits for a saga"),
    ("crates/engine/src/observer/chains.rs", "how long a caller waits for a chain"),
    ("shop/src/http/service.rs", "how long a request waits"),
    ("shop/src/replay", "how long a replay takes"),
    ("shop/src/bench", "what the benchmark measures"),
    ("crates/sagamore/src/cli/", "how long a command waits"),
    ("crates/sagamore/examples/memory.rs", "how long the traffic lasts"),
    ("crates/sagamore/examples/poison/", "how long the sagas beside a poisoned one take"),
    ("crates/sagamore/examples/takeover.rs", "how long a takeover takes"),
    ("sim/src/main.rs", "how long a run of the simulator takes"),
];

/// The lines of core that are not pure, and the lines elsewhere that read a clock.
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
            for word in words.clone().filter(|word| holds_word(line, word)) {
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
            for word in IMPURE.iter().filter(|word| holds_word(line, word)) {
                found.push(format!("{}:{}: {word}", source.path, index + 1));
            }
        }
    }
    found
}

/// Whether the line holds the word, not merely as a part of a longer one.
fn holds_word(line: &str, word: &str) -> bool {
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
    fn a_clock_outside_of_its_file_is_found_and_a_stopwatch_only_where_it_is_not_listed() {
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
    fn a_clock_async_or_a_database_in_core_is_found() {
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
