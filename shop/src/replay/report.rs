//! The outcome of a replay, counted from the databases.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use anyhow::Result;
use sagamore::core::id::Name;
use sagamore::core::saga::Status;
use sagamore::engine::{Filter, Handle};
use serde::Serialize;

use super::folder::Folder;
use crate::checkout;
use crate::databases::Databases;
use crate::output::outln;
use crate::{inventory, payment};

/// Sagas per page.
pub const PAGE: u32 = 500;

/// Counts of the folder's orders, and sums of balances and stock without the sample's.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    orders: usize,
    completed: usize,
    compensated: usize,
    stuck: usize,
    failed_at: BTreeMap<String, usize>,
    /// The sum of all balances, in cents.
    pub balance_cents: i64,
    /// The sum of all pieces on hand.
    pub stock_pieces: i64,
    seconds: f64,
}

/// Counts the stored sagas and sums the stored rows.
pub async fn make(
    handle: &Handle,
    databases: &Databases,
    folder: &Folder,
    took: Duration,
) -> Result<Report> {
    let ours: HashSet<&str> = folder.orders.iter().map(|order| order.key.as_str()).collect();
    let mut report = Report::after(took);
    let mut filter =
        Filter { definition: Some(checkout::name()), limit: Some(PAGE), ..Filter::default() };
    loop {
        let page = handle.list(&filter).await?;
        for header in page.sagas.iter().filter(|header| ours.contains(header.id.key())) {
            report.count(header.status, header.failed_at.as_ref().map(Name::as_str));
        }
        match page.next {
            Some(next) => filter.before = Some(next),
            None => break,
        }
    }
    report.balance_cents = payment::balance_cents(&databases.payment).await?;
    report.stock_pieces = inventory::pieces_on_hand(&databases.inventory).await?;
    Ok(report)
}

impl Report {
    /// Returns a report without any saga.
    pub fn after(took: Duration) -> Report {
        Report { seconds: (took.as_secs_f64() * 1000.0).round() / 1000.0, ..Report::default() }
    }

    /// Counts one saga.
    pub fn count(&mut self, status: Status, failed_at: Option<&str>) {
        self.orders += 1;
        match status {
            Status::Completed => self.completed += 1,
            Status::Compensated => {
                self.compensated += 1;
                *self.failed_at.entry(failed_at.unwrap_or("none").to_owned()).or_default() += 1;
            }
            Status::Stuck => self.stuck += 1,
            Status::Running | Status::Compensating => {}
        }
    }

    /// Prints the table.
    pub fn print(&self) {
        outln!("{} orders in {} s", self.orders, self.seconds);
        outln!("  completed    {:>10}", self.completed);
        outln!("  compensated  {:>10}", self.compensated);
        for (step, count) in &self.failed_at {
            outln!("    at {step:<20} {count}");
        }
        outln!("  stuck        {:>10}", self.stuck);
        outln!("  balances     {:>10} cents", self.balance_cents);
        outln!("  stock        {:>10} pieces", self.stock_pieces);
    }
}
