//! Whether the process lives, whether it can work, what it measures, which version it is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::App;
use crate::problem::{Code, Problem};

/// The process answers.
pub async fn livez() -> &'static str {
    "ok\n"
}

/// The engine takes requests, and every database can be read.
pub async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    if !app.handle.is_open() {
        return Err(Problem::new(Code::Unavailable, "the engine takes no requests").retry_after(1));
    }
    for (name, database) in app.shop.all() {
        if let Err(error) = database.query("SELECT 1", ()).await {
            return Err(Problem::new(Code::Unavailable, format!("database of {name}: {error}")).retry_after(1));
        }
    }
    Ok("ok\n")
}

/// Prometheus' text format.
pub async fn metrics(State(app): State<Arc<App>>) -> Response {
    metrics::gauge!("sagamore_sagas_in_flight")
        .set(f64::from(u32::try_from(app.handle.in_flight()).unwrap_or(u32::MAX)));
    let text = app.metrics.as_ref().map(|metrics| metrics.render()).unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// Name and version.
pub async fn version() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "name": "sagamore", "version": env!("CARGO_PKG_VERSION") }))
}
