//! What came of the orders, by what everybody says who has a part of it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Cast, POLL, READY_MAX, Replay, pairs};

/// When a replay does not end: what is open, and of each log.
const LINES_TOLD: usize = 12;

impl Cast<'_> {
    /// The report of a replay, once it has ended. When it does not, it is told where everybody stands.
    pub fn outcome(&self, replay: Replay, limit: Duration) -> Result<Value> {
        let report = replay.wait(limit);
        if report.is_err() {
            self.tell_where_it_stands();
        }
        report
    }

    /// What does not end, and the end of what each process said.
    fn tell_where_it_stands(&self) {
        if let Err(why) = self.tell_what_is_open() {
            println!("   what is open is not known: {why:#}");
        }
        for name in self.ports.keys() {
            let log = self.folder().and_then(|folder| {
                Ok(std::fs::read_to_string(folder.join(format!("{name}.log")))?)
            });
            let log = log.unwrap_or_else(|why| format!("{why:#}"));
            let lines: Vec<&str> = log.lines().collect();
            println!("   {name} said last:");
            lines[lines.len().saturating_sub(LINES_TOLD)..]
                .iter()
                .for_each(|line| println!("      {line}"));
        }
    }

    fn tell_what_is_open(&self) -> Result<()> {
        let listed = self
            .program()
            .args(["list", "-n", "500", "-o", "json"])
            .output()
            .context("run list")?;
        ensure!(listed.status.success(), "list: {}", String::from_utf8_lossy(&listed.stderr));
        let page: Value = serde_json::from_slice(&listed.stdout)?;
        let rows = page["sagas"].as_array().context("no sagas are listed")?;
        let is_open =
            |row: &&Value| !matches!(row["status"].as_str(), Some("completed" | "compensated"));
        let open: Vec<&Value> = rows.iter().filter(is_open).collect();
        println!("   of the {} youngest sagas {} are open:", rows.len(), open.len());
        open.iter().take(LINES_TOLD).for_each(|row| println!("      {row}"));
        Ok(())
    }

    /// What became of all orders that were ever placed.
    pub fn totals(&self) -> Result<Value> {
        let ended = "SELECT 'orders ' || count(*) FROM saga UNION ALL
            SELECT status || ' ' || count(*) FROM saga GROUP BY status";
        let counts = pairs(&self.ask_engine(ended)?);
        let count =
            |name: &str| counts.get(name).and_then(|count| count.parse::<i64>().ok()).unwrap_or(0);
        let cents = self.sum("payment", "/accounts", "accounts", "customerId", |row| {
            row["balanceCents"].as_i64()
        })?;
        let pieces =
            self.sum("inventory", "/stock", "stock", "sku", |row| row["onHand"].as_i64())?;
        Ok(serde_json::json!({
            "orders": count("orders"), "completed": count("completed"), "compensated": count("compensated"),
            "stuck": count("stuck"), "balanceCents": cents, "stockPieces": pieces,
        }))
    }

    /// Every saga has ended, each as all services say, and no cent and no piece is lost or doubled.
    pub fn balanced(&self, orders: &Path, report: &Value) -> Result<()> {
        let number =
            |name: &str| report[name].as_i64().with_context(|| format!("no {name} in {report}"));
        ensure!(number("stuck")? == 0, "stuck: {report}");
        ensure!(
            number("completed")? + number("compensated")? == number("orders")?,
            "not all have ended: {report}"
        );
        let confirmed = |row: &Value| row["status"] == "confirmed";
        let count = self
            .sum("order", "/orders", "orders", "orderId", |row| Some(i64::from(confirmed(row))))?;
        let pending =
            |row: &Value| Some(i64::from(row["status"] == "pending" || !row["lockedBy"].is_null()));
        ensure!(
            self.sum("order", "/orders", "orders", "orderId", pending)? == 0,
            "orders are left pending or locked"
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
        self.reconciled()
    }

    /// No service's barrier says anything else than the sagas do. Whoever has just been killed is waited for.
    fn reconciled(&self) -> Result<()> {
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
            let said = String::from_utf8_lossy(&compared.stdout);
            ensure!(said.is_empty(), "reconcile: {said}");
            let why = String::from_utf8_lossy(&compared.stderr);
            ensure!(begun.elapsed() < READY_MAX, "reconcile: {why}");
            std::thread::sleep(POLL);
        }
    }

    /// Adds something up over everything that a service keeps, page by page.
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

/// The sum of one field over a file of JSON lines.
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
