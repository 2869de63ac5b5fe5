//! The CLI's HTTP client: one request per connection, and errors that name the fix.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use crate::plain;
use crate::problem::ProblemDocument;
use crate::view::BegunView;

/// Maximum bytes of a response body.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Time limit of a response that waits for no saga's outcome.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(15);
/// Time limit of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// A client of one server, with fallback addresses.
#[derive(Clone, Debug)]
pub struct Client {
    authority: String,
    /// Addresses to try in order when `authority` accepts no connection.
    fallbacks: Vec<String>,
    /// Time limit of a response that waits for no saga's outcome.
    response_timeout: Duration,
    /// The program whose command starts a server, if known.
    program: Option<&'static str>,
}

/// The request has no usable response.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are named for what they hold")]
pub enum Error {
    /// The text is not an address.
    #[error("'{0}' is not a server address: write http://HOST:PORT")]
    Address(String),
    /// The address needs TLS, which this client lacks.
    #[error(
        "'{0}': this client does not support TLS. Use an http:// address: on the server's host, \
         through a tunnel (ssh -L 3000:127.0.0.1:3000 HOST, then http://127.0.0.1:3000), or of a \
         proxy that adds TLS"
    )]
    Tls(String),
    /// No address accepts a connection.
    #[error(
        "cannot connect to http://{authority}: {why}.\n  \
         {}", start_hint(*program)
    )]
    NotRunning { authority: String, program: Option<&'static str>, why: std::io::Error },
    /// The connection broke, or the response timed out.
    #[error("the request to http://{authority} failed: {why}")]
    Broken { authority: String, why: String },
    /// The server responded with a problem.
    #[error("{} ({})\n  See http://{authority}{}", problem.detail, problem.code, problem.page)]
    Problem { authority: String, problem: Box<ProblemDocument> },
    /// The response is not one of a Sagamore server.
    #[error(
        "the server at http://{authority} sent an unexpected response: {why}. Is it a Sagamore \
         server?"
    )]
    Strange { authority: String, why: String },
}

/// The first event of a chain.
#[derive(Clone, Copy, Debug)]
pub struct ClientEvent<'a> {
    /// The client's own id of the event, which stays the same in every repeat.
    pub id: &'a str,
    /// The client, such as `/webshop`.
    pub source: &'a str,
    /// The type, such as `order.created`.
    pub event: &'a str,
    /// The chain's business key; the id if there is none.
    pub key: Option<&'a str>,
    /// The data.
    pub data: &'a sagamore_core::Body,
}

/// The body of a request with its media type.
struct Content {
    media: &'static str,
    body: Bytes,
}

/// Returns the hint for an address without a server.
fn start_hint(program: Option<&str>) -> String {
    match program {
        Some(name) => {
            format!(
                "Start a server with `{name} dev`, or set --server or SAGAMORE_SERVER to its \
                 address"
            )
        }
        None => "Is the server running at this address?".to_owned(),
    }
}

impl Error {
    /// Whether a retry may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::NotRunning { .. } | Error::Broken { .. } => true,
            Error::Problem { problem, .. } => matches!(problem.status, 429 | 500 | 502 | 503 | 504),
            Error::Address(_) | Error::Tls(_) | Error::Strange { .. } => false,
        }
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "http://{}", self.authority)
    }
}

