//! The listener of one service: its own routes, the facts of its barrier, and its health.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use sagamore_sdk::facts;

use super::routes::{READS, READS_TEXT, Routes};
use super::state::{Reacting, ServiceApp};
use super::{barriers, faults, health, index, waiting};
use crate::problem::{Code, Problem};

type Shared = State<Arc<ServiceApp>>;

/// Returns the routes of a service. `own`: the routes that the service adds.
pub fn service_routes(app: ServiceApp, own: Routes) -> Routes {
    let app = Arc::new(app);
    let once_ready = facts_routes().with_state(app.clone());
    let once_ready = own
        .merge(once_ready)
        .map(|router| router.route_layer(from_fn_with_state(app.clone(), wait)));
    once_ready.merge(Routes::new().get("/metrics", READS_TEXT, metrics).with_state(app))
}

/// Returns the routes of services in this process that react to events, and of chains that clients
/// begin.
pub(super) fn reacting(app: Reacting) -> Routes {
    let resend = Routes::new().post("/api/v1/sagas/{id}/resend", READS, barriers::resend_all);
    let routes = match app.services.are_embedded() {
        true => resend.get("/api/v1/faults/{service}/{id}", READS, faults::embedded),
        false => resend,
    };
    routes.with_state(app)
}

fn facts_routes() -> Routes<Arc<ServiceApp>> {
    Routes::new()
        .about(index::SERVICE)
        .get("/api/v1/barriers/{service}", READS.query(barriers::QUERY), barriers::own)
        .get("/api/v1/faults/{service}/{id}", READS, faults::own)
        .post("/api/v1/sagas/{id}/resend", READS, barriers::resend_own)
        .get("/readyz", READS_TEXT, readyz)
}

/// Responds with the reason of the wait until the service's tables exist.
async fn wait(State(app): Shared, request: Request, next: Next) -> Result<Response, Problem> {
    match app.waiting.reason() {
        None => Ok(next.run(request).await),
        Some(reason) => Err(waiting::problem(app.host.name.as_str(), &reason)),
    }
}

/// Responds with success if the tables can be read, the brokers respond, and every partition
/// advances.
async fn readyz(State(app): Shared) -> Result<&'static str, Problem> {
    let unready = |what: String| Problem::new(Code::Unavailable, what).retry_after(1);
    let read = facts::facts(&app.host.database, "", None, 1).await;
    read.map_err(|error| unready(format!("database of {}: {error}", app.host.name)))?;
    app.brokers.answer().await.map_err(unready)?;
    health::advances(app.brokers.as_ref())?;
    Ok("ok\n")
}

async fn metrics(State(app): Shared) -> Response {
    health::rendered(app.metrics.as_ref())
}
