//! The order as a customer sends it. An unknown field is an error here. Messages between services
//! ignore it, because their versions may differ.

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Order {
    pub order_id: String,
    pub customer_id: String,
    pub lines: Vec<Line>,
    pub ship_to: ShipTo,
    /// A field of old order files, ignored.
    #[serde(default, rename = "placedOn")]
    _placed_on: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Line {
    pub sku: String,
    pub quantity: i64,
    pub unit_price_cents: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ShipTo {
    pub name: String,
    pub address: String,
    pub city: String,
    #[serde(default)]
    pub region: Option<String>,
    #[serde(default)]
    pub postal_code: Option<String>,
    pub country: String,
}
