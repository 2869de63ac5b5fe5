//! `sagamore watch`: the saga drawn again with every change, until it rests.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Format, ShowArgs};
use crate::draw;
use crate::http::encoded;
use crate::invocation::Invocation;
use crate::output::{self, Exit};
use crate::view::{SagaView, standing};

/// How often the server is asked.
const PAUSE: Duration = Duration::from_millis(100);

/// A server that has answered may be away for so long.
const AWAY_MAX: Duration = Duration::from_secs(30);

/// Ends with the exit code of the outcome.
pub async fn run(invocation: &Invocation, args: ShowArgs) -> Result<Exit> {
    let client = args.server.client(invocation)?;
    let path = format!("/api/v1/sagas/{}", encoded(&args.id));
    let live = std::io::stdout().is_terminal() && args.server.format.output == Format::Table;
    let (mut seen, mut lines_drawn) = (None, 0);
    let mut answered = None;
    loop {
        let answer = match client.get(&path).await {
            Ok(answer) => answer,
            // it is started anew, perhaps; who was seen once is seen again
            Err(error)
                if answered.is_some_and(|at: Instant| at.elapsed() < AWAY_MAX)
                    && error.is_passing() =>
            {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        answered = Some(Instant::now());
        let view: SagaView = client.shown(&answer)?;
        let stands = Some((view.revision, view.line.status)); // a chain becomes late without an event
        if stands != seen {
            seen = stands;
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
            return Ok(Exit::Error); // nobody watches any more, and it is not known how it ends
        }
        if let Some(outcome) = Exit::of(standing(view.line.status)) {
            return Ok(outcome);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
