//! An operator's way out of a lock that a saga has left on its order: only once that saga is at rest, or is known to be gone.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use sagamore_database::Database;
use sagamore_engine::ChainStatus;
use sagamore_shop::order::{self, Rejected};
use serde::Deserialize;

use super::body::{self, encoded};
use super::orders::alone;
use super::routes::{Kind, Parameter};
use crate::client::{self, Client};
use crate::problem::{Code, Problem};
use crate::view::Style;

/// How long one orchestrator may take to say where a saga stands.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// What an unlock takes.
pub const QUERY: &[Parameter] = &[Parameter { name: "force", kind: Kind::Flag }];

/// `?force=true`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForceQuery {
    #[serde(default)]
    force: bool,
}

/// Whether a holder that nobody knows may lose its lock all the same; one that is under way never does.
pub fn forced(query: Result<Query<ForceQuery>, QueryRejection>) -> Result<bool, Problem> {
    let query = query.map_err(|_| body::bad_query());
    query.map(|Query(query)| query.force)
}

/// Takes the lock from `holder`, of whom the caller knows that it is at rest.
pub async fn release(database: &Database, id: &str, holder: String) -> Result<(), Problem> {
    let outcome = alone(database, |tx| order::domain::unlock(tx, id.to_owned(), holder)).await;
    match outcome.map_err(|error| Problem::broke(&error, "unlock the order"))? {
        Ok(()) => Ok(()),
        Err(Rejected::UnknownOrder(_)) => Err(Problem::new(Code::NoSuchOrder, format!("there is no order {id}"))),
        Err(rejected @ Rejected::OrderIsLocked { .. }) => Err(Problem::new(Code::OrderPending, rejected.to_string())),
        Err(rejected @ (Rejected::LockIsGone { .. } | Rejected::AlreadySettled { .. })) => {
            Err(Problem::new(Code::OrderNotLocked, format!("order {id} is not locked: {rejected}")))
        }
        Err(rejected @ (Rejected::InvalidOrder(_) | Rejected::OrderExists(_) | Rejected::KeyUsed)) => {
            Err(Problem::internal(&rejected, "unlock the order"))
        }
    }
}

/// Who holds the lock of an order.
pub async fn holder(database: &Database, id: &str) -> Result<String, Problem> {
    let missing = || Problem::new(Code::NoSuchOrder, format!("there is no order {id}"));
    let placed = order::order(database, id).await?.ok_or_else(missing)?;
    placed.locked_by.ok_or_else(|| Problem::new(Code::OrderNotLocked, format!("order {id} is not locked")))
}

/// Where a saga of either style stands.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stands {
    /// Its status.
    pub status: ChainStatus,
    /// How it is run.
    #[serde(default)]
    pub style: Style,
    /// Who has not acted yet, and may.
    #[serde(default)]
    pub waits_for: Vec<MayAct>,
}

/// A service that is waited for.
#[derive(Clone, Deserialize)]
pub struct MayAct {
    /// Which.
    pub service: String,
}

/// Fails unless this saga is at rest, as the first one that answers says. `who`: the key of the configuration that names them.
pub async fn rests(who: &str, asked: &[Client], saga: &str, force: bool) -> Result<(), Problem> {
    let mut silent = Vec::new();
    for client in asked {
        match stands(client, saga).await {
            Ok(stands) => return rested(saga, stands, force),
            Err(why) => silent.push(why),
        }
    }
    let why = format!("whether {saga} is at rest is not known, for nobody answers ({who}): {}", silent.join("; "));
    Err(Problem::new(Code::Unavailable, why).retry_after(1))
}

