//! A folder of JSON lines: accounts, stock, destinations, orders. A bad line is reported and has no
//! effect.

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

/// The rows of a folder.
pub struct Folder {
    /// The orders, in file order.
    pub orders: Vec<PlacedLine>,
    /// The rejected lines.
    pub bad: Vec<BadLine>,
    pub accounts: Vec<Account>,
    pub stock: Vec<Delivery>,
    pub destinations: Vec<Destination>,
}

/// A line of `orders.jsonl`.
pub struct PlacedLine {
    /// The line's number, from 1.
    pub line: u64,
    /// The order's id.
    pub key: String,
    /// The input of its saga.
    pub input: Body,
}

impl Folder {
    /// Reads the four files, which must all exist.
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

    /// Loads new rows. Existing rows stay unchanged.
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
    /// Returns the line as a rejected one.
    pub fn bad(&self, reason: String) -> BadLine {
        BadLine { file: Order::FILE.to_owned(), line: self.line, reason }
    }
}

/// Returns the valid rows of a file with their line numbers.
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
