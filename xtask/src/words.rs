//! Words that must not land: what stands for unfinished work, and paths that exist on our machines only.

use anyhow::Result;

use sagamore_e2e::workspace::{Source, Workspace};

/// A word, and where it is none of our business. Written in pieces, so that this file does not hold it.
struct Forbidden {
    word: &'static str,
    except: fn(&str) -> bool,
}

const FORBIDDEN: &[Forbidden] = &[
    Forbidden { word: OUTSIDE, except: may_name_outside },
    Forbidden { word: concat!("todo", "!("), except: not_rust },
    Forbidden { word: concat!("unimplemented", "!("), except: not_rust },
    Forbidden { word: concat!("#[", "ignore"), except: not_rust },
];

/// A folder beside the checkout.
const OUTSIDE: &str = concat!("../", "shared");

/// The lines of tracked files with such a word.
pub fn check(workspace: &Workspace) -> Result<Vec<String>> {
    Ok(offences(&workspace.tracked()?))
}

fn offences(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for forbidden in FORBIDDEN.iter().filter(|forbidden| !(forbidden.except)(&source.path)) {
            let lines = source.text.lines().enumerate().filter(|(_, line)| line.contains(forbidden.word));
            found.extend(lines.map(|(index, _)| format!("{}:{}: {}", source.path, index + 1, forbidden.word)));
        }
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
    fn words_that_must_not_land_are_found() {
        let ignored = concat!("#[", "ignore = \"slow\"]");
        let unfinished = concat!("\n    todo", "!()");
        let unwritten = concat!("unimplemented", "!(\"later\")");
        let data = format!("{OUTSIDE}/northwind");
        let cases: &[(&str, &str, &[&str])] = &[
            ("crates/core/src/lib.rs", "//! Nothing is left to do.", &[]),
            ("crates/core/src/lib.rs", unfinished, &[concat!("crates/core/src/lib.rs:2: todo", "!(")]),
            ("sim/src/lib.rs", unwritten, &[concat!("sim/src/lib.rs:1: unimplemented", "!(")]),
            ("crates/sdk/tests/a.rs", ignored, &[concat!("crates/sdk/tests/a.rs:1: #[", "ignore")]),
            ("docs/style.md", unfinished, &[]),
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
