//! The documents that are generated from the code: `docs` writes them, `ci` checks them.

use anyhow::{Context, Result};

use sagamore_e2e::workspace::Workspace;

use crate::wire;

/// A file, and the program in cargo's target folder that prints its content.
struct Document {
    path: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
}

/// The build, with the features of the tests, so that nothing is built twice.
const BUILD: &[&str] = &["build", "--quiet", "--workspace", "--all-targets"];

const DOCUMENTS: &[Document] = &[
    Document { path: "docs/transitions.md", program: "debug/examples/transitions", arguments: &[] },
    Document { path: "docs/errors.md", program: "debug/shop", arguments: &["docs", "errors"] },
    Document { path: "docs/cli.md", program: "debug/shop", arguments: &["docs", "cli"] },
    Document { path: "docs/metrics.md", program: "debug/shop", arguments: &["docs", "metrics"] },
    Document {
        path: "docs/schema/definition.json",
        program: "debug/shop",
        arguments: &["docs", "definition-schema"],
    },
    Document {
        path: "docs/schema/plan.json",
        program: "debug/shop",
        arguments: &["docs", "plan-schema"],
    },
    Document {
        path: "docs/plans/fulfilment.svg",
        program: "debug/shop",
        arguments: &["graph", "docs/plans/fulfilment.yaml", "-o", "svg"],
    },
];

/// Pages whose blocks of Rust are excerpts of a tested program.
const EXCERPTS: &[(&str, &str)] = &[
    ("docs/first-service.md", "crates/sagamore/examples/greeter.rs"),
    ("docs/tutorial.md", "e2e/outside/src/main.rs"),
    ("docs/choreograph.md", "crates/sagamore/examples/trip_choreographed.rs"),
];

/// Returns the documents that are missing or differ from the printed ones, excerpts that differ
/// from their program, and differences of the wire format from its pages.
pub fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let mut stale = wire::check(workspace)?;
    for (page, program) in EXCERPTS {
        let read = |path: &str| {
            std::fs::read_to_string(workspace.path(path)).with_context(|| format!("read {path}"))
        };
        let changed = changed_excerpts(&read(page)?, &read(program)?);
        stale.extend(
            changed
                .into_iter()
                .map(|line| format!("{page}: this excerpt is not in {program}: {line}")),
        );
    }
    workspace.cargo_output(BUILD).context("build the programs that print the documents")?;
    for document in DOCUMENTS {
        let printed = document.print(workspace)?;
        let path = document.path;
        let stored = std::fs::read_to_string(workspace.path(path)).ok();
        stale.extend(
            difference(stored.as_deref(), &printed)
                .map(|why| format!("{path} {why}: run `cargo xtask docs`")),
        );
    }
    Ok(stale)
}

/// Writes all documents.
pub fn write(workspace: &Workspace) -> Result<()> {
    workspace.cargo_output(BUILD).context("build the programs that print the documents")?;
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
            .built_output(self.program, self.arguments)
            .with_context(|| format!("print {}", self.path))
    }
}

/// Returns the first line of each block of Rust in a page that the program does not contain.
fn changed_excerpts(page: &str, program: &str) -> Vec<String> {
    let blocks = page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    let changed = blocks.filter(|block| !program.contains(block));
    changed.map(|block| block.lines().next().unwrap_or_default().to_owned()).collect()
}

/// Describes how the stored text differs from the printed one, if it does.
fn difference(stored: Option<&str>, printed: &str) -> Option<String> {
    let Some(stored) = stored else {
        return Some("is missing".to_owned());
    };
    if stored == printed {
        return None;
    }
    let same = stored.lines().zip(printed.lines()).take_while(|(old, new)| old == new).count();
    Some(format!("differs from line {}", same + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_that_differs_from_the_program_is_found() {
        let program = "fn a() {}\n\nfn b() {}\n";
        let page = "A page.\n```rust\nfn a() {}\n```\n```sh\nls\n```\n```rust\nfn c() {}\n```\n";
        assert_eq!(changed_excerpts(page, program), ["fn c() {}"]);
        assert!(changed_excerpts("A page without code.", program).is_empty());
    }

    #[test]
    fn a_stale_document_is_reported_with_its_first_different_line() {
        let cases: &[(Option<&str>, &str, Option<&str>)] = &[
            (Some("a\nb\n"), "a\nb\n", None),
            (None, "a\n", Some("is missing")),
            (Some("a\nb\n"), "a\nc\n", Some("differs from line 2")),
            (Some("a\n"), "a\nb\n", Some("differs from line 2")),
        ];
        for (stored, printed, expected) in cases {
            assert_eq!(
                difference(*stored, printed).as_deref(),
                *expected,
                "{stored:?} {printed:?}"
            );
        }
    }
}
