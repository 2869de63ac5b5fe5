//! The CLI's way to a running server: one request, one answer, and errors that say what to do.

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
use crate::problem::Told;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a server may take for an answer that waits for no outcome: one that has hung is told, not waited for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);
/// How long it may take to reach one.
const CONNECTED_WITHIN: Duration = Duration::from_secs(4);

/// A server's address.
#[derive(Clone, Debug)]
pub struct Client {
    authority: String,
    /// Asked in turn where it does not run.
    spare: Vec<String>,
    /// How long it may take for an answer that waits for no outcome.
    answered_within: Duration,
    /// The program to start a server with, where it is known.
    program: Option<&'static str>,
}

/// Why there is no answer to work with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an address.
    #[error("'{0}' is no server address: write http://HOST:PORT")]
    Address(String),
    /// This client speaks no TLS.
    #[error(
        "'{0}': this program speaks no TLS to its server yet. Name an http:// address: on the server's host, through a \
         tunnel (ssh -L 3000:127.0.0.1:3000 HOST, then http://127.0.0.1:3000), or of a proxy that adds TLS"
    )]
    Tls(String),
    /// Nobody listens.
    #[error(
        "no server answers at http://{authority} ({why}).\n  \
         {}", start_hint(*program)
    )]
    NotRunning {
        /// Where.
        authority: String,
        /// The program to start one with, where it is known.
        program: Option<&'static str>,
        /// What the system said.
        why: std::io::Error,
    },
    /// The connection broke.
    #[error("the server at http://{authority} broke off: {why}")]
    Broken {
        /// Where.
        authority: String,
        /// How.
        why: String,
    },
    /// The server answered with a problem.
    #[error("{} ({}): {}\n  See http://{authority}{}", told.title, told.code, told.detail, told.page)]
    Problem {
        /// Where.
        authority: String,
        /// What it said.
        told: Box<Told>,
    },
    /// The answer is not one of a sagamore server.
    #[error("the server at http://{authority} does not answer like a sagamore server: {why}")]
    Strange {
        /// Where.
        authority: String,
        /// What is strange about it.
        why: String,
    },
}

/// What to do where no server runs.
fn start_hint(program: Option<&str>) -> String {
    match program {
        Some(name) => {
            format!("Start one with `{name} dev`, or name another with --server or SAGAMORE_SERVER")
        }
        None => "Does it run, and is this its address?".to_owned(),
    }
}

impl Error {
    /// Whether the server may answer when it is asked again.
    pub fn is_passing(&self) -> bool {
        match self {
            Error::NotRunning { .. } | Error::Broken { .. } => true,
            Error::Problem { told, .. } => matches!(told.status, 429 | 500 | 502 | 503 | 504),
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
    /// `http://127.0.0.1:3000`.
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
        Ok(Client { authority, spare: Vec::new(), answered_within: ANSWERED_WITHIN, program: None })
    }

    /// The first of these, and the others where it does not run: any of them knows the same. There is at least one.
    pub fn any_of(servers: &[String]) -> Result<Client, Error> {
        let mut clients = servers
            .iter()
            .map(|server| Client::new(server))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter();
        let first = clients.next().ok_or_else(|| Error::Address(String::new()))?;
        Ok(Client { spare: clients.map(|other| other.authority).collect(), ..first })
    }

    /// Sets the program that errors name where they say how a server is started.
    pub fn of_program(self, program: &'static str) -> Client {
        Client { program: Some(program), ..self }
    }

    /// Reads what is at `path`.
    pub async fn get(&self, path: &str) -> Result<Bytes, Error> {
        self.send(Method::GET, path, Bytes::new(), None).await
    }

    /// The same once the server has an outcome, for which it may take so many seconds.
    pub async fn get_and_wait(&self, path: &str, seconds: u64) -> Result<Bytes, Error> {
        self.send(Method::GET, path, Bytes::new(), Some(seconds)).await
    }

    /// Posts JSON; `wait` is how many seconds the server may take for the outcome.
    pub async fn post(
        &self,
        path: &str,
        body: impl Into<Bytes>,
        wait: Option<u64>,
    ) -> Result<Bytes, Error> {
        self.send(Method::POST, path, body.into(), wait).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        wait: Option<u64>,
    ) -> Result<Bytes, Error> {
        let (connection, server) = self.connect().await?;
        let limit = server.answered_within + Duration::from_secs(wait.unwrap_or(0));
        let answered =
            tokio::time::timeout(limit, server.over(connection, method, path, body, wait)).await;
        answered.unwrap_or_else(|_| {
            Err(server.broken(&format!("no answer within {} s", limit.as_secs())))
        })
    }

    async fn over(
        &self,
        connection: TcpStream,
        method: Method,
        path: &str,
        body: Bytes,
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
            .header(CONTENT_TYPE, "application/json");
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
        let told = self.shown(&body)?;
        Err(Error::Problem { authority: self.authority.clone(), told: Box::new(told) })
    }

    /// To the first that takes it, and which it is.
    async fn connect(&self) -> Result<(TcpStream, Client), Error> {
        let mut first = None;
        for authority in [&self.authority].into_iter().chain(&self.spare) {
            let connected =
                tokio::time::timeout(CONNECTED_WITHIN, TcpStream::connect(authority)).await;
            match connected.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())) {
                Ok(connection) => {
                    let server =
                        Client { authority: authority.clone(), spare: Vec::new(), ..*self };
                    return Ok((connection, server));
                }
                Err(why) => first.get_or_insert(why),
            };
        }
        let why = first.unwrap_or_else(|| ErrorKind::NotConnected.into());
        Err(Error::NotRunning { authority: self.authority.clone(), program: self.program, why })
    }

    /// Reads an answer's JSON to be shown to people: no text in it has control characters.
    pub fn shown<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Error> {
        let harmless = plain::harmless(body);
        let harmless = harmless.map_err(|error| Error::Strange {
            authority: self.authority.clone(),
            why: error.to_string(),
        })?;
        self.read(harmless.as_bytes())
    }

    /// Reads an answer's JSON.
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
        let check = |server: &str, wanted: Option<&str>| {
            assert_eq!(
                Client::new(server).ok().map(|client| client.authority).as_deref(),
                wanted,
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
            tls.contains("no TLS")
                && tls.contains("ssh -L")
                && tls.contains("http://127.0.0.1:3000"),
            "{tls}"
        );
    }

    #[tokio::test]
    async fn where_one_server_does_not_run_another_is_asked() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().route("/", axum::routing::get(|| async { "here" }));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let nobody = "http://127.0.0.1:1".to_owned();
        let client = Client::any_of(&[nobody.clone(), there]).unwrap();
        assert_eq!(client.get("/").await.unwrap(), "here");
        let alone = Client::any_of(&[nobody.clone(), nobody]).unwrap().get("/").await.unwrap_err();
        assert_eq!(alone.to_string().matches("Connection refused").count(), 1, "{alone}");
        assert!(std::error::Error::source(&alone).is_none(), "what is told already is told once");
    }

    #[tokio::test]
    async fn who_takes_a_request_and_does_not_answer_is_named() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(); // it never reads
        let there = format!("http://{}", silent.local_addr().unwrap());
        let client = Client::any_of(&["http://127.0.0.1:1".to_owned(), there.clone()]).unwrap();
        let patience = Duration::from_millis(50);
        let error = Client { answered_within: patience, ..client }.get("/").await.unwrap_err();
        assert!(
            error.to_string().contains(&there) && error.to_string().contains("no answer"),
            "{error}"
        );
    }
}
