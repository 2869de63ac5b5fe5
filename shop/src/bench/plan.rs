//! The saga that is measured: four steps over the shop's own services, and inputs of which one step refuses what is
//! wanted. Customers and products are many, so that no row is hotter than a busy shop's.

use anyhow::{Context, Result};
use sagamore::core::Definition;
use sagamore::core::definition::Draft;
use serde_json::json;

use super::RefuseAt;
use crate::inventory::Delivery;
use crate::payment::Account;
use crate::shipping::Destination;
use crate::{Databases, form, inventory, payment, shipping};

/// The definition's name.
pub const NAME: &str = "bench";
/// The variable that adds the benchmark's saga to the program.
pub const VARIABLE: &str = "SHOP_BENCH";
/// How many customers and how many products there are.
const SPREAD: u64 = 1_000;
/// The customer of number 0 to `SPREAD` - 1 has more than any run can spend; this one has nothing.
const POOR: &str = "POOR";
/// Likewise the product that is not there.
const GONE: &str = "GONE";
/// Where nobody delivers.
const NOWHERE: &str = "Atlantis";
/// Where everybody delivers.
const SOMEWHERE: &str = "Germany";

/// Create order -> charge payment -> reserve stock -> schedule shipment, which is the pivot and the last.
pub fn definition() -> Result<Definition> {
    let draft: Draft = serde_json::from_value(json!({
        "name": NAME,
        "version": 1,
        "input": ["orderId", "customerId", "lines", "shipTo"],
        "steps": [
            {
                "name": "create-order",
                "kind": "compensatable",
                "action": {
                    "participant": "order",
                    "message": "order.create",
                    "fields": {
                        "orderId": "input.orderId", "customerId": "input.customerId", "lines": "input.lines"
                    }
                },
                "compensation": { "participant": "order", "message": "order.cancel" },
                "yields": ["orderId", "totalCents"]
            },
            {
                "name": "charge-payment",
                "kind": "compensatable",
                "action": {
                    "participant": "payment",
                    "message": "payment.charge",
                    "fields": {
                        "orderId": "input.orderId",
                        "customerId": "input.customerId",
                        "amountCents": "create-order.totalCents"
                    }
                },
                "compensation": { "participant": "payment", "message": "payment.refund" }
            },
            {
                "name": "reserve-stock",
                "kind": "compensatable",
                "action": {
                    "participant": "inventory",
                    "message": "inventory.reserve",
                    "fields": { "orderId": "input.orderId", "lines": "input.lines" }
                },
                "compensation": { "participant": "inventory", "message": "inventory.release" }
            },
            {
                "name": "schedule-shipment",
                "kind": "pivot",
                "action": {
                    "participant": "shipping",
                    "message": "shipping.schedule",
                    "fields": { "orderId": "input.orderId", "shipTo": "input.shipTo" }
                }
            }
        ]
    }))
    .context("read the benchmark's definition")?;
    Definition::try_from(draft)
        .map_err(|error| anyhow::anyhow!("the benchmark's definition: {error}"))
}

/// Accounts, shelves and destinations.
pub struct Rows {
    pub accounts: Vec<Account>,
    pub products: Vec<Delivery>,
    pub destinations: Vec<Destination>,
}

/// What the services are loaded with.
pub fn rows() -> Rows {
    let account = |id: String, balance_cents: i64| Account {
        name: format!("Customer {id}"),
        customer_id: id,
        balance_cents,
    };
    let product =
        |sku: String, on_hand: i64| Delivery { name: format!("Product {sku}"), sku, on_hand };
    let mut accounts = vec![account(POOR.into(), 0)];
    let mut products = vec![product(GONE.into(), 0)];
    for n in 0..SPREAD {
        accounts.push(account(format!("C{n}"), form::CENTS_MAX));
        products.push(product(format!("S{n}"), form::PIECES_MAX));
    }
    let destinations = [(SOMEWHERE, true), (NOWHERE, false)]
        .map(|(country, served)| Destination { country: country.into(), served });
    Rows { accounts, products, destinations: destinations.into() }
}

/// Opens the accounts, fills the shelves and says where carriers go.
pub async fn load(shop: &Databases) -> Result<(), crate::Error> {
    let Rows { accounts, products, destinations } = rows();
    payment::load(&shop.payment, &accounts).await?;
    inventory::load(&shop.inventory, &products).await?;
    shipping::load(&shop.shipping, &destinations).await?;
    Ok(())
}

/// The input of saga number `n`.
pub fn input(key: &str, n: u64, refuse_at: Option<RefuseAt>) -> String {
    let (mut customer, mut sku, mut country) =
        (format!("C{}", n % SPREAD), format!("S{}", n * 7 % SPREAD), SOMEWHERE);
    match refuse_at {
        Some(RefuseAt::ChargePayment) => POOR.clone_into(&mut customer),
        Some(RefuseAt::ReserveStock) => GONE.clone_into(&mut sku),
        Some(RefuseAt::ScheduleShipment) => country = NOWHERE,
        None => {}
    }
    format!(
        r#"{{"orderId":"{key}","customerId":"{customer}","lines":[{{"sku":"{sku}","quantity":2,"unitPriceCents":1250}}],"shipTo":{{"name":"A","address":"Street 1","city":"B","region":null,"postalCode":"1","country":"{country}"}}}}"#
    )
}

/// How many actions and compensations a saga with this outcome has run; the refused action ran as well.
pub fn runs(refuse_at: Option<RefuseAt>) -> u64 {
    match refuse_at {
        None => 4,
        Some(RefuseAt::ChargePayment) => 2 + 1,
        Some(RefuseAt::ReserveStock) => 3 + 2,
        Some(RefuseAt::ScheduleShipment) => 4 + 3,
    }
}
