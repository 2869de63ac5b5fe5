//! A folder of JSON lines: accounts, stock, destinations, orders. A line is taken whole, or reported and left.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::import::{self, BadLine, Record};
use crate::inventory::{self, Delivery};
use crate::payment::{self, Account};
use crate::shipping::{self, Destination};
use crate::{Databases, Order};
use anyhow::{Context, Result};
use sagamore::core::Body;

/// What is in the folder.
pub struct Folder {
    /// The orders, in the order of the lines.
    pub orders: Vec<PlacedLine>,
    /// What could not be taken.
    pub bad: Vec<BadLine>,
    /// What the customers have.
    pub accounts: Vec<Account>,
    /// What the shelves have.
    pub stock: Vec<Delivery>,
    /// Where carriers go.
    pub destinations: Vec<Destination>,
}

/// One order.
pub struct PlacedLine {
    /// The line's number, from 1.
    pub line: u64,
    /// The order's id.
    pub key: String,
    /// What its saga is started with.
    pub input: Body,
}

impl Folder {
    /// Reads the four files; all of them must be there.
    pub fn read(path: &Path) -> Result<Folder> {
        let mut bad = Vec::new();
        let accounts = rows::<Account>(path, &mut bad)?.into_iter().map(|(_, row)| row).collect();
        let stock = rows::<Delivery>(path, &mut bad)?.into_iter().map(|(_, row)| row).collect();
        let destinations =
            rows::<Destination>(path, &mut bad)?.into_iter().map(|(_, row)| row).collect();
        let mut orders = Vec::new();
        for (line, order) in rows::<Order>(path, &mut bad)? {
            orders.push(PlacedLine { line, input: Body::of(&order)?, key: order.order_id });
        }
        Ok(Folder { orders, bad, accounts, stock, destinations })
    }

    /// Loads what is not there yet; what is there stays as it is.
    pub async fn load(&self, shop: &Databases) -> Result<()> {
        payment::load(&shop.payment, &self.accounts).await.context("load the accounts")?;
        inventory::load(&shop.inventory, &self.stock).await.context("load the stock")?;
        shipping::load(&shop.shipping, &self.destinations)
            .await
            .context("load the destinations")?;
        Ok(())
    }
}

impl PlacedLine {
    /// The line, as one that was not taken.
    pub fn bad(&self, reason: String) -> BadLine {
        BadLine { file: Order::FILE.to_owned(), line: self.line, reason }
    }
}

/// The good rows of a file with their lines' numbers.
fn rows<T: Record>(folder: &Path, bad: &mut Vec<BadLine>) -> Result<Vec<(u64, T)>> {
    let path = folder.join(T::FILE);
    let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    let mut rows = Vec::new();
    for (text, line) in BufReader::new(file).split(b'\n').zip(1..) {
        let text = text.with_context(|| format!("read {}", path.display()))?;
        match import::lines::<T, _>(T::FILE, text.as_slice()).next() {
            None => {}
            Some(Ok(row)) => rows.push((line, row)),
            Some(Err(wrong)) => bad.push(BadLine { line, ..wrong }),
        }
    }
    Ok(rows)
}
