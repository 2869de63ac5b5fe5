//! The plan `shop`: an order is charged, and then shipped.

use sagamore_core::Plan;

/// Returns the plan.
pub fn plan() -> Plan {
    let plan = Plan::named("shop")
        .begins("order", "create", "order.created")
        .undone_on(["payment.failed", "shipping.failed"], "order.cancelled");
    let plan = plan
        .reaction("payment", "charge")
        .on(["order.created"])
        .emits(["payment.success"])
        .fails(["payment.failed"])
        .undone_on(["shipping.failed"], "payment.refunded");
    plan.pivot("shipping", "ship")
        .on(["payment.success"])
        .emits(["shipping.success"])
        .fails(["shipping.failed"])
        .build()
        .unwrap_or_else(|error| panic!("{error}"))
}