impl Client {
    /// Creates a client of a server, for example `http://127.0.0.1:3000`.
    pub fn new(server: &str) -> Result<Client, Error> {
        if server.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
            return Err(Error::Tls(server.to_owned()));
        }
        let bad = || Error::Address(server.to_owned());
        let authority = server.strip_prefix("http://").ok_or_else(bad)?.trim_end_matches('/');
        if authority.is_empty() || authority.contains('/') {
            return Err(bad());
        }
        let with_port =
            authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if with_port { authority.to_owned() } else { format!("{authority}:80") };
        Ok(Client {
            authority,
            fallbacks: Vec::new(),
            response_timeout: RESPONSE_TIMEOUT,
            program: None,
        })
    }

    /// Creates a client of the first server, with the others as fallbacks. All must serve the same
    /// sagas.
    ///
    /// # Errors
    ///
    /// An invalid address, or an empty list.
    pub fn any_of(servers: &[String]) -> Result<Client, Error> {
        let mut clients = servers
            .iter()
            .map(|server| Client::new(server))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter();
        let first = clients.next().ok_or_else(|| Error::Address(String::new()))?;
        Ok(Client { fallbacks: clients.map(|other| other.authority).collect(), ..first })
    }

    /// Sets the program that error messages name as the way to start a server.
    pub fn of_program(self, program: &'static str) -> Client {
        Client { program: Some(program), ..self }
    }

    /// Sends a GET for `path` and returns the body.
    pub async fn get(&self, path: &str) -> Result<Bytes, Error> {
        self.send(Method::GET, path, Bytes::new(), None).await
    }

    /// Sends a GET whose response may wait for the outcome, for at most `seconds`.
    pub async fn get_and_wait(&self, path: &str, seconds: u64) -> Result<Bytes, Error> {
        self.send(Method::GET, path, Bytes::new(), Some(seconds)).await
    }

    /// Posts JSON. `wait` is the time in seconds that the server may wait for the outcome.
    pub async fn post(
        &self,
        path: &str,
        body: impl Into<Bytes>,
        wait: Option<u64>,
    ) -> Result<Bytes, Error> {
        self.send(Method::POST, path, body.into(), wait).await
    }

    /// Begins a chain by its first event. A repeat with the same id and source is the same chain.
    /// `wait` is the time in seconds that the server may wait for the outcome.
    ///
    /// # Errors
    ///
    /// A problem of the server, or an unreachable one.
    pub async fn begin(
        &self,
        beginning: &ClientEvent<'_>,
        wait: Option<u64>,
    ) -> Result<BegunView, Error> {
        let ClientEvent { id, source, event, key, data } = beginning;
        let mut event = serde_json::json!({
            "specversion": "1.0", "id": id, "source": source, "type": event,
        });
        if let Some(key) = key {
            event["subject"] = (*key).into();
        }
        // the data is verbatim
        let mut body = event.to_string();
        body.pop();
        body.push_str(",\"data\":");
        body.push_str(data.as_str());
        body.push('}');
        let content = Content { media: "application/cloudevents+json", body: body.into() };
        let answer = self.send_content(Method::POST, "/api/v1/events", content, wait).await?;
        self.read(&answer)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        wait: Option<u64>,
    ) -> Result<Bytes, Error> {
        let content = Content { media: "application/json", body };
        self.send_content(method, path, content, wait).await
    }

    async fn send_content(
        &self,
        method: Method,
        path: &str,
        content: Content,
        wait: Option<u64>,
    ) -> Result<Bytes, Error> {
        let (connection, server) = self.connect().await?;
        let limit = server.response_timeout + Duration::from_secs(wait.unwrap_or(0));
        let response =
            tokio::time::timeout(limit, server.exchange(connection, method, path, content, wait))
                .await;
        response.unwrap_or_else(|_| {
            Err(server.broken(&format!("no response within {} s", limit.as_secs())))
        })
    }

    async fn exchange(
        &self,
        connection: TcpStream,
        method: Method,
        path: &str,
        Content { media, body }: Content,
        wait: Option<u64>,
    ) -> Result<Bytes, Error> {
        let (mut sender, driver) = http1::handshake(TokioIo::new(connection))
            .await
            .map_err(|error| self.broken(&error))?;
        tokio::spawn(driver);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, media);
        if let Some(seconds) = wait {
            request = request.header("prefer", format!("wait={seconds}"));
        }
        let request = request.body(Full::new(body)).map_err(|error| self.broken(&error))?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| self.broken(error.as_ref()))?.to_bytes();
        if status < 400 {
            return Ok(body);
        }
        let problem = self.shown(&body)?;
        Err(Error::Problem { authority: self.authority.clone(), problem: Box::new(problem) })
    }

    /// Connects to the first address that accepts. Returns the connection with a client of that
    /// address.
    async fn connect(&self) -> Result<(TcpStream, Client), Error> {
        let mut first = None;
        for authority in [&self.authority].into_iter().chain(&self.fallbacks) {
            let connected =
                tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(authority)).await;
            match connected.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())) {
                Ok(connection) => {
                    let server =
                        Client { authority: authority.clone(), fallbacks: Vec::new(), ..*self };
                    return Ok((connection, server));
                }
                Err(why) => first.get_or_insert(why),
            };
        }
        let why = first.unwrap_or_else(|| ErrorKind::NotConnected.into());
        Err(Error::NotRunning { authority: self.authority.clone(), program: self.program, why })
    }

    /// Parses a JSON response for display: control characters in its texts are escaped.
    pub fn shown<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Error> {
        let harmless = plain::harmless(body);
        let harmless = harmless.map_err(|error| Error::Strange {
            authority: self.authority.clone(),
            why: error.to_string(),
        })?;
        self.read(harmless.as_bytes())
    }

    /// Parses a JSON response.
    pub fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(body).map_err(|error| Error::Strange {
            authority: self.authority.clone(),
            why: error.to_string(),
        })
    }

    fn broken(&self, error: &dyn std::fmt::Display) -> Error {
        Error::Broken { authority: self.authority.clone(), why: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_its_address() {
        let check = |server: &str, expected: Option<&str>| {
            assert_eq!(
                Client::new(server).ok().map(|client| client.authority).as_deref(),
                expected,
                "{server}"
            );
        };
        check("http://127.0.0.1:3000", Some("127.0.0.1:3000"));
        check("http://127.0.0.1:3000/", Some("127.0.0.1:3000"));
        check("http://localhost", Some("localhost:80"));
        check("127.0.0.1:3000", None);
        check("http://a/b", None);
        let tls = Client::new("https://sagas.example:443").expect_err("no TLS yet").to_string();
        assert!(
            tls.contains("does not support TLS")
                && tls.contains("ssh -L")
                && tls.contains("http://127.0.0.1:3000"),
            "{tls}"
        );
    }

    #[tokio::test]
    async fn an_unreachable_server_is_skipped_for_the_next_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let running = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().route("/", axum::routing::get(|| async { "here" }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let stopped = "http://127.0.0.1:1".to_owned();
        let client = Client::any_of(&[stopped.clone(), running]).unwrap();
        assert_eq!(client.get("/").await.unwrap(), "here");
        let alone =
            Client::any_of(&[stopped.clone(), stopped]).unwrap().get("/").await.unwrap_err();
        assert_eq!(alone.to_string().matches("Connection refused").count(), 1, "{alone}");
        assert!(std::error::Error::source(&alone).is_none(), "the message includes its source");
    }

    #[tokio::test]
    async fn a_timeout_names_the_server_that_accepted_the_request() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(); // never reads
        let address = format!("http://{}", silent.local_addr().unwrap());
        let client = Client::any_of(&["http://127.0.0.1:1".to_owned(), address.clone()]).unwrap();
        let timeout = Duration::from_millis(50);
        let error = Client { response_timeout: timeout, ..client }.get("/").await.unwrap_err();
        assert!(
            error.to_string().contains(&address) && error.to_string().contains("no response"),
            "{error}"
        );
    }
}
