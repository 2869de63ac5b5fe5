//! The shipping service: a carrier comes, or none goes there.

use sagamore_shop::shipping::domain::schedule;
use sagamore_shop::shipping::{Schedule, Scheduled, Unshippable, destinations};

use crate::shop::{destination, refused_outright, run, ship_to, small};

fn wanted(country: &str) -> Schedule {
    Schedule { order_id: "10248".into(), ship_to: ship_to(country) }
}

#[tokio::test]
async fn the_tracking_id_follows_from_the_order() {
    let tracked = Ok(Scheduled { tracking: "TRACK-10248".into() });
    let database = small().await.shipping;
    let open = database.begin().await.unwrap();
    assert_eq!(schedule(open.tx(), wanted("France")).await.unwrap(), tracked);
    open.rollback().await.unwrap();
    assert_eq!(run(&database, |tx| schedule(tx, wanted("France"))).await, tracked);
}

#[tokio::test]
async fn where_no_carrier_goes_nothing_is_shipped() {
    let database = small().await.shipping;
    for country in ["Ireland", "Atlantis"] {
        let refusal = Unshippable::NoCarrier { country: country.into() };
        refused_outright(&database, refusal, |tx| schedule(tx, wanted(country))).await;
    }
}

#[tokio::test]
async fn an_order_is_shipped_once_whoever_asks() {
    let database = small().await.shipping;
    run(&database, |tx| schedule(tx, wanted("France"))).await.unwrap();
    let again = Unshippable::AlreadyScheduled("10248".into());
    refused_outright(&database, again, |tx| schedule(tx, wanted("France"))).await;
}

#[tokio::test]
async fn destinations_are_listed_page_by_page() {
    let database = small().await.shipping;
    assert_eq!(destinations(&database, "", 1).await.unwrap(), [destination("France", true)]);
    assert_eq!(destinations(&database, "France", 9).await.unwrap(), [destination("Ireland", false)]);
}
