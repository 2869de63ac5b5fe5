//! The real shop in the simulator: its data, its orders and its checks.

use sagamore_database::Database;
use sagamore_shop::inventory::Delivery;
use sagamore_shop::payment::Account;
use sagamore_shop::shipping::Destination;
use sagamore_shop::{Databases, Line, Order, ShipTo, inventory, payment, shipping};
use serde::Deserialize;

use futures_util::FutureExt;

use crate::checker::Audit;
use crate::rows::{get, read_rows};
use crate::style::Style;

const CUSTOMERS: [&str; 3] = ["ALFKI", "VINET", "HANAR"];
const SKUS: [&str; 3] = ["11", "42", "72"];
const COUNTRIES: [(&str, bool); 3] = [("France", true), ("Norway", true), ("Atlantis", false)];

/// The names of sagas and steps in an orchestrated shop and in a choreographed one.
const NAMES: [(&str, &str); 6] = [
    ("checkout:", "fulfilment:"),
    ("create-order", "create"),
    ("charge-payment", "charge"),
    ("reserve-stock", "reserve"),
    ("schedule-shipment", "schedule"),
    ("confirm-order", "confirm"),
];

/// The triggers of each service that report effects to the checker, with the orchestrated names.
const TRIGGERS: [&str; 4] = [
    "CREATE TRIGGER sim_1 AFTER INSERT ON orders BEGIN
     INSERT INTO sim_effect (saga, step, direction)
         VALUES ('checkout:' || NEW.order_id, 'create-order', 'action'); END;
     CREATE TRIGGER sim_2 AFTER UPDATE OF status ON orders WHEN NEW.status = 'cancelled' BEGIN
         INSERT INTO sim_effect (saga, step, direction)
         VALUES ('checkout:' || NEW.order_id, 'create-order', 'compensation'); END;
     CREATE TRIGGER sim_3 AFTER UPDATE OF status ON orders WHEN NEW.status = 'confirmed' BEGIN
         INSERT INTO sim_effect (saga, step, direction)
         VALUES ('checkout:' || NEW.order_id, 'confirm-order', 'action'); END;",
    "CREATE TRIGGER sim_1 AFTER INSERT ON charge BEGIN
     INSERT INTO sim_effect (saga, step, direction)
         VALUES ('checkout:' || NEW.order_id, 'charge-payment', 'action'); END;
     CREATE TRIGGER sim_2 AFTER UPDATE OF refunded ON charge BEGIN
     INSERT INTO sim_effect (saga, step, direction)
         VALUES ('checkout:' || NEW.order_id, 'charge-payment', 'compensation'); END;",
    "CREATE TRIGGER sim_1 AFTER INSERT ON reservation BEGIN
     INSERT INTO sim_effect (saga, step, direction)
         VALUES ('checkout:' || NEW.order_id, 'reserve-stock', 'action'); END;
     CREATE TRIGGER sim_2 AFTER UPDATE OF released ON reservation BEGIN
         INSERT INTO sim_effect (saga, step, direction)
         VALUES ('checkout:' || NEW.order_id, 'reserve-stock', 'compensation'); END;",
    "CREATE TRIGGER sim_1 AFTER INSERT ON shipment BEGIN
     INSERT INTO sim_effect (saga, step, direction)
         VALUES ('checkout:' || NEW.order_id, 'schedule-shipment', 'action'); END;",
];

#[derive(Deserialize)]
struct Pieces {
    sku: String,
    quantity: i64,
}

/// Creates tables, triggers and data. Returns the triggers and the check of each service.
pub fn prepare(
    databases: &Databases,
    style: Style,
    rng: &mut fastrand::Rng,
) -> Vec<(String, Audit)> {
    let accounts = CUSTOMERS.map(|customer| Account {
        customer_id: customer.to_owned(),
        name: customer.to_owned(),
        balance_cents: rng.i64(0..60_000),
    });
    let stock = SKUS.map(|sku| Delivery {
        sku: sku.to_owned(),
        name: sku.to_owned(),
        on_hand: rng.i64(0..40),
    });
    let destinations =
        COUNTRIES.map(|(country, served)| Destination { country: country.to_owned(), served });
    let load = async {
        databases.prepare().await.expect("create the shop's tables");
        payment::load(&databases.payment, &accounts).await.expect("load accounts");
        inventory::load(&databases.inventory, &stock).await.expect("load stock");
        shipping::load(&databases.shipping, &destinations).await.expect("load destinations");
    };
    load.now_or_never().expect("databases in memory never block");
    let cents = accounts.iter().map(|account| account.balance_cents).sum();
    let audits: [Audit; 4] = [
        Box::new(|_| None),
        Box::new(move |database| money(database, cents)),
        Box::new(move |database| pieces(database, &stock)),
        Box::new(|_| None),
    ];
    TRIGGERS.into_iter().map(|triggers| named(triggers, style)).zip(audits).collect()
}

