//! The outcome of a campaign, read from the databases and from all services.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Cast, POLL, READY_MAX, Replay, pairs};

/// Maximum printed lines of unfinished sagas, and of each log.
const LINES_MAX: usize = 12;

impl Cast<'_> {
    /// Returns the report of a replay once it has ended. If it does not end, prints diagnostics.
    pub fn outcome(&self, replay: Replay, limit: Duration) -> Result<Value> {
        let report = replay.wait(limit);
        if report.is_err() {
            self.print_diagnostics();
        }
        report
    }

    /// Prints the unfinished sagas and the end of each process's log.
    fn print_diagnostics(&self) {
        if let Err(why) = self.print_open_sagas() {
            println!("   cannot list unfinished sagas: {why:#}");
        }
        for name in self.ports.keys() {
            let log = self.folder().and_then(|folder| {
                Ok(std::fs::read_to_string(folder.join(format!("{name}.log")))?)
            });
            let log = log.unwrap_or_else(|why| format!("{why:#}"));
            let lines: Vec<&str> = log.lines().collect();
            println!("   end of the log of {name}:");
            lines[lines.len().saturating_sub(LINES_MAX)..]
                .iter()
                .for_each(|line| println!("      {line}"));
        }
    }

    fn print_open_sagas(&self) -> Result<()> {
        let listed = self
            .program()
            .args(["list", "-n", "500", "-o", "json"])
            .output()
            .context("run list")?;
        ensure!(listed.status.success(), "list: {}", String::from_utf8_lossy(&listed.stderr));
        let page: Value = serde_json::from_slice(&listed.stdout)?;
        let rows = page["sagas"].as_array().context("the list has no sagas")?;
        let is_open =
            |row: &&Value| !matches!(row["status"].as_str(), Some("completed" | "compensated"));
        let open: Vec<&Value> = rows.iter().filter(is_open).collect();
        println!("   {} of the {} youngest sagas are unfinished:", open.len(), rows.len());
        open.iter().take(LINES_MAX).for_each(|row| println!("      {row}"));
        Ok(())
    }

    /// Counts all orders by outcome, and sums balances and stock.
    pub fn totals(&self) -> Result<Value> {
        let ended = "SELECT 'orders ' || count(*) FROM saga UNION ALL
            SELECT status || ' ' || count(*) FROM saga GROUP BY status";
        let counts = pairs(&self.query_engine(ended)?);
        let count =
            |name: &str| counts.get(name).and_then(|count| count.parse::<i64>().ok()).unwrap_or(0);
        let cents = self.sum("payment", "/accounts", "accounts", "customerId", |row| {
            row["balanceCents"].as_i64()
        })?;
        let pieces =
            self.sum("inventory", "/stock", "stock", "sku", |row| row["onHand"].as_i64())?;
        Ok(serde_json::json!({
            "orders": count("orders"),
            "completed": count("completed"),
            "compensated": count("compensated"),
            "stuck": count("stuck"), "balanceCents": cents, "stockPieces": pieces,
        }))
    }

    /// Checks that every saga has ended, that all services agree, and that no money or stock is
    /// lost or duplicated.
    pub fn check_balance(&self, orders: &Path, report: &Value) -> Result<()> {
        let number =
            |name: &str| report[name].as_i64().with_context(|| format!("no {name} in {report}"));
        ensure!(number("stuck")? == 0, "stuck: {report}");
        ensure!(
            number("completed")? + number("compensated")? == number("orders")?,
            "some sagas have not ended: {report}"
        );
        let confirmed = |row: &Value| row["status"] == "confirmed";
        let count = self
            .sum("order", "/orders", "orders", "orderId", |row| Some(i64::from(confirmed(row))))?;
        let pending =
            |row: &Value| Some(i64::from(row["status"] == "pending" || !row["lockedBy"].is_null()));
        ensure!(
            self.sum("order", "/orders", "orders", "orderId", pending)? == 0,
            "some orders are pending or locked"
        );
        ensure!(count == number("completed")?, "{count} orders are confirmed: {report}");
        let sent = self.sum("shipping", "/shipments", "shipments", "orderId", |_| Some(1))?;
        ensure!(sent == count, "{sent} shipments of {count} orders");
        let paid = |row: &Value| if confirmed(row) { row["totalCents"].as_i64() } else { Some(0) };
        let cents =
            self.sum("order", "/orders", "orders", "orderId", paid)? + number("balanceCents")?;
        let had = lines(&orders.join("accounts.jsonl"), "balanceCents")?;
        ensure!(cents == had, "money: {cents} cents of {had}");
        let pieces =
            |row: &Value| {
                let lines = row["lines"].as_array().filter(|_| confirmed(row));
                Some(lines.map_or(0, |lines| {
                    lines.iter().filter_map(|line| line["quantity"].as_i64()).sum()
                }))
            };
        let pieces =
            self.sum("order", "/orders", "orders", "orderId", pieces)? + number("stockPieces")?;
        let had = lines(&orders.join("stock.jsonl"), "onHand")?;
        ensure!(pieces == had, "stock: {pieces} pieces of {had}");
        self.reconcile()
    }

    /// Compares the services' barriers with the sagas. Retries while a killed process restarts.
    pub fn reconcile(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let compared = self
                .program()
                .args(["reconcile", "-o", "json"])
                .output()
                .context("run reconcile")?;
            if compared.status.success() {
                return Ok(());
            }
            let stdout = String::from_utf8_lossy(&compared.stdout);
            ensure!(stdout.is_empty(), "reconcile: {stdout}");
            let why = String::from_utf8_lossy(&compared.stderr);
            ensure!(begun.elapsed() < READY_MAX, "reconcile: {why}");
            std::thread::sleep(POLL);
        }
    }

    /// Sums a value over all rows of a service, page by page.
    fn sum(
        &self,
        name: &str,
        path: &str,
        what: &str,
        key: &str,
        of: impl Fn(&Value) -> Option<i64>,
    ) -> Result<i64> {
        let (mut sum, mut after) = (0, String::new());
        loop {
            let answer = self.get_patiently(
                name,
                &format!("{path}?limit=1000&after={}", after.replace(' ', "%20")),
            )?;
            let page: Value =
                serde_json::from_str(&answer).with_context(|| format!("{name}: {answer}"))?;
            let rows = page[what].as_array().with_context(|| format!("no {what} in {answer}"))?;
            sum += rows.iter().filter_map(&of).sum::<i64>();
            match page["next"].as_str() {
                Some(_) => {
                    after = rows
                        .last()
                        .and_then(|last| last[key].as_str())
                        .unwrap_or_default()
                        .to_owned()
                }
                None => return Ok(sum),
            }
        }
    }
}

/// Sums one field over a file of JSON lines.
fn lines(file: &Path, field: &str) -> Result<i64> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let mut sum = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let row: Value =
            serde_json::from_str(line).with_context(|| format!("{}: {line}", file.display()))?;
        sum += row[field].as_i64().with_context(|| format!("no {field} in {line}"))?;
    }
    Ok(sum)
}
