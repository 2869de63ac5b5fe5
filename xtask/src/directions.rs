//! The allowed dependencies between crates: the map of ARCHITECTURE.md as a table. Inside a crate
//! files form no cycles.
//!
//! Engine and SDK never depend on each other, not even in tests. Both use core's messages.

mod cycles;
mod imports;

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use sagamore_e2e::workspace::Workspace;

/// The crates of the workspace that a crate may depend on.
struct CrateRule {
    package: &'static str,
    /// Normal dependencies.
    uses: &'static [&'static str],
    /// Additional dependencies of tests, examples and benches.
    tests_use: &'static [&'static str],
}

const ALLOWED: &[CrateRule] = &[
    CrateRule { package: "sagamore-macros", uses: &[], tests_use: &["sagamore-core"] },
    CrateRule { package: "sagamore-core", uses: &["sagamore-macros"], tests_use: &[] },
    CrateRule { package: "sagamore-schema", uses: &["sagamore-core"], tests_use: &[] },
    CrateRule { package: "sagamore-database", uses: &["sagamore-core"], tests_use: &[] },
    CrateRule { package: "sagamore-transport", uses: &["sagamore-core"], tests_use: &[] },
    CrateRule {
        package: "sagamore-kafka",
        uses: &["sagamore-transport"],
        tests_use: &["sagamore-database"], // reports skipped tests
    },
    CrateRule { package: "sagamore-gateway", uses: PORTS, tests_use: &[] },
    CrateRule {
        package: "sagamore-inspect",
        uses: &["sagamore-core", "sagamore-schema", "sagamore-transport"],
        tests_use: &[],
    },
    CrateRule { package: "sagamore-engine", uses: CHECKED_PORTS, tests_use: &[] },
    CrateRule { package: "sagamore-sdk", uses: CHECKED_PORTS, tests_use: &[] },
    CrateRule { package: "sagamore-server", uses: SERVER, tests_use: &[] },
    CrateRule { package: "sagamore", uses: FACE, tests_use: &[] },
    CrateRule { package: "sagamore-shop", uses: &["sagamore"], tests_use: &[] },
    CrateRule { package: "sagamore-sim", uses: PARTS, tests_use: &[] },
    CrateRule { package: "sagamore-e2e", uses: &[], tests_use: &[] },
    CrateRule { package: "xtask", uses: &["sagamore-e2e"], tests_use: &[] },
];

/// Core and the two ports.
const PORTS: &[&str] = &["sagamore-core", "sagamore-database", "sagamore-transport"];

/// Core, the two ports, and the checks of data against schemas.
const CHECKED_PORTS: &[&str] =
    &["sagamore-core", "sagamore-schema", "sagamore-database", "sagamore-transport"];

/// The crates that make a complete system.
const PARTS: &[&str] = &[
    "sagamore-core",
    "sagamore-macros",
    "sagamore-database",
    "sagamore-transport",
    "sagamore-engine",
    "sagamore-sdk",
    "sagamore-shop",
];

/// The dependencies of the HTTP API: engine, participants and the parser of definitions, but no
/// adapters except the embedded ones.
const SERVER: &[&str] = &[
    "sagamore-core",
    "sagamore-database",
    "sagamore-transport",
    "sagamore-engine",
    "sagamore-sdk",
    "sagamore-inspect",
];

/// The dependencies of the public crate: every crate of the product, but not the shop.
const FACE: &[&str] = &[
    "sagamore-core",
    "sagamore-macros",
    "sagamore-database",
    "sagamore-transport",
    "sagamore-kafka",
    "sagamore-gateway",
    "sagamore-engine",
    "sagamore-sdk",
    "sagamore-inspect",
    "sagamore-server",
];

/// A dependency between two crates of the workspace.
#[derive(Debug, PartialEq)]
struct Edge {
    from: String,
    to: String,
    in_tests_only: bool,
}

