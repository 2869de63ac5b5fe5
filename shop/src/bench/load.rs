//! The benchmark's clients: each starts a saga, waits for its outcome, and starts the next.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use sagamore::core::saga::Status;
use sagamore::core::{Body, Name};
use sagamore::engine::{ChainStatus, Handle, Start};
use sagamore::server::view::{Standing, standing};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::plan::{self, RefuseAt};

/// The wait for one outcome, in seconds.
const WAIT_S: u64 = 30;

/// The address of the clients' requests.
#[derive(Clone)]
pub enum Target {
    /// An orchestrator. Each client has a keep-alive connection.
    Http(SocketAddr),
    /// A choreography, where an order starts a chain.
    Choreography {
        /// The address that places orders.
        orders: SocketAddr,
        /// The address that reports outcomes, unless it is the same.
        observer: Option<SocketAddr>,
    },
    /// The engine's handle.
    Library(Handle),
}

/// The end of the load.
#[derive(Clone, Copy)]
pub enum Until {
    /// Ends after this number of sagas.
    Sagas(u64),
    /// Ends after this time.
    Passed(Duration),
}

/// One phase of load.
#[derive(Clone)]
pub struct Load {
    /// A prefix that keeps the keys of different phases distinct.
    pub phase: &'static str,
    /// The address of the requests.
    pub target: Target,
    /// The number of clients.
    pub clients: u16,
    /// The step that refuses.
    pub refuse_at: Option<RefuseAt>,
    /// The end of the phase.
    pub until: Until,
}

/// Results of the clients.
#[derive(Default)]
pub struct LoadResult {
    /// The microseconds from start to outcome, one entry per saga.
    pub took_us: Vec<u32>,
    /// The number of completed sagas.
    pub completed: u64,
    /// The number of compensated sagas.
    pub compensated: u64,
    /// The number of sagas that are stuck or had no outcome in time.
    pub others: u64,
}

/// The part of a saga's view that the benchmark reads.
#[derive(Deserialize)]
struct ChainStanding {
    status: ChainStatus,
}

/// One client's connection to the engine.
enum Connection {
    Http(HttpConnection),
    Choreography { orders: HttpConnection, observer: Option<HttpConnection> },
    Library(Handle, Name),
}

/// A keep-alive HTTP connection.
struct HttpConnection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Load {
    /// Runs all clients until the end of the load.
    pub async fn run(&self) -> Result<LoadResult> {
        let next = Arc::new(AtomicU64::new(0));
        let begun = Instant::now();
        let mut clients = JoinSet::new();
        for _ in 0..self.clients {
            let way = Connection::to(&self.target).await?;
            clients.spawn(self.clone().client(way, next.clone(), begun));
        }
        let mut seen = LoadResult::default();
        while let Some(client) = clients.join_next().await {
            let one = client.context("a client panicked")??;
            seen.took_us.extend(one.took_us);
            seen.completed += one.completed;
            seen.compensated += one.compensated;
            seen.others += one.others;
        }
        seen.took_us.sort_unstable();
        Ok(seen)
    }

    async fn client(
        self,
        mut way: Connection,
        next: Arc<AtomicU64>,
        begun: Instant,
    ) -> Result<LoadResult> {
        let mut seen = LoadResult::default();
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let over = match self.until {
                Until::Sagas(count) => n >= count,
                Until::Passed(time) => begun.elapsed() >= time,
            };
            if over {
                return Ok(seen);
            }
            let key = format!("{}{n}", self.phase);
            let input = plan::input(&key, n, self.refuse_at);
            let sent_at = Instant::now();
            let status = way.start_and_wait(key, input).await?;
            seen.took_us.push(u32::try_from(sent_at.elapsed().as_micros()).unwrap_or(u32::MAX));
            match status {
                Status::Completed => seen.completed += 1,
                Status::Compensated => seen.compensated += 1,
                Status::Running | Status::Compensating | Status::Stuck => seen.others += 1,
            }
        }
    }
}

impl LoadResult {
    /// Returns this percentile of the latencies, in milliseconds.
    pub fn percentile_ms(&self, percent: usize) -> f64 {
        let place = (self.took_us.len().saturating_sub(1) * percent).div_ceil(100);
        self.took_us.get(place).map_or(0.0, |us| f64::from(*us) / 1000.0)
    }
}

impl Connection {
    async fn to(target: &Target) -> Result<Connection> {
        Ok(match target {
            Target::Library(handle) => Connection::Library(handle.clone(), Name::new(plan::NAME)?),
            Target::Http(address) => Connection::Http(HttpConnection::to(*address).await?),
            Target::Choreography { orders, observer: None } => Connection::Choreography {
                orders: HttpConnection::to(*orders).await?,
                observer: None,
            },
            Target::Choreography { orders, observer: Some(observer) } => Connection::Choreography {
                orders: HttpConnection::to(*orders).await?,
                observer: Some(HttpConnection::to(*observer).await?),
            },
        })
    }

    async fn start_and_wait(&mut self, key: String, input: String) -> Result<Status> {
        match self {
            Connection::Library(handle, definition) => {
                let input = Body::parse(&input)?;
                let start = Start::new(definition.clone(), key, input);
                let (started, rest) =
                    handle.start_and_wait(start, Duration::from_secs(WAIT_S)).await?;
                Ok(rest.map_or(started.status, |summary| summary.status))
            }
            Connection::Http(line) => {
                let body =
                    format!(r#"{{"definition":"{}","key":"{key}","input":{input}}}"#, plan::NAME);
                Ok(serde_json::from_slice::<Standing>(
                    &line.send("POST", "/api/v1/sagas", body, true).await?,
                )?
                .status)
            }
            Connection::Choreography { orders, observer } => {
                // the order service's own observer does not see the orders of the benchmark
                let mut answer = orders.send("POST", "/orders", input, observer.is_none()).await?;
                if let Some(observer) = observer {
                    answer = observer
                        .send("GET", &format!("/api/v1/sagas/{key}"), String::new(), true)
                        .await?;
                }
                Ok(standing(serde_json::from_slice::<ChainStanding>(&answer)?.status))
            }
        }
    }
}

impl HttpConnection {
    async fn to(address: SocketAddr) -> Result<HttpConnection> {
        let connection = TcpStream::connect(address).await.context("connect a client")?;
        connection.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(connection)).await?;
        tokio::spawn(driver);
        Ok(HttpConnection { sender, host: address.to_string() })
    }

    /// Sends a request and returns the response's body. With `wait`, prefers to wait for the
    /// outcome.
    async fn send(&mut self, method: &str, path: &str, body: String, wait: bool) -> Result<Bytes> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.host.as_str())
            .header(CONTENT_TYPE, "application/json");
        if wait {
            request = request.header("prefer", format!("wait={WAIT_S}"));
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status != StatusCode::OK && status != StatusCode::ACCEPTED {
            bail!("{method} {path} returned {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}
