//! The stock: loaded once, read by the HTTP API.

use sagamore::database::{Row, Text};
use sagamore::sdk::Database;
use serde::{Deserialize, Serialize};

use crate::rows::{Error, insert};
use crate::{form, sample};

/// The opening stock of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delivery {
    /// The product's sku.
    pub sku: String,
    /// The product's name.
    pub name: String,
    /// The number of pieces.
    pub on_hand: i64,
}

/// The current stock of a product.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// The product's sku.
    pub sku: String,
    /// The product's name.
    pub name: String,
    /// Available pieces, never negative.
    pub on_hand: i64,
    /// Pieces that are reserved for orders or were shipped with them.
    pub reserved: i64,
}

impl Delivery {
    /// Checks the delivery. The error names the field.
    pub fn check(&self) -> Result<(), String> {
        form::identifier("sku", &self.sku)?;
        form::text("name", &self.name)?;
        form::within("onHand", self.on_hand, 0, form::PIECES_MAX)
    }
}

impl Product {
    fn read(row: &Row) -> Result<Product, Error> {
        Ok(Product {
            sku: row.get(0)?,
            name: row.get(1)?,
            on_hand: row.get(2)?,
            reserved: row.get(3)?,
        })
    }
}

/// Adds new products, keeps existing ones unchanged, and returns the number of new ones.
pub async fn load(database: &Database, deliveries: &[Delivery]) -> Result<u64, Error> {
    const SQL: &str = "INSERT INTO stock (sku, name, on_hand, reserved) VALUES ($1, $2, $3, 0) ON \
        CONFLICT (sku) DO NOTHING";
    let row = |delivery: &Delivery| {
        vec![(&delivery.sku).into(), (&delivery.name).into(), delivery.on_hand.into()]
    };
    insert(database, SQL, deliveries.iter().map(row).collect()).await
}

/// Returns the product with this sku.
pub async fn product(database: &Database, sku: &str) -> Result<Option<Product>, Error> {
    const SQL: &str = "SELECT sku, name, on_hand, reserved FROM stock WHERE sku = $1";
    let Ok(sku) = Text::new(sku) else { return Ok(None) };
    database.query(SQL, (sku,)).await?.first().map(Product::read).transpose()
}

/// Returns at most `limit` products with a sku above `after`, by sku. An empty `after` starts at
/// the first.
pub async fn stock(database: &Database, after: &str, limit: u32) -> Result<Vec<Product>, Error> {
    const SQL: &str =
        "SELECT sku, name, on_hand, reserved FROM stock WHERE sku > $1 ORDER BY sku LIMIT $2";
    database.query(SQL, (Text::beginning(after), limit)).await?.iter().map(Product::read).collect()
}

/// Returns the available pieces of all products except the sample's.
pub async fn pieces_on_hand(database: &Database) -> Result<i64, Error> {
    const SQL: &str = "SELECT CAST(COALESCE(SUM(on_hand), 0) AS BIGINT) FROM stock WHERE sku <> $1";
    let rows = database.query(SQL, (sample::SKU,)).await?;
    rows.first().map_or(Ok(0), |row| Ok(row.get(0)?))
}
