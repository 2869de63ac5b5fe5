//! The order form, the checkout's input, with its checks and bounds.

use sagamore::core::id::{KEY_BYTES_MAX, check_dots};
use sagamore::sdk::Message;
use serde::{Deserialize, Serialize};

mod strict;

/// Maximum of any amount of money, in cents: 10^15. JavaScript represents it exactly, and sums do
/// not overflow.
pub const CENTS_MAX: i64 = 1_000_000_000_000_000;
/// Maximum of any number of pieces.
pub const PIECES_MAX: i64 = 1_000_000_000_000;
/// Maximum lines of an order.
pub const LINES_MAX: usize = 1_000;
/// Maximum length of a name or a line of an address, in bytes.
pub const TEXT_BYTES_MAX: usize = 500;

/// An order, as a customer places it.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
pub struct Order {
    /// The order's id, and the business key of its saga.
    pub order_id: String,
    /// The customer whose account is charged.
    pub customer_id: String,
    /// The ordered products. Several lines may have the same sku.
    pub lines: Vec<Line>,
    /// The delivery address.
    pub ship_to: ShipTo,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// The product.
    pub sku: String,
    /// The number of pieces, at least one.
    pub quantity: i64,
    /// The price of one piece, in cents.
    pub unit_price_cents: i64,
}

/// A delivery address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShipTo {
    /// The recipient.
    pub name: String,
    /// Street and number.
    pub address: String,
    /// The city.
    pub city: String,
    /// The region, if the country's addresses have one.
    #[serde(default)]
    pub region: Option<String>,
    /// The postal code, if the country's addresses have one.
    #[serde(default)]
    pub postal_code: Option<String>,
    /// The country, which decides whether a carrier delivers.
    pub country: String,
}

impl From<strict::Order> for Order {
    fn from(order: strict::Order) -> Order {
        let strict::Order { order_id, customer_id, lines, ship_to, .. } = order;
        let strict::ShipTo { name, address, city, region, postal_code, country } = ship_to;
        let line = |strict::Line { sku, quantity, unit_price_cents }| Line {
            sku,
            quantity,
            unit_price_cents,
        };
        Order {
            order_id,
            customer_id,
            lines: lines.into_iter().map(line).collect(),
            ship_to: ShipTo { name, address, city, region, postal_code, country },
        }
    }
}

impl Order {
    /// Checks the order as the input of the saga with this business key. The error names the field.
    pub(crate) fn check_of(key: &str, order: &Order) -> Result<(), String> {
        match order.order_id == key {
            true => order.check(),
            false => {
                Err(format!("orderId: is '{}', and the business key is '{key}'", order.order_id))
            }
        }
    }

    /// Reads a customer's order. Rejects unknown fields, unlike messages between services.
    pub fn read(json: &[u8]) -> Result<Order, serde_json::Error> {
        serde_json::from_slice::<strict::Order>(json).map(Order::from)
    }

    /// Checks the order by itself. The error names the field.
    pub fn check(&self) -> Result<(), String> {
        identifier("orderId", &self.order_id)?;
        check_dots(&self.order_id).map_err(|why| format!("orderId: {why}"))?;
        identifier("customerId", &self.customer_id)?;
        total_cents(&self.lines)?;
        self.ship_to.check()
    }
}

impl ShipTo {
    /// Checks the address for storage. The error names the field.
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

/// Returns the total of the lines in cents. The error names the line and the field.
pub fn total_cents(lines: &[Line]) -> Result<i64, String> {
    if lines.is_empty() {
        return Err("lines: is empty, and an order needs at least one line".to_owned());
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

/// Checks a text that identifies something: not empty, at most [`KEY_BYTES_MAX`] bytes, no control
/// characters.
pub(crate) fn identifier(field: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err(format!("{field}: is empty"));
    }
    if value.len() > KEY_BYTES_MAX {
        return Err(format!("{field}: is longer than {KEY_BYTES_MAX} bytes"));
    }
    without(field, value, char::is_control)
}

/// Checks a free text: at most [`TEXT_BYTES_MAX`] bytes, no control characters except line breaks,
/// which old addresses have.
pub(crate) fn text(field: &str, value: &str) -> Result<(), String> {
    if value.len() > TEXT_BYTES_MAX {
        return Err(format!("{field}: is longer than {TEXT_BYTES_MAX} bytes"));
    }
    without(field, value, |letter| letter.is_control() && letter != '\n' && letter != '\r')
}

/// Checks a number against inclusive bounds.
pub(crate) fn within(field: &str, value: i64, min: i64, max: i64) -> Result<(), String> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(format!("{field}: {value} is not from {min} to {max}"))
    }
}

fn without(field: &str, value: &str, control: impl Fn(char) -> bool) -> Result<(), String> {
    if value.chars().any(control) {
        Err(format!("{field}: contains a control character"))
    } else {
        Ok(())
    }
}
