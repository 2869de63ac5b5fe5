//! The HTTP side: which address leads where. No rules of sagas in here.

mod article;
mod body;
mod health;
mod index;
mod orders;
mod prefer;
mod sagas;
mod shop;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use metrics_exporter_prometheus::PrometheusHandle;
use sagamore_engine::Handle;
use sagamore_shop::Databases;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use crate::problem::{Code, Problem};

pub use body::encoded;
pub use prefer::WAIT_S_MAX;

/// What the handlers work with.
pub struct App {
    /// The way into the engine.
    pub handle: Handle,
    /// What the shop's services keep.
    pub shop: Databases,
    /// Renders the metrics, if this process collects them.
    pub metrics: Option<PrometheusHandle>,
}

/// Answers requests until `shutdown`; those that have begun are finished.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let listener = listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!("set TCP_NODELAY: {error}");
        }
    });
    axum::serve(listener, router(app)).with_graceful_shutdown(shutdown).await
}

/// Every address.
fn router(app: Arc<App>) -> Router {
    let router = Router::new()
        .route("/", get(index::index))
        .route("/docs/errors", get(index::errors))
        .route("/saga/start/{order}", get(article::start).head(wrong_method))
        .route("/orders", post(orders::place))
        .route("/orders/{id}", get(orders::show))
        .route("/orders/{id}/cancel", post(orders::cancel))
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
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/version", get(health::version));
    router
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(app)
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

    #[test]
    fn a_panic_is_told_as_a_problem_without_its_text() {
        let response = panicked(Box::new("secret".to_owned()));
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}
