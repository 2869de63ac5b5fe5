//! The HTTP side: which address leads where. No rules of sagas in here.

mod article;
mod barriers;
mod body;
mod chains;
mod choreography;
mod faults;
mod health;
mod index;
mod listing;
mod orders;
mod prefer;
mod sagas;
mod service;
mod shop;
mod unlock;
mod waiting;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use metrics_exporter_prometheus::PrometheusHandle;
use sagamore_engine::{Chains, Handle};
use sagamore_kafka::Kafka;
use sagamore_shop::Databases;
use sagamore_transport::Log;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use crate::problem::{Code, Problem};

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
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!("set TCP_NODELAY: {error}");
        }
    });
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

/// Every address of an orchestrator.
pub fn router(app: App) -> Router {
    let router = Router::new()
        .route("/", get(index::index))
        .route("/docs/errors", get(index::errors))
        .route("/saga/start/{order}", get(article::start).head(wrong_method))
        .route("/orders", post(orders::place))
        .route("/orders/{id}", get(orders::show))
        .route("/orders/{id}/cancel", post(orders::cancel))
        .route("/orders/{id}/unlock", post(orders::unlock))
        .route("/accounts", get(shop::accounts))
        .route("/accounts/{id}", get(shop::account))
        .route("/stock", get(shop::stock))
        .route("/stock/{sku}", get(shop::product))
        .route("/api/v1/sagas", post(sagas::start).get(sagas::list))
        .route("/api/v1/sagas/{id}", get(sagas::show))
        .route("/api/v1/sagas/{id}/cancel", post(sagas::cancel))
        .route("/api/v1/sagas/{id}/retry", post(sagas::retry))
        .route("/api/v1/sagas/{id}/skip", post(sagas::skip))
        .route("/api/v1/sagas/{id}/resolve", post(sagas::resolve))
        .route("/api/v1/barriers/{service}", get(barriers::embedded))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/version", get(health::version));
    guarded(router).with_state(Arc::new(app))
}

/// Whatever goes wrong on the way to a handler or in it is a problem, and the process goes on.
fn guarded<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.fallback(nothing_here).method_not_allowed_fallback(wrong_method).layer(CatchPanicLayer::custom(panicked))
}

async fn nothing_here(request: Request) -> Problem {
    Problem::new(Code::NoSuchPage, format!("{} is no address of this server", request.uri().path()))
}

async fn wrong_method(request: Request) -> Problem {
    Problem::new(
        Code::MethodNotAllowed,
        format!("{} does not take {}; see the Allow header", request.uri().path(), request.method()),
    )
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
        let router = guarded(Router::<()>::new().route("/panics", get(panics)).route("/livez", get(health::livez)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let Err(client::Error::Problem { told, .. }) = client.get("/panics").await else { panic!("no problem") };
        assert_eq!((told.status, told.code.as_str()), (500, "SAGA-0500"));
        assert!(!told.detail.contains("secret"), "{}", told.detail);
        assert_eq!(client.get("/livez").await.unwrap(), "ok\n");
    }
}
