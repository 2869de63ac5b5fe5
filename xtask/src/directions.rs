//! Which crate may depend on which: the map of ARCHITECTURE.md as a table.
//!
//! Engine and sdk never import each other, not even in tests: they meet only in core's messages.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use sagamore_e2e::workspace::Workspace;

/// What a crate may use of the workspace.
struct Allowed {
    package: &'static str,
    /// In what it ships.
    uses: &'static [&'static str],
    /// In its tests, examples and benches besides.
    tests_use: &'static [&'static str],
}

const ALLOWED: &[Allowed] = &[
    Allowed { package: "sagamore-macros", uses: &[], tests_use: &["sagamore-core"] },
    Allowed { package: "sagamore-core", uses: &["sagamore-macros"], tests_use: &[] },
    Allowed { package: "sagamore-database", uses: &["sagamore-core"], tests_use: &[] },
    Allowed { package: "sagamore-transport", uses: &["sagamore-core"], tests_use: &[] },
    Allowed { package: "sagamore-kafka", uses: &["sagamore-transport"], tests_use: &[] },
    Allowed {
        package: "sagamore-inspect",
        uses: &["sagamore-core", "sagamore-transport"],
        tests_use: &[],
    },
    Allowed { package: "sagamore-engine", uses: PORTS, tests_use: &[] },
    Allowed { package: "sagamore-sdk", uses: PORTS, tests_use: &[] },
    Allowed { package: "sagamore-server", uses: SERVER, tests_use: &[] },
    Allowed { package: "sagamore", uses: FACE, tests_use: &[] },
    Allowed { package: "sagamore-shop", uses: &["sagamore"], tests_use: &[] },
    Allowed { package: "sagamore-sim", uses: PARTS, tests_use: &[] },
    Allowed { package: "sagamore-e2e", uses: &[], tests_use: &[] },
    Allowed { package: "xtask", uses: &["sagamore-e2e"], tests_use: &[] },
];

/// Core and the two ports.
const PORTS: &[&str] = &["sagamore-core", "sagamore-database", "sagamore-transport"];

/// All that a whole system is put together from.
const PARTS: &[&str] = &[
    "sagamore-core",
    "sagamore-macros",
    "sagamore-database",
    "sagamore-transport",
    "sagamore-engine",
    "sagamore-sdk",
    "sagamore-shop",
];

/// The HTTP API: it knows engine and participants, and no adapter but the embedded ones.
const SERVER: &[&str] = &[
    "sagamore-core",
    "sagamore-database",
    "sagamore-transport",
    "sagamore-engine",
    "sagamore-sdk",
];

/// The public face: every crate of the product, and never the shop.
const FACE: &[&str] = &[
    "sagamore-core",
    "sagamore-macros",
    "sagamore-database",
    "sagamore-transport",
    "sagamore-kafka",
    "sagamore-engine",
    "sagamore-sdk",
    "sagamore-inspect",
    "sagamore-server",
];

/// One crate of the workspace that depends on another.
#[derive(Debug, PartialEq)]
struct Edge {
    from: String,
    to: String,
    in_tests_only: bool,
}

/// The dependencies between our crates that the map does not allow.
pub fn check(workspace: &Workspace) -> Result<Vec<String>> {
    let text = workspace.cargo_says(&["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata: Value = serde_json::from_str(&text).context("parse cargo's metadata")?;
    let (packages, edges) = read(&metadata).context("cargo's metadata has another shape")?;
    Ok(offences(&packages, &edges))
}

/// The workspace's packages, and the edges between them.
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
        format!("{name} is not on the map: say in xtask/src/directions.rs what it may use")
    });
    let forbidden =
        edges.iter().filter(|edge| find(&edge.from).is_some_and(|allowed| !allowed.permits(edge)));
    unknown.chain(forbidden.map(tell)).collect()
}

impl Allowed {
    fn permits(&self, edge: &Edge) -> bool {
        let to = edge.to.as_str();
        self.uses.contains(&to) || (edge.in_tests_only && self.tests_use.contains(&to))
    }
}

fn tell(edge: &Edge) -> String {
    let place = if edge.in_tests_only { " in its tests" } else { "" };
    format!("{} must not depend on {}{place}", edge.from, edge.to)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_the_map_allows_passes() {
        let cases: &[(&str, &str, bool, Option<&str>)] = &[
            ("sagamore-core", "sagamore-macros", false, None),
            (
                "sagamore-core",
                "sagamore-database",
                false,
                Some("sagamore-core must not depend on sagamore-database"),
            ),
            (
                "sagamore-macros",
                "sagamore-core",
                false,
                Some("sagamore-macros must not depend on sagamore-core"),
            ),
            ("sagamore-macros", "sagamore-core", true, None),
            ("sagamore-transport", "sagamore-core", false, None),
            ("sagamore-engine", "sagamore-transport", false, None),
            (
                "sagamore-engine",
                "sagamore-sdk",
                false,
                Some("sagamore-engine must not depend on sagamore-sdk"),
            ),
            (
                "sagamore-engine",
                "sagamore-sdk",
                true,
                Some("sagamore-engine must not depend on sagamore-sdk in its tests"),
            ),
            (
                "sagamore-sdk",
                "sagamore-engine",
                false,
                Some("sagamore-sdk must not depend on sagamore-engine"),
            ),
            (
                "sagamore-shop",
                "sagamore-transport",
                true,
                Some("sagamore-shop must not depend on sagamore-transport in its tests"),
            ),
            ("sagamore-shop", "sagamore", false, None),
            ("sagamore", "sagamore-engine", false, None),
            ("sagamore", "sagamore-shop", false, Some("sagamore must not depend on sagamore-shop")),
            (
                "sagamore",
                "sagamore-shop",
                true,
                Some("sagamore must not depend on sagamore-shop in its tests"),
            ),
            (
                "sagamore-server",
                "sagamore-shop",
                false,
                Some("sagamore-server must not depend on sagamore-shop"),
            ),
            (
                "sagamore-server",
                "sagamore-kafka",
                false,
                Some("sagamore-server must not depend on sagamore-kafka"),
            ),
            ("sagamore-sim", "sagamore-engine", false, None),
            ("sagamore-sim", "sagamore", false, Some("sagamore-sim must not depend on sagamore")),
            ("xtask", "sagamore-core", false, Some("xtask must not depend on sagamore-core")),
        ];
        for (from, to, in_tests_only, expected) in cases {
            let edge = Edge {
                from: (*from).to_owned(),
                to: (*to).to_owned(),
                in_tests_only: *in_tests_only,
            };
            let packages = BTreeSet::from([edge.from.clone(), edge.to.clone()]);
            assert_eq!(offences(&packages, &[edge]), Vec::from_iter(*expected), "{from} -> {to}");
        }
    }

    #[test]
    fn a_crate_that_is_not_on_the_map_is_told() {
        let packages = BTreeSet::from(["sagamore-utils".to_owned()]);
        let expected =
            "sagamore-utils is not on the map: say in xtask/src/directions.rs what it may use";
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
        let (packages, edges) = read(&metadata).expect("of cargo's shape");
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
