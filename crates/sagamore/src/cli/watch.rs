//! `watch`: draws the saga again with every change, until it is at rest.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::args::Format;
use super::show::ShowArgs;
use crate::draw;
use crate::http::encoded;
use crate::invocation::Invocation;
use crate::output::{self, Exit};
use crate::view::{SagaView, standing};

/// The interval of polling.
const PAUSE: Duration = Duration::from_millis(100);

/// Maximum absence of a server that has responded before.
const AWAY_MAX: Duration = Duration::from_secs(30);

/// Returns the exit code of the outcome.
pub async fn run(invocation: &Invocation, args: ShowArgs) -> Result<Exit> {
    let client = args.server.client(invocation)?;
    let path = format!("/api/v1/sagas/{}", encoded(&args.id));
    let live = std::io::stdout().is_terminal() && args.server.format.output == Format::Table;
    let (mut seen, mut lines_drawn) = (None, 0);
    let mut responded = None;
    loop {
        let answer = match client.get(&path).await {
            Ok(answer) => answer,
            // the server may be restarting, and a saga that was shown before still exists
            Err(error)
                if responded.is_some_and(|at: Instant| at.elapsed() < AWAY_MAX)
                    && error.is_transient() =>
            {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        responded = Some(Instant::now());
        let view: SagaView = client.shown(&answer)?;
        // a chain becomes late without an event, so the status is compared as well
        let state = Some((view.revision, view.line.status));
        if state != seen {
            seen = state;
            match args.server.format.output {
                Format::Json => output::raw(&answer),
                Format::Table => {
                    if live && lines_drawn > 0 {
                        out!("\x1b[{lines_drawn}A\x1b[J");
                    }
                    let drawn = draw::saga(&view, invocation.name());
                    lines_drawn = drawn.lines().count();
                    out!("{drawn}");
                }
            }
        }
        if output::is_ended() {
            return Ok(Exit::Error); // stdout is closed, and the outcome is unknown
        }
        if let Some(outcome) = Exit::of(standing(view.line.status)) {
            return Ok(outcome);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