fn named(triggers: &str, style: Style) -> String {
    match style {
        Style::Orchestrated => triggers.to_owned(),
        Style::Choreographed => {
            NAMES.iter().fold(triggers.to_owned(), |text, (directed, undirected)| {
                text.replace(directed, undirected)
            })
        }
    }
}

fn money(database: &Database, cents: i64) -> Option<(&'static str, String)> {
    let sql =
        "SELECT (SELECT SUM(balance_cents) FROM account), (SELECT MIN(balance_cents) FROM account),
        (SELECT COALESCE(SUM(amount_cents), 0) FROM charge WHERE refunded = FALSE)";
    let rows = read_rows(database, sql);
    let (balances, least, charged): (i64, i64, i64) =
        (get(&rows[0], 0), get(&rows[0], 1), get(&rows[0], 2));
    let sum = balances + charged;
    if least < 0 || sum < cents {
        return Some((
            "money-lost",
            format!("{balances} in accounts, {charged} charged, of {cents} cents"),
        ));
    }
    (sum > cents).then(|| {
        ("money-created", format!("{balances} in accounts, {charged} charged, of {cents} cents"))
    })
}

fn pieces(database: &Database, stock: &[Delivery]) -> Option<(&'static str, String)> {
    let mut reserved = Vec::<Pieces>::new();
    for row in read_rows(database, "SELECT pieces FROM reservation WHERE released = FALSE") {
        let pieces: String = get(&row, 0);
        reserved.extend(
            serde_json::from_str::<Vec<Pieces>>(&pieces)
                .expect("the reservation has a list of pieces"),
        );
    }
    for row in read_rows(database, "SELECT sku, on_hand FROM stock ORDER BY sku") {
        let (sku, on_hand): (String, i64) = (get(&row, 0), get(&row, 1));
        let taken: i64 =
            reserved.iter().filter(|pieces| pieces.sku == sku).map(|pieces| pieces.quantity).sum();
        let loaded = stock
            .iter()
            .find(|delivery| delivery.sku == sku)
            .map_or(0, |delivery| delivery.on_hand);
        if on_hand < 0 || on_hand + taken > loaded {
            return Some((
                "oversell",
                format!("{sku}: {on_hand} on hand, {taken} reserved, of {loaded}"),
            ));
        }
        if on_hand + taken < loaded {
            return Some((
                "stock-leak",
                format!("{sku}: {on_hand} on hand, {taken} reserved, of {loaded}"),
            ));
        }
    }
    None
}

/// Draws an order. Some are too expensive, some exceed the stock, and some have no carrier.
pub fn order(order_id: &str, rng: &mut fastrand::Rng) -> Order {
    let line = |rng: &mut fastrand::Rng| Line {
        sku: SKUS[rng.usize(0..SKUS.len())].to_owned(),
        quantity: rng.i64(1..10),
        unit_price_cents: rng.i64(100..2_000),
    };
    let lines = (0..rng.usize(1..4)).map(|_| line(rng)).collect();
    Order {
        order_id: order_id.to_owned(),
        customer_id: CUSTOMERS[rng.usize(0..CUSTOMERS.len())].to_owned(),
        lines,
        ship_to: ShipTo {
            name: "Vins et alcools Chevalier".to_owned(),
            address: "59 rue de l'Abbaye".to_owned(),
            city: "Reims".to_owned(),
            region: None,
            postal_code: None,
            country: COUNTRIES[rng.usize(0..COUNTRIES.len())].0.to_owned(),
        },
    }
}
