//! The invariants of a campaign, read from the databases in one snapshot and compared with the
//! clients' responses.

mod effects;
mod history;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::load::Ledger;
use crate::site::Site;

/// The time limit for all sagas to end after the last fault.
pub(super) const REST_MAX: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(500);

/// Money and stock at the start.
#[derive(Clone, Copy, Debug)]
pub struct Stock {
    /// Cents in all accounts.
    pub cents: i64,
    /// Pieces of all products.
    pub pieces: i64,
}

/// Checks the totals of money and stock in one consistent snapshot. They are constant at any time.
pub fn snapshot(site: &Site, begun_with: Stock, ledger: &Ledger) -> Result<()> {
    let (account, charge) = (site.table("payment", "account"), site.table("payment", "charge"));
    let cents = number(&site.sql(&format!(
        "SELECT (SELECT sum(balance_cents) FROM {account})
            + (SELECT coalesce(sum(amount_cents), 0) FROM {charge} WHERE NOT refunded)"
    ))?)?;
    if cents != begun_with.cents {
        let name = if cents > begun_with.cents { "money-created" } else { "money-lost" };
        ledger.violate(format!("{name}: {cents} cents of {}", begun_with.cents));
    }
    let stock = site.table("inventory", "stock");
    let pieces = number(&site.sql(&format!("SELECT sum(on_hand) + sum(reserved) FROM {stock}"))?)?;
    if pieces != begun_with.pieces {
        ledger.violate(format!("stock-leak: {pieces} pieces of {}", begun_with.pieces));
    }
    ledger.count("snapshots checked");
    Ok(())
}

/// Waits until all sagas have ended and returns the time this took. Exceeding the limit is a
/// violation.
pub fn comes_to_rest(site: &Site, limit: Duration, ledger: &Ledger) -> Result<Duration> {
    let saga = site.table("engine", "saga");
    let begun = Instant::now();
    loop {
        let open = site.sql(&format!(
            "SELECT id || ' ' || status FROM {saga} WHERE ended_at IS NULL LIMIT 5"
        ))?;
        if open.is_empty() {
            return Ok(begun.elapsed());
        }
        if begun.elapsed() > limit {
            ledger.violate(format!(
                "lost-saga: not at rest {} s after the last fault: {open}",
                limit.as_secs()
            ));
            return Ok(begun.elapsed());
        }
        std::thread::sleep(POLL);
    }
}

/// Checks every invariant of a system at rest. Returns the number of sagas by status.
pub fn finally(site: &Site, ledger: &Ledger) -> Result<BTreeMap<String, u64>> {
    let saga = site.table("engine", "saga");
    let rows = site.sql(&format!("SELECT substr(id, 10) || ' ' || status FROM {saga}"))?;
    let status: BTreeMap<&str, &str> =
        rows.lines().filter_map(|line| line.split_once(' ')).collect();
    promises_hold(&status, ledger);
    for (name, what, sql) in effects::all(site) {
        let offenders = site.sql(&format!("{sql} LIMIT 5"))?;
        if !offenders.is_empty() {
            ledger.violate(format!("{name}: {what}: {}", offenders.replace('\n', ", ")));
        }
        ledger.count("conditions on effects checked");
    }
    history::check(site, ledger)?;
    let mut counts = BTreeMap::new();
    status.values().for_each(|status| *counts.entry((*status).to_owned()).or_insert(0) += 1);
    Ok(counts)
}

/// Checks that every accepted order exists, with the outcome that a client received.
fn promises_hold(status: &BTreeMap<&str, &str>, ledger: &Ledger) {
    for (id, promise) in ledger.promises() {
        match (status.get(id.as_str()), &promise.outcome) {
            (None, _) if promise.accepted => {
                ledger.violate(format!("ack-before-durable: {id} was accepted but does not exist"))
            }
            (Some(now), Some(outcome)) if now != outcome => {
                ledger.violate(format!(
                    "split-outcome: a client received {outcome} for {id}, but it is {now}"
                ));
            }
            _ => {}
        }
    }
}

/// The last known ownership epochs, which only rise.
#[derive(Default)]
pub struct Epochs(BTreeMap<String, i64>);

impl Epochs {
    /// Compares the epochs with those of the last call. Returns the number of risen ones.
    pub fn compare(&mut self, site: &Site, ledger: &Ledger) -> Result<u64> {
        let ownership = site.table("engine", "ownership");
        let rows = site.sql(&format!("SELECT reply_partition || ' ' || epoch FROM {ownership}"))?;
        let mut rises = 0;
        for (partition, epoch) in rows.lines().filter_map(|line| line.split_once(' ')) {
            let epoch: i64 = epoch.parse().context("an epoch is a number")?;
            let before = self.0.insert(partition.to_owned(), epoch);
            match before {
                Some(before) if before > epoch => {
                    ledger.violate(format!(
                        "zombie-write: the epoch of partition {partition} fell from {before} to \
                         {epoch}"
                    ));
                }
                Some(before) if before < epoch => rises += 1,
                _ => {}
            }
        }
        Ok(rises)
    }
}

fn number(text: &str) -> Result<i64> {
    ensure!(!text.is_empty(), "the database returned no number");
    text.parse().with_context(|| format!("'{text}' is not a number"))
}
