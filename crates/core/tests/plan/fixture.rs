//! Two example plans: the shop's, and a trivial one.

use std::time::Duration;

use sagamore_core::{Name, Plan};
use serde_json::Value;

pub const DEADLINE_MS: u64 = 60_000;

/// The shop's plan: four services, of which all but the last have an undo.
pub fn shop() -> Plan {
    Plan::named("shop")
        .begins("order", "create", "order.created")
        .undone_on(["payment.failed", "inventory.failed", "shipping.failed"], "order.cancelled")
        .reaction("payment", "charge")
        .on(["order.created"])
        .emits(["payment.success"])
        .fails(["payment.failed"])
        .undone_on(["inventory.failed", "shipping.failed"], "payment.refunded")
        .reaction("inventory", "reserve")
        .on(["payment.success", "order.created"])
        .emits(["inventory.updated"])
        .fails(["inventory.failed"])
        .undone_on(["shipping.failed"], "inventory.released")
        .pivot("shipping", "ship")
        .on(["inventory.updated", "order.created"])
        .emits(["shipping.scheduled"])
        .fails(["shipping.failed"])
        .reaction("order", "confirm")
        .on(["shipping.scheduled"])
        .emits(["order.confirmed"])
        .deadline(Duration::from_millis(DEADLINE_MS))
        .overdue("shop.overdue")
        .build()
        .unwrap_or_else(|error| panic!("{error}"))
}

/// A trivial plan: a guest rings, and the host opens or is not at home.
pub fn visit() -> Plan {
    Plan::named("visit")
        .begins("guest", "ring", "bell.rung")
        .undone_on(["nobody.home"], "guest.gone")
        .reaction("host", "open")
        .on(["bell.rung"])
        .emits(["door.opened"])
        .fails(["nobody.home"])
        .build()
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Returns the shop's plan with the value at each pointer replaced or inserted.
pub fn shop_with(changes: &[(&str, Value)]) -> Plan {
    let mut plan = serde_json::to_value(shop()).unwrap();
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match plan.pointer_mut(parent).unwrap() {
            Value::Object(object) => drop(object.insert(key.into(), value.clone())),
            Value::Array(array) if key == "-" => array.push(value.clone()),
            Value::Array(array) => array[key.parse::<usize>().unwrap()] = value.clone(),
            other => panic!("{pointer} leads into {other}"),
        }
    }
    serde_json::from_value(plan).unwrap()
}

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}
