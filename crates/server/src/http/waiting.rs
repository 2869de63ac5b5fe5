//! The routes of a process that waits at its start: it is alive, and reports the reason of the
//! wait.

use axum::Router;
use axum::extract::State;
use axum::response::Html;
use axum::routing::get;

use super::health;
use crate::problem::{Code, Entry, Problem};
use crate::waiting::StartupWait;

/// Returns the router of a process that is not ready. `role`: the process's future role.
pub fn waiting_router(role: &str, waiting: StartupWait, problems: &[&'static Entry]) -> Router {
    let (role, errors) = (role.to_owned(), crate::problem::html(problems));
    let not_ready = move |State(waiting): State<StartupWait>| async move {
        problem(&role, &waiting.reason().unwrap_or_default())
    };
    Router::new()
        .route("/docs/errors", get(move || async move { Html(errors) }))
        .route("/livez", get(health::livez))
        .route("/version", get(health::version))
        .fallback(not_ready)
        .with_state(waiting)
}

/// The problem of a process that is not ready.
pub fn problem(role: &str, reason: &str) -> Problem {
    Problem::new(Code::Unavailable, format!("{role} is not ready: {reason}")).retry_after(1)
}
