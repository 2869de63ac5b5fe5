//! The documents that are generated from the code: `docs` writes them, `ci` checks that they are fresh.

use anyhow::{Context, Result};

use sagamore_e2e::workspace::Workspace;

/// A file, and the program, below the folder that cargo builds into, that prints what it holds.
struct Document {
    path: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
}

/// What the tests are built from too, so that nothing is built twice with other features.
const BUILD: &[&str] = &["build", "--quiet", "--workspace", "--all-targets"];

const DOCUMENTS: &[Document] = &[
    Document { path: "docs/transitions.md", program: "debug/examples/transitions", arguments: &[] },
    Document { path: "docs/errors.md", program: "debug/shop", arguments: &["docs", "errors"] },
    Document { path: "docs/cli.md", program: "debug/shop", arguments: &["docs", "cli"] },
    Document { path: "docs/metrics.md", program: "debug/shop", arguments: &["docs", "metrics"] },
    Document {
        path: "docs/plans/fulfilment.svg",
        program: "debug/shop",
        arguments: &["graph", "docs/plans/fulfilment.yaml", "-o", "svg"],
    },
];

/// Pages whose blocks of Rust are excerpts of a program that is tested.
const EXCERPTS: &[(&str, &str)] = &[
    ("docs/first-service.md", "crates/sagamore/examples/greeter.rs"),
    ("docs/tutorial.md", "e2e/outside/src/main.rs"),
    ("docs/choreograph.md", "crates/sagamore/examples/trip_choreographed.rs"),
];

/// The documents that are missing, or differ from what the code prints or is.
pub fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let mut stale = Vec::new();
    for (page, program) in EXCERPTS {
        let read = |path: &str| {
            std::fs::read_to_string(workspace.path(path)).with_context(|| format!("read {path}"))
        };
        let changed = changed_excerpts(&read(page)?, &read(program)?);
        stale.extend(
            changed
                .into_iter()
                .map(|line| format!("{page} shows code that is not in {program}: {line}")),
        );
    }
    workspace.cargo_says(BUILD).context("build what prints the documents")?;
    for document in DOCUMENTS {
        let printed = document.print(workspace)?;
        let path = document.path;
        let kept = std::fs::read_to_string(workspace.path(path)).ok();
        stale.extend(
            difference(kept.as_deref(), &printed)
                .map(|why| format!("{path} {why}: run `cargo xtask docs`")),
        );
    }
    Ok(stale)
}

/// Writes all of them anew.
pub fn write(workspace: &Workspace) -> Result<()> {
    workspace.cargo_says(BUILD).context("build what prints the documents")?;
    for document in DOCUMENTS {
        let printed = document.print(workspace)?;
        std::fs::write(workspace.path(document.path), printed)
            .with_context(|| format!("write {}", document.path))?;
        println!("{} written", document.path);
    }
    Ok(())
}

impl Document {
    fn print(&self, workspace: &Workspace) -> Result<String> {
        workspace
            .built_says(self.program, self.arguments)
            .with_context(|| format!("print {}", self.path))
    }
}

/// The first line of each block of Rust in a page that is not in the program.
fn changed_excerpts(page: &str, program: &str) -> Vec<String> {
    let blocks = page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    let changed = blocks.filter(|block| !program.contains(block));
    changed.map(|block| block.lines().next().unwrap_or_default().to_owned()).collect()
}

/// How what is kept differs from what is printed, if it does.
fn difference(kept: Option<&str>, printed: &str) -> Option<String> {
    let Some(kept) = kept else {
        return Some("is missing".to_owned());
    };
    if kept == printed {
        return None;
    }
    let same = kept.lines().zip(printed.lines()).take_while(|(old, new)| old == new).count();
    Some(format!("is stale from line {} on", same + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_that_is_not_in_the_program_is_found() {
        let program = "fn a() {}\n\nfn b() {}\n";
        let page = "A page.\n```rust\nfn a() {}\n```\n```sh\nls\n```\n```rust\nfn c() {}\n```\n";
        assert_eq!(changed_excerpts(page, program), ["fn c() {}"]);
        assert!(changed_excerpts("A page without code.", program).is_empty());
    }

    #[test]
    fn a_document_that_differs_is_told_with_its_first_line() {
        let cases: &[(Option<&str>, &str, Option<&str>)] = &[
            (Some("a\nb\n"), "a\nb\n", None),
            (None, "a\n", Some("is missing")),
            (Some("a\nb\n"), "a\nc\n", Some("is stale from line 2 on")),
            (Some("a\n"), "a\nb\n", Some("is stale from line 2 on")),
        ];
        for (kept, printed, expected) in cases {
            assert_eq!(difference(*kept, printed).as_deref(), *expected, "{kept:?} {printed:?}");
        }
    }
}
