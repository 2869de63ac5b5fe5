//! The benchmark's saga: four steps over the shop's services, and inputs that one step may refuse.
//! Many customers and products avoid hot rows.

use anyhow::{Context, Result};
use sagamore::clap::{self, ValueEnum};
use sagamore::core::Definition;
use sagamore::core::definition::Draft;
use serde_json::json;

use crate::inventory::Delivery;
use crate::payment::Account;
use crate::shipping::Destination;
use crate::{Databases, form, inventory, payment, shipping};

/// The definition's name.
pub const NAME: &str = "bench";
/// The environment variable that registers the benchmark's saga as well.
pub const VARIABLE: &str = "SHOP_BENCH";
/// The number of customers, and of products.
const SPREAD: u64 = 1_000;
/// A customer without money. Customers 0 to `SPREAD - 1` have more than any run spends.
const POOR: &str = "POOR";
/// A product without stock.
const GONE: &str = "GONE";
/// A country without delivery.
const NOWHERE: &str = "Atlantis";
/// A country with delivery.
const SOMEWHERE: &str = "Germany";

/// The steps of the benchmark's saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RefuseAt {
    ChargePayment,
    ReserveStock,
    /// The pivot, and the last step.
    ScheduleShipment,
}

/// Returns the definition: create order, charge payment, reserve stock, schedule shipment (the
/// pivot).
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
                        "orderId": "input.orderId",
                        "customerId": "input.customerId",
                        "lines": "input.lines"
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

/// Rows for the services' tables.
pub struct Rows {
    pub accounts: Vec<Account>,
    pub products: Vec<Delivery>,
    pub destinations: Vec<Destination>,
}

/// Returns the rows that the benchmark needs.
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

/// Loads the benchmark's rows into the services' databases.
pub async fn load(shop: &Databases) -> Result<(), crate::Error> {
    let Rows { accounts, products, destinations } = rows();
    payment::load(&shop.payment, &accounts).await?;
    inventory::load(&shop.inventory, &products).await?;
    shipping::load(&shop.shipping, &destinations).await?;
    Ok(())
}

/// Returns the input of saga number `n`.
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
        concat!(
            r#"{{"orderId":"{}","customerId":"{}","#,
            r#""lines":[{{"sku":"{}","quantity":2,"unitPriceCents":1250}}],"#,
            r#""shipTo":{{"name":"A","address":"Street 1","city":"B","region":null,"#,
            r#""postalCode":"1","country":"{}"}}}}"#
        ),
        key, customer, sku, country
    )
}

/// Returns the number of actions and compensations of a saga with this outcome, including the
/// refused action.
pub fn runs(refuse_at: Option<RefuseAt>) -> u64 {
    match refuse_at {
        None => 4,
        Some(RefuseAt::ChargePayment) => 2 + 1,
        Some(RefuseAt::ReserveStock) => 3 + 2,
        Some(RefuseAt::ScheduleShipment) => 4 + 3,
    }
}
