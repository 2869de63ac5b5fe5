//! The shipping service ships to served countries, and refuses all others.

use sagamore_shop::shipping::domain::schedule;
use sagamore_shop::shipping::{Schedule, Scheduled, Unshippable, destinations};

use crate::shop::{bad_names, destination, refused_outright, run, ship_to, small};

fn wanted(country: &str) -> Schedule {
    Schedule { order_id: "10248".into(), ship_to: ship_to(country) }
}

#[tokio::test]
async fn the_tracking_id_is_derived_from_the_order() {
    let tracked = Ok(Scheduled { tracking: "TRACK-10248".into() });
    let database = small().await.shipping;
    let open = database.begin().await.unwrap();
    assert_eq!(schedule(open.tx(), wanted("France")).await.unwrap(), tracked);
    open.rollback().await.unwrap();
    assert_eq!(run(&database, |tx| schedule(tx, wanted("France"))).await, tracked);
}

#[tokio::test]
async fn a_country_without_carrier_is_refused() {
    let database = small().await.shipping;
    for country in ["Ireland", "Atlantis"] {
        let refusal = Unshippable::NoCarrier { country: country.into() };
        refused_outright(&database, refusal, |tx| schedule(tx, wanted(country))).await;
    }
}

#[tokio::test]
async fn an_order_is_shipped_at_most_once() {
    let database = small().await.shipping;
    run(&database, |tx| schedule(tx, wanted("France"))).await.unwrap();
    let again = Unshippable::AlreadyScheduled("10248".into());
    refused_outright(&database, again, |tx| schedule(tx, wanted("France"))).await;
}

#[tokio::test]
async fn destinations_are_listed_page_by_page() {
    let database = small().await.shipping;
    assert_eq!(destinations(&database, "", 1).await.unwrap(), [destination("France", true)]);
    assert_eq!(
        destinations(&database, "France", 9).await.unwrap(),
        [destination("Ireland", false)]
    );
}

/// Bad data is a refusal. A fault would be retried indefinitely.
#[tokio::test]
async fn a_shipment_with_an_invalid_name_is_refused() {
    let database = small().await.shipping;
    for (name, why) in bad_names() {
        let refusal = Unshippable::InvalidShipment(format!("shipTo.country: {why}"));
        refused_outright(&database, refusal, |tx| schedule(tx, wanted(&name))).await;
        let refusal = Unshippable::InvalidShipment(format!("orderId: {why}"));
        let unnamed = Schedule { order_id: name, ..wanted("France") };
        refused_outright(&database, refusal, |tx| schedule(tx, unnamed)).await;
    }
    let mut endless = wanted("France");
    endless.ship_to.city = "x".repeat(501);
    let refusal = Unshippable::InvalidShipment("shipTo.city: is longer than 500 bytes".into());
    refused_outright(&database, refusal, |tx| schedule(tx, endless)).await;
}
