//! The HTTP side: which address leads where. No rules of sagas in here.

mod article;
mod barriers;
mod body;
mod chains;
mod choreography;
mod faults;
mod health;
mod ids;
mod index;
mod listing;
mod orders;
mod prefer;
mod sagas;
mod service;
mod shop;
mod trace;
mod unlock;
mod waiting;

mod door;
mod openapi;
mod origin;
mod query;
mod routes;
mod shape;

#[cfg(test)]
mod forms;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use metrics_exporter_prometheus::PrometheusHandle;
use sagamore_engine::{Chains, Handle};
use sagamore_kafka::Kafka;
use sagamore_shop::Databases;
use sagamore_transport::Log;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use crate::problem::{Code, Problem};
use routes::{Media, READS, Routes, TELLS, Takes, WAIT};

pub use body::encoded;
pub use chains::{ObserverApp, observer_router};
pub use choreography::{ChoreographyApp, choreography_router};
pub use faults::Services;
pub use prefer::WAIT_S_MAX;
pub use service::{ServiceApp, service_router};
pub use waiting::waiting_router;

/// What the handlers work with.
pub struct App {
    /// The way into the engine.
    pub handle: Handle,
    /// What is known of chains, where the same shop is choreographed as well.
    pub chains: Option<Chains>,
    /// Who knows why it does not get on with one of those.
    pub services: Services,
    /// What the shop's services keep, where they are in this process; then there are sample orders as well.
    pub shop: Option<Databases>,
    /// Where the replies come from, where that is Kafka.
    pub kafka: Option<Kafka>,
    /// The embedded log, for its figures.
    pub log: Option<Log>,
    /// Renders the metrics, if this process collects them.
    pub metrics: Option<PrometheusHandle>,
}

impl App {
    /// The shop's databases; elsewhere each service has its own, and an address where it tells of it.
    pub fn shop(&self) -> Result<&Databases, Problem> {
        let elsewhere = "the shop's services run elsewhere: ask the one that keeps it, at its own address";
        self.shop.as_ref().ok_or_else(|| Problem::new(Code::NoSuchPage, elsewhere))
    }
}

/// Answers requests until `shutdown`; those that have begun are finished.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let is_local = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!("set TCP_NODELAY: {error}");
        }
    });
    let router = if is_local { router.layer(from_fn(origin::on_loopback)) } else { router };
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

/// Every address of an orchestrator.
pub fn router(app: App) -> Router {
    guarded(orchestrated()).with_state(Arc::new(app))
}

fn orchestrated() -> Routes<Arc<App>> {
    everywhere(index::index)
        .get("/saga/start/{order}", STARTS, article::start)
        .post("/orders", PLACES, orders::place)
        .get("/orders/{id}", READS, orders::show)
        .post("/orders/{id}/cancel", READS, orders::cancel)
        .post("/orders/{id}/unlock", READS.query(unlock::QUERY), orders::unlock)
        .get("/accounts", READS.query(shop::QUERY), shop::accounts)
        .get("/accounts/{id}", READS, shop::account)
        .get("/stock", READS.query(shop::QUERY), shop::stock)
        .get("/stock/{sku}", READS, shop::product)
        .post("/api/v1/sagas", READS.body(&shape::START).waits().keyed(), sagas::start)
        .get("/api/v1/sagas", READS.query(listing::QUERY), sagas::list)
        .get("/api/v1/sagas/{id}", READS.prefers(), sagas::show)
        .post("/api/v1/sagas/{id}/cancel", READS.body(&shape::CANCEL), sagas::cancel)
        .post("/api/v1/sagas/{id}/retry", READS.body(&shape::RESCUE), sagas::retry)
        .post("/api/v1/sagas/{id}/skip", READS.body(&shape::RESCUE), sagas::skip)
        .post("/api/v1/sagas/{id}/resolve", READS.body(&shape::RESCUE), sagas::resolve)
        .get("/api/v1/barriers/{service}", READS.query(barriers::QUERY), barriers::embedded)
        .get("/readyz", TELLS, health::readyz)
        .get("/metrics", TELLS, health::metrics)
}

/// The article's address.
const STARTS: Takes = READS.query(&[WAIT]).acts();
/// Where an order is placed.
const PLACES: Takes = READS.body(&shape::ORDER).waits().keyed();
/// A page for people.
const SHOWS: Takes = Takes { answers: Media::Html, ..READS };

/// What every server has.
fn everywhere<S, H, T>(index: H) -> Routes<S>
where
    S: Clone + Send + Sync + 'static,
    H: Handler<T, S>,
    T: 'static,
{
    Routes::new()
        .get("/", TELLS, index)
        .get("/docs/errors", SHOWS, index::errors)
        .get("/livez", TELLS, health::livez)
        .get("/version", READS, health::version)
}

/// Whatever goes wrong on the way to a handler or in it is a problem, and the process goes on.
fn guarded<S: Clone + Send + Sync + 'static>(routes: Routes<S>) -> Router<S> {
    let (router, table) = routes.documented();
    router.layer(from_fn_with_state(table, door::door)).layer(CatchPanicLayer::custom(panicked))
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Problem::internal(&text.unwrap_or("a panic"), "handle the request").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{self, Client};

    #[tokio::test]
    async fn a_panic_in_a_handler_is_a_problem_and_the_process_lives() {
        async fn panics() -> &'static str {
            panic!("secret")
        }
        let router = guarded(Routes::<()>::new().get("/panics", TELLS, panics).get("/livez", TELLS, health::livez));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let Err(client::Error::Problem { told, .. }) = client.get("/panics").await else { panic!("no problem") };
        assert_eq!((told.status, told.code.as_str()), (500, "SAGA-0500"));
        assert!(!told.detail.contains("secret"), "{}", told.detail);
        assert_eq!(client.get("/livez").await.unwrap(), "ok\n");
    }
}
