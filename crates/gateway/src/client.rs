//! The HTTP client of one participant: pooled connections to one URL. It follows no redirects.

mod tls;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client as Connections, ResponseFuture};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::answer::{RESPONSE_BYTES_MAX, Response};
use crate::binding::{Binding, Unfit};

/// Time limit of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Time after which an unused connection is closed. Node closes connections after 5 s, and a
/// request on a connection that is being closed has an unknown outcome.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// The client of one participant. Clones share its connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pool: Pool,
    timeout: Duration,
}

/// The connections to one URL.
#[derive(Clone, Debug)]
enum Pool {
    Plain(Connections<HttpConnector, Full<Bytes>>),
    #[cfg(feature = "tls")]
    Secure(Connections<hyper_rustls::HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// A call without a complete response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No connection was made, so that the call had no effect.
    #[error("cannot connect to the participant: {0}")]
    Connect(String),
    /// The request may have been sent.
    #[error("{0}")]
    Unanswered(String),
}

impl Client {
    /// Creates a client without a connection.
    ///
    /// # Errors
    /// The files of TLS cannot be used.
    pub fn of(binding: &Binding) -> Result<Client, Unfit> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT.min(binding.timeout)));
        let mut builder = Connections::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(binding.concurrency);
        let pool = match binding.endpoint.is_secure() {
            true => Pool::secure(&builder, connector, binding)?,
            false => Pool::Plain(builder.build(connector)),
        };
        Ok(Client { pool, timeout: binding.timeout })
    }

    /// Sends a request and reads its response.
    ///
    /// # Errors
    /// Says whether the request may have been sent.
    pub async fn call(&self, request: Request<Full<Bytes>>) -> Result<Response, Failure> {
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(exchanged) => exchanged,
            Err(_) => {
                let limit = self.timeout;
                Err(Failure::Unanswered(format!(
                    "the participant did not respond within {limit:?}"
                )))
            }
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response, Failure> {
        let response = self.pool.request(request).await.map_err(|error| {
            let why = explained(causes(&error), &error);
            match error.is_connect() {
                true => Failure::Connect(why),
                false => Failure::Unanswered(format!("the connection broke: {why}")),
            }
        })?;
        let (head, body) = response.into_parts();
        let body = complete(body).await?;
        Ok(Response { status: head.status, headers: head.headers, body })
    }
}

impl Pool {
    #[cfg(feature = "tls")]
    fn secure(
        builder: &Builder,
        mut connector: HttpConnector,
        binding: &Binding,
    ) -> Result<Pool, Unfit> {
        let unusable = |error: sagamore_database::Error| Unfit::Tls {
            url: binding.endpoint.to_string(),
            why: error.to_string(),
        };
        let config = sagamore_database::postgres::client_config(&binding.tls).map_err(unusable)?;
        connector.enforce_http(false);
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Pool::Secure(builder.build(connector)))
    }

    #[cfg(not(feature = "tls"))]
    fn secure(_: &Builder, _: HttpConnector, binding: &Binding) -> Result<Pool, Unfit> {
        Err(Unfit::NoTls(binding.endpoint.to_string()))
    }

    fn request(&self, request: Request<Full<Bytes>>) -> ResponseFuture {
        match self {
            Pool::Plain(connections) => connections.request(request),
            #[cfg(feature = "tls")]
            Pool::Secure(connections) => connections.request(request),
        }
    }
}

/// Adds the fix of a TLS error to its text.
fn explained(why: String, error: &(dyn std::error::Error + 'static)) -> String {
    match tls::fix(error) {
        Some(fix) => format!("{why}. {fix}"),
        None => why,
    }
}

/// Reads a body; `None` if it is too large.
async fn complete(body: Incoming) -> Result<Option<Bytes>, Failure> {
    match Limited::new(body, RESPONSE_BYTES_MAX).collect().await {
        Ok(collected) => Ok(Some(collected.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => Ok(None),
        Err(error) => Err(Failure::Unanswered(format!("the response broke off: {error}"))),
    }
}

/// Returns the causes of an error. The outermost error only states that an attempt failed.
fn causes(error: &dyn std::error::Error) -> String {
    let error = error.source().unwrap_or(error);
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
