//! The checkout as scripts, one for each outcome.

use sagamore::core::saga::Status::{Compensated, Completed};
use sagamore::core::script::Script;
use sagamore::core::{Definition, definition::Kind};
use sagamore_shop::inventory::{Pieces, Release, Reserve, Reserved, Short};
use sagamore_shop::order::{Cancel, Confirm, Create, Created, Rejected, Status};
use sagamore_shop::payment::{Charge, Charged, Declined, Refund};
use sagamore_shop::shipping::{Schedule, Scheduled, Unshippable};
use sagamore_shop::{Line, Order, ShipTo, checkout, sample_order, services};

fn plan() -> Definition {
    checkout().expect("the definition is valid")
}

fn an_order(order_id: &str) -> Order {
    Order {
        order_id: order_id.into(),
        customer_id: "VINET".into(),
        lines: vec![Line { sku: "11".into(), quantity: 12, unit_price_cents: 1_400 }],
        ship_to: ShipTo {
            name: "Vins et alcools Chevalier".into(),
            address: "59 rue de l'Abbaye".into(),
            city: "Reims".into(),
            region: None,
            postal_code: Some("51100".into()),
            country: "France".into(),
        },
    }
}

fn created() -> Created {
    Created { order_id: "10248".into(), total_cents: 16_800 }
}

fn charged() -> Charged {
    Charged { order_id: "10248".into(), customer_id: "VINET".into(), amount_cents: 16_800 }
}

fn reserved() -> Reserved {
    Reserved { order_id: "10248".into(), pieces: vec![Pieces { sku: "11".into(), quantity: 12 }] }
}

fn scheduled() -> Scheduled {
    Scheduled { tracking: "TRACK-10248".into() }
}

fn a_checkout() -> Script {
    Script::given(plan(), an_order("10248"))
}

#[test]
fn a_valid_order_completes() {
    let Order { order_id, customer_id, lines, ship_to } = an_order("10248");
    a_checkout()
        .sends_exactly(Create {
            order_id: order_id.clone(),
            customer_id: customer_id.clone(),
            lines: lines.clone(),
        })
        .done(created())
        .sends_exactly(Charge { order_id: order_id.clone(), customer_id, amount_cents: 16_800 })
        .done(charged())
        .sends_exactly(Reserve { order_id: order_id.clone(), lines })
        .done(reserved())
        .sends_exactly(Schedule { order_id: order_id.clone(), ship_to })
        .done(scheduled())
        .sends_exactly(Confirm { order_id, tracking: "TRACK-10248".into() })
        .done(())
        .ends(Completed);
}

#[test]
fn an_invalid_order_needs_no_compensation() {
    a_checkout()
        .sends::<Create>()
        .refused(Rejected::InvalidOrder("lines: too many".into()))
        .ends(Compensated);
}

/// A refusal is final: the command is not resent, and compensation starts.
#[test]
fn a_customer_without_money_gets_no_order() {
    a_checkout()
        .sends::<Create>()
        .done(created())
        .sends_exactly(Charge {
            order_id: "10248".into(),
            customer_id: "VINET".into(),
            amount_cents: 16_800,
        })
        .refused(Declined::NotEnoughMoney)
        .undoes(Cancel)
        .done() // a refusal guarantees no effect, so nothing is refunded
        .ends(Compensated);
}

#[test]
fn a_charge_is_refunded_when_stock_is_short() {
    a_checkout()
        .sends::<Create>()
        .done(created())
        .sends::<Charge>()
        .done(charged())
        .sends::<Reserve>()
        .refused(Short::OutOfStock { sku: "11".into() })
        .undoes(Refund)
        .done()
        .undoes(Cancel)
        .done()
        .ends(Compensated);
}

#[test]
fn a_refused_shipment_undoes_all_steps_in_reverse() {
    before_the_shipment()
        .sends::<Schedule>()
        .refused(Unshippable::NoCarrier { country: "Ireland".into() })
        .undoes(Release)
        .done()
        .undoes(Refund)
        .done()
        .undoes(Cancel)
        .done()
        .ends(Compensated);
}

#[test]
fn a_charge_without_a_reply_is_resent_and_applied_once() {
    a_checkout()
        .sends::<Create>()
        .done(created())
        .sends::<Charge>()
        .silence()
        .sends::<Charge>()
        .faults("connection lost")
        .sends::<Charge>()
        .done(charged())
        .late::<Charge>(charged())
        .sends::<Reserve>()
        .done(reserved())
        .sends::<Schedule>()
        .done(scheduled())
        .sends::<Confirm>()
        .done(())
        .ends(Completed);
}

