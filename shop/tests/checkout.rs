//! The checkout as scripts: every way in which it can go.

use sagamore::core::saga::Status::{Compensated, Completed};
use sagamore::core::script::Script;
use sagamore::core::{Definition, definition::Kind};
use sagamore_shop::inventory::{Pieces, Release, Reserve, Reserved, Short};
use sagamore_shop::order::{Cancel, Confirm, Create, Created, Rejected, Status};
use sagamore_shop::payment::{Charge, Charged, Declined, Refund};
use sagamore_shop::shipping::{Schedule, Scheduled, Unshippable};
use sagamore_shop::{Line, Order, ShipTo, checkout, sample_order, services};

fn plan() -> Definition {
    checkout().expect("the plan is a good one")
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
fn an_order_goes_through() {
    let Order { order_id, customer_id, lines, ship_to } = an_order("10248");
    a_checkout()
        .asks_exactly(Create {
            order_id: order_id.clone(),
            customer_id: customer_id.clone(),
            lines: lines.clone(),
        })
        .done(created())
        .asks_exactly(Charge { order_id: order_id.clone(), customer_id, amount_cents: 16_800 })
        .done(charged())
        .asks_exactly(Reserve { order_id: order_id.clone(), lines })
        .done(reserved())
        .asks_exactly(Schedule { order_id: order_id.clone(), ship_to })
        .done(scheduled())
        .asks_exactly(Confirm { order_id, tracking: "TRACK-10248".into() })
        .done(())
        .ends(Completed);
}

#[test]
fn an_order_that_makes_no_sense_leaves_nothing_to_undo() {
    a_checkout()
        .asks::<Create>()
        .refused(Rejected::InvalidOrder("lines: too many".into()))
        .ends(Compensated);
}

/// A business failure is a typed refusal: it is not asked again, it starts the undoing.
#[test]
fn a_customer_without_money_gets_no_order() {
    a_checkout()
        .asks::<Create>()
        .done(created())
        .asks_exactly(Charge {
            order_id: "10248".into(),
            customer_id: "VINET".into(),
            amount_cents: 16_800,
        })
        .refused(Declined::NotEnoughMoney)
        .undoes(Cancel)
        .done() // the refused charge promises that nothing happened: no refund
        .ends(Compensated);
}

#[test]
fn what_is_out_of_stock_is_not_paid_for() {
    a_checkout()
        .asks::<Create>()
        .done(created())
        .asks::<Charge>()
        .done(charged())
        .asks::<Reserve>()
        .refused(Short::OutOfStock { sku: "11".into() })
        .undoes(Refund)
        .done()
        .undoes(Cancel)
        .done()
        .ends(Compensated);
}

#[test]
fn where_no_carrier_goes_everything_is_undone_in_reverse() {
    before_the_shipment()
        .asks::<Schedule>()
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
fn a_charge_without_an_answer_is_asked_again_and_counts_once() {
    a_checkout()
        .asks::<Create>()
        .done(created())
        .asks::<Charge>()
        .silence()
        .asks::<Charge>()
        .faults("connection lost")
        .asks::<Charge>()
        .done(charged())
        .late::<Charge>(charged())
        .asks::<Reserve>()
        .done(reserved())
        .asks::<Schedule>()
        .done(scheduled())
        .asks::<Confirm>()
        .done(())
        .ends(Completed);
}

/// Nobody knows whether the money was taken: it is asked back as if it was, and the payment service knows.
#[test]
fn a_charge_of_unknown_outcome_is_refunded_when_the_customer_cancels() {
    a_checkout()
        .asks::<Create>()
        .done(created())
        .asks::<Charge>()
        .silence()
        .asks::<Charge>()
        .cancel()
        .silence()
        .undoes(Refund)
        .done()
        .undoes(Cancel)
        .done()
        .ends(Compensated);
}

#[test]
fn a_refund_that_gets_lost_is_asked_again_until_it_is_done() {
    let mut script = a_checkout()
        .asks::<Create>()
        .done(created())
        .asks::<Charge>()
        .done(charged())
        .asks::<Reserve>()
        .refused(Short::UnknownSku("11".into()));
    for _ in 0..20 {
        script = script.undoes(Refund).silence().undoes(Refund).faults("connection lost");
    }
    script.undoes(Refund).done().undoes(Cancel).done().ends(Compensated);
}

/// An undo that cannot apply, because somebody else has refunded since, overwrites nothing: a person decides.
#[test]
fn a_refund_that_cannot_apply_leaves_the_saga_stuck_until_a_person_resolves_it() {
    a_checkout()
        .asks::<Create>()
        .done(created())
        .asks::<Charge>()
        .done(charged())
        .asks::<Reserve>()
        .refused(Short::OutOfStock { sku: "11".into() })
        .undoes(Refund)
        .refused(Declined::NothingToRefund("10248".into()))
        .is_stuck()
        .resolve("charge-payment")
        .undoes(Cancel)
        .done()
        .ends(Compensated);
}

/// The lock on the order outlives a saga that is stuck; an operator sees whose it is, and decides.
#[test]
fn an_order_that_somebody_else_has_settled_is_not_cancelled_over_their_heads() {
    a_checkout()
        .asks::<Create>()
        .done(created())
        .asks::<Charge>()
        .refused(Declined::NotEnoughMoney)
        .undoes(Cancel)
        .refused(Rejected::AlreadySettled { status: Status::Cancelled })
        .is_stuck()
        .resolve("create-order")
        .ends(Compensated);
}

#[test]
fn a_shipment_is_asked_for_until_there_is_an_answer_and_nobody_cancels_it() {
    before_the_shipment()
        .asks::<Schedule>()
        .silence()
        .asks::<Schedule>()
        .cancel_comes_too_late()
        .done(scheduled())
        .asks::<Confirm>()
        .faults("connection lost")
        .asks::<Confirm>()
        .silence()
        .asks::<Confirm>()
        .done(())
        .ends(Completed);
}

#[test]
fn the_goods_are_out_so_a_refused_confirmation_undoes_nothing() {
    before_the_shipment()
        .asks::<Schedule>()
        .done(scheduled())
        .asks::<Confirm>()
        .refused(Rejected::UnknownOrder("10248".into()))
        .is_stuck()
        .retry("confirm-order")
        .asks::<Confirm>()
        .done(())
        .ends(Completed);
}

#[test]
fn a_customer_may_cancel_until_the_shipment_is_asked_for() {
    a_checkout()
        .asks::<Create>()
        .done(created())
        .asks::<Charge>()
        .done(charged())
        .asks::<Reserve>()
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
fn the_services_know_every_message_of_the_plan() {
    let services = services();
    for step in &plan().steps {
        for asked in [Some(&step.action), step.compensation.as_ref()].into_iter().flatten() {
            let service = services.iter().find(|service| *service.name() == asked.participant);
            let knows = service
                .is_some_and(|service| service.knows().any(|name| name == asked.message.as_str()));
            assert!(knows, "{} asks {} for {}", step.name, asked.participant, asked.message);
        }
    }
}

#[test]
fn the_shipment_is_the_point_of_no_return() {
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
fn a_sample_order_is_an_order() {
    let order: Order = sample_order("12345").read().expect("the sample is an order");
    assert_eq!((order.order_id.as_str(), order.check()), ("12345", Ok(())));
    Script::given(plan(), order).asks::<Create>();
}

fn before_the_shipment() -> Script {
    a_checkout()
        .asks::<Create>()
        .done(created())
        .asks::<Charge>()
        .done(charged())
        .asks::<Reserve>()
        .done(reserved())
}
