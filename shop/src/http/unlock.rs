//! The unlock of an order: removes a lock that a saga has left behind, once that saga is at rest or
//! lost.

use sagamore::database::Database;
use sagamore::server::http::{Code, Problem};
use sagamore::server::lock::LockRefusal;

use super::local::transact;
use super::problems::{HOLDER_UNKNOWN, NO_SUCH_ORDER, ORDER_NOT_LOCKED, ORDER_PENDING};
use crate::order::{self, Rejected};

/// Converts a refused unlock into a problem.
pub fn allowed(checked: Result<(), LockRefusal>) -> Result<(), Problem> {
    checked.map_err(|refusal| match refusal {
        LockRefusal::Held(why) => Problem::new(&ORDER_PENDING, why),
        LockRefusal::Unknown(why) => Problem::new(&HOLDER_UNKNOWN, why),
        LockRefusal::Unanswered(why) => Problem::new(Code::Unavailable, why).retry_after(1),
    })
}

/// Removes the lock of `holder`. The caller has checked that the holder is at rest.
pub async fn release(database: &Database, id: &str, holder: String) -> Result<(), Problem> {
    let outcome = transact(database, |tx| order::domain::unlock(tx, id.to_owned(), holder)).await;
    match outcome.map_err(|error| Problem::broke(&error, "unlock the order"))? {
        Ok(()) => Ok(()),
        Err(Rejected::UnknownOrder(_)) => {
            Err(Problem::new(&NO_SUCH_ORDER, format!("there is no order {id}")))
        }
        Err(rejected @ Rejected::OrderIsLocked { .. }) => {
            Err(Problem::new(&ORDER_PENDING, rejected.to_string()))
        }
        Err(rejected @ (Rejected::LockIsGone { .. } | Rejected::AlreadySettled { .. })) => {
            Err(Problem::new(&ORDER_NOT_LOCKED, format!("order {id} is not locked: {rejected}")))
        }
        Err(
            rejected @ (Rejected::InvalidOrder(_) | Rejected::OrderExists(_) | Rejected::KeyUsed),
        ) => Err(Problem::internal(&rejected, "unlock the order")),
    }
}

