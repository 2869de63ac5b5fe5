//! `sagamore cancel`.

use anyhow::{Result, bail};
use clap::Args;
use sagamore_engine::ChainStatus;

use super::args::{Format, ServerArgs};
use crate::client::Error;
use crate::http::encoded;
use crate::invocation::Invocation;
use crate::output::{self, Exit};
use crate::plain;
use crate::view::{SagaView, Style};

/// The arguments of `cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// Saga's id DEFINITION:KEY, or KEY alone for the server's first definition
    id: String,
    /// Reason with the name of its author, stored with the saga
    #[arg(long, value_name = "WHY")]
    reason: Option<String>,
    /// Skip the confirmation
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Prints the effect, asks for confirmation, and requests the cancel.
pub async fn run(invocation: &Invocation, args: CancelArgs) -> Result<Exit> {
    let client = args.server.client(invocation)?;
    let (id, effect) = match client.get(&format!("/api/v1/sagas/{}", encoded(&args.id))).await {
        Ok(answer) => {
            let saga: SagaView = client.shown(&answer)?;
            let id = saga.line.id;
            if saga.line.style == Style::Choreography {
                bail!(
                    "{id} is a choreography: it cannot be cancelled, and events undo what fails in \
                     it"
                );
            }
            let effect = effect(saga.line.status, &id);
            (id, effect)
        }
        Err(Error::Problem { problem, .. })
            if problem.status == 404 && problem.style == Some(Style::Choreography) =>
        {
            let (why, name) = (plain::in_line(&problem.detail).into_owned(), invocation.name());
            bail!(
                "{why}, and this is a choreography: a cancel reserves no key here, and nothing was \
                 done.\n  \
                 Check the key: {name} list --style choreography"
            );
        }
        Err(Error::Problem { problem, .. }) if problem.status == 404 => {
            let id = problem.saga.map_or_else(|| args.id.clone(), |id| id.to_string());
            let shown = plain::in_line(&id);
            let effect = format!(
                "There is no saga {shown}. This cancel reserves its key: a later start with this \
                 key returns the cancelled saga, and no step of it ever runs."
            );
            (id, effect)
        }
        Err(error) => return Err(error.into()),
    };
    if !args.yes && !output::confirmed(&effect, "Cancel it?")? {
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
                "{}  cancel requested; watch it: {} watch {}",
                plain::in_line(&id),
                invocation.name(),
                plain::quoted(&id)
            )
        }
    }
    Ok(Exit::Completed)
}

/// Describes the effect of a cancel on a saga of this status.
fn effect(status: ChainStatus, id: &str) -> String {
    match status {
        ChainStatus::Running => {
            format!(
                "This compensates the completed steps of {id}. It is rejected if the pivot's \
                 command was sent."
            )
        }
        ChainStatus::Compensating => format!("{id} is already compensating: this changes nothing."),
        ChainStatus::Completed => {
            format!("{id} is completed: the cancel will be rejected.")
        }
        ChainStatus::Compensated => {
            format!("{id} is compensated: the cancel will be rejected.")
        }
        ChainStatus::Stuck => {
            format!(
                "{id} is stuck: this compensates its completed steps. It is rejected if the \
                 pivot's command was sent or the saga is compensating."
            )
        }
        ChainStatus::HalfCompensated | ChainStatus::Anomalous | ChainStatus::UnknownVersion => {
            format!("{id} is {}: the cancel will be rejected.", status.as_str())
        }
        ChainStatus::Unreadable | ChainStatus::Resolved => {
            format!("{id} is {}: the cancel will be rejected.", status.as_str())
        }
    }
}
