//! The checkout as an orchestrated saga: create the order, charge, reserve, ship and confirm, or
//! undo all of it.

use sagamore::core::{Definition, Name, definition};

use crate::form::Order;
use crate::inventory::{Release, ReserveFrom};
use crate::order::{Cancel, ConfirmFrom, CreateFrom};
use crate::payment::{ChargeFrom, Refund};
use crate::shipping::ScheduleFrom;

/// The definition's name.
pub const NAME: &str = "checkout";

/// Returns the definition's name as a [`Name`].
pub fn name() -> Name {
    Name::new(NAME).expect("the name is valid")
}

/// Returns the definition. The pivot is `schedule-shipment`: once it is sent, the saga only goes
/// forward, unless the service refuses it.
pub fn checkout() -> Result<Definition, definition::Error> {
    let mut saga = Definition::named(NAME).version(1);
    let order = saga.checked_input(Order::check_of);

    let created = saga
        .step("create-order")
        .sends(CreateFrom {
            order_id: order.order_id,
            customer_id: order.customer_id,
            lines: order.lines,
        })
        .undone_by::<Cancel>()
        .yields();

    saga.step("charge-payment")
        .sends(ChargeFrom {
            order_id: order.order_id,
            customer_id: order.customer_id,
            amount_cents: created.total_cents,
        })
        .undone_by::<Refund>();

    saga.step("reserve-stock")
        .sends(ReserveFrom { order_id: order.order_id, lines: order.lines })
        .undone_by::<Release>();

    let shipment = saga
        .pivot("schedule-shipment")
        .sends(ScheduleFrom { order_id: order.order_id, ship_to: order.ship_to })
        .yields();

    saga.retriable("confirm-order")
        .sends(ConfirmFrom { order_id: order.order_id, tracking: shipment.tracking });

    saga.build()
}
