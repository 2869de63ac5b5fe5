//! The HTTP side: which address leads where. No rules of sagas in here.

mod body;
mod listing;
mod page;
mod prefer;
pub mod trace;

mod door;
mod openapi;
mod origin;
mod query;
pub mod routes;
pub mod shape;

mod ids;

mod barriers;
mod chains;
mod faults;
mod health;
mod index;
mod sagas;
mod service;
mod waiting;

#[cfg(test)]
mod testing;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use metrics_exporter_prometheus::PrometheusHandle;
use sagamore_core::{Body, Name};
use sagamore_engine::{Chains, Handle};
use sagamore_transport::Log;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use crate::parts::{BrokerHealth, Services};
use crate::problem::Entry;
use routes::{Media, READS, Routes, TELLS, Takes};

pub use crate::problem::{Code, Problem};
pub use body::{Payload, Segment, bad_query, encoded};
pub use chains::{ObserverApp, observer_routes};
pub use page::{PAGE, PageQuery, PageRequest, page};
pub use prefer::{PREFERENCE_APPLIED, WAIT_S_MAX, Wait};
pub use sagas::{accepted, at_rest, begin, idempotency_key};
pub use service::{ServiceApp, service_routes};
pub use waiting::waiting_router;

/// Returns the input of a saga that is started without one.
pub type SampleInput = Arc<dyn Fn(&Name, &str) -> Option<Body> + Send + Sync>;

/// The parts that the handlers of an orchestrator work with.
pub struct App {
    /// The only door to the engine.
    pub handle: Handle,
    /// The observer's view of chains, where the process has one.
    pub chains: Option<Chains>,
    /// The services that explain why a chain waits.
    pub services: Services,
    /// The definition that a business key alone belongs to.
    pub definition: Option<Name>,
    /// The plan that a business key alone belongs to.
    pub plan: Option<Name>,
    /// The inputs of sagas that are started without one.
    pub sample_input: Option<SampleInput>,
    /// The brokers, unless the log is embedded.
    pub brokers: Option<Arc<dyn BrokerHealth>>,
    /// The embedded log, for its figures.
    pub log: Option<Log>,
    /// Renders the metrics, if this process collects them.
    pub metrics: Option<PrometheusHandle>,
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

/// Returns the routes of an orchestrator.
pub fn orchestrator_routes(app: App) -> Routes {
    let reacts = app.services.hosts().iter().any(|host| host.reacts);
    let services =
        if reacts { reacting(app.services.clone(), app.plan.clone()) } else { Routes::new() };
    orchestrated().with_state(Arc::new(app)).merge(services)
}

/// Returns the routes of services in this process that react to events.
fn reacting(services: Services, plan: Option<Name>) -> Routes {
    let routes = Routes::new().post("/api/v1/sagas/{id}/resend", READS, barriers::resend_all).get(
        "/api/v1/faults/{service}/{id}",
        READS,
        faults::embedded,
    );
    routes.with_state(Reacting { services, plan })
}

/// The state of [`reacting`].
#[derive(Clone)]
struct Reacting {
    services: Services,
    plan: Option<Name>,
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
        .post("/api/v1/sagas/{id}/resolve", READS.body(&shape::RESCUE), sagas::resolve)
        .get("/api/v1/barriers/{service}", READS.query(barriers::QUERY), barriers::embedded)
        .get("/readyz", TELLS, health::readyz)
        .get("/metrics", TELLS, health::metrics)
}

/// A page for people.
const SHOWS: Takes = Takes { answers: Media::Html, ..READS };

/// Returns the router of a process: its routes, and those of every process. `title` heads the front page.
pub fn router(title: &str, routes: Routes, problems: &[&'static Entry]) -> Router {
    let page = format!("{title}\n\n{}{}", routes.lines(), index::EVERYWHERE);
    let errors = crate::problem::html(problems);
    let everywhere = Routes::new()
        .get("/", TELLS, move || async move { page })
        .get("/docs/errors", SHOWS, move || async move { axum::response::Html(errors) })
        .get("/livez", TELLS, health::livez)
        .get("/version", READS, health::version);
    guarded(everywhere.merge(routes), problems)
}

/// Answers with a problem whatever goes wrong on the way to a handler or in it, and the process continues.
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
    async fn a_panic_in_a_handler_is_a_problem_and_the_process_lives() {
        async fn panics() -> &'static str {
            panic!("secret")
        }
        let routes =
            Routes::<()>::new().get("/panics", TELLS, panics).get("/livez", TELLS, health::livez);
        let router = guarded(routes, &[]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let Err(client::Error::Problem { told, .. }) = client.get("/panics").await else {
            panic!("no problem")
        };
        assert_eq!((told.status, told.code.as_str()), (500, "SAGA-0500"));
        assert!(!told.detail.contains("secret"), "{}", told.detail);
        assert_eq!(client.get("/livez").await.unwrap(), "ok\n");
    }
}
