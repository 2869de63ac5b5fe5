//! A replay as a client of running processes: the orchestrators and the four services, each at its
//! own address.
//!
//! Requests to a killed process are retried: a start is idempotent by the order's id.

mod chains;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use sagamore::config::Settings;
use sagamore::core::Body;
use sagamore::core::saga::Status;
use sagamore::server::StartupWait;
use sagamore::server::client::{self, Client};
use sagamore::server::http::encoded;
use sagamore::server::view::{Lines, Standing, standing};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::folder::{Folder, PlacedLine};
use super::passage::{Passage, each};
use super::report::Report;
use crate::import::BadLine;
use crate::output::errln;
use chains::{OrderProgress, WAIT_S};

/// The time limit for the processes to become ready.
const THERE_WITHIN: Duration = Duration::from_secs(30);
/// The maximum time without any response for an order. Then the replay fails.
const PATIENCE: Duration = Duration::from_secs(300);
/// The maximum time that a placed order is unknown to the orchestrator or observer. Then the replay
/// fails.
const FOUND_WITHIN: Duration = Duration::from_secs(60);
/// The pause before a retry.
const PAUSE: Duration = Duration::from_millis(200);
/// Maximum rows per request, because bodies are bounded.
const ROWS: usize = 500;
/// The largest page of accounts and products.
const PAGE: usize = 1_000;

/// Clients of the processes.
pub struct Remote {
    /// The servers that know the outcomes: the orchestrators, or in a choreography the observers.
    orchestrators: Vec<Client>,
    choreography: bool,
    payment: Client,
    inventory: Client,
    shipping: Client,
    order: Client,
    /// The index of the orchestrator that gets the next request.
    turn: AtomicUsize,
    found_within: Duration,
}

impl Remote {
    /// Creates clients of the servers in the configuration.
    pub fn of(settings: &Settings) -> Result<Remote> {
        let service = |name: &str| {
            let service = settings.service(name).with_context(|| format!("no service {name}"))?;
            Ok::<_, anyhow::Error>(Client::new(&format!("http://{}", service.listen))?)
        };
        let servers = match settings.choreography {
            true => settings.observers(),
            false => settings.servers(),
        };
        Ok(Remote {
            orchestrators: servers
                .iter()
                .map(|server| Client::new(server))
                .collect::<Result<_, _>>()?,
            choreography: settings.choreography,
            payment: service("payment")?,
            inventory: service("inventory")?,
            shipping: service("shipping")?,
            order: service("order")?,
            turn: AtomicUsize::new(0),
            found_within: FOUND_WITHIN,
        })
    }

    /// Waits until every service and one orchestrator are ready, and reports each server that it
    /// waits for.
    pub async fn wait_until_ready(&self) -> Result<()> {
        let until = Instant::now() + THERE_WITHIN;
        let services = [&self.order, &self.payment, &self.inventory, &self.shipping];
        for service in services {
            ready(std::slice::from_ref(service), until).await?;
        }
        ready(&self.orchestrators, until).await
    }

    /// Loads new rows.
    pub async fn load(&self, folder: &Folder) -> Result<()> {
        post_rows(&self.payment, "/accounts", &folder.accounts)
            .await
            .context("load the accounts")?;
        post_rows(&self.inventory, "/stock", &folder.stock).await.context("load the stock")?;
        post_rows(&self.shipping, "/destinations", &folder.destinations)
            .await
            .context("load the destinations")
    }

    /// Runs `width` orders at once, and returns the number of bad lines.
    pub async fn run_all(
        &self,
        orders: &[PlacedLine],
        width: usize,
        bar: &ProgressBar,
    ) -> Result<usize> {
        each(orders, width, bar, self).await
    }

    /// Counts the sagas of the folder's orders, and sums the balances and the stock.
    pub async fn report(&self, folder: &Folder, took: Duration) -> Result<Report> {
        let ours: HashSet<&str> = folder.orders.iter().map(|order| order.key.as_str()).collect();
        let mut report = Report::after(took);
        self.count(&ours, &mut report).await?;
        report.balance_cents =
            self.sum(&self.payment, "accounts", "customerId", "balanceCents").await?;
        report.stock_pieces = self.sum(&self.inventory, "stock", "sku", "onHand").await?;
        Ok(report)
    }

