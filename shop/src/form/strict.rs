//! The order as a customer sends it. An unknown field is an error here. Messages between services
//! ignore it, because their versions may differ.

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Order {
    order_id: String,
    customer_id: String,
    lines: Vec<Line>,
    ship_to: ShipTo,
    /// A field of old order files, ignored.
    #[serde(default, rename = "placedOn")]
    _placed_on: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    sku: String,
    quantity: i64,
    unit_price_cents: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ShipTo {
    name: String,
    address: String,
    city: String,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    postal_code: Option<String>,
    country: String,
}

pub(super) fn read(json: &[u8]) -> Result<super::Order, serde_json::Error> {
    let Order { order_id, customer_id, lines, ship_to, .. } = serde_json::from_slice(json)?;
    let ShipTo { name, address, city, region, postal_code, country } = ship_to;
    let line =
        |Line { sku, quantity, unit_price_cents }| super::Line { sku, quantity, unit_price_cents };
    Ok(super::Order {
        order_id,
        customer_id,
        lines: lines.into_iter().map(line).collect(),
        ship_to: super::ShipTo { name, address, city, region, postal_code, country },
    })
}
