//! The shop's routes: orders, accounts, stock, shipments, and `/saga/start`. They are served beside
//! the API in one process, and at each service's own listener.

mod article;
mod choreography;
mod contracts;
mod local;
mod orders;
mod problems;
mod service;
mod shapes;
mod state;
mod stock;
mod unlock;

#[cfg(test)]
mod forms;

use sagamore::server::http::PAGE;
use sagamore::server::http::routes::{READS, Routes};
use sagamore::server::{Server, lock};

use crate::databases::Databases;

pub use problems::PROBLEMS;
pub use service::{of_inventory, of_order, of_payment, of_shipping};

use contracts::{PLACES, STARTS};
use state::Shop;

/// Returns the routes that are served beside the API of an orchestrator.
pub fn orchestrated(server: &Server) -> Routes {
    let Some(handle) = server.handle.clone() else { return Routes::new() };
    orchestrated_routes().with_state(Shop { handle, databases: Databases::of(server) })
}

fn orchestrated_routes() -> Routes<Shop> {
    Routes::new()
        .about(
            "GET  /saga/start/{orderId}[?wait=10]    start the saga of an order, in `dev` by \
             default of a sample order\n\
             POST /orders                            place an order; Prefer: wait=10 waits for \
             the outcome\n\
             GET  /orders/{id}                       show an order and its saga\n\
             POST /orders/{id}/cancel                cancel an order, unless its saga is running\n\
             POST /orders/{id}/unlock                remove the lock of a saga at rest; \
             ?force=true if that saga is lost\n\
             GET  /accounts, /accounts/{id}          list accounts, show one\n\
             GET  /stock, /stock/{sku}               list products, show one\n",
        )
        .get("/saga/start/{order}", STARTS, article::start)
        .post("/orders", PLACES, orders::place)
        .get("/orders/{id}", READS, orders::show)
        .post("/orders/{id}/cancel", READS, orders::cancel)
        .post("/orders/{id}/unlock", READS.query(lock::QUERY), orders::unlock)
        .get("/accounts", READS.query(PAGE), stock::accounts)
        .get("/accounts/{id}", READS, stock::account)
        .get("/stock", READS.query(PAGE), stock::stock)
        .get("/stock/{sku}", READS, stock::product)
}

/// Returns the routes that are served beside the API of an observer in the services' process.
pub fn choreographed(server: &Server) -> Routes {
    choreography::ChoreographyApp::of(server)
        .map_or_else(Routes::new, |app| choreography::routes().with_state(app))
}
