//! `cargo xtask chaos --corrupt`: shows that the checks can fail. Each manual corruption of a row
//! must be reported.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::check::{self, Epochs, Stock};
use super::faults::Scene;
use crate::load::Load;
use crate::site::{ORCHESTRATORS, SERVICES};

/// The time of load before the corruptions.
const LOAD: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(300);

/// The expected violation, the schema, and the statement. `{id}` is a completed order used by this
/// corruption only.
const CORRUPTIONS: &[(&str, &str, &str)] = &[
    ("money-created", "payment", "UPDATE account SET balance_cents = balance_cents + 1 WHERE \
        customer_id = 'c1'"),
    ("money-lost", "payment", "UPDATE account SET balance_cents = balance_cents - 2 WHERE \
        customer_id = 'c1'"),
    ("stock-leak", "inventory", "UPDATE stock SET on_hand = on_hand - 1 WHERE sku = 's1'"),
    ("half-saga", "shipping", "DELETE FROM shipment WHERE order_id = '{id}'"),
    ("half-saga", "order", "UPDATE orders SET locked_by = 'checkout:{id}' WHERE order_id = '{id}'"),
    ("half-saga", "payment", "UPDATE charge SET refunded = true WHERE order_id = '{id}'"),
    (
        "double-charge",
        "payment",
        "INSERT INTO barrier SELECT saga, step, direction, generation + 1, status, answer, stored_at
         FROM barrier WHERE saga = 'checkout:{id}'",
    ),
    (
        "hanging-action",
        "payment",
        "INSERT INTO barrier SELECT saga, step, direction, generation + 1, 'tombstone', answer, \
         stored_at
         FROM barrier WHERE saga = 'checkout:{id}'",
    ),
    (
        "undo-after-pivot",
        "payment",
        "INSERT INTO barrier SELECT saga, step, 'compensation', generation, status, answer, \
         stored_at
         FROM barrier WHERE saga = 'checkout:{id}'",
    ),
    ("empty-compensation", "payment", "UPDATE barrier SET direction = 'compensation' WHERE saga = \
        'checkout:{id}'"),
    ("zombie-write: a claim", "payment", "UPDATE barrier SET status = 'claimed' WHERE saga = \
        'checkout:{id}'"),
    ("zombie-write: the epoch", "engine", "UPDATE ownership SET epoch = epoch - 1 WHERE \
        reply_partition = 0"),
    ("split-outcome", "engine", "UPDATE saga SET status = 'compensated' WHERE id = \
        'checkout:{id}'"),
    ("stuck-saga", "engine", "UPDATE saga SET status = 'stuck' WHERE id = 'checkout:{id}'"),
    ("ack-before-durable", "engine", "DELETE FROM saga WHERE id = 'checkout:{id}'"),
    (
        "history-gap",
        "engine",
        "DELETE FROM journal WHERE revision = 2 AND seq = (SELECT seq FROM saga WHERE id = \
         'checkout:{id}')",
    ),
    ("lost-saga", "engine", "UPDATE saga SET ended_at = NULL WHERE id = 'checkout:{id}'"),
];

/// Corrupts one row after another in a system at rest. Returns the corruptions that were not
/// reported.
pub fn prove(scene: &Scene, begun_with: Stock, seed: u64) -> Result<Vec<String>> {
    let Scene { site, ledger, .. } = scene;
    let load = Load::usual(site, ledger, seed);
    std::thread::sleep(LOAD);
    load.stop();
    check::comes_to_rest(site, check::REST_MAX, ledger)?;
    for name in ORCHESTRATORS.into_iter().chain(SERVICES) {
        site.kill(name)?; // a process could repair the rows
        std::thread::sleep(POLL);
    }
    let mut epochs = Epochs::default();
    let mut check_all = || -> Result<Vec<String>> {
        let had = ledger.violations().len();
        check::snapshot(site, begun_with, ledger)?;
        epochs.compare(site, ledger)?;
        check::comes_to_rest(site, Duration::ZERO, ledger)?;
        check::finally(site, ledger)?;
        Ok(ledger.violations().split_off(had))
    };
    ensure!(check_all()?.is_empty(), "the checks fail before any corruption");
    let orders = completed(scene)?;
    let mut missed = Vec::new();
    for (at, (violation, schema, statement)) in CORRUPTIONS.iter().enumerate() {
        let id = orders.get(at).context("there are fewer completed orders than corruptions")?;
        let statement = statement.replace("{id}", id);
        println!(
            "   CORRUPT {schema}: {}",
            statement.split_whitespace().collect::<Vec<_>>().join(" ")
        );
        site.sql(&format!("SET search_path TO \"{}_{schema}\"; {statement}", site.namespace))?;
        let concerns = |found: &String| !statement.contains(id) || found.contains(id);
        if !check_all()?.iter().any(|found| found.starts_with(violation) && concerns(found)) {
            missed.push(format!("not reported: {violation} by {statement}"));
        }
    }
    println!(
        "   {} of {} corruptions reported",
        CORRUPTIONS.len() - missed.len(),
        CORRUPTIONS.len()
    );
    Ok(missed)
}

/// Returns completed orders that a client received, one per corruption.
fn completed(scene: &Scene) -> Result<Vec<String>> {
    let saga = scene.site.table("engine", "saga");
    let rows =
        scene.site.sql(&format!("SELECT substr(id, 10) FROM {saga} WHERE status = 'completed'"))?;
    let promises = scene.ledger.promises();
    let was_accepted = |id: &&str| promises.get(*id).is_some_and(|promise| promise.accepted);
    Ok(rows.lines().filter(was_accepted).take(CORRUPTIONS.len()).map(str::to_owned).collect())
}
