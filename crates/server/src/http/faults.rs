//! Faults of services, which only each service itself stores. A view of a chain queries the
//! services that it waits for.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use futures_util::future::join_all;
use sagamore_core::SagaId;
use sagamore_database::Database;
use sagamore_sdk::facts;

use super::barriers::{elsewhere, of};
use super::body::{self, encoded};
use super::ids;
use super::state::{Reacting, ServiceApp};
use crate::client;
use crate::clock::{from_rfc3339, now};
use crate::parts::{HttpReaction, ReactionPort, ServiceHost, Services};
use crate::problem::{Code, Problem};
use crate::view::{FaultView, Faults, SagaView};

/// Services are queried once a chain has waited for them this long.
const LATE: Duration = Duration::from_secs(1);
/// Time limit of each service's response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns the faults of a service in this process.
pub async fn embedded(
    State(app): State<Reacting>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<Faults>, Problem> {
    let (service, id) = parameters(path)?;
    let host = of(&app.services, &service)?;
    check_reacts(host)?;
    stored(&host.database, &ids::chain(&id, app.plan.as_ref())?).await.map(Json)
}

/// Returns the faults of the service that owns this listener.
pub async fn own(
    State(app): State<Arc<ServiceApp>>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<Faults>, Problem> {
    let (service, id) = parameters(path)?;
    if service != app.host.name.as_str() {
        return Err(elsewhere(&service));
    }
    check_reacts(&app.host)?;
    stored(&app.host.database, &ids::chain(&id, app.plan.as_ref())?).await.map(Json)
}

/// Rejects a service without an inbox, which only one that reacts to events has.
fn check_reacts(host: &ServiceHost) -> Result<(), Problem> {
    let why = "this service handles commands: `show` at the orchestrator lists the faults";
    host.reacts.then_some(()).ok_or_else(|| Problem::new(Code::NoSuchPage, why))
}

fn parameters(
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<(String, String), Problem> {
    let rejected = |_: PathRejection| body::bad_path();
    path.map(|Path(parameters)| parameters).map_err(rejected)
}

async fn stored(database: &Database, chain: &SagaId) -> Result<Faults, Problem> {
    let faults = facts::faults(database, chain)
        .await
        .map_err(|error| Problem::broke(&error, "read the inbox"))?;
    Ok(Faults { faults: faults.iter().map(FaultView::of).collect() })
}

impl Services {
    /// Adds the faults of the services that the chain waits for, or the reason why they are
    /// unknown.
    pub async fn explain(
        &self,
        chain: &SagaId,
        view: &mut SagaView,
        reactions: Option<&dyn ReactionPort>,
    ) {
        let waits = view.waits_for.iter();
        let late = waits.filter(|wait| {
            from_rfc3339(&wait.since).is_some_and(|since| now().since(since) > LATE)
        });
        let mut names: Vec<String> = late.map(|wait| wait.service.clone()).collect();
        names.sort_unstable();
        names.dedup();
        if let Some(port) = reactions.filter(|_| !names.is_empty()) {
            let answer = tokio::time::timeout(RESPONSE_TIMEOUT, port.of_chain(chain)).await;
            let stored = answer.unwrap_or_else(|_| {
                Err(format!("the database does not respond within {RESPONSE_TIMEOUT:?}"))
            });
            names.retain(|name| !explain_by_gateway(view, name, port, &stored));
        }
        let queries = names
            .iter()
            .map(|name| tokio::time::timeout(RESPONSE_TIMEOUT, self.faults_of(name, chain)));
        let results = join_all(queries).await;
        for (name, result) in names.iter().zip(results) {
            let result = result.unwrap_or_else(|_| {
                Err(format!("the service does not respond within {RESPONSE_TIMEOUT:?}"))
            });
            match result {
                Ok(faults) => faults.into_iter().for_each(|fault| add(view, fault)),
                Err(why) => set_reason(view, name, &why),
            }
        }
    }

    async fn faults_of(&self, service: &str, chain: &SagaId) -> Result<Vec<FaultView>, String> {
        match self {
            Services::Embedded(_) => {
                let host = of(self, service)
                    .map_err(|_| "the service does not run in this process".to_owned())?;
                let faults = facts::faults(&host.database, chain)
                    .await
                    .map_err(|error| format!("its faults are unknown: {error}"))?;
                Ok(faults.iter().map(FaultView::of).collect())
            }
            Services::Remote(services) => {
                let Some((_, client)) = services.iter().find(|(name, _)| name.as_str() == service)
                else {
                    return Err("the service has no address in the configuration".to_owned());
                };
                let path = format!("/api/v1/faults/{service}/{}", encoded(chain.as_str()));
                let response = async { client.read::<Faults>(&client.get(&path).await?) };
                response.await.map(|response| response.faults).map_err(|error: client::Error| {
                    match error {
                        client::Error::NotRunning { why, .. } => {
                            format!("the service does not respond at {client} ({why})")
                        }
                        error => format!("its faults are unknown: {error}"),
                    }
                })
            }
        }
    }
}

/// Adds the faults of an HTTP service, or the reason why they are unknown. Returns whether the
/// service is one.
fn explain_by_gateway(
    view: &mut SagaView,
    service: &str,
    port: &dyn ReactionPort,
    stored: &Result<Vec<HttpReaction>, String>,
) -> bool {
    let of_service = |reaction: &&HttpReaction| reaction.service.as_str() == service;
    match stored {
        Ok(stored) if stored.iter().any(|reaction| of_service(&reaction)) => {
            let faults = stored.iter().filter(of_service).filter_map(|one| one.fault.clone());
            faults.for_each(|fault| add(view, fault));
            true
        }
        Ok(_) if port.is_bound(service) => {
            set_reason(view, service, "its gateway has stored no event of the chain");
            true
        }
        Err(why) if port.is_bound(service) => {
            set_reason(view, service, &format!("its faults are unknown: {why}"));
            true
        }
        Ok(_) | Err(_) => false,
    }
}

fn add(view: &mut SagaView, fault: FaultView) {
    if let Some(step) = view.steps.iter_mut().find(|step| step.name == fault.step) {
        (step.fault, step.due, step.backing_off) = (Some(fault.why), Some(fault.again_at), true);
        step.attempts = fault.attempts.unwrap_or(step.attempts);
    }
}

fn set_reason(view: &mut SagaView, service: &str, why: &str) {
    let waits = view.waits_for.iter_mut().filter(|wait| wait.service == service);
    waits.for_each(|wait| wait.why = Some(why.to_owned()));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::Router;
    use axum::routing::get;
    use sagamore_core::message::Event;
    use sagamore_core::{Body, Direction, StepKey};
    use sagamore_engine::{Observer, ObserverOptions};
    use sagamore_transport::wire::encode_event;
    use sagamore_transport::{Log, MemoryDisk, Transport, log};
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::super::chains::observer_routes;
    use super::super::state::ObserverApp;
    use super::super::testing::{host, name, plan, served};
    use super::*;
    use crate::client::Client;

    const FAULTED: &str =
        "INSERT INTO inbox (saga, step, direction, event, telling_step, telling_direction, \
         version, hop,
            told_at, body, due_at, since, why)
        VALUES ('visit:1', 'open', 'action', 'bell.rung', 'ring', 'action', 1, 0, 1,
        '{}', 61000, 1000,
            'the door is jammed')";

    /// Returns a host whose reaction has failed.
    async fn a_fault() -> ServiceHost {
        let host = host().await;
        let open = host.database.begin().await.unwrap();
        open.tx().execute(FAULTED, ()).await.unwrap();
        open.commit().await.unwrap();
        host
    }

    /// Returns the observer's view of a chain that waits for the host.
    async fn shown(services: Services) -> Value {
        let log = Log::on(Arc::new(MemoryDisk::new()), log::Options::default()).unwrap();
        let transport: Arc<dyn Transport> = Arc::new(log.clone());
        let opened =
            Observer::open(ObserverOptions::default(), Database::memory(), transport, vec![plan()])
                .await;
        let (mut observer, chains) = opened.unwrap();
        observer.turn(now()).await.unwrap();
        let (saga, step) = ("visit:1".parse().unwrap(), "ring".parse().unwrap());
        let key = StepKey { saga, step, direction: Direction::Action, generation: 1 };
        let (bell, at) = ("bell.rung".parse().unwrap(), now().minus(LATE * 10));
        let event = Event {
            key,
            version: 1,
            name: bell,
            causation: None,
            hop: 0,
            at,
            body: Body::empty(),
            trace: None,
        };
        log.publish(vec![encode_event(&event, &"guest".parse().unwrap())]).await.unwrap();
        observer.turn(at).await.unwrap(); // overdue by now
        let app = ObserverApp::of(chains, services, name());
        let client = served(crate::http::router("an observer", observer_routes(app), &[])).await;
        client.read(&client.get("/api/v1/sagas/1").await.unwrap()).unwrap()
    }

    fn open(view: &Value) -> &Value {
        view["steps"].as_array().unwrap().iter().find(|step| step["name"] == "open").unwrap()
    }

    fn at(client: Client) -> Services {
        Services::Remote(Arc::new([("host".parse().unwrap(), client)]))
    }

    #[tokio::test]
    async fn a_chain_shows_the_fault_of_the_service_that_it_waits_for() {
        let host = a_fault().await;
        let faults = stored(&host.database, &"visit:1".parse().unwrap()).await.unwrap();
        let faults = serde_json::to_value(faults).unwrap();
        let address = |Path(parameters): Path<(String, String)>| async move {
            assert_eq!(parameters, ("host".to_owned(), "visit:1".to_owned()));
            Json(faults)
        };
        let remote =
            served(Router::new().route("/api/v1/faults/{service}/{id}", get(address))).await;
        for services in [Services::Embedded(Arc::new([host])), at(remote)] {
            let view = shown(services).await;
            let step = open(&view);
            let expected =
                (&json!("the door is jammed"), &json!("1970-01-01T00:01:01.000Z"), &json!(true));
            assert_eq!((&step["fault"], &step["due"], &step["backingOff"]), expected, "{view}");
        }
    }

    #[tokio::test]
    async fn a_silent_service_does_not_hide_the_chain() {
        // accepts connections and never responds
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", silent.local_addr().unwrap())).unwrap();
        let view = shown(at(client)).await;
        assert_eq!((&view["status"], &open(&view)["fault"]), (&json!("running"), &Value::Null));
        assert_eq!(view["waitsFor"][0]["why"], "the service does not respond within 1s");
        let stopped = Client::new("http://127.0.0.1:1").unwrap();
        let view = shown(at(stopped)).await;
        let why = view["waitsFor"][0]["why"].as_str().unwrap();
        assert!(why.starts_with("the service does not respond at http://127.0.0.1:1 ("), "{why}");
    }
}
