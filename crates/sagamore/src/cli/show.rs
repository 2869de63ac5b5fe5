//! `show`: one saga with its steps.

use anyhow::Result;
use clap::Args;
use sagamore_core::saga::Status;

use super::args::{Format, ServerArgs};
use crate::draw;
use crate::http::encoded;
use crate::invocation::Invocation;
use crate::output::{self, Exit};
use crate::view::{SagaView, standing};

/// The arguments of `show` and `watch`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Saga's id DEFINITION:KEY, or KEY alone for the server's first definition or plan
    pub id: String,
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Prints a saga. Returns exit code 4 if it needs an operator.
pub async fn run(invocation: &Invocation, args: ShowArgs) -> Result<Exit> {
    let client = args.server.client(invocation)?;
    let answer = client.get(&format!("/api/v1/sagas/{}", encoded(&args.id))).await?;
    let view: SagaView = client.shown(&answer)?;
    match args.server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => out!("{}", draw::saga(&view, invocation.name())),
    }
    Ok(match standing(view.line.status) {
        Status::Stuck => Exit::Stuck,
        Status::Running | Status::Compensating | Status::Completed | Status::Compensated => {
            Exit::Completed
        }
    })
}
