//! The maximum lengths of files, so that long files are split in time.

use anyhow::Result;

use sagamore_e2e::workspace::{Source, Workspace};

/// A maximum number of lines.
struct Cap {
    covers: fn(&str) -> bool,
    lines_max: usize,
    of: Scope,
}

/// The files whose lines are summed.
enum Scope {
    /// Each file by itself.
    Each,
    /// All files together, under this name.
    All(&'static str),
}

const CAPS: &[Cap] = &[
    Cap { covers: |path| path.ends_with(".rs"), lines_max: 600, of: Scope::Each },
    Cap {
        covers: |path| path.starts_with("crates/macros/src/"),
        lines_max: 680,
        of: Scope::All("crates/macros/src"),
    },
    Cap { covers: |path| path == "e2e/outside/src/main.rs", lines_max: 120, of: Scope::Each },
    Cap { covers: |path| path == "ARCHITECTURE.md", lines_max: 200, of: Scope::Each },
];

/// Returns the files of the checkout that are too long.
pub fn check(workspace: &Workspace) -> Result<Vec<String>> {
    Ok(offences(&workspace.tracked()?))
}

fn offences(sources: &[Source]) -> Vec<String> {
    CAPS.iter().flat_map(|cap| too_long(cap, sources)).collect()
}

fn too_long(cap: &Cap, sources: &[Source]) -> Vec<String> {
    let lengths = sources
        .iter()
        .filter(|source| (cap.covers)(&source.path))
        .map(|source| (source.path.as_str(), source.text.lines().count()));
    let counted: Vec<(&str, usize)> = match cap.of {
        Scope::Each => lengths.collect(),
        Scope::All(name) => vec![(name, lengths.map(|(_, lines)| lines).sum())],
    };
    counted
        .into_iter()
        .filter(|(_, lines)| *lines > cap.lines_max)
        .map(|(what, lines)| format!("{what}: {lines} lines, at most {} allowed", cap.lines_max))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths with their numbers of lines.
    type Files = &'static [(&'static str, usize)];

    #[test]
    fn files_longer_than_their_cap_are_listed() {
        let cases: &[(Files, &[&str])] = &[
            (&[], &[]),
            (&[("crates/core/src/lib.rs", 600), ("ARCHITECTURE.md", 200)], &[]),
            (
                &[("crates/core/src/lib.rs", 601)],
                &["crates/core/src/lib.rs: 601 lines, at most 600 allowed"],
            ),
            (
                &[("sim/src/a.rs", 700), ("xtask/src/b.rs", 800)],
                &[
                    "sim/src/a.rs: 700 lines, at most 600 allowed",
                    "xtask/src/b.rs: 800 lines, at most 600 allowed",
                ],
            ),
            (&[("crates/macros/src/lib.rs", 130), ("crates/macros/src/message.rs", 550)], &[]),
            (
                &[("crates/macros/src/lib.rs", 131), ("crates/macros/src/message.rs", 550)],
                &["crates/macros/src: 681 lines, at most 680 allowed"],
            ),
            (&[("crates/macros/tests/derive.rs", 300)], &[]),
            (&[("ARCHITECTURE.md", 201)], &["ARCHITECTURE.md: 201 lines, at most 200 allowed"]),
            (&[("README.md", 2_000), ("Cargo.lock", 9_000)], &[]),
        ];
        for (files, expected) in cases {
            let sources: Vec<Source> =
                files.iter().map(|(path, lines)| a_file(path, *lines)).collect();
            assert_eq!(&offences(&sources), expected, "{files:?}");
        }
    }

    fn a_file(path: &str, lines: usize) -> Source {
        Source { path: path.to_owned(), text: "line\n".repeat(lines) }
    }
}
