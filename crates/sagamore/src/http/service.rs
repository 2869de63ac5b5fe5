//! The listener of one service: what it keeps, what it can be loaded with, and how it is.

use std::sync::Arc;

use axum::extract::{FromRequest, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use sagamore_database::Database;
use sagamore_kafka::Kafka;
use sagamore_sdk::Outbox;
use sagamore_shop::import::{self, Record};
use sagamore_shop::{inventory, order, payment, shipping};
use serde::Serialize;

use super::body::{Payload, Segment};
use super::{choreography, guarded, health, orders, shop, unlock};
use crate::client::Client;
use crate::problem::{Code, Problem};

/// What the handlers of a service's listener work with.
pub struct ServiceApp {
    /// The service.
    pub name: &'static str,
    /// What it keeps.
    pub database: Database,
    /// Where its commands come from.
    pub kafka: Kafka,
    /// Where an order begins its chain, in a choreography.
    pub outbox: Option<Outbox>,
    /// Who knows how the sagas stand.
    pub orchestrators: Vec<Client>,
    /// Renders the metrics, if this process collects them.
    pub metrics: Option<PrometheusHandle>,
}

/// How many of the rows that were sent are new.
#[derive(Serialize)]
struct Loaded {
    rows: usize,
    new: u64,
}

type Shared = State<Arc<ServiceApp>>;

/// Every address of a service.
pub fn service_router(app: ServiceApp) -> Router {
    let router = Router::new()
        .route("/livez", get(health::livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/version", get(health::version));
    let router = match app.name {
        order::SERVICE => router
            .route("/orders", get(all_orders).post(place_order))
            .route("/orders/{id}", get(one_order))
            .route("/orders/{id}/cancel", post(cancel_order))
            .route("/orders/{id}/unlock", post(unlock_order)),
        payment::SERVICE => {
            router.route("/accounts", get(accounts).post(load_accounts)).route("/accounts/{id}", get(account))
        }
        inventory::SERVICE => router.route("/stock", get(stock).post(load_stock)).route("/stock/{sku}", get(product)),
        _ => router
            .route("/destinations", get(destinations).post(load_destinations))
            .route("/shipments", get(shipments))
            .route("/shipments/{id}", get(shipment)),
    };
    guarded(router).with_state(Arc::new(app))
}

/// The tables are there and can be read, and the brokers answer.
async fn readyz(State(app): Shared) -> Result<&'static str, Problem> {
    let unready = |what: String| Problem::new(Code::Unavailable, what).retry_after(1);
    let read = match app.name {
        order::SERVICE => order::orders(&app.database, "", 1).await.map(drop),
        payment::SERVICE => payment::accounts(&app.database, "", 1).await.map(drop),
        inventory::SERVICE => inventory::stock(&app.database, "", 1).await.map(drop),
        _ => shipping::shipments(&app.database, "", 1).await.map(drop),
    };
    read.map_err(|error| unready(format!("database of {}: {error}", app.name)))?;
    app.kafka.brokers().await.map_err(|error| unready(format!("kafka: {error}")))?;
    Ok("ok\n")
}

async fn metrics(State(app): Shared) -> Response {
    health::rendered(app.metrics.as_ref())
}

async fn all_orders(State(app): Shared, query: shop::PageOf) -> Result<Response, Problem> {
    let (after, limit) = shop::page(query)?;
    let orders = order::orders(&app.database, &after, limit).await?;
    let next = orders.last().filter(|_| orders.len() == limit as usize).map(|last| last.order_id.clone());
    Ok(Json(serde_json::json!({ "orders": orders, "next": next })).into_response())
}

/// Begins an order's chain; where an orchestrator takes orders, that is its affair.
async fn place_order(State(app): Shared, request: Request) -> Result<Response, Problem> {
    let elsewhere = "an orchestrator takes orders here, at its own address: POST /orders";
    let outbox = app.outbox.as_ref().ok_or_else(|| Problem::new(Code::NoSuchPage, elsewhere))?;
    let (chain, location) = choreography::take(&app.database, outbox, request).await?;
    let body = Json(serde_json::json!({ "id": chain.as_str(), "status": "running" }));
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], body).into_response())
}

async fn one_order(State(app): Shared, Segment(id): Segment) -> Result<Response, Problem> {
    let missing = || Problem::new(Code::NoSuchOrder, format!("this service has no order {id}"));
    Ok(Json(order::order(&app.database, &id).await?.ok_or_else(missing)?).into_response())
}

async fn cancel_order(State(app): Shared, Segment(id): Segment) -> Result<Response, Problem> {
    let outcome = orders::cancel_from_outside(&app.database, &id).await;
    let outcome = outcome.map_err(|error| Problem::broke(&error, "cancel the order"))?;
    match outcome {
        Ok(()) => one_order(State(app), Segment(id)).await,
        Err(order::Rejected::UnknownOrder(_)) => {
            Err(Problem::new(Code::NoSuchOrder, format!("there is no order {id}")))
        }
        Err(rejected @ (order::Rejected::OrderIsLocked { .. } | order::Rejected::LockIsGone { .. })) => {
            Err(Problem::new(Code::OrderPending, rejected.to_string()))
        }
        Err(rejected) => Err(Problem::new(Code::OrderFinished, rejected.to_string())),
    }
}