    async fn count(&self, ours: &HashSet<&str>, report: &mut Report) -> Result<()> {
        let name =
            if self.choreography { crate::choreography::NAME } else { crate::checkout::NAME };
        let all = format!("/api/v1/sagas?definition={name}&limit=500");
        let mut path = all.clone();
        loop {
            let page: Lines = self.get(&self.orchestrators, &path).await?;
            for line in page.sagas.iter().filter(|line| ours.contains(line.key.as_str())) {
                report.count(standing(line.status), line.failed_at.as_deref());
            }
            match page.next {
                Some(next) => path = format!("{all}&cursor={}", encoded(&next)),
                None => return Ok(()),
            }
        }
    }

    /// Sums one field of all rows of a service, page by page.
    async fn sum(&self, service: &Client, what: &str, key: &str, field: &str) -> Result<i64> {
        let (mut sum, mut after) = (0, String::new());
        loop {
            let path = format!("/{what}?limit={PAGE}&after={}", encoded(&after));
            let page: serde_json::Value = self.get(std::slice::from_ref(service), &path).await?;
            let rows = page[what]
                .as_array()
                .with_context(|| format!("{path}: no {what} in the answer"))?;
            sum += rows.iter().filter_map(|row| row[field].as_i64()).sum::<i64>();
            match rows.last().and_then(|last| last[key].as_str()) {
                Some(last) if rows.len() == PAGE => last.clone_into(&mut after),
                Some(_) | None => return Ok(sum),
            }
        }
    }

