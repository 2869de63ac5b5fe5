//! The shop without its verbs: both stories, their routes and samples.

use sagamore::{Greeting, Program};

use crate::databases::Databases;
use crate::rows::Error;
use crate::{checkout, choreography, http, inventory, order, payment, sample, shipping};

/// The lines that `dev` prints after its start.
const GREETING: Greeting = Greeting {
    links: &[("orders", "/orders")],
    commands: &["curl '{server}/saga/start/12345?wait=10'", "shop watch 12345{flag}"],
};

/// Returns the reference shop without its verbs.
pub fn stories() -> Program {
    Program::named("shop")
        .about("Runs the reference shop: order, payment, inventory and shipping, in both styles")
        .short_service_keys()
        .problems(http::PROBLEMS)
        .greeting(GREETING)
        .saga(checkout::checkout)
        .sample_input(checkout::NAME, crate::sample_order)
        .service_with_routes(order::service, http::of_order)
        .service_with_routes(payment::service, http::of_payment)
        .service_with_routes(inventory::service, http::of_inventory)
        .service_with_routes(shipping::service, http::of_shipping)
        .routes(http::orchestrated)
        .on_dev(samples)
        .choreography(|story| {
            story
                .plan(choreography::plan)
                .service_with_routes(order::choreographed::service, http::of_order)
                .service_with_routes(payment::choreographed::service, http::of_payment)
                .service_with_routes(inventory::choreographed::service, http::of_inventory)
                .service_with_routes(shipping::choreographed::service, http::of_shipping)
                .routes(http::choreographed)
                .on_dev(samples)
        })
}

/// The account, the product and the country of the sample orders.
async fn samples(server: sagamore::server::Server) -> Result<(), Error> {
    match Databases::of(&server) {
        Some(databases) => sample::load(&databases).await,
        None => Ok(()),
    }
}
