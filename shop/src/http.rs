//! The shop's routes: orders, accounts, stock, shipments, and the address of the article. Beside the API in one process, and
//! at each service's own listener.

mod article;
mod choreography;
mod local;
mod orders;
mod problems;
mod service;
mod shapes;
mod stock;
mod unlock;

#[cfg(test)]
mod forms;

use sagamore::server::http::routes::{Contract, READS, Routes, WAIT};
use sagamore::server::http::{Code, PAGE, Problem};
use sagamore::server::{Server, lock};

use crate::databases::Databases;

pub use problems::PROBLEMS;
pub use service::{of_inventory, of_order, of_payment, of_shipping};

use problems::*;

/// The article's address.
const STARTS: Contract = READS.query(&[WAIT]).acts();
/// Where an order is placed.
const PLACES: Contract = READS.body(&shapes::ORDER).waits().keyed();

/// The parts that the routes beside the orchestrator's API work with.
#[derive(Clone)]
struct Shop {
    handle: sagamore::engine::Handle,
    /// None where each service is a process of its own.
    databases: Option<Databases>,
}

impl Shop {
    /// The databases; elsewhere each service has its own, and an address where it shows it.
    fn databases(&self) -> Result<&Databases, Problem> {
        let elsewhere =
            "the shop's services run elsewhere: ask the one that keeps it, at its own address";
        self.databases.as_ref().ok_or_else(|| Problem::new(Code::NoSuchPage, elsewhere))
    }
}

/// Returns the routes beside the API of an orchestrator.
pub fn orchestrated(server: &Server) -> Routes {
    let Some(handle) = server.handle.clone() else { return Routes::new() };
    orchestrated_routes().with_state(Shop { handle, databases: Databases::of(server) })
}

fn orchestrated_routes() -> Routes<Shop> {
    Routes::new()
        .about(
            "GET  /saga/start/{orderId}[?wait=10]    start the saga of an order (in `dev` one that was never placed gets a sample)\n\
             POST /orders                            place an order; Prefer: wait=10 waits for the outcome\n\
             GET  /orders/{id}                       an order and its saga\n\
             POST /orders/{id}/cancel                refused while the order's saga is under way\n\
             POST /orders/{id}/unlock                for an operator, when the saga at rest has left its lock; ?force=true when nobody knows it\n\
             GET  /accounts, /accounts/{id}          what the customers have\n\
             GET  /stock, /stock/{sku}               what the shelves have\n",
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

/// Returns the routes beside the API of an observer that runs with the services.
pub fn choreographed(server: &Server) -> Routes {
    choreography::Choreographed::of(server)
        .map_or_else(Routes::new, |app| choreography::routes().with_state(app))
}
