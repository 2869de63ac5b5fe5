//! `sagamore retry|skip|resolve`: what a person decides about a step that waits for it.

use anyhow::{Result, bail};
use sagamore_core::saga::Verb;
use serde_json::json;

use super::output::{self, Exit};
use super::{ConfigArgs, Format, RescueArgs, full_id};
use crate::http::encoded;
use crate::view::SagaView;

/// Finds the step, says what it does, asks, and requests it.
pub async fn run(config: &ConfigArgs, verb: Verb, args: RescueArgs) -> Result<Exit> {
    let id = full_id(&args.id);
    let client = args.server.client(config)?;
    let path = format!("/api/v1/sagas/{}", encoded(&id));
    let saga: SagaView = client.read(&client.get(&path).await?)?;
    let step = match args.step {
        Some(step) => step,
        None => only_step(&saga, verb)?,
    };
    let name = verb.as_str();
    if !args.yes && !output::agreed(&effect(verb, &step, &saga), &format!("{} it?", capital(name)))? {
        return Ok(Exit::Usage);
    }
    let body = json!({ "step": step, "reason": args.reason }).to_string();
    let answer = client.post(&format!("{path}/{name}"), body, None).await?;
    match args.server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => anstream::println!("{id}  {name} of {step} requested; see: sagamore watch {id}"),
    }
    Ok(Exit::Completed)
}

/// The one step of which this can be decided.
fn only_step(saga: &SagaView, verb: Verb) -> Result<String> {
    let (id, name) = (&saga.line.id, verb.as_str());
    let waiting = saga.steps.iter().filter(|step| step.allowed_actions.iter().any(|allowed| allowed == name));
    let waiting: Vec<&str> = waiting.map(|step| step.name.as_str()).collect();
    match waiting.as_slice() {
        [step] => Ok((*step).to_owned()),
        [] => bail!(
            "{id} is {}, and no step of it takes a {name} now; see: sagamore show {id}",
            saga.line.status.as_str()
        ),
        steps => bail!("several steps of {id} wait; say which with --step: {}", steps.join(", ")),
    }
}

fn effect(verb: Verb, step: &str, saga: &SagaView) -> String {
    let (id, back) = (&saga.line.id, saga.cause.is_some());
    match (verb, back) {
        (Verb::Retry, false) => format!("This asks {step} of {id} once more, as if it had never been refused."),
        (Verb::Retry, true) => format!("This asks for the undo of {step} of {id} once more."),
        (Verb::Skip, false) => format!("This leaves {step} of {id} undone; later steps get no data from it."),
        (Verb::Skip, true) => format!("This leaves what {step} of {id} did as it is: nobody will undo it."),
        (Verb::Resolve, false) => {
            format!("This takes your word that {step} of {id} was done by hand; later steps get no data from it.")
        }
        (Verb::Resolve, true) => format!("This takes your word that {step} of {id} was undone by hand."),
    }
}

/// `retry` at the beginning of a sentence.
fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
