//! `sagamore show`.

use anyhow::Result;

use super::output::{self, Exit};
use super::{Format, ShowArgs, full_id};
use crate::client::Client;
use crate::draw;
use crate::http::encoded;
use crate::view::SagaView;

/// One saga as it stands.
pub async fn run(args: ShowArgs) -> Result<Exit> {
    let client = Client::new(&args.server.server)?;
    let answer = client.get(&format!("/api/v1/sagas/{}", encoded(&full_id(&args.id)))).await?;
    match args.server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => anstream::print!("{}", draw::saga(&client.read::<SagaView>(&answer)?)),
    }
    Ok(Exit::Completed)
}
