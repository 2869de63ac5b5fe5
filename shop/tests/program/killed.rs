//! The replay of the real orders, killed with SIGKILL at random moments and restarted until it is
//! done.
//!
//! The sleep is the injected fault. No test waits by sleeping.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::replay::{figures, replay, report};
use crate::support::northwind;

/// Restarts the replay until it is done. Each run is killed after 0.15 to 1 s, and the upper bound
/// grows by 50 ms per round. After each kill, `damage` is called.
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
            .expect("start shop");
        // early rounds may be too short on a slow machine
        let longest = 1_000 + 50 * u64::from(round);
        std::thread::sleep(Duration::from_millis(rng.u64(150..longest)));
        let done = child.try_wait().expect("poll the process").is_some();
        let _ = child.kill();
        let output = child.wait_with_output().expect("wait for the process");
        if done {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "round {round}, seed {seed}: {}: {stderr}",
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
fn a_repeatedly_killed_sequential_replay_has_the_same_figures() {
    let Some(folder) = northwind() else { return };
    let data = tempfile::tempdir().expect("create a directory");
    let output = killed_until_done(&folder, data.path(), &["--sequential"], |_| ());
    assert_eq!(report(&output), figures());
    assert_balanced(&folder, data.path(), &report(&output));
}

#[test]
fn a_repeatedly_killed_concurrent_replay_balances() {
    let Some(folder) = northwind() else { return };
    let data = tempfile::tempdir().expect("create a directory");
    // a low concurrency keeps the replay running long enough for several kills
    let output = killed_until_done(&folder, data.path(), &["--concurrency", "4"], |_| ());
    assert_balanced(&folder, data.path(), &report(&output));
}

/// SIGKILL loses no written data, but a crash of the machine may. The databases keep all synced
/// data.
#[test]
fn a_replay_whose_log_is_damaged_at_each_kill_has_the_same_figures() {
    let Some(folder) = northwind() else { return };
    let data = tempfile::tempdir().expect("create a directory");
    let log = data.path().join("log");
    let output = killed_until_done(&folder, data.path(), &["--sequential"], |rng| lose(&log, rng));
    assert_eq!(report(&output), figures());
    assert_balanced(&folder, data.path(), &report(&output));
}

/// Cuts up to 64 KiB off the log's last file. In one of four cases it removes the whole log.
fn lose(log: &Path, rng: &mut fastrand::Rng) {
    if rng.u8(..4) == 0 {
        std::fs::remove_dir_all(log).expect("remove the log");
        return;
    }
    let files = std::fs::read_dir(log)
        .expect("list the log")
        .map(|entry| entry.expect("read an entry").path());
    let Some(last) =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max()
    else {
        return;
    };
    let file = std::fs::OpenOptions::new().write(true).open(last).expect("open the file");
    let bytes = file.metadata().expect("read the size").len();
    file.set_len(bytes.saturating_sub(rng.u64(..64 * 1024))).expect("truncate the file");
}

/// Compares money and stock with the completed orders. No saga is stuck, and no order is missing or
/// duplicated.
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
        .expect("open the database");
    let mut statement = database.prepare(sql).expect("prepare the statement");
    let rows = statement.query_map([], |row| row.get(0)).expect("query the rows");
    rows.collect::<Result<_, _>>().expect("the column is a text")
}

fn lines(folder: &Path, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join(file)).expect("read the file");
    text.lines().map(|line| serde_json::from_str(line).expect("the line is JSON")).collect()
}

fn number(value: &Value) -> i64 {
    value.as_i64().expect("the value is a whole number")
}

fn text(value: &Value) -> String {
    value.as_str().expect("the value is a text").to_owned()
}
