//! Words that must not land: marks of unfinished work, paths outside the repository, and openings
//! and phrases in comments that the style guide bans. Lines that are too wide.

use anyhow::Result;

use sagamore_e2e::workspace::{Source, Workspace};

/// A banned text and the files in which it is allowed. Written in pieces, so that this file does
/// not contain it.
struct BannedText {
    word: &'static str,
    except: fn(&str) -> bool,
}

const FORBIDDEN: &[BannedText] = &[
    BannedText { word: OUTSIDE, except: may_name_outside },
    BannedText { word: concat!("todo", "!("), except: not_rust },
    BannedText { word: concat!("unimplemented", "!("), except: not_rust },
    BannedText { word: concat!("#[", "ignore"), except: not_rust },
];

/// Openings of a comment that ask a question instead of stating a fact.
const OPENINGS: &[&str] = &["How ", "What ", "Who ", "Whoever ", "Why "];

/// Phrases that the style guide bans from comments.
const PHRASES: &[&str] = &[
    " anew ",
    " by and by ",
    " comes again ",
    " for ever ",
    " is told ",
    " nobody ",
    " somebody ",
    " whoever ",
];

/// A folder beside the checkout.
const OUTSIDE: &str = concat!("../", "shared");

/// Maximum characters of a line in a Rust file. rustfmt does not break strings and macros.
const COLUMNS_MAX: usize = 100;

/// Files with wider lines, most of them SQL. The list only shrinks.
const WIDE: &[&str] = &[
    "crates/engine/src/observer/store.rs",
    "crates/engine/src/store/header.rs",
    "crates/engine/src/store/horizon.rs",
    "crates/sdk/src/emitted.rs",
    "crates/sdk/src/inbox.rs",
];

/// Returns the lines of tracked files with such a text.
pub fn check(workspace: &Workspace) -> Result<Vec<String>> {
    Ok(offences(&workspace.tracked()?))
}

fn offences(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for forbidden in FORBIDDEN.iter().filter(|forbidden| !(forbidden.except)(&source.path)) {
            let lines =
                source.text.lines().enumerate().filter(|(_, line)| line.contains(forbidden.word));
            found
                .extend(lines.map(|(index, _)| {
                    format!("{}:{}: {}", source.path, index + 1, forbidden.word)
                }));
        }
        if source.path.ends_with(".rs") {
            found.extend(misworded(source));
            found.extend(too_wide(source));
        }
    }
    found
}

/// Returns the lines of a source that are too wide. URLs, tables, and hidden lines of examples in
/// comments may be wider.
fn too_wide(source: &Source) -> Vec<String> {
    if WIDE.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let may_be = |line: &str| {
        let text = line.trim_start().trim_start_matches(['/', '!']).trim_start();
        line.contains("://") || text.starts_with('|') || text.starts_with("# ")
    };
    let lines = source.text.lines().enumerate().map(|(at, line)| (at, line, line.chars().count()));
    lines
        .filter(|(_, line, columns)| *columns > COLUMNS_MAX && !may_be(line))
        .map(|(at, _, columns)| {
            format!("{}:{}: {columns} columns, at most {COLUMNS_MAX} allowed", source.path, at + 1)
        })
        .collect()
}

/// Returns the comments of a source with a banned opening or phrase.
fn misworded(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_first = true;
    for (index, line) in source.text.lines().enumerate() {
        let Some(comment) = line.trim_start().strip_prefix("//") else {
            is_first = true;
            continue;
        };
        let comment = comment.trim_start_matches(['/', '!']).trim_start();
        let words = format!(" {} ", comment.replace(|letter: char| !letter.is_alphanumeric(), " "));
        let opening = OPENINGS.iter().find(|opening| is_first && comment.starts_with(**opening));
        let phrase =
            PHRASES.iter().find(|phrase| words.contains(**phrase) && !comment.contains('"'));
        found.extend(opening.into_iter().chain(phrase).map(|word| {
            format!(
                "{}:{}: '{}' in a comment: state the fact with a noun or a verb",
                source.path,
                index + 1,
                word.trim()
            )
        }));
        is_first = comment.is_empty();
    }
    found
}

/// `.ci/run` sets the path to the real orders, and a test may have it as its default.
fn may_name_outside(path: &str) -> bool {
    path == ".ci/run" || (path.ends_with(".rs") && path.split('/').any(|folder| folder == "tests"))
}

fn not_rust(path: &str) -> bool {
    !path.ends_with(".rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banned_words_are_found() {
        let ignored = concat!("#[", "ignore = \"slow\"]");
        let unfinished = concat!("\n    todo", "!()");
        let unwritten = concat!("unimplemented", "!(\"later\")");
        let (data, wide) = (format!("{OUTSIDE}/northwind"), "w".repeat(101));
        let cases: &[(&str, &str, &[&str])] = &[
            ("crates/core/src/lib.rs", "//! Nothing is left to do.", &[]),
            (
                "crates/core/src/lib.rs",
                unfinished,
                &[concat!("crates/core/src/lib.rs:2: todo", "!(")],
            ),
            ("sim/src/lib.rs", unwritten, &[concat!("sim/src/lib.rs:1: unimplemented", "!(")]),
            ("crates/sdk/tests/a.rs", ignored, &[concat!("crates/sdk/tests/a.rs:1: #[", "ignore")]),
            ("docs/style.md", unfinished, &[]),
            ("crates/sdk/src/a.rs", "/// The answer\n/// What follows.", &[]),
            (
                "crates/sdk/src/a.rs",
                "fn a() {}\n    /// How it works, and for ever.",
                &[
                    "crates/sdk/src/a.rs:2: 'How' in a comment: state the fact with a noun or a \
                     verb",
                    "crates/sdk/src/a.rs:2: 'for ever' in a comment: state the fact with a noun \
                     or a verb",
                ],
            ),
            ("docs/style.md", "/// How it works.", &[]),
            ("sim/src/a.rs", &"é".repeat(100), &[]),
            ("sim/src/a.rs", &wide, &["sim/src/a.rs:1: 101 columns, at most 100 allowed"]),
            ("sim/src/a.rs", &format!("/// | {wide}"), &[]),
            ("sim/src/a.rs", &format!("/// https://{wide}"), &[]),
            ("sim/src/a.rs", &format!("/// # {wide}"), &[]),
            ("crates/sdk/src/inbox.rs", &wide, &[]),
            ("docs/style.md", &wide, &[]),
            (".ci/run", &data, &[]),
            ("shop/tests/northwind.rs", &data, &[]),
            ("shop/src/lib.rs", &data, &[concat!("shop/src/lib.rs:1: ../", "shared")]),
            ("docs/adr/README.md", &data, &[concat!("docs/adr/README.md:1: ../", "shared")]),
        ];
        for (path, text, expected) in cases {
            let source = Source { path: (*path).to_owned(), text: (*text).to_owned() };
            assert_eq!(&offences(&[source]), expected, "{path}: {text}");
        }
    }
}
