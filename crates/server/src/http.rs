//! The HTTP routes and their handlers. Rules about sagas belong to the engine.

mod body;
mod listing;
mod page;
mod prefer;
mod state;
pub mod trace;

mod address;
mod door;
mod openapi;
mod origin;
mod query;
pub mod routes;
pub mod shape;

mod ids;

mod barriers;
mod chains;
mod events;
mod faults;
mod health;
mod index;
mod replies;
mod sagas;
mod service;
mod versions;
mod waiting;

#[cfg(test)]
mod testing;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use crate::problem::Entry;
use events::Events;
use routes::{Contract, Media, READS, READS_TEXT, Routes};
use service::reacting;
use state::Reacting;
use versions::Versions;

pub use crate::problem::{Code, Problem};
pub use body::{Payload, Segment, bad_query, encoded};
pub use chains::observer_routes;
pub use page::{PAGE, PageQuery, PageRequest, page};
pub use prefer::{PREFERENCE_APPLIED, WAIT_S_MAX, Wait};
pub use sagas::{accepted, at_rest, begin, idempotency_key};
pub use service::service_routes;
pub use state::{App, ObserverApp, SampleInput, ServiceApp};
pub use waiting::waiting_router;

/// Serves requests until `shutdown`, then finishes those in progress.
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

/// Returns the routes of an orchestrator.
pub fn orchestrator_routes(app: App) -> Routes {
    let reacts = app.services.hosts().iter().any(|host| host.reacts);
    let (services, chains, plan) = (app.services.clone(), app.chains.clone(), app.plan.clone());
    let services = match reacts || chains.is_some() {
        true => reacting(Reacting { services, chains, plan }),
        false => Routes::new(),
    };
    let definitions = versions::routes(Versions::Definitions(app.handle.clone()), app.presence());
    let plans = app.chains.clone().map(|chains| {
        versions::routes(Versions::Plans(chains), app.presence()).about(index::PLANS)
    });
    let events = app
        .chains
        .clone()
        .map(|chains| events::routes(Events { chains, services: app.services.clone() }));
    let routes = orchestrated().with_state(Arc::new(app)).merge(definitions);
    routes.merge(plans.unwrap_or_default()).merge(events.unwrap_or_default()).merge(services)
}

fn orchestrated() -> Routes<Arc<App>> {
    Routes::new()
        .about(index::ORCHESTRATOR)
        .post("/api/v1/sagas", READS.body(&shape::START).waits().keyed(), sagas::start)
        .get("/api/v1/sagas", READS.query(listing::QUERY), sagas::list)
        .get("/api/v1/sagas/{id}", READS.prefers(), sagas::show)
        .post("/api/v1/sagas/{id}/cancel", READS.body(&shape::CANCEL), sagas::cancel)
        .post("/api/v1/sagas/{id}/retry", READS.body(&shape::RETRY), sagas::retry)
        .post("/api/v1/sagas/{id}/skip", READS.body(&shape::RESCUE), sagas::skip)
        .post("/api/v1/sagas/{id}/resolve", READS.body(&shape::RESOLVE), sagas::resolve)
        .post("/api/v1/sagas/{id}/compensate", READS.body(&shape::RESCUE), sagas::compensate)
        .post("/api/v1/replies", READS.body(&shape::REPLY), replies::publish)
        .get("/api/v1/barriers/{service}", READS.query(barriers::QUERY), barriers::embedded)
        .get("/readyz", READS_TEXT, health::readyz)
        .get("/metrics", READS_TEXT, health::metrics)
}

/// The contract of an HTML page.
const READS_HTML: Contract = Contract { answers: Media::Html, ..READS };

/// Returns the router of a process: its own routes and the common ones. `title` heads the front
/// page.
pub fn router(title: &str, routes: Routes, problems: &[&'static Entry]) -> Router {
    let page = format!("{title}\n\n{}{}", routes.lines(), index::EVERYWHERE);
    let errors = crate::problem::html(problems);
    let everywhere = Routes::new()
        .get("/", READS_TEXT, move || async move { page })
        .get("/docs/errors", READS_HTML, move || async move { axum::response::Html(errors) })
        .get("/livez", READS_TEXT, health::livez)
        .get("/version", READS, health::version);
    guarded(everywhere.merge(routes), problems)
}

/// Adds the checks at the door, and turns a panic of a handler into a problem.
fn guarded<S: Clone + Send + Sync + 'static>(
    routes: Routes<S>,
    problems: &[&'static Entry],
) -> Router<S> {
    let (router, table) = routes.documented(problems);
    router.layer(from_fn_with_state(table, door::door)).layer(CatchPanicLayer::custom(panicked))
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    Problem::internal(&text.unwrap_or("a panic"), "handle the request").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{self, Client};

    #[tokio::test]
    async fn a_panic_in_a_handler_becomes_a_problem() {
        async fn panics() -> &'static str {
            panic!("secret")
        }
        let routes = Routes::<()>::new().get("/panics", READS_TEXT, panics).get(
            "/livez",
            READS_TEXT,
            health::livez,
        );
        let router = guarded(routes, &[]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let Err(client::Error::Problem { problem, .. }) = client.get("/panics").await else {
            panic!("no problem")
        };
        assert_eq!((problem.status, problem.code.as_str()), (500, "SAGA-0500"));
        assert!(!problem.detail.contains("secret"), "{}", problem.detail);
        assert_eq!(client.get("/livez").await.unwrap(), "ok\n");
    }
}
