//! A keep-alive connection over HTTP/1.1, with a time limit per response.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A request, as sent.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The path and query, percent-encoded.
    pub target: String,
    /// The headers without `content-length`, and without `host` unless it is given.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub code: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// The outcome of a request.
#[derive(Debug)]
pub enum Outcome {
    /// The server sent a response.
    Answered(Response),
    /// The server sent no response within the limit.
    Hung,
    /// The server closed the connection without a response.
    Closed(String),
}

/// A connection, opened on first use.
pub struct Connection {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Response {
    /// Creates a response with these headers.
    #[cfg(test)]
    pub fn new(code: u16, headers: &[(&str, &str)], body: &str) -> Response {
        let headers =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Response { code, headers, body: body.as_bytes().to_vec() }
    }

    /// Returns a header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

impl Connection {
    /// Creates a connection to this server.
    pub fn to(address: SocketAddr) -> Connection {
        Connection { address, stream: None }
    }

    /// Sends a request. Retries once if the reused connection turns out to be closed.
    pub fn send(&mut self, request: &Request, limit: Duration) -> Outcome {
        let is_reused = self.stream.is_some();
        match self.exchange(request, limit) {
            Ok(response) => Outcome::Answered(response),
            Err(error) => {
                self.stream = None;
                let hung = error.downcast_ref::<std::io::Error>().is_some_and(|error| {
                    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
                });
                if hung {
                    return Outcome::Hung;
                }
                if is_reused {
                    self.send(request, limit)
                } else {
                    Outcome::Closed(format!("{error:#}"))
                }
            }
        }
    }

    fn exchange(&mut self, request: &Request, limit: Duration) -> Result<Response> {
        if self.stream.is_none() {
            let stream = TcpStream::connect_timeout(&self.address, CONNECT_MAX)?;
            stream.set_nodelay(true)?;
            self.stream = Some(BufReader::new(stream));
        }
        let stream = self.stream.as_mut().context("the connection is open")?;
        stream.get_ref().set_read_timeout(Some(limit))?;
        stream.get_ref().set_write_timeout(Some(limit))?;
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
        if !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("host: {}\r\n", self.address));
        }
        for (name, value) in &request.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", request.body.len()));
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&request.body);
        let written = stream.get_mut().write_all(&bytes);
        // a server may refuse a large body before reading it all
        let response = read(stream, request.method == "HEAD");
        let response = match (response, written) {
            (Ok(response), _) => response,
            (Err(_), Err(error)) => return Err(error.into()),
            (Err(error), Ok(())) => return Err(error),
        };
        if response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.stream = None;
        }
        Ok(response)
    }
}

fn read(stream: &mut impl BufRead, is_head: bool) -> Result<Response> {
    let status = line(stream)?;
    let code =
        status.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status line")?;
    let mut headers = Vec::new();
    loop {
        let text = line(stream)?;
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(':').context("a header without a colon")?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut response = Response { code, headers, body: Vec::new() };
    if is_head || code == 204 || code == 304 {
        return Ok(response);
    }
    if response.header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        loop {
            let size =
                usize::from_str_radix(line(stream)?.trim(), 16).context("the size of a chunk")?;
            let mut chunk = vec![0; size];
            stream.read_exact(&mut chunk)?;
            line(stream)?;
            if size == 0 {
                return Ok(response);
            }
            response.body.extend(chunk);
        }
    }
    let Some(length) = response.header("content-length") else {
        bail!("a response without a length")
    };
    let mut body = vec![0; length.parse()?];
    stream.read_exact(&mut body)?;
    response.body = body;
    Ok(response)
}

fn line(stream: &mut impl BufRead) -> Result<String> {
    let mut text = String::new();
    if stream.read_line(&mut text)? == 0 {
        bail!("the connection was closed");
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_read_with_its_length_or_in_chunks() {
        let check = |text: &str, is_head, body: &str| {
            let response = read(&mut text.as_bytes(), is_head).unwrap();
            assert_eq!((response.code, response.body.as_slice()), (200, body.as_bytes()), "{text}");
        };
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false, "ok");
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", true, "");
        check(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            false,
            "ok",
        );
        assert!(read(&mut "".as_bytes(), false).is_err());
    }
}
