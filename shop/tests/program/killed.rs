//! The replay of the real orders, killed with -9 at random moments and started again until it is done.
//!
//! Sleeping here is the fault that is injected: nothing is waited for by it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::replay::{figures, replay, report};
use crate::support::northwind;

/// Starts the replay again and again; each time it has between 0.15 and 1 s until it is killed, later ever longer,
/// and then `damage` is done.
fn killed_until_done(
    folder: &Path,
    data: &Path,
    args: &[&str],
    damage: impl Fn(&mut fastrand::Rng),
) -> Output {
    const ROUNDS_MAX: u32 = 300;
    let seed = std::env::var("SAGAMORE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("replay {args:?} killed with SAGAMORE_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for round in 0..ROUNDS_MAX {
        let mut child = replay(folder, data, args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let longest = 1_000 + 50 * u64::from(round); // on a slow machine, early rounds may be too short for any progress
        std::thread::sleep(Duration::from_millis(rng.u64(150..longest)));
        let done = child.try_wait().expect("it can be asked").is_some();
        let _ = child.kill();
        let output = child.wait_with_output().expect("it ended");
        if done {
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "round {round}, seed {seed}: {}: {told}",
                output.status
            );
            println!("done in round {round}");
            return output;
        }
        damage(&mut rng);
    }
    panic!("not done after {ROUNDS_MAX} rounds, seed {seed}");
}

#[test]
fn a_sequential_replay_that_is_killed_again_and_again_leads_to_the_very_same_figures() {
    let Some(folder) = northwind() else { return };
    let data = tempfile::tempdir().expect("a directory");
    let output = killed_until_done(&folder, data.path(), &["--sequential"], |_| ());
    assert_eq!(report(&output), figures());
    assert_balanced(&folder, data.path(), &report(&output));
}

#[test]
fn a_concurrent_replay_that_is_killed_again_and_again_balances() {
    let Some(folder) = northwind() else { return };
    let data = tempfile::tempdir().expect("a directory");
    // few at once and a slow machine's pace: so that some kills hit it
    let output = killed_until_done(&folder, data.path(), &["--concurrency", "4"], |_| ());
    assert_balanced(&folder, data.path(), &report(&output));
}

/// kill -9 loses nothing that was written; the death of the machine may. The databases keep what they synced.
#[test]
fn a_replay_whose_log_loses_its_tail_or_everything_at_each_kill_leads_to_the_very_same_figures() {
    let Some(folder) = northwind() else { return };
    let data = tempfile::tempdir().expect("a directory");
    let log = data.path().join("log");
    let output = killed_until_done(&folder, data.path(), &["--sequential"], |rng| lose(&log, rng));
    assert_eq!(report(&output), figures());
    assert_balanced(&folder, data.path(), &report(&output));
}

/// Cuts the end of the log's last file, at any byte; one time in four the whole log is gone.
fn lose(log: &Path, rng: &mut fastrand::Rng) {
    if rng.u8(..4) == 0 {
        std::fs::remove_dir_all(log).expect("the log was there");
        return;
    }
    let files = std::fs::read_dir(log)
        .expect("the log is there")
        .map(|entry| entry.expect("an entry").path());
    let Some(last) =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max()
    else {
        return;
    };
    let file = std::fs::OpenOptions::new().write(true).open(last).expect("the file is there");
    let bytes = file.metadata().expect("its size").len();
    file.set_len(bytes.saturating_sub(rng.u64(..64 * 1024))).expect("it can be cut");
}

/// Money and stock against the completed orders, to the cent and the piece; nothing stuck, no order twice, none missing.
pub fn assert_balanced(folder: &Path, data: &Path, report: &Value) {
    assert_eq!((&report["orders"], &report["stuck"]), (&json!(830), &json!(0)), "{report}");
    let completed: BTreeSet<String> =
        query(data, "engine", "SELECT id FROM saga WHERE status = 'completed'");
    let sagas: BTreeSet<String> = query(data, "engine", "SELECT id FROM saga");
    let confirmed: BTreeSet<String> = query(
        data,
        "order",
        "SELECT 'checkout:' || order_id FROM orders WHERE status = 'confirmed'",
    );
    let shipped: BTreeSet<String> =
        query(data, "shipping", "SELECT 'checkout:' || order_id FROM shipment");
    assert_eq!(sagas.len(), 830);
    assert_eq!(report["completed"], completed.len());
    assert_eq!(report["compensated"], sagas.len() - completed.len());
    assert_eq!(
        (&confirmed, &shipped),
        (&completed, &completed),
        "engine, orders and shipments agree"
    );

    let (mut cents, mut pieces) = (0, 0);
    let orders = lines(folder, "orders.jsonl");
    for order in orders
        .iter()
        .filter(|order| completed.contains(&format!("checkout:{}", text(&order["orderId"]))))
    {
        for line in order["lines"].as_array().expect("lines") {
            cents += number(&line["quantity"]) * number(&line["unitPriceCents"]);
            pieces += number(&line["quantity"]);
        }
    }
    let opening = |file: &str, field: &str| {
        lines(folder, file).iter().map(|row| number(&row[field])).sum::<i64>()
    };
    assert_eq!(number(&report["balanceCents"]) + cents, opening("accounts.jsonl", "balanceCents"));
    assert_eq!(number(&report["stockPieces"]) + pieces, opening("stock.jsonl", "onHand"));

    let mut per_customer: BTreeMap<String, i64> = BTreeMap::new();
    for order in orders
        .iter()
        .filter(|order| completed.contains(&format!("checkout:{}", text(&order["orderId"]))))
    {
        let total = order["lines"].as_array().expect("lines").iter();
        *per_customer.entry(text(&order["customerId"])).or_default() += total
            .map(|line| number(&line["quantity"]) * number(&line["unitPriceCents"]))
            .sum::<i64>();
    }
    for account in lines(folder, "accounts.jsonl") {
        let customer = text(&account["customerId"]);
        let sql = format!(
            "SELECT CAST(balance_cents AS TEXT) FROM account WHERE customer_id = '{customer}'"
        );
        let left = number(&account["balanceCents"])
            - per_customer.get(&customer).copied().unwrap_or_default();
        assert_eq!(query(data, "payment", &sql), BTreeSet::from([left.to_string()]), "{customer}");
    }
}

fn query(data: &Path, service: &str, sql: &str) -> BTreeSet<String> {
    let database = rusqlite::Connection::open(data.join(format!("{service}.sqlite")))
        .expect("the database opens");
    let mut statement = database.prepare(sql).expect("the statement is right");
    let rows = statement.query_map([], |row| row.get(0)).expect("rows");
    rows.collect::<Result<_, _>>().expect("texts")
}

fn lines(folder: &Path, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join(file)).expect("the file is there");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn number(value: &Value) -> i64 {
    value.as_i64().expect("a whole number")
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
