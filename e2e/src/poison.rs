//! `cargo xtask poison`: measures the effect of one poisoned saga on others, with its own Kafka and
//! PostgreSQL.

use anyhow::Result;

use crate::services::Services;
use crate::workspace::Workspace;

const FOLDER: &str = "target/poison/services";

/// Runs the example that measures it. Returns the violations, one per line.
pub fn run(workspace: &Workspace) -> Result<Vec<String>> {
    let services = Services::at(workspace, FOLDER);
    services.up()?;
    let outcome = services.variables().and_then(|variables| {
        let data = services.kafka_folder().display().to_string();
        let variables = [variables.as_slice(), &[("SAGAMORE_TEST_KAFKA_DATA", data)]].concat();
        workspace
            .cargo_with(&["run", "--quiet", "-p", "sagamore", "--example", "poison"], &variables)
    });
    services.down()?;
    outcome
}