/// Returns the holder of an order's lock.
pub async fn holder(database: &Database, id: &str) -> Result<String, Problem> {
    let missing = || Problem::new(&NO_SUCH_ORDER, format!("there is no order {id}"));
    let placed = order::order(database, id).await?.ok_or_else(missing)?;
    placed
        .locked_by
        .ok_or_else(|| Problem::new(&ORDER_NOT_LOCKED, format!("order {id} is not locked")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use sagamore::axum::extract::Path;
    use sagamore::axum::http::HeaderMap;
    use sagamore::axum::routing::get;
    use sagamore::axum::{self, Json, Router};
    use sagamore::core::saga::Status;
    use sagamore::engine::ChainStatus;
    use sagamore::server::client::{self, Client};
    use sagamore::server::http::{ServiceApp, router, service_routes};
    use sagamore::server::parts::BrokerAnswer;
    use sagamore::server::view::Standing;
    use sagamore::server::{BrokerHealth, ServiceHost, StartupWait};
    use sagamore::transport::{Log, MemoryDisk, log};
    use tokio::net::TcpListener;

    use super::super::of_order;
    use super::*;

    /// Brokers that are always available.
    struct HealthyBrokers;

    impl BrokerHealth for HealthyBrokers {
        fn answer(&self) -> BrokerAnswer<'_> {
            Box::pin(async { Ok(()) })
        }

        fn advance(&self) -> Result<(), String> {
            Ok(())
        }
    }

    const LOCKED: &str = "INSERT INTO orders (order_id, customer_id, status, total_cents, lines, \
                          locked_by)
        VALUES ('1', 'ADA', 'pending', 100, '[]', 'checkout:1'), ('2', 'ADA', 'confirmed', 100, \
        '[]', NULL),
            ('4', 'ADA', 'pending', 100, '[]', 'fulfilment:4')";

    async fn served(router: Router) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        client
    }

    /// Starts an orchestrator that reports this status for the saga of order 1. `None`: it does not
    /// know the saga.
    async fn orchestrator(status: Option<Status>) -> Client {
        let show = move |Path(id): Path<String>| async move {
            assert_eq!(id, "checkout:1");
            let standing =
                status.map(|status| Standing { id, status, revision: 3, ended_at: None });
            standing.map(Json).ok_or_else(|| Problem::new(Code::NoSuchSaga, "there is none"))
        };
        served(Router::new().route("/api/v1/sagas/{id}", get(show))).await
    }

    /// Starts an observer that reports this status for the chain of order 4. `None`: it does not
    /// know the chain.
    async fn observer(status: Option<ChainStatus>) -> Client {
        let show = move |Path(id): Path<String>, headers: HeaderMap| async move {
            assert_eq!(id, "fulfilment:4");
            let wait = headers.get("prefer").map(|wait| wait.to_str().unwrap().to_owned());
            assert!(
                [None, Some("wait=0".to_owned()), Some("wait=1".to_owned())].contains(&wait),
                "{wait:?}"
            );
            if status.is_none() && wait.as_deref() == Some("wait=0") {
                return Err(Problem::new(Code::Internal, "a wait of one second is forwarded"));
            }
            let chain = status.map(|status| {
                serde_json::json!({
                    "id": id, "status": status, "style": "choreography",
                    "waitsFor": [{ "service": "payment" }]
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

    async fn service_of(
        orchestrators: Vec<Client>,
        observers: Vec<Client>,
        choreographed: bool,
    ) -> Client {
        let database = Database::memory();
        database.migrate(order::SERVICE, order::MIGRATIONS, 1).await.unwrap();
        let open = database.begin().await.unwrap();
        open.tx().execute(LOCKED, ()).await.unwrap();
        open.commit().await.unwrap();
        let log = Log::on(Arc::new(MemoryDisk::new()), log::Options::default()).unwrap();
        let host = ServiceHost {
            name: order::SERVICE.parse().unwrap(),
            database,
            outbox: sagamore::sdk::Outbox::default(),
            transport: Arc::new(log),
            barrier_retention: Duration::from_secs(3600),
            reacts: choreographed,
            is_embedded: false,
            orchestrators,
            observers,
        };
        let waiting = StartupWait::default();
        waiting.end();
        let own = of_order(&host);
        let app = ServiceApp {
            host,
            brokers: Arc::new(HealthyBrokers),
            plan: None,
            waiting,
            metrics: None,
        };
        served(router("order", service_routes(app, own), &[])).await
    }

    /// Sends an unlock of an order. Returns status, code and detail of the refusal, or `None` if
    /// the lock was removed.
    async fn refusal(service: &Client, id: &str) -> Option<(u16, String, String)> {
        refusal_at(service, &format!("/orders/{id}/unlock")).await
    }

    async fn refusal_at(service: &Client, path: &str) -> Option<(u16, String, String)> {
        match service.post(path, "", None).await {
            Ok(_) => None,
            Err(client::Error::Problem { problem, .. }) => {
                Some((problem.status, problem.code, problem.detail))
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn a_lock_is_removed_only_if_an_orchestrator_reports_its_holder_at_rest() {
        let absent = Client::new("http://127.0.0.1:1").unwrap();
        let check = async |orchestrators: Vec<Client>, wanted: Option<(u16, &str)>| {
            let refused = refusal(&order_service(orchestrators).await, "1").await;
            let found = refused.as_ref().map(|(status, code, _)| (*status, code.as_str()));
            assert_eq!(found, wanted, "{refused:?}");
        };
        check(vec![orchestrator(Some(Status::Running)).await], Some((409, "SAGA-0301"))).await;
        check(vec![orchestrator(Some(Status::Compensating)).await], Some((409, "SAGA-0301"))).await;
        check(vec![orchestrator(None).await], Some((409, "SAGA-0307"))).await;
        check(vec![absent.clone()], Some((503, "SAGA-0401"))).await;
        check(
            vec![absent.clone(), orchestrator(Some(Status::Running)).await],
            Some((409, "SAGA-0301")),
        )
        .await;
        check(vec![absent, orchestrator(Some(Status::Stuck)).await], None).await;
    }

    /// A stuck or resolved chain still continues when a late service starts again.
    #[tokio::test]
    async fn a_lock_is_removed_only_if_an_observer_reports_the_chain_as_ended() {
        let check = async |observers: Vec<Client>, query: &str, wanted: Option<(u16, &str)>| {
            let service = order_service_of(Vec::new(), observers).await;
            let refused = refusal_at(&service, &format!("/orders/4/unlock{query}")).await;
            let found = refused.as_ref().map(|(status, code, _)| (*status, code.as_str()));
            assert_eq!(found, wanted, "{refused:?}");
        };
        check(vec![observer(Some(ChainStatus::Stuck)).await], "", Some((409, "SAGA-0301"))).await;
        check(
            vec![observer(Some(ChainStatus::Anomalous)).await],
            "?force=true",
            Some((409, "SAGA-0301")),
        )
        .await;
        check(vec![observer(None).await], "", Some((409, "SAGA-0307"))).await;
        check(
            vec![Client::new("http://127.0.0.1:1").unwrap()],
            "?force=true",
            Some((503, "SAGA-0401")),
        )
        .await;
        check(vec![observer(Some(ChainStatus::Resolved)).await], "", Some((409, "SAGA-0301")))
            .await;
        check(vec![observer(Some(ChainStatus::Resolved)).await], "?force=true", None).await;
        check(vec![observer(Some(ChainStatus::Completed)).await], "", None).await;
        check(vec![observer(None).await], "?force=true", None).await;
    }

    /// An order is followed at the observer, also by `/saga/start`.
    #[tokio::test]
    async fn a_followed_order_reports_the_status_of_the_observer() {
        let check = async |observers: Vec<Client>, path: &str, wanted: &str| {
            let service = choreographed(observers).await;
            let answer =
                service.get(path).await.map(|body| String::from_utf8_lossy(&body).into_owned());
            assert_eq!(answer.unwrap(), format!("{{\"message\":\"{wanted}\"}}"));
        };
        let here = "/saga/start/4?wait=1";
        let done = vec![observer(Some(ChainStatus::Completed)).await];
        check(done, here, "Saga completed successfully for order 4").await;
        let absent = Client::new("http://127.0.0.1:1").unwrap();
        let second = vec![absent.clone(), observer(Some(ChainStatus::Stuck)).await];
        check(second, here, "Saga stuck for order 4: needs an operator").await;
        check(vec![observer(None).await], here, "Saga still running for order 4").await;
        check(vec![absent], "/saga/start/4", "Saga started for Order ID: 4").await;
        let unknown = choreographed(Vec::new()).await.get("/saga/start/77").await;
        let Err(client::Error::Problem { problem, .. }) = unknown else { panic!("a problem") };
        assert_eq!(problem.code, "SAGA-0300");
    }

    #[tokio::test]
    async fn force_removes_the_lock_of_an_unknown_saga_only() {
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
    async fn an_unlock_without_a_lock_is_refused() {
        let service = order_service(vec![orchestrator(Some(Status::Stuck)).await]).await;
        let (status, code, detail) = refusal(&service, "2").await.expect("the order has no lock");
        assert_eq!(
            (status, code.as_str(), detail.as_str()),
            (409, "SAGA-0306", "order 2 is not locked")
        );
        assert_eq!(refusal(&service, "3").await.expect("the order does not exist").1, "SAGA-0300");
        assert_eq!(refusal(&service, "1").await, None);
        assert_eq!(refusal(&service, "1").await.expect("the lock was removed").1, "SAGA-0306");
    }
}
