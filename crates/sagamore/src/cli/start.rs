//! `start`: starts a saga, and optionally waits for its outcome.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use sagamore_core::Body;
use serde::Serialize;

use super::args::{Format, ServerArgs, json_argument};
use crate::client::Error;
use crate::draw;
use crate::http::WAIT_S_MAX;
use crate::invocation::Invocation;
use crate::output::{self, Exit};
use crate::plain;
use crate::view::Standing;
use sagamore_inspect::times::duration;

/// Maximum time for which the server may be unavailable during the wait, after it has accepted the
/// start.
const AWAY_MAX: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

/// The arguments of `start`.
#[derive(Debug, Args)]
#[command(allow_missing_positional = true)]
pub struct StartArgs {
    /// Definition; without it the program's first saga
    #[arg(value_name = "DEFINITION")]
    definition: Option<String>,
    /// Business key, unique within the definition
    key: String,
    /// Version of the definition; without it the active one
    #[arg(long, value_name = "N")]
    version: Option<u32>,
    /// Input: a file, - for stdin, or JSON; without it the server's sample input, if there is one
    #[arg(long, value_name = "FILE|-|JSON")]
    input: Option<String>,
    /// Time to wait for the outcome: 30s, 500ms, 2m
    #[arg(long, value_parser = duration, value_name = "TIME")]
    wait: Option<Duration>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Serialize)]
struct StartBody<'a> {
    definition: &'a str,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a Body>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
}

/// Starts a saga. With `--wait`, returns the exit code of its outcome.
pub async fn run(invocation: &Invocation, args: StartArgs) -> Result<Exit> {
    let (key, definition) = (args.key.as_str(), args.definition);
    let first = || invocation.program.story.first_saga().map(|saga| saga.to_string());
    let Some(definition) = definition.or_else(first) else {
        bail!("name the definition as well: start DEFINITION {key}")
    };
    let read = |argument: &str| json_argument(argument, "input");
    let input = args.input.as_deref().map(read).transpose()?;
    let client = args.server.client(invocation)?;
    let (input, version) = (input.as_ref(), args.version);
    let body = serde_json::to_vec(&StartBody { definition: &definition, key, input, version })?;
    let until = args.wait.map(|wait| Instant::now() + wait);
    let (mut was_reached, mut away_since) = (false, None);
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let answer = match client.post("/api/v1/sagas", body.clone(), left.map(whole_seconds)).await
        {
            Ok(answer) => answer,
            Err(error) => {
                // the business key makes a retry safe, and a server that accepted the start may be
                // restarting
                was_reached |= matches!(error, Error::Broken { .. });
                let away = away_since.get_or_insert_with(Instant::now).elapsed();
                let waits = left.is_some_and(|left| !left.is_zero());
                if !(error.is_transient() && was_reached && waits && away < AWAY_MAX) {
                    return Err(error.into());
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        (was_reached, away_since) = (true, None);
        let standing: Standing = client.shown(&answer)?;
        let outcome = Exit::of(standing.status);
        let is_last = left.is_none_or(|left| left <= Duration::from_secs(WAIT_S_MAX));
        if outcome.is_some() || is_last {
            match args.server.format.output {
                Format::Json => output::raw(&answer),
                Format::Table => {
                    outln!("{}  {}", standing.id, draw::status(standing.status.into()))
                }
            }
            return Ok(match (args.wait, outcome) {
                (Some(_), Some(outcome)) => outcome,
                (Some(wait), None) => {
                    errln!(
                        "no outcome after {wait:?}; watch it: {} watch {}",
                        invocation.name(),
                        plain::quoted(&standing.id)
                    );
                    Exit::Timeout
                }
                (None, _) => Exit::Completed,
            });
        }
    }
}

/// Rounds up, so that a wait below one second is not 0.
fn whole_seconds(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}
