//! `sagamore show`.

use anyhow::Result;

use super::output::{self, Exit};
use super::{ConfigArgs, Format, ShowArgs};
use crate::draw;
use crate::http::encoded;
use crate::view::SagaView;

/// One saga as it stands.
pub async fn run(config: &ConfigArgs, args: ShowArgs) -> Result<Exit> {
    let client = args.server.client(config)?;
    let answer = client.get(&format!("/api/v1/sagas/{}", encoded(&args.id))).await?;
    match args.server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => anstream::print!("{}", draw::saga(&client.read::<SagaView>(&answer)?)),
    }
    Ok(Exit::Completed)
}