    /// Sends a GET to one server after another until one answers.
    async fn get<T: DeserializeOwned>(&self, servers: &[Client], path: &str) -> Result<T> {
        let waiting = StartupWait::default();
        let until = Instant::now() + THERE_WITHIN;
        for server in servers.iter().cycle() {
            match server.get(path).await {
                Ok(body) => return Ok(server.read(&body)?),
                Err(error) if error.is_transient() && Instant::now() < until => {
                    waiting.set_reason(&error);
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        bail!("no server is configured")
    }
}

impl Passage for Remote {
    async fn see_through(&self, order: &PlacedLine, bar: &ProgressBar) -> Result<Option<BadLine>> {
        let mut answered = Instant::now();
        let mut placed_at = None;
        loop {
            let place = self.turn.load(Ordering::Relaxed);
            let orchestrator = &self.orchestrators[place % self.orchestrators.len()];
            let placed = match self.choreography {
                true => chains::see_through(&self.order, orchestrator, order).await,
                false => place_order(orchestrator, order).await,
            };
            let why = match placed {
                Ok(OrderProgress::AtRest) => return Ok(None),
                Ok(OrderProgress::Bad(why)) => return Ok(Some(order.bad(why))),
                Ok(OrderProgress::NotYet) => {
                    (answered, placed_at) = (Instant::now(), None);
                    continue;
                }
                Ok(OrderProgress::NotFound(why)) => {
                    if placed_at.get_or_insert_with(Instant::now).elapsed() >= self.found_within {
                        bail!(
                            "order {} was placed, but {orchestrator} does not know it: {why}",
                            order.key
                        );
                    }
                    answered = Instant::now();
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(why) => why,
            };
            if answered.elapsed() > PATIENCE {
                return Err(why).with_context(|| format!("order {}", order.key));
            }
            // Concurrent failures of one server advance the index once.
            if self
                .turn
                .compare_exchange(place, place + 1, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            {
                let next = &self.orchestrators[(place + 1) % self.orchestrators.len()];
                bar.suspend(|| errln!("waiting: {}", moves_on(&why, next)));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Describes the failure of one server, and the server that gets the next request.
fn moves_on(why: &anyhow::Error, next: &Client) -> String {
    let why = why.to_string();
    format!("{}; trying {next}", why.lines().next().unwrap_or_default().trim_end_matches('.'))
}

/// The body of a start, of the general API: the orchestrators may run the product without the shop.
#[derive(Serialize)]
struct StartBody<'a> {
    definition: &'a str,
    key: &'a str,
    input: &'a Body,
}

async fn place_order(orchestrator: &Client, order: &PlacedLine) -> Result<OrderProgress> {
    let start =
        StartBody { definition: crate::checkout::NAME, key: &order.key, input: &order.input };
    let start = serde_json::to_vec(&start)?;
    let answer = orchestrator.post("/api/v1/sagas", start, Some(WAIT_S)).await;
    match answer {
        Ok(body) => {
            let standing: Standing = orchestrator.read(&body)?;
            Ok(match standing.status {
                Status::Completed | Status::Compensated | Status::Stuck => OrderProgress::AtRest,
                Status::Running | Status::Compensating => OrderProgress::NotYet,
            })
        }
        Err(error) if error.is_transient() => Err(error.into()),
        Err(client::Error::Problem { problem, .. }) => Ok(OrderProgress::Bad(problem.detail)),
        Err(error) => Err(error.into()),
    }
}

/// Waits until one of the servers is ready.
async fn ready(any: &[Client], until: Instant) -> Result<()> {
    let waiting = StartupWait::default();
    for server in any.iter().cycle() {
        let Err(error) = server.get("/readyz").await else { return Ok(()) };
        if Instant::now() > until {
            return Err(error)
                .with_context(|| format!("not ready after {} s", THERE_WITHIN.as_secs()));
        }
        waiting.set_reason(&error);
        tokio::time::sleep(PAUSE).await;
    }
    bail!("no server is configured")
}

async fn post_rows<T: Serialize>(service: &Client, path: &str, rows: &[T]) -> Result<()> {
    for some in rows.chunks(ROWS) {
        let mut lines = Vec::new();
        for row in some {
            serde_json::to_writer(&mut lines, row)?;
            lines.push(b'\n');
        }
        let until = Instant::now() + THERE_WITHIN;
        loop {
            match service.post(path, lines.clone(), None).await {
                Ok(_) => break,
                Err(error) if error.is_transient() && Instant::now() < until => {
                    tokio::time::sleep(PAUSE).await
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use sagamore::axum::extract::Path;
    use sagamore::axum::http::StatusCode;
    use sagamore::axum::routing::{get, post};
    use sagamore::axum::{self, Json, Router};
    use serde_json::json;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn requests_move_to_another_orchestrator_after_a_failure() {
        let standing = || Standing {
            id: "checkout:1".into(),
            status: Status::Completed,
            revision: 9,
            ended_at: None,
        };
        let router =
            Router::new().route("/api/v1/sagas", post(move || async move { Json(standing()) }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut settings = crate::stories::stories().settings(None).unwrap();
        settings.orchestrator.servers = format!("http://127.0.0.1:1, {there}");
        let remote = Remote::of(&settings).unwrap();
        let order = PlacedLine { key: "1".into(), input: Body::empty(), line: 1 };
        let bad = remote.run_all(&[order], 1, &ProgressBar::hidden()).await.unwrap();
        assert_eq!(bad, 0);
        let why = remote.orchestrators[0].get("/").await.expect_err("no server listens").into();
        let message = moves_on(&why, &remote.orchestrators[1]);
        assert!(
            message.contains("127.0.0.1:1:") && message.ends_with(&format!("trying {there}")),
            "{message}"
        );
    }

    #[tokio::test]
    async fn a_placed_order_that_is_never_found_ends_the_replay() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let ids = asked.clone();
        let unknown = move |Path(id): Path<String>| {
            ids.lock().unwrap().push(id);
            let told = json!({
                "type": "/", "title": "x", "status": 404, "detail": "no event", "code": "SAGA-0200"
            });
            async { (StatusCode::NOT_FOUND, Json(told)) }
        };
        let placed = || async { Json(json!({})) };
        let router =
            Router::new().route("/orders", post(placed)).route("/api/v1/sagas/{id}", get(unknown));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut settings = crate::stories::stories().settings(None).unwrap();
        let observer = format!("http://{there}");
        (settings.choreography, settings.observer.servers) = (true, observer);
        settings.services.get_mut("order").unwrap().listen = there;
        let remote = Remote { found_within: Duration::ZERO, ..Remote::of(&settings).unwrap() };
        let order = PlacedLine { key: "n3:x".into(), input: Body::empty(), line: 1 };
        let why = remote
            .run_all(&[order], 1, &ProgressBar::hidden())
            .await
            .expect_err("the order is never found");
        let why = format!("{why:#}");
        assert!(why.contains("order n3:x was placed") && why.contains("no event"), "{why}");
        assert_eq!(*asked.lock().unwrap(), ["fulfilment:n3:x"]);
    }
}
