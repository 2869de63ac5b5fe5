//! Core takes values in and gives values out: what would bring a clock, async or a database in is not even mentioned.

use anyhow::Result;

use sagamore_e2e::workspace::{Source, Workspace};

const CORE: &str = "crates/core/src/";
const IMPURE: &[&str] = &["SystemTime", "Instant", "tokio", "async fn", "rusqlite"];

/// The lines of core that are not pure.
pub fn check(workspace: &Workspace) -> Result<Vec<String>> {
    Ok(offences(&workspace.tracked()?))
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
    fn a_clock_async_or_a_database_in_core_is_found() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("crates/core/src/time.rs", "pub struct Timestamp(pub i64);", &[]),
            ("crates/core/src/time.rs", "\nuse std::time::SystemTime;", &["crates/core/src/time.rs:2: SystemTime"]),
            ("crates/core/src/a.rs", "use std::time::{Duration, Instant};", &["crates/core/src/a.rs:1: Instant"]),
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
