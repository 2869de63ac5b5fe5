//! Requests to processes and servers that may have just been killed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Cast, POLL, READY_MAX};

/// Makes PostgreSQL reload its settings.
const RELOAD: &str = "SELECT pg_reload_conf()";

impl Cast<'_> {
    pub(super) fn get_patiently(&self, name: &str, path: &str) -> Result<String> {
        let begun = Instant::now();
        loop {
            match self.http(name, "GET", path, "") {
                Ok(answer) => return Ok(answer),
                Err(error) if begun.elapsed() > READY_MAX => return Err(error),
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }

    /// Sends one request to a process and returns the response's body.
    pub fn http(&self, name: &str, method: &str, path: &str, body: &str) -> Result<String> {
        request(self.port(name)?, method, path, body).with_context(|| name.to_owned())
    }

    /// Returns the listening port of a process.
    pub fn port(&self, name: &str) -> Result<u16> {
        self.ports.get(name).copied().with_context(|| format!("{name} is not running"))
    }

    /// Queries the tables of the engine or of a service. Retries, because the server may have been
    /// killed.
    pub fn query(&self, owner: &str, sql: &str) -> Result<String> {
        let schema = format!("SET search_path = \"{}_{owner}\"; {sql}", self.namespace);
        self.query_postgres(&[&schema])
    }

    /// Queries the engine's tables. Retries, because the server may have been killed.
    pub(super) fn query_engine(&self, sql: &str) -> Result<String> {
        self.query("engine", sql)
    }

    /// Makes PostgreSQL read-only for this time.
    pub fn read_only_for(&self, time: Duration) -> Result<()> {
        self.query_postgres(&["ALTER SYSTEM SET default_transaction_read_only = on", RELOAD])?;
        std::thread::sleep(time);
        self.query_postgres(&["ALTER SYSTEM RESET default_transaction_read_only", RELOAD]).map(drop)
    }

    fn query_postgres(&self, statements: &[&str]) -> Result<String> {
        let url = self.services.postgres_url()?;
        let commands = statements.iter().flat_map(|sql| ["-c", *sql]);
        let begun = Instant::now();
        loop {
            let mut psql = Command::new("psql");
            let output = psql
                .args(["-qtA", "-d", &url])
                .args(commands.clone())
                .output()
                .context("run psql")?;
            if output.status.success() {
                return Ok(String::from_utf8(output.stdout)?);
            }
            ensure!(
                begun.elapsed() < READY_MAX,
                "psql: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            std::thread::sleep(POLL);
        }
    }
}

/// Sends one request and returns the response's body. HTTP/1.0, so that the response ends with the
/// connection.
pub fn request(port: u16, method: &str, path: &str, body: &str) -> Result<String> {
    let address = format!("127.0.0.1:{port}");
    let mut stream = TcpStream::connect_timeout(&address.parse()?, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nhost: {address}\r\nprefer: wait=10\r\ncontent-length: \
         {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) =
        answer.split_once("\r\n\r\n").with_context(|| format!("the answer is {answer:?}"))?;
    let is_success = head.split(' ').nth(1).is_some_and(|code| code.starts_with('2'));
    ensure!(is_success, "{head}\n{body}");
    Ok(body.to_owned())
}
