//! `sagamore cancel`.

use anyhow::Result;

use super::output::{self, Exit};
use super::{CancelArgs, ConfigArgs, Format, full_id};
use crate::http::encoded;

/// Says what it does, asks, and requests it.
pub async fn run(config: &ConfigArgs, args: CancelArgs) -> Result<Exit> {
    let id = full_id(&args.id);
    let effect = format!("This undoes all that {id} has done; one that has not begun will never run.");
    if !args.yes && !output::agreed(&effect, "Cancel it?")? {
        return Ok(Exit::Usage);
    }
    let client = args.server.client(config)?;
    let answer = client.post(&format!("/api/v1/sagas/{}/cancel", encoded(&id)), "", None).await?;
    match args.server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => anstream::println!("{id}  cancel requested; see: sagamore watch {id}"),
    }
    Ok(Exit::Completed)
}