/// Nobody knows such a saga when `stands` is none: then its lock goes by force alone. A chain that is late goes on when whoever
/// is late comes back, and so it has to be over.
pub fn rested(saga: &str, stands: Option<Stands>, force: bool) -> Result<(), Problem> {
    match stands {
        Some(Stands { status, style: Style::Orchestration, .. }) if status.is_at_rest() => Ok(()),
        Some(Stands { status: ChainStatus::Resolved, style: Style::Choreography, waits_for })
            if !waits_for.is_empty() && !force =>
        {
            let services: BTreeSet<&str> = waits_for.iter().map(|wait| wait.service.as_str()).collect();
            let who = services.into_iter().collect::<Vec<_>>().join(", ");
            let why = format!(
                "it is locked by {saga}, of which a person has said that it is taken care of; but {who} may still act on it when \
                 it comes back, and what it then does to an order that is cancelled nobody undoes. Let it come back, or have the \
                 chain given up (observer.tells_overdue); once it never can act, ?force=true takes the lock"
            );
            Err(Problem::new(Code::OrderPending, why))
        }
        Some(Stands { status, style: Style::Choreography, .. }) if status.is_over() => Ok(()),
        Some(Stands { status, style, .. }) => {
            let until = match style {
                Style::Orchestration => "its lock goes when it comes to rest".to_owned(),
                Style::Choreography => {
                    format!(
                        "its lock goes when it is over; where that never comes, a person says so (sagamore resolve {saga} \
                         --reason WHY), and takes the lock with ?force=true once nobody can act on it any more"
                    )
                }
            };
            let why = format!("it is locked by {saga}, which is {}: {until}", status.as_str());
            Err(Problem::new(Code::OrderPending, why))
        }
        None if force => {
            tracing::warn!(saga, "the lock of a saga that nobody knows is taken away by force");
            Ok(())
        }
        None => {
            let why = format!(
                "it is locked by {saga}, and those who should know (orchestrator.servers, observer.servers) know no such \
                 saga: are they the ones of this service's sagas? If they are, and the saga is gone for good, ?force=true \
                 takes its lock; should it go on elsewhere, it will find its order taken"
            );
            Err(Problem::new(Code::HolderUnknown, why))
        }
    }
}

