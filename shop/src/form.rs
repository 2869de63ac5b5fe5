//! The order as a customer fills it in: what the checkout is started with. What a good one looks like, and its bounds.

use sagamore::core::id::{KEY_BYTES_MAX, check_dots};
use sagamore::sdk::Message;
use serde::{Deserialize, Serialize};

mod strict;

/// The most money in any one place, in cents: ten million million. JavaScript can still hold it, and sums do not overflow.
pub const CENTS_MAX: i64 = 1_000_000_000_000_000;
/// The most pieces in any one place.
pub const PIECES_MAX: i64 = 1_000_000_000_000;
/// The most lines of an order.
pub const LINES_MAX: usize = 1_000;
/// The longest name or line of an address, in bytes.
pub const TEXT_BYTES_MAX: usize = 500;

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
pub struct Order {
    /// The business key of its saga.
    pub order_id: String,
    /// Whose account is charged.
    pub customer_id: String,
    /// What is ordered; a sku may stand in several lines.
    pub lines: Vec<Line>,
    /// Where it goes.
    pub ship_to: ShipTo,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// What.
    pub sku: String,
    /// How many pieces, at least one.
    pub quantity: i64,
    /// For how much apiece, in cents.
    pub unit_price_cents: i64,
}

/// An address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShipTo {
    /// Who takes it in.
    pub name: String,
    /// Street and number.
    pub address: String,
    /// The city.
    pub city: String,
    /// The region, where addresses have one.
    #[serde(default)]
    pub region: Option<String>,
    /// The postal code, where addresses have one.
    #[serde(default)]
    pub postal_code: Option<String>,
    /// Decides whether a carrier goes there.
    pub country: String,
}

impl Order {
    /// Whether a saga with this business key may be about the order; else what is wrong, in words.
    pub(crate) fn check_of(key: &str, order: &Order) -> Result<(), String> {
        match order.order_id == key {
            true => order.check(),
            false => {
                Err(format!("orderId: is '{}', and the business key is '{key}'", order.order_id))
            }
        }
    }

    /// Reads an order of a customer: unlike a message between services it has no field that is not known.
    pub fn read(json: &[u8]) -> Result<Order, serde_json::Error> {
        strict::read(json)
    }

    /// Whether the order makes sense by itself; else what is wrong with it, in words.
    pub fn check(&self) -> Result<(), String> {
        identifier("orderId", &self.order_id)?;
        check_dots(&self.order_id).map_err(|why| format!("orderId: {why}"))?;
        identifier("customerId", &self.customer_id)?;
        total_cents(&self.lines)?;
        self.ship_to.check()
    }
}

impl ShipTo {
    /// Whether it can be kept like this; else what is wrong with it, in words.
    pub(crate) fn check(&self) -> Result<(), String> {
        let ShipTo { name, address, city, region, postal_code, country } = self;
        text("shipTo.name", name)?;
        text("shipTo.address", address)?;
        text("shipTo.city", city)?;
        text("shipTo.region", region.as_deref().unwrap_or_default())?;
        text("shipTo.postalCode", postal_code.as_deref().unwrap_or_default())?;
        identifier("shipTo.country", country)
    }
}

/// What the lines cost together, in cents; else what is wrong with them, in words.
pub fn total_cents(lines: &[Line]) -> Result<i64, String> {
    if lines.is_empty() {
        return Err("lines: an order has at least one".to_owned());
    }
    if lines.len() > LINES_MAX {
        return Err(format!("lines: {} are more than {LINES_MAX}", lines.len()));
    }
    lines.iter().enumerate().try_fold(0, |total: i64, (index, line)| {
        let at = |reason: String| format!("lines[{index}].{reason}");
        line.check().map_err(at)?;
        let sum = line
            .quantity
            .checked_mul(line.unit_price_cents)
            .and_then(|cents| total.checked_add(cents));
        sum.filter(|sum| *sum <= CENTS_MAX)
            .ok_or_else(|| format!("lines: the total is more than {CENTS_MAX} cents"))
    })
}

impl Line {
    fn check(&self) -> Result<(), String> {
        identifier("sku", &self.sku)?;
        within("quantity", self.quantity, 1, PIECES_MAX)?;
        within("unitPriceCents", self.unit_price_cents, 0, CENTS_MAX)
    }
}

/// A text that names something: not empty, not long, without control characters.
pub(crate) fn identifier(field: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err(format!("{field}: is empty"));
    }
    if value.len() > KEY_BYTES_MAX {
        return Err(format!("{field}: is longer than {KEY_BYTES_MAX} bytes"));
    }
    without(field, value, char::is_control)
}

/// A text for people: not long, without control characters but line breaks, which stand in old addresses.
pub(crate) fn text(field: &str, value: &str) -> Result<(), String> {
    if value.len() > TEXT_BYTES_MAX {
        return Err(format!("{field}: is longer than {TEXT_BYTES_MAX} bytes"));
    }
    without(field, value, |letter| letter.is_control() && letter != '\n' && letter != '\r')
}

/// A figure with bounds.
pub(crate) fn within(field: &str, value: i64, min: i64, max: i64) -> Result<(), String> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(format!("{field}: {value} is not from {min} to {max}"))
    }
}

fn without(field: &str, value: &str, control: impl Fn(char) -> bool) -> Result<(), String> {
    if value.chars().any(control) {
        Err(format!("{field}: holds a control character"))
    } else {
        Ok(())
    }
}
