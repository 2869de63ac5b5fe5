//! The routes of chains, as the observer has recorded them.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use sagamore_core::{Name, SagaId};
use sagamore_engine::{ChainStatus, Chains, Filter, Reading, ResolveError};
use serde::Deserialize;

use super::barriers;
use super::body::{self, Payload, Segment};
use super::events::{self, Events};
use super::listing::{self, ListFilter, ListRequest};
use super::prefer::{PREFERENCE_APPLIED, Wait};
use super::routes::{READS, READS_TEXT, Routes};
use super::service::reacting;
use super::state::{ObserverApp, Reacting};
use super::versions::{self, Versions};
use super::{health, ids, index, shape};
use crate::problem::{Code, Problem};
use crate::view::{Lines, chain_view};

/// The body of a `resolve`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResolveBody {
    reason: String,
}

/// Returns the routes of an observer and of the services in its process.
pub fn observer_routes(app: ObserverApp) -> Routes {
    let barriers = Routes::new().about(index::SERVICE).get(
        "/api/v1/barriers/{service}",
        READS.query(barriers::QUERY),
        barriers::beside_observer,
    );
    let (services, chains_of, plan) =
        (app.services.clone(), Some(app.chains.clone()), app.plan.clone());
    let reacting = reacting(Reacting { services, chains: chains_of, plan });
    let services = match app.services.are_embedded() {
        true => barriers.with_state(app.services.clone()).merge(reacting),
        false => reacting,
    };
    let plans = versions::routes(Versions::Plans(app.chains.clone()), app.presence());
    let plans = plans.about(index::PLANS);
    let (chains_of, services_of) = (app.chains.clone(), app.services.clone());
    let events = events::routes(Events { chains: chains_of, services: services_of });
    chains().with_state(app).merge(plans).merge(events).merge(services)
}

fn chains() -> Routes<ObserverApp> {
    Routes::new()
        .about(index::CHAINS)
        .get("/readyz", READS_TEXT, readyz)
        .get("/metrics", READS_TEXT, metrics)
        .get("/api/v1/sagas", READS.query(listing::QUERY), list)
        .post("/api/v1/sagas", READS.body(&shape::START).waits().keyed(), not_orchestrated)
        .get("/api/v1/sagas/{id}", READS.prefers(), show)
        .post("/api/v1/sagas/{id}/cancel", READS.body(&shape::CANCEL), cancel)
        .post("/api/v1/sagas/{id}/retry", READS.body(&shape::RETRY), not_orchestrated)
        .post("/api/v1/sagas/{id}/skip", READS.body(&shape::RESCUE), not_orchestrated)
        .post("/api/v1/sagas/{id}/compensate", READS.body(&shape::RESCUE), not_orchestrated)
        .post("/api/v1/sagas/{id}/resolve", READS.body(&shape::REASON), resolve_chain)
}

/// Lists chains, newest first.
async fn list(State(app): State<ObserverApp>, query: ListRequest) -> Result<Json<Lines>, Problem> {
    let filter = ListFilter::of(query)?;
    let mut found = filter.chains(&app.chains).await?;
    app.stand_ins.mark_lines(&mut found);
    Ok(Json(filter.page(Vec::new(), found)))
}

/// Shows one chain with its events, the services that it waits for, and their faults. `Prefer:
/// wait=N` waits until the chain is at rest.
async fn show(
    State(app): State<ObserverApp>,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let ObserverApp { chains, services, plan, reactions, stand_ins, .. } = app;
    let wait = Wait::of(&headers)?;
    let chain = match ids::chain_of(&chains, plan.as_ref(), &id).await? {
        Ok(detail) => detail.header.id,
        Err(chain) => chain,
    };
    chains.wait(&chain, wait.map_or(Duration::ZERO, Wait::patience)).await.map_err(ids::unread)?;
    let detail =
        chains.show(&chain).await.map_err(ids::unread)?.ok_or_else(|| unseen(&chains, &chain))?;
    let mut view = chain_view(&detail);
    services.explain(&chain, &mut view, reactions.as_deref()).await;
    stand_ins.mark(&mut view);
    let mut response = Json(view).into_response();
    if let Some(wait) = wait {
        response.headers_mut().insert(PREFERENCE_APPLIED, wait.applied());
    }
    Ok(response)
}

const NOTHING: &str = "the observer has received no events since its start";

/// Returns the problem for an unknown chain: not found, or not available while the observer has
/// events to read.
pub fn unseen(chains: &Chains, chain: &SagaId) -> Problem {
    match chains.reading() {
        Reading::Elsewhere | Reading::But(0) => Problem::no_such_chain(chain),
        Reading::But(events) => {
            not_yet(&format!("chain {chain} is not known yet: {events} events remain to be read"))
        }
        Reading::Nothing => not_yet(&format!("chain {chain} is not known yet: {NOTHING}")),
    }
}

fn not_yet(why: &str) -> Problem {
    Problem::new(Code::Unavailable, why).retry_after(1)
}

/// Handles `resolve`, the only verb for chains.
async fn resolve_chain(
    State(app): State<ObserverApp>,
    Segment(id): Segment,
    payload: Payload,
) -> Result<Response, Problem> {
    resolve(&app.chains, app.plan.as_ref(), &id, &payload).await
}