/// Where a saga stands, or why this one does not say.
async fn stands(client: &Client, saga: &str) -> Result<Option<Stands>, String> {
    let path = format!("/api/v1/sagas/{}", encoded(saga));
    let answer = tokio::time::timeout(ANSWERED_WITHIN, client.get(&path)).await;
    match answer.map_err(|_| format!("{client}: no answer within {} s", ANSWERED_WITHIN.as_secs()))? {
        Ok(body) => client.read(&body).map(Some).map_err(|error| error.to_string()),
        // a holder that is no saga's id is known to nobody either
        Err(client::Error::Problem { told, .. }) if matches!(told.code.as_str(), "SAGA-0200" | "SAGA-0107") => Ok(None),
        Err(client::Error::NotRunning { why, .. }) => Err(format!("{client}: {why}")),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::Path;
    use axum::http::HeaderMap;
    use axum::routing::get;
    use axum::{Json, Router};
    use sagamore_core::saga::Status;
    use sagamore_kafka::Kafka;
    use sagamore_shop::order::choreographed::Placing;
    use tokio::net::TcpListener;

    use super::super::{ServiceApp, service_router};
    use super::*;
    use crate::view::Standing;
    use crate::waiting::Waiting;

    const LOCKED: &str = "INSERT INTO orders (order_id, customer_id, status, total_cents, lines, locked_by)
        VALUES ('1', 'ADA', 'pending', 100, '[]', 'checkout:1'), ('2', 'ADA', 'confirmed', 100, '[]', NULL),
            ('4', 'ADA', 'pending', 100, '[]', 'fulfilment:4')";

    async fn served(router: Router) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        client
    }

    /// An orchestrator where this is so of the saga of order 1.
    async fn orchestrator(status: Option<Status>) -> Client {
        let show = move |Path(id): Path<String>| async move {
            assert_eq!(id, "checkout:1");
            let standing = status.map(|status| Standing { id, status, revision: 3, ended_at: None });
            standing.map(Json).ok_or_else(|| Problem::new(Code::NoSuchSaga, "there is none"))
        };
        served(Router::new().route("/api/v1/sagas/{id}", get(show))).await
    }

    /// An observer where this is so of the chain of order 4.
    async fn observer(status: Option<ChainStatus>) -> Client {
        let show = move |Path(id): Path<String>, headers: HeaderMap| async move {
            assert_eq!(id, "fulfilment:4");
            let wait = headers.get("prefer").map(|wait| wait.to_str().unwrap().to_owned());
            assert!([None, Some("wait=0".to_owned()), Some("wait=1".to_owned())].contains(&wait), "{wait:?}");
            if status.is_none() && wait.as_deref() == Some("wait=0") {
                return Err(Problem::new(Code::Internal, "who waits a second is not asked for none"));
            }
            let chain = status.map(|status| {
                serde_json::json!({
                    "id": id, "status": status, "style": "choreography", "waitsFor": [{ "service": "payment" }]
                })
            });
            chain.map(Json).ok_or_else(|| Problem::new(Code::NoSuchSaga, "there is none"))
        };
        served(Router::new().route("/api/v1/sagas/{id}", get(show))).await
    }

    async fn order_service(orchestrators: Vec<Client>) -> Client {
        order_service_of(orchestrators, Vec::new()).await
    }

    async fn order_service_of(orchestrators: Vec<Client>, observers: Vec<Client>) -> Client {
        service_of(orchestrators, observers, false).await
    }

    async fn choreographed(observers: Vec<Client>) -> Client {
        service_of(Vec::new(), observers, true).await
    }

    async fn service_of(orchestrators: Vec<Client>, observers: Vec<Client>, choreographed: bool) -> Client {
        let database = Database::memory();
        database.migrate(order::SERVICE, order::MIGRATIONS, 1).await.unwrap();
        let open = database.begin().await.unwrap();
        open.tx().execute(LOCKED, ()).await.unwrap();
        open.commit().await.unwrap();
        let placing = choreographed.then(|| Placing::begin(database.clone(), sagamore_sdk::Outbox::default()));
        let kafka = Kafka::connect(sagamore_kafka::Options::new("127.0.0.1:1")).unwrap();
        let waiting = Waiting::default();
        waiting.is_over();
        served(service_router(ServiceApp {
            barrier_retention: Duration::from_secs(3600),
            name: order::SERVICE,
            database,
            kafka,
            choreographed,
            placing,
            observers,
            orchestrators,
            waiting,
            metrics: None,
        }))
        .await
    }

    /// Asks for the lock of an order; gives status, code and detail of the refusal, none when it was taken away.
    async fn refusal(service: &Client, id: &str) -> Option<(u16, String, String)> {
        refusal_at(service, &format!("/orders/{id}/unlock")).await
    }

    async fn refusal_at(service: &Client, path: &str) -> Option<(u16, String, String)> {
        match service.post(path, "", None).await {
            Ok(_) => None,
            Err(client::Error::Problem { told, .. }) => Some((told.status, told.code, told.detail)),
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn a_lock_is_taken_away_only_when_an_orchestrator_says_that_its_holder_is_at_rest() {
        let nobody = Client::new("http://127.0.0.1:1").unwrap();
        let check = async |orchestrators: Vec<Client>, wanted: Option<(u16, &str)>| {
            let refused = refusal(&order_service(orchestrators).await, "1").await;
            let found = refused.as_ref().map(|(status, code, _)| (*status, code.as_str()));
            assert_eq!(found, wanted, "{refused:?}");
        };
        check(vec![orchestrator(Some(Status::Running)).await], Some((409, "SAGA-0301"))).await;
        check(vec![orchestrator(Some(Status::Compensating)).await], Some((409, "SAGA-0301"))).await;
        check(vec![orchestrator(None).await], Some((409, "SAGA-0307"))).await;
        check(vec![nobody.clone()], Some((503, "SAGA-0401"))).await;
        check(vec![nobody.clone(), orchestrator(Some(Status::Running)).await], Some((409, "SAGA-0301"))).await;
        check(vec![nobody, orchestrator(Some(Status::Stuck)).await], None).await;
    }

    /// A chain that is late goes on when whoever is late comes back.
    #[tokio::test]
    async fn the_lock_of_a_chain_is_taken_away_only_when_the_observer_says_that_it_is_over() {
        let check = async |observers: Vec<Client>, query: &str, wanted: Option<(u16, &str)>| {
            let service = order_service_of(Vec::new(), observers).await;
            let refused = refusal_at(&service, &format!("/orders/4/unlock{query}")).await;
            let found = refused.as_ref().map(|(status, code, _)| (*status, code.as_str()));
            assert_eq!(found, wanted, "{refused:?}");
        };
        check(vec![observer(Some(ChainStatus::Stuck)).await], "", Some((409, "SAGA-0301"))).await;
        check(vec![observer(Some(ChainStatus::Anomalous)).await], "?force=true", Some((409, "SAGA-0301"))).await;
        check(vec![observer(None).await], "", Some((409, "SAGA-0307"))).await;
        check(vec![Client::new("http://127.0.0.1:1").unwrap()], "?force=true", Some((503, "SAGA-0401"))).await;
        check(vec![observer(Some(ChainStatus::Resolved)).await], "", Some((409, "SAGA-0301"))).await;
        check(vec![observer(Some(ChainStatus::Resolved)).await], "?force=true", None).await;
        check(vec![observer(Some(ChainStatus::Completed)).await], "", None).await;
        check(vec![observer(None).await], "?force=true", None).await;
    }

    /// An order that was placed is followed at the observer, in the article's words too.
    #[tokio::test]
    async fn who_waits_for_an_order_is_told_what_the_observer_says() {
        let check = async |observers: Vec<Client>, path: &str, wanted: &str| {
            let service = choreographed(observers).await;
            let answer = service.get(path).await.map(|body| String::from_utf8_lossy(&body).into_owned());
            assert_eq!(answer.unwrap(), format!("{{\"message\":\"{wanted}\"}}"));
        };
        let here = "/saga/start/4?wait=1";
        let done = vec![observer(Some(ChainStatus::Completed)).await];
        check(done, here, "Saga completed successfully for order 4").await;
        let nobody = Client::new("http://127.0.0.1:1").unwrap();
        let second = vec![nobody.clone(), observer(Some(ChainStatus::Stuck)).await];
        check(second, here, "Saga stuck for order 4: needs an operator").await;
        check(vec![observer(None).await], here, "Saga still running for order 4").await;
        check(vec![nobody], "/saga/start/4", "Saga started for Order ID: 4").await;
        let unknown = choreographed(Vec::new()).await.get("/saga/start/77").await;
        assert!(matches!(unknown, Err(client::Error::Problem { told, .. }) if told.code == "SAGA-0300"));
    }

    #[tokio::test]
    async fn force_takes_the_lock_of_a_saga_that_nobody_knows_and_of_no_other() {
        let check = async |orchestrator: Client, query: &str, wanted: Option<&str>| {
            let service = order_service(vec![orchestrator]).await;
            let refused = refusal_at(&service, &format!("/orders/1/unlock?{query}")).await;
            assert_eq!(refused.as_ref().map(|(_, code, _)| code.as_str()), wanted, "{refused:?}");
        };
        check(orchestrator(None).await, "force=true", None).await;
        check(orchestrator(None).await, "force=false", Some("SAGA-0307")).await;
        check(orchestrator(None).await, "force=please", Some("SAGA-0106")).await;
        check(orchestrator(None).await, "farce=true", Some("SAGA-0106")).await;
        check(orchestrator(Some(Status::Running)).await, "force=true", Some("SAGA-0301")).await;
        check(Client::new("http://127.0.0.1:1").unwrap(), "force=true", Some("SAGA-0401")).await;
    }

    #[tokio::test]
    async fn where_there_is_no_lock_the_refusal_says_so() {
        let service = order_service(vec![orchestrator(Some(Status::Stuck)).await]).await;
        let (status, code, detail) = refusal(&service, "2").await.expect("it has no lock");
        assert_eq!((status, code.as_str(), detail.as_str()), (409, "SAGA-0306", "order 2 is not locked"));
        assert_eq!(refusal(&service, "3").await.expect("no such order").1, "SAGA-0300");
        assert_eq!(refusal(&service, "1").await, None);
        assert_eq!(refusal(&service, "1").await.expect("it is gone").1, "SAGA-0306");
    }
}
