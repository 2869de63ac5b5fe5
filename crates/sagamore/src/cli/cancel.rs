//! `sagamore cancel`.

use anyhow::{Result, bail};
use sagamore_engine::ChainStatus;

use super::{CancelArgs, Format};
use crate::client::Error;
use crate::http::encoded;
use crate::invocation::Invocation;
use crate::output::{self, Exit};
use crate::plain;
use crate::view::{SagaView, Style};

/// Says what it does, asks, and requests it.
pub async fn run(invocation: &Invocation, args: CancelArgs) -> Result<Exit> {
    let client = args.server.client(invocation)?;
    let (id, effect) = match client.get(&format!("/api/v1/sagas/{}", encoded(&args.id))).await {
        Ok(answer) => {
            let saga: SagaView = client.shown(&answer)?;
            let id = saga.line.id;
            if saga.line.style == Style::Choreography {
                bail!(
                    "{id} is a choreography: nobody directs it, and what fails in it is undone by events"
                );
            }
            let effect = effect(saga.line.status, &id);
            (id, effect)
        }
        Err(Error::Problem { told, .. })
            if told.status == 404 && told.style == Some(Style::Choreography) =>
        {
            let (why, name) = (plain::in_line(&told.detail).into_owned(), invocation.name());
            bail!(
                "{why}, and this is a choreography: a cancel reserves no key here, and nothing was done.\n  \
                 Check the key: {name} list --style choreography"
            );
        }
        Err(Error::Problem { told, .. }) if told.status == 404 => {
            let id = told.saga.map_or_else(|| args.id.clone(), |id| id.to_string());
            let shown = plain::in_line(&id);
            let effect = format!(
                "There is no saga {shown}. Cancelling it now reserves its key: a start with this key will find it cancelled, \
                 and nothing will ever run under it."
            );
            (id, effect)
        }
        Err(error) => return Err(error.into()),
    };
    if !args.yes && !output::agreed(&effect, "Cancel it?")? {
        return Ok(Exit::Usage);
    }
    let body = args
        .reason
        .map(|reason| serde_json::json!({ "reason": reason }).to_string())
        .unwrap_or_default();
    let answer = client.post(&format!("/api/v1/sagas/{}/cancel", encoded(&id)), body, None).await?;
    match args.server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => {
            outln!(
                "{}  cancel requested; see: {} watch {}",
                plain::in_line(&id),
                invocation.name(),
                plain::quoted(&id)
            )
        }
    }
    Ok(Exit::Completed)
}

/// The effect that a cancel has on a saga that stands there.
fn effect(status: ChainStatus, id: &str) -> String {
    match status {
        ChainStatus::Running => {
            format!(
                "This undoes all that {id} has done, unless its pivot was sent: then it is rejected."
            )
        }
        ChainStatus::Compensating => format!("{id} is being undone already: this changes nothing."),
        ChainStatus::Completed => {
            format!("{id} is completed: this is rejected, and changes nothing.")
        }
        ChainStatus::Compensated => {
            format!("{id} is compensated: this is rejected, and changes nothing.")
        }
        ChainStatus::Stuck => {
            format!(
                "{id} is stuck: this undoes what it has done, unless its pivot was sent or it goes back already."
            )
        }
        ChainStatus::HalfCompensated | ChainStatus::Anomalous | ChainStatus::UnknownVersion => {
            format!("{id} is {}: this is rejected, and changes nothing.", status.as_str())
        }
        ChainStatus::Unreadable | ChainStatus::Resolved => {
            format!("{id} is {}: this is rejected, and changes nothing.", status.as_str())
        }
    }
}
