//! Asking processes and servers that may just have been killed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Cast, POLL, READY_MAX};

/// The server looks at its settings anew.
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

    /// One request, one answer; HTTP/1.0, so that the answer ends with the connection.
    pub(super) fn http(&self, name: &str, method: &str, path: &str, body: &str) -> Result<String> {
        let address = format!(
            "127.0.0.1:{}",
            self.ports.get(name).with_context(|| format!("there is no {name}"))?
        );
        let mut stream = TcpStream::connect_timeout(&address.parse()?, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nhost: {address}\r\nprefer: wait=10\r\ncontent-length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) =
            answer.split_once("\r\n\r\n").with_context(|| format!("{name} says {answer:?}"))?;
        ensure!(
            head.split(' ').nth(1).is_some_and(|code| code.starts_with('2')),
            "{name}: {head}\n{body}"
        );
        Ok(body.to_owned())
    }

    /// Reads the engine's tables; patiently, since the server may have been killed.
    pub(super) fn ask_engine(&self, sql: &str) -> Result<String> {
        self.ask_postgres(&[&format!("SET search_path = \"{}_engine\"; {sql}", self.namespace)])
    }

    /// For so long no transaction writes.
    pub fn read_only_for(&self, time: Duration) -> Result<()> {
        self.ask_postgres(&["ALTER SYSTEM SET default_transaction_read_only = on", RELOAD])?;
        std::thread::sleep(time);
        self.ask_postgres(&["ALTER SYSTEM RESET default_transaction_read_only", RELOAD]).map(drop)
    }

    fn ask_postgres(&self, statements: &[&str]) -> Result<String> {
        let url = self.services.postgres_url()?;
        let commands = statements.iter().flat_map(|sql| ["-c", *sql]);
        let begun = Instant::now();
        loop {
            let mut psql = Command::new("psql");
            let asked = psql
                .args(["-qtA", "-d", &url])
                .args(commands.clone())
                .output()
                .context("run psql")?;
            if asked.status.success() {
                return Ok(String::from_utf8(asked.stdout)?);
            }
            ensure!(
                begun.elapsed() < READY_MAX,
                "psql: {}",
                String::from_utf8_lossy(&asked.stderr)
            );
            std::thread::sleep(POLL);
        }
    }
}
