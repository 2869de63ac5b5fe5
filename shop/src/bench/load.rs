//! The clients: each starts a saga, waits for its outcome, and starts the next.

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

use super::{RefuseAt, plan};

/// How long a client waits for one outcome.
const WAIT_S: u64 = 30;

/// Where the clients go.
#[derive(Clone)]
pub enum Target {
    /// Over a keep-alive connection of their own.
    Http(SocketAddr),
    /// Likewise, to where nobody directs: an order begins a chain.
    Choreography {
        /// Where it is placed.
        orders: SocketAddr,
        /// Where is seen how it ends, if not there.
        observer: Option<SocketAddr>,
    },
    /// Straight into the engine.
    Library(Handle),
}

/// When the load ends.
#[derive(Clone, Copy)]
pub enum Until {
    /// After so many sagas.
    Sagas(u64),
    /// After that time.
    Passed(Duration),
}

/// One phase of load.
#[derive(Clone)]
pub struct Load {
    /// Makes the keys of different phases differ.
    pub phase: &'static str,
    /// Where to.
    pub target: Target,
    /// How many clients.
    pub clients: u16,
    /// Which step refuses.
    pub refuse_at: Option<RefuseAt>,
    /// When it ends.
    pub until: Until,
}

/// What the clients saw.
#[derive(Default)]
pub struct Seen {
    /// Microseconds from asking to the outcome, one for each saga.
    pub took_us: Vec<u32>,
    /// How many completed.
    pub completed: u64,
    /// How many were compensated.
    pub compensated: u64,
    /// How many had no outcome in time, or are stuck.
    pub others: u64,
}

/// Where a chain stands.
#[derive(Deserialize)]
struct ChainStanding {
    status: ChainStatus,
}

/// One client's way to the engine.
enum Way {
    Http(Line),
    Choreography { orders: Line, observer: Option<Line> },
    Library(Handle, Name),
}

/// A connection that is kept.
struct Line {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Load {
    /// Runs all clients to the end.
    pub async fn run(&self) -> Result<Seen> {
        let next = Arc::new(AtomicU64::new(0));
        let begun = Instant::now();
        let mut clients = JoinSet::new();
        for _ in 0..self.clients {
            let way = Way::to(&self.target).await?;
            clients.spawn(self.clone().client(way, next.clone(), begun));
        }
        let mut seen = Seen::default();
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

    async fn client(self, mut way: Way, next: Arc<AtomicU64>, begun: Instant) -> Result<Seen> {
        let mut seen = Seen::default();
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
            let asked = Instant::now();
            let status = way.start_and_wait(key, input).await?;
            seen.took_us.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
            match status {
                Status::Completed => seen.completed += 1,
                Status::Compensated => seen.compensated += 1,
                Status::Running | Status::Compensating | Status::Stuck => seen.others += 1,
            }
        }
    }
}

impl Seen {
    /// The latency that this share of the sagas stayed under, in milliseconds.
    pub fn percentile_ms(&self, percent: usize) -> f64 {
        let place = (self.took_us.len().saturating_sub(1) * percent).div_ceil(100);
        self.took_us.get(place).map_or(0.0, |us| f64::from(*us) / 1000.0)
    }
}

impl Way {
    async fn to(target: &Target) -> Result<Way> {
        Ok(match target {
            Target::Library(handle) => Way::Library(handle.clone(), Name::new(plan::NAME)?),
            Target::Http(address) => Way::Http(Line::to(*address).await?),
            Target::Choreography { orders, observer: None } => {
                Way::Choreography { orders: Line::to(*orders).await?, observer: None }
            }
            Target::Choreography { orders, observer: Some(observer) } => Way::Choreography {
                orders: Line::to(*orders).await?,
                observer: Some(Line::to(*observer).await?),
            },
        })
    }

    async fn start_and_wait(&mut self, key: String, input: String) -> Result<Status> {
        match self {
            Way::Library(handle, definition) => {
                let input = Body::parse(&input)?;
                let start = Start::new(definition.clone(), key, input);
                let (started, rest) =
                    handle.start_and_wait(start, Duration::from_secs(WAIT_S)).await?;
                Ok(rest.map_or(started.status, |summary| summary.status))
            }
            Way::Http(line) => {
                let body =
                    format!(r#"{{"definition":"{}","key":"{key}","input":{input}}}"#, plan::NAME);
                Ok(serde_json::from_slice::<Standing>(
                    &line.ask("POST", "/api/v1/sagas", body, true).await?,
                )?
                .status)
            }
            Way::Choreography { orders, observer } => {
                // with an observer of its own the bench asks that; the service would ask one that does not know these orders
                let mut answer = orders.ask("POST", "/orders", input, observer.is_none()).await?;
                if let Some(observer) = observer {
                    answer = observer
                        .ask("GET", &format!("/api/v1/sagas/{key}"), String::new(), true)
                        .await?;
                }
                Ok(standing(serde_json::from_slice::<ChainStanding>(&answer)?.status))
            }
        }
    }
}

impl Line {
    async fn to(address: SocketAddr) -> Result<Line> {
        let connection = TcpStream::connect(address).await.context("connect a client")?;
        connection.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(connection)).await?;
        tokio::spawn(driver);
        Ok(Line { sender, host: address.to_string() })
    }

    /// The answer; with `wait` it is the outcome.
    async fn ask(&mut self, method: &str, path: &str, body: String, wait: bool) -> Result<Bytes> {
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
            bail!("the server answered {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}
