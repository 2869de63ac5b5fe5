//! What a process answers that waits for its servers: it lives, and says what it waits for.

use axum::Router;
use axum::extract::State;
use axum::response::Html;
use axum::routing::get;

use super::health;
use crate::problem::{Code, Entry, Problem};
use crate::waiting::Waiting;

/// Every address of a process that is not ready; `role` is what it will be.
pub fn waiting_router(role: &str, waiting: Waiting, problems: &[&'static Entry]) -> Router {
    let (role, errors) = (role.to_owned(), crate::problem::html(problems));
    let not_ready = move |State(waiting): State<Waiting>| async move {
        problem(&role, &waiting.reason().unwrap_or_default())
    };
    Router::new()
        .route("/docs/errors", get(move || async move { Html(errors) }))
        .route("/livez", get(health::livez))
        .route("/version", get(health::version))
        .fallback(not_ready)
        .with_state(waiting)
}

/// Not ready, because of this.
pub fn problem(role: &str, reason: &str) -> Problem {
    Problem::new(Code::Unavailable, format!("{role} is not ready, and waits: {reason}"))
        .retry_after(1)
}