/// Only the orchestrators know whether the saga that holds the lock is at rest: they are asked.
async fn unlock_order(State(app): Shared, Segment(id): Segment) -> Result<Response, Problem> {
    let missing = || Problem::new(Code::NoSuchOrder, format!("there is no order {id}"));
    let placed = order::order(&app.database, &id).await?.ok_or_else(missing)?;
    let not_locked = || Problem::new(Code::OrderNotLocked, format!("order {id} is not locked"));
    let holder = placed.locked_by.ok_or_else(not_locked)?;
    unlock::rests(&app.orchestrators, &holder).await?;
    unlock::release(&app.database, &id, holder).await?;
    one_order(State(app), Segment(id)).await
}

async fn accounts(State(app): Shared, query: shop::PageOf) -> Result<Json<shop::Accounts>, Problem> {
    shop::accounts_of(&app.database, query).await
}

async fn account(State(app): Shared, Segment(id): Segment) -> Result<Json<payment::Account>, Problem> {
    shop::account_of(&app.database, &id).await
}

async fn stock(State(app): Shared, query: shop::PageOf) -> Result<Json<shop::Products>, Problem> {
    shop::stock_of(&app.database, query).await
}

async fn product(State(app): Shared, Segment(sku): Segment) -> Result<Json<inventory::Product>, Problem> {
    shop::product_of(&app.database, &sku).await
}

async fn destinations(State(app): Shared, query: shop::PageOf) -> Result<Response, Problem> {
    let (after, limit) = shop::page(query)?;
    let destinations = shipping::destinations(&app.database, &after, limit).await?;
    let next = destinations.last().filter(|_| destinations.len() == limit as usize).map(|last| last.country.clone());
    Ok(Json(serde_json::json!({ "destinations": destinations, "next": next })).into_response())
}

async fn shipments(State(app): Shared, query: shop::PageOf) -> Result<Response, Problem> {
    let (after, limit) = shop::page(query)?;
    let shipments = shipping::shipments(&app.database, &after, limit).await?;
    let next = shipments.last().filter(|_| shipments.len() == limit as usize).map(|last| last.order_id.clone());
    Ok(Json(serde_json::json!({ "shipments": shipments, "next": next })).into_response())
}

async fn shipment(State(app): Shared, Segment(id): Segment) -> Result<Response, Problem> {
    let missing = || Problem::new(Code::NoSuchOrder, format!("nothing was shipped for order {id}"));
    Ok(Json(shipping::shipment(&app.database, &id).await?.ok_or_else(missing)?).into_response())
}

async fn load_accounts(State(app): Shared, request: Request) -> Result<Response, Problem> {
    let rows = rows::<payment::Account>(request).await?;
    Ok(loaded(rows.len(), payment::load(&app.database, &rows).await?))
}

async fn load_stock(State(app): Shared, request: Request) -> Result<Response, Problem> {
    let rows = rows::<inventory::Delivery>(request).await?;
    Ok(loaded(rows.len(), inventory::load(&app.database, &rows).await?))
}

async fn load_destinations(State(app): Shared, request: Request) -> Result<Response, Problem> {
    let rows = rows::<shipping::Destination>(request).await?;
    Ok(loaded(rows.len(), shipping::load(&app.database, &rows).await?))
}

/// A body of JSON lines: all of them are right, or none is taken.
async fn rows<T: Record>(request: Request) -> Result<Vec<T>, Problem> {
    let payload = Payload::from_request(request, &()).await?;
    let rows = import::lines::<T, _>("line", payload.0.as_ref()).collect::<Result<Vec<_>, _>>();
    rows.map_err(|bad| Problem::new(Code::BodyDoesNotFit, bad.to_string()))
}

fn loaded(rows: usize, new: u64) -> Response {
    Json(Loaded { rows, new }).into_response()
}

#[cfg(test)]
mod tests {
    use axum::extract::Path;
    use sagamore_core::saga::Status;
    use tokio::net::TcpListener;

    use super::*;
    use crate::client;
    use crate::view::Standing;

    const LOCKED: &str = "INSERT INTO orders (order_id, customer_id, status, total_cents, lines, locked_by)
        VALUES ('1', 'ADA', 'pending', 100, '[]', 'checkout:1'), ('2', 'ADA', 'confirmed', 100, '[]', NULL)";

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

    async fn order_service(orchestrators: Vec<Client>) -> Client {
        let database = Database::memory();
        database.migrate(order::SERVICE, order::MIGRATIONS, 1).await.unwrap();
        let open = database.begin().await.unwrap();
        open.tx().execute(LOCKED, ()).await.unwrap();
        open.commit().await.unwrap();
        let kafka = Kafka::connect(sagamore_kafka::Options::new("127.0.0.1:1")).unwrap();
        served(service_router(ServiceApp {
            name: order::SERVICE,
            database,
            kafka,
            outbox: None,
            orchestrators,
            metrics: None,
        }))
        .await
    }

    /// Asks for the lock of an order; gives status, code and detail of the refusal, none when it was taken away.
    async fn refusal(service: &Client, id: &str) -> Option<(u16, String, String)> {
        match service.post(&format!("/orders/{id}/unlock"), "", None).await {
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
        check(vec![orchestrator(None).await], Some((409, "SAGA-0301"))).await;
        check(vec![nobody.clone()], Some((503, "SAGA-0401"))).await;
        check(vec![nobody.clone(), orchestrator(Some(Status::Running)).await], Some((409, "SAGA-0301"))).await;
        check(vec![nobody, orchestrator(Some(Status::Stuck)).await], None).await;
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