/// Marks a chain as repaired, with the operator's reason.
pub async fn resolve(
    chains: &Chains,
    plan: Option<&Name>,
    id: &str,
    payload: &Payload,
) -> Result<Response, Problem> {
    let chain = match ids::chain_of(chains, plan, id).await? {
        Ok(detail) => detail.header.id,
        Err(chain) => chain,
    };
    let ResolveBody { reason } = payload.json(&shape::REASON)?;
    body::reason(&reason)?;
    match chains.resolve(&chain, &reason).await {
        Ok(()) => {
            tracing::info!(%chain, reason, "chain resolved by an operator");
            let status = ChainStatus::Resolved;
            Ok(Json(
                serde_json::json!({ "id": chain, "status": status, "message": "chain resolved" }),
            )
            .into_response())
        }
        Err(error @ ResolveError::NotFound(_)) => {
            Err(Problem::new(Code::NoSuchSaga, error.to_string()))
        }
        Err(error @ ResolveError::NotStuck { status, .. }) => {
            let code = if status.is_over() { Code::SagaEnded } else { Code::VerbDoesNotApply };
            Err(Problem::new(code, error.to_string()))
        }
        Err(ResolveError::Store(error)) => Err(Problem::broke(&error, "resolve the chain")),
    }
}

/// Returns the problem for a verb that only an orchestrator supports.
pub async fn not_orchestrated() -> Problem {
    Problem::new(
        Code::NotOrchestrated,
        "this is a choreography: its first service starts a chain, and events undo failed ones. A \
         chain that does not end waits for a service; once it is repaired by hand, use resolve",
    )
}

/// Rejects a cancel. Unlike an orchestrator's, it reserves no key for a chain without events.
async fn cancel(State(app): State<ObserverApp>, Segment(id): Segment) -> Result<Response, Problem> {
    let why = match ids::chain_of(&app.chains, app.plan.as_ref(), &id).await? {
        Ok(detail) => format!(
            "{} is a choreography: it cannot be cancelled, and events undo what fails in it. A \
             chain that does not end waits for a service; once it is repaired by hand, use resolve",
            detail.header.id
        ),
        Err(chain) => format!(
            "no event of the chain {chain} was ever seen, and this is a choreography: a cancel \
             reserves no key here, and nothing was done. Check the key with `list`. To \
             prevent a chain, make its first service refuse the request"
        ),
    };
    Err(Problem::new(Code::NotOrchestrated, why))
}

async fn readyz(State(app): State<ObserverApp>) -> Result<&'static str, Problem> {
    let read = app.chains.list(&Filter { limit: Some(1), ..Filter::default() }).await;
    read.map_err(|error| not_yet(&error.to_string()))?;
    if app.chains.reading() == Reading::Nothing {
        return Err(not_yet(NOTHING));
    }
    health::readable(app.services.hosts()).await?;
    app.brokers.as_deref().map_or(Ok(()), health::advances)?;
    Ok("ok\n")
}

async fn metrics(State(app): State<ObserverApp>) -> Response {
    health::rendered(app.metrics.as_ref())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sagamore_core::message::Event;
    use sagamore_core::{Body, Direction, StepKey, Timestamp};
    use sagamore_database::Database;
    use sagamore_engine::{Observer, ObserverOptions};
    use sagamore_transport::wire::encode_event;
    use sagamore_transport::{Log, MemoryDisk, Transport, log};

    use super::super::testing::{name, plan, served};
    use super::*;
    use crate::parts::Services;

    #[tokio::test]
    async fn an_operator_resolves_a_chain_that_does_not_end() {
        let log = Log::on(Arc::new(MemoryDisk::new()), log::Options::default()).unwrap();
        let transport: Arc<dyn Transport> = Arc::new(log.clone());
        let plans = vec![plan()];
        let opened =
            Observer::open(ObserverOptions::default(), Database::memory(), transport, plans).await;
        let (mut observer, chains) = opened.unwrap();
        observer.turn(Timestamp(1)).await.unwrap();
        let key = StepKey {
            saga: "visit:1".parse().unwrap(),
            step: "ring".parse().unwrap(),
            direction: Direction::Action,
            generation: 1,
        };
        let event = "bell.rung".parse().unwrap();
        let (at, body) = (Timestamp(1), Body::empty());
        let event =
            Event { key, version: 99, name: event, causation: None, hop: 0, at, body, trace: None };
        log.publish(vec![encode_event(&event, &"guest".parse().unwrap())]).await.unwrap();
        observer.turn(Timestamp(2)).await.unwrap();

        let services = Services::Remote(Arc::new([]));
        let app = ObserverApp::of(chains, services, name());
        let client = served(crate::http::router("an observer", observer_routes(app), &[])).await;
        let read = async |path: &str| -> serde_json::Value {
            client.read(&client.get(path).await.unwrap()).unwrap()
        };
        let shown = read("/api/v1/sagas/1").await;
        assert_eq!(
            (&shown["status"], &shown["allowedActions"][0]),
            (&"unknown-version".into(), &"resolve".into())
        );
        let because = r#"{"reason": "ann: refunded by hand"}"#;
        client.post("/api/v1/sagas/1/resolve", because, None).await.unwrap();
        client.post("/api/v1/sagas/1/resolve", because, None).await.unwrap();
        let shown = read("/api/v1/sagas/1").await;
        assert_eq!(
            (&shown["status"], &shown["why"]),
            (&"resolved".into(), &"ann: refunded by hand".into())
        );
        assert_eq!(shown["allowedActions"].as_array().map(Vec::len), Some(0));
        assert_eq!(
            read("/api/v1/sagas?status=resolved").await["sagas"].as_array().map(Vec::len),
            Some(1)
        );
        assert_eq!(
            read("/api/v1/sagas?status=unknown-version").await["sagas"].as_array().map(Vec::len),
            Some(0)
        );
    }
}
