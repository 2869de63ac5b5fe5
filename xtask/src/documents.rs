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
    Document { path: "docs/errors.md", program: "debug/sagamore", arguments: &["docs", "errors"] },
    Document { path: "docs/cli.md", program: "debug/sagamore", arguments: &["docs", "cli"] },
    Document {
        path: "docs/plans/fulfilment.svg",
        program: "debug/sagamore",
        arguments: &["graph", "docs/plans/fulfilment.yaml", "-o", "svg"],
    },
];

/// The documents that are missing or differ from what the code prints.
pub fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let mut stale = Vec::new();
    workspace.cargo_says(BUILD).context("build what prints the documents")?;
    for document in DOCUMENTS {
        let printed = document.print(workspace)?;
        let path = document.path;
        let kept = std::fs::read_to_string(workspace.path(path)).ok();
        stale.extend(difference(kept.as_deref(), &printed).map(|why| format!("{path} {why}: run `cargo xtask docs`")));
    }
    Ok(stale)
}

/// Writes all of them anew.
pub fn write(workspace: &Workspace) -> Result<()> {
    workspace.cargo_says(BUILD).context("build what prints the documents")?;
    for document in DOCUMENTS {
        let printed = document.print(workspace)?;
        std::fs::write(workspace.path(document.path), printed).with_context(|| format!("write {}", document.path))?;
        println!("{} written", document.path);
    }
    Ok(())
}

impl Document {
    fn print(&self, workspace: &Workspace) -> Result<String> {
        workspace.built_says(self.program, self.arguments).with_context(|| format!("print {}", self.path))
    }
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
