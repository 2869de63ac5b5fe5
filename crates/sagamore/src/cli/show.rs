//! `sagamore show`.

use anyhow::Result;
use sagamore_core::saga::Status;

use super::{Format, ShowArgs};
use crate::draw;
use crate::http::encoded;
use crate::invocation::Invocation;
use crate::output::{self, Exit};
use crate::view::{SagaView, standing};

/// One saga as it stands. Ends with 4 for one that waits for a person.
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