/// The outcome of the charge is unknown, so it is undone as if it was charged. The barrier of the
/// payment service decides.
#[test]
fn a_charge_of_unknown_outcome_is_refunded_when_the_customer_cancels() {
    a_checkout()
        .sends::<Create>()
        .done(created())
        .sends::<Charge>()
        .silence()
        .sends::<Charge>()
        .cancel()
        .silence()
        .undoes(Refund)
        .done()
        .undoes(Cancel)
        .done()
        .ends(Compensated);
}

#[test]
fn a_lost_refund_is_resent_until_it_is_done() {
    let mut script = a_checkout()
        .sends::<Create>()
        .done(created())
        .sends::<Charge>()
        .done(charged())
        .sends::<Reserve>()
        .refused(Short::UnknownSku("11".into()));
    for _ in 0..20 {
        script = script.undoes(Refund).silence().undoes(Refund).faults("connection lost");
    }
    script.undoes(Refund).done().undoes(Cancel).done().ends(Compensated);
}

/// A refused undo overwrites nothing: an operator decides.
#[test]
fn a_refused_refund_leaves_the_saga_stuck_until_an_operator_resolves_it() {
    a_checkout()
        .sends::<Create>()
        .done(created())
        .sends::<Charge>()
        .done(charged())
        .sends::<Reserve>()
        .refused(Short::OutOfStock { sku: "11".into() })
        .undoes(Refund)
        .refused(Declined::NothingToRefund("10248".into()))
        .is_stuck()
        .resolve("charge-payment")
        .undoes(Cancel)
        .done()
        .ends(Compensated);
}

/// The lock on the order outlives a stuck saga. An operator sees its holder and decides.
#[test]
fn an_order_that_was_settled_from_outside_is_not_cancelled_again() {
    a_checkout()
        .sends::<Create>()
        .done(created())
        .sends::<Charge>()
        .refused(Declined::NotEnoughMoney)
        .undoes(Cancel)
        .refused(Rejected::AlreadySettled { status: Status::Cancelled })
        .is_stuck()
        .resolve("create-order")
        .ends(Compensated);
}

#[test]
fn a_shipment_is_resent_until_it_is_answered_and_cannot_be_cancelled() {
    before_the_shipment()
        .sends::<Schedule>()
        .silence()
        .sends::<Schedule>()
        .cancel_comes_too_late()
        .done(scheduled())
        .sends::<Confirm>()
        .faults("connection lost")
        .sends::<Confirm>()
        .silence()
        .sends::<Confirm>()
        .done(())
        .ends(Completed);
}

#[test]
fn a_refused_confirmation_after_the_pivot_undoes_nothing() {
    before_the_shipment()
        .sends::<Schedule>()
        .done(scheduled())
        .sends::<Confirm>()
        .refused(Rejected::UnknownOrder("10248".into()))
        .is_stuck()
        .retry("confirm-order")
        .sends::<Confirm>()
        .done(())
        .ends(Completed);
}

#[test]
fn a_saga_can_be_cancelled_until_the_shipment_is_sent() {
    a_checkout()
        .sends::<Create>()
        .done(created())
        .sends::<Charge>()
        .done(charged())
        .sends::<Reserve>()
        .cancel()
        .done(reserved())
        .undoes(Release)
        .done()
        .undoes(Refund)
        .done()
        .undoes(Cancel)
        .done()
        .ends(Compensated);
}

#[test]
fn the_services_handle_every_message_of_the_definition() {
    let services = services();
    for step in &plan().steps {
        for command in [Some(&step.action), step.compensation.as_ref()].into_iter().flatten() {
            let service = services.iter().find(|service| *service.name() == command.participant);
            let knows = service.is_some_and(|service| {
                service.knows().any(|name| name == command.message.as_str())
            });
            assert!(
                knows,
                "{}: {} has no handler for {}",
                step.name, command.participant, command.message
            );
        }
    }
}

#[test]
fn the_shipment_is_the_pivot() {
    let kinds: Vec<_> =
        plan().steps.iter().map(|step| (step.name.to_string(), step.kind)).collect();
    let wanted = [
        ("create-order", Kind::Compensatable),
        ("charge-payment", Kind::Compensatable),
        ("reserve-stock", Kind::Compensatable),
        ("schedule-shipment", Kind::Pivot),
        ("confirm-order", Kind::Retriable),
    ];
    assert_eq!(kinds, wanted.map(|(step, kind)| (step.to_owned(), kind)));
}

#[test]
fn the_sample_order_is_valid() {
    let order: Order = sample_order("12345").read().expect("the sample is a valid order");
    assert_eq!((order.order_id.as_str(), order.check()), ("12345", Ok(())));
    Script::given(plan(), order).sends::<Create>();
}

fn before_the_shipment() -> Script {
    a_checkout()
        .sends::<Create>()
        .done(created())
        .sends::<Charge>()
        .done(charged())
        .sends::<Reserve>()
        .done(reserved())
}
