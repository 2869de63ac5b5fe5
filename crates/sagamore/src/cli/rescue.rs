//! `sagamore retry|skip|resolve`: what a person decides about a step that waits for it.

use anyhow::{Result, bail};
use sagamore_core::saga::Verb;
use serde_json::json;

use super::{Format, RescueArgs};
use crate::client::Client;
use crate::http::encoded;
use crate::invocation::Invocation;
use crate::output::{self, Exit};
use crate::plain;
use crate::view::{RESOLVE, SagaView, Style};

/// Finds the step, says what it does, asks, and requests it.
pub async fn run(invocation: &Invocation, verb: Verb, args: RescueArgs) -> Result<Exit> {
    let client = args.server.client(invocation)?;
    let saga: SagaView =
        client.shown(&client.get(&format!("/api/v1/sagas/{}", encoded(&args.id))).await?)?;
    let id = saga.line.id.clone();
    let path = format!("/api/v1/sagas/{}", encoded(&id));
    if saga.line.style == Style::Choreography {
        return of_chain(invocation.name(), &client, &path, verb, &args, &saga).await;
    }
    if is_reread(verb, &args, &saga) {
        return reread(invocation.name(), &client, &path, &args, &saga).await;
    }
    let step = match args.step {
        Some(step) => step,
        None => only_step(invocation.name(), &saga, verb)?,
    };
    let name = verb.as_str();
    if !args.yes && !output::agreed(&effect(verb, &step, &saga), &format!("{} it?", capital(name)))?
    {
        return Ok(Exit::Usage);
    }
    let body = json!({ "step": step, "reason": args.reason }).to_string();
    let answer = client.post(&format!("{path}/{name}"), body, None).await?;
    match args.server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => {
            outln!(
                "{id}  {name} of {step} requested; see: {} watch {}",
                invocation.name(),
                plain::quoted(&id)
            )
        }
    }
    Ok(Exit::Completed)
}

/// Whether the saga as a whole is read again: it is set aside, and none of its steps is known.
fn is_reread(verb: Verb, args: &RescueArgs, saga: &SagaView) -> bool {
    let is_allowed = saga.allowed_actions.iter().any(|allowed| allowed == verb.as_str());
    verb == Verb::Retry && args.step.is_none() && is_allowed
}

async fn reread(
    program: &str,
    client: &Client,
    path: &str,
    args: &RescueArgs,
    saga: &SagaView,
) -> Result<Exit> {
    let id = &saga.line.id;
    let effect =
        format!("This has {id} read again. If its data is repaired, it goes on where it was.");
    if !args.yes && !output::agreed(&effect, "Retry it?")? {
        return Ok(Exit::Usage);
    }
    let body = json!({ "reason": args.reason }).to_string();
    let answer = client.post(&format!("{path}/{}", Verb::Retry.as_str()), body, None).await?;
    match args.server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => outln!("{id}  is read again; see: {program} watch {}", plain::quoted(id)),
    }
    Ok(Exit::Completed)
}

/// A chain has no step that could be asked again: it is over when a person says so, or it goes on by an event.
async fn of_chain(
    program: &str,
    client: &Client,
    path: &str,
    verb: Verb,
    args: &RescueArgs,
    saga: &SagaView,
) -> Result<Exit> {
    let (id, status) = (&saga.line.id, saga.line.status.as_str());
    if verb != Verb::Resolve || args.step.is_some() {
        bail!(
            "{id} is a choreography: nobody asks its services for a step. It goes on when whoever is late comes back, or when \
             lost events are told again ({program} reconcile --resend). Once a person has taken care of it: {program} resolve \
             {} --reason WHY",
            plain::quoted(id)
        );
    }
    let effect = format!(
        "This takes your word that {id}, which is {status}, is taken care of. No service is asked for anything: what is done \
         stays done, and one that is late still acts when it comes back."
    );
    if !args.yes && !output::agreed(&effect, "Resolve it?")? {
        return Ok(Exit::Usage);
    }
    let answer = client
        .post(&format!("{path}/{RESOLVE}"), json!({ "reason": args.reason }).to_string(), None)
        .await?;
    match args.server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => outln!("{id}  resolved, until another event of it comes"),
    }
    Ok(Exit::Completed)
}

/// The one step of which this can be decided.
fn only_step(program: &str, saga: &SagaView, verb: Verb) -> Result<String> {
    let (id, name) = (&saga.line.id, verb.as_str());
    let waiting =
        saga.steps.iter().filter(|step| step.allowed_actions.iter().any(|allowed| allowed == name));
    let waiting: Vec<&str> = waiting.map(|step| step.name.as_str()).collect();
    match waiting.as_slice() {
        [step] => Ok((*step).to_owned()),
        [] => bail!(
            "{id} is {}, and no step of it takes a {name} now; see: {program} show {}",
            saga.line.status.as_str(),
            plain::quoted(id)
        ),
        steps => bail!("several steps of {id} wait; say which with --step: {}", steps.join(", ")),
    }
}

fn effect(verb: Verb, step: &str, saga: &SagaView) -> String {
    let (id, back) = (&saga.line.id, saga.cause.is_some());
    match (verb, back) {
        (Verb::Retry, false) => {
            format!("This asks {step} of {id} once more, as if it had never been refused.")
        }
        (Verb::Retry, true) => format!("This asks for the undo of {step} of {id} once more."),
        (Verb::Skip, false) => {
            format!("This leaves {step} of {id} undone; later steps get no data from it.")
        }
        (Verb::Skip, true) => {
            format!("This leaves what {step} of {id} did as it is: nobody will undo it.")
        }
        (Verb::Resolve, false) => {
            format!(
                "This takes your word that {step} of {id} was done by hand; later steps get no data from it."
            )
        }
        (Verb::Resolve, true) => {
            format!("This takes your word that {step} of {id} was undone by hand.")
        }
    }
}

/// `retry` at the beginning of a sentence.
fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