/// Returns the dependencies between crates of the workspace that the table does not allow, and the
/// import cycles of their files.
pub fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let text = workspace.cargo_output(&["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata: Value = serde_json::from_str(&text).context("parse cargo's metadata")?;
    let (packages, edges) = read(&metadata).context("cargo's metadata has an unexpected shape")?;
    let cycles = cycles::offences(&workspace.tracked()?);
    Ok([offences(&packages, &edges), cycles].concat())
}

/// Returns the packages of the workspace and their dependencies on each other.
fn read(metadata: &Value) -> Option<(BTreeSet<String>, Vec<Edge>)> {
    let packages = metadata["packages"].as_array()?;
    let names: BTreeSet<String> = packages
        .iter()
        .map(|package| package["name"].as_str().map(str::to_owned))
        .collect::<Option<_>>()?;
    let mut edges = Vec::new();
    for package in packages {
        for dependency in package["dependencies"].as_array()? {
            let to = dependency["name"].as_str()?;
            if names.contains(to) {
                let from = package["name"].as_str()?.to_owned();
                edges.push(Edge {
                    from,
                    to: to.to_owned(),
                    in_tests_only: dependency["kind"] == "dev",
                });
            }
        }
    }
    Some((names, edges))
}

fn offences(packages: &BTreeSet<String>, edges: &[Edge]) -> Vec<String> {
    let find = |name: &str| ALLOWED.iter().find(|allowed| allowed.package == name);
    let unknown = packages.iter().filter(|name| find(name).is_none()).map(|name| {
        format!("{name} has no rule: add its allowed dependencies to xtask/src/directions.rs")
    });
    let forbidden =
        edges.iter().filter(|edge| find(&edge.from).is_some_and(|allowed| !allowed.permits(edge)));
    unknown.chain(forbidden.map(describe)).collect()
}

impl CrateRule {
    fn permits(&self, edge: &Edge) -> bool {
        let to = edge.to.as_str();
        self.uses.contains(&to) || (edge.in_tests_only && self.tests_use.contains(&to))
    }
}

fn describe(edge: &Edge) -> String {
    let place = if edge.in_tests_only { " in its tests" } else { "" };
    format!("{} must not depend on {}{place}", edge.from, edge.to)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_allowed_dependencies_pass() {
        let check = |from: &str, to: &str, in_tests_only: bool, is_allowed: bool| {
            let edge = Edge { from: from.to_owned(), to: to.to_owned(), in_tests_only };
            let packages = BTreeSet::from([edge.from.clone(), edge.to.clone()]);
            let place = if in_tests_only { " in its tests" } else { "" };
            let offence = format!("{from} must not depend on {to}{place}");
            let expected = if is_allowed { Vec::new() } else { vec![offence] };
            assert_eq!(offences(&packages, &[edge]), expected, "{from} -> {to}");
        };
        check("sagamore-core", "sagamore-macros", false, true);
        check("sagamore-core", "sagamore-database", false, false);
        check("sagamore-macros", "sagamore-core", false, false);
        check("sagamore-macros", "sagamore-core", true, true);
        check("sagamore-transport", "sagamore-core", false, true);
        check("sagamore-engine", "sagamore-transport", false, true);
        check("sagamore-gateway", "sagamore-database", false, true);
        check("sagamore-gateway", "sagamore-sdk", false, false);
        check("sagamore-server", "sagamore-gateway", false, false);
        check("sagamore-engine", "sagamore-sdk", false, false);
        check("sagamore-engine", "sagamore-sdk", true, false);
        check("sagamore-sdk", "sagamore-engine", false, false);
        check("sagamore-shop", "sagamore-transport", true, false);
        check("sagamore-shop", "sagamore", false, true);
        check("sagamore", "sagamore-engine", false, true);
        check("sagamore", "sagamore-shop", false, false);
        check("sagamore", "sagamore-shop", true, false);
        check("sagamore-server", "sagamore-shop", false, false);
        check("sagamore-server", "sagamore-kafka", false, false);
        check("sagamore-sim", "sagamore-engine", false, true);
        check("sagamore-sim", "sagamore", false, false);
        check("xtask", "sagamore-core", false, false);
    }

    #[test]
    fn a_crate_without_a_rule_is_reported() {
        let packages = BTreeSet::from(["sagamore-utils".to_owned()]);
        let expected =
            "sagamore-utils has no rule: add its allowed dependencies to xtask/src/directions.rs";
        assert_eq!(offences(&packages, &[]), [expected]);
    }

    #[test]
    fn only_edges_inside_the_workspace_are_read() {
        let metadata = json!({ "packages": [
            { "name": "sagamore-core", "dependencies": [
                { "name": "serde", "kind": null },
                { "name": "sagamore-macros", "kind": null },
            ] },
            { "name": "sagamore-macros", "dependencies": [
                { "name": "syn", "kind": null },
                { "name": "sagamore-core", "kind": "dev" },
            ] },
        ] });
        let (packages, edges) = read(&metadata).expect("the metadata is valid");
        assert_eq!(
            packages,
            BTreeSet::from(["sagamore-core".to_owned(), "sagamore-macros".to_owned()])
        );
        let edge = |from: &str, to: &str, in_tests_only| Edge {
            from: from.into(),
            to: to.into(),
            in_tests_only,
        };
        assert_eq!(
            edges,
            [
                edge("sagamore-core", "sagamore-macros", false),
                edge("sagamore-macros", "sagamore-core", true)
            ]
        );
        assert_eq!(read(&json!({ "packages": [{}] })), None);
    }
}
