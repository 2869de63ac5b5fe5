//! `sagamore cancel`.

use anyhow::{Result, bail};

use super::output::{self, Exit};
use super::{CancelArgs, ConfigArgs, Format};
use crate::client::Error;
use crate::http::encoded;
use crate::view::{SagaView, Style};

/// Says what it does, asks, and requests it.
pub async fn run(config: &ConfigArgs, args: CancelArgs) -> Result<Exit> {
    let client = args.server.client(config)?;
    let (id, effect) = match client.get(&format!("/api/v1/sagas/{}", encoded(&args.id))).await {
        Ok(answer) => {
            let saga: SagaView = client.read(&answer)?;
            let id = saga.line.id;
            if saga.line.style == Style::Choreography {
                bail!("{id} is a choreography: nobody directs it, and what fails in it is undone by events");
            }
            let effect = format!("This undoes all that {id} has done.");
            (id, effect)
        }
        Err(Error::Problem { told, .. }) if told.status == 404 && told.detail.contains("the chain ") => {
            bail!("{}: this is a choreography, and nobody directs it", told.detail)
        }
        Err(Error::Problem { told, .. }) if told.status == 404 => {
            let id = told.saga.map_or_else(|| args.id.clone(), |id| id.to_string());
            let effect = format!("There is no saga {id}. Cancelled now, it will never run: its key is used up.");
            (id, effect)
        }
        Err(error) => return Err(error.into()),
    };
    if !args.yes && !output::agreed(&effect, "Cancel it?")? {
        return Ok(Exit::Usage);
    }
    let body = args.reason.map(|reason| serde_json::json!({ "reason": reason }).to_string()).unwrap_or_default();
    let answer = client.post(&format!("/api/v1/sagas/{}/cancel", encoded(&id)), body, None).await?;
    match args.server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => anstream::println!("{id}  cancel requested; see: sagamore watch {id}"),
    }
    Ok(Exit::Completed)
}
