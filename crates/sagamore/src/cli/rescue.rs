//! `retry`, `skip`, `resolve` and `compensate`: an operator's decision about a waiting step or
//! chain.

use anyhow::{Result, bail};
use clap::Args;
use sagamore_core::Body;
use sagamore_core::saga::Verb;
use serde::Serialize;
use serde_json::json;

use super::args::{Format, ServerArgs, json_argument};
use crate::client::Client;
use crate::http::encoded;
use crate::invocation::Invocation;
use crate::output::{self, Exit};
use crate::plain;
use crate::view::{RESOLVE, SagaView, Style};

/// The arguments of `retry`, `skip` and `compensate`.
#[derive(Debug, Args)]
pub struct RescueArgs {
    /// Saga's id DEFINITION:KEY, or KEY alone for the server's first definition or plan
    id: String,
    /// Reason with the name of its author, stored with the saga
    #[arg(long, value_name = "WHY")]
    reason: String,
    /// Step; may be omitted if only one step waits
    #[arg(long, value_name = "STEP")]
    step: Option<String>,
    /// Skip the confirmation
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// The arguments of `resolve`.
#[derive(Debug, Args)]
pub struct ResolveArgs {
    #[command(flatten)]
    rescue: RescueArgs,
    /// Output of the step's action, for later steps: a file, - for stdin, or JSON
    #[arg(long, value_name = "FILE|-|JSON")]
    step_output: Option<String>,
}

/// The body of a verb about a step.
#[derive(Serialize)]
struct RescueBody<'a> {
    step: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a Body>,
}

/// Marks a step as done manually, with an output if given, or a chain as repaired.
pub async fn resolve(invocation: &Invocation, args: ResolveArgs) -> Result<Exit> {
    let read = |argument: &str| json_argument(argument, "output");
    let output = args.step_output.as_deref().map(read).transpose()?;
    decide(invocation, Verb::Resolve, args.rescue, output).await
}

/// Requests a verb without an output.
pub async fn run(invocation: &Invocation, verb: Verb, args: RescueArgs) -> Result<Exit> {
    decide(invocation, verb, args, None).await
}

/// Finds the step, prints the effect, asks for confirmation, and requests the verb.
async fn decide(
    invocation: &Invocation,
    verb: Verb,
    args: RescueArgs,
    by_hand: Option<Body>,
) -> Result<Exit> {
    let client = args.server.client(invocation)?;
    let saga: SagaView =
        client.shown(&client.get(&format!("/api/v1/sagas/{}", encoded(&args.id))).await?)?;
    let id = saga.line.id.clone();
    let path = format!("/api/v1/sagas/{}", encoded(&id));
    let has_output = by_hand.is_some();
    if saga.line.style == Style::Choreography {
        if has_output {
            bail!("{id} is a choreography: its steps take no output");
        }
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
    if !args.yes
        && !output::confirmed(
            &effect(verb, &step, &saga, has_output),
            &format!("{} it?", capital(name)),
        )?
    {
        return Ok(Exit::Usage);
    }
    let body = RescueBody { step: &step, reason: &args.reason, output: by_hand.as_ref() };
    let body = serde_json::to_vec(&body)?;
    let answer = client.post(&format!("{path}/{name}"), body, None).await?;
    match args.server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => {
            outln!(
                "{id}  {name} of {step} requested; watch it: {} watch {}",
                invocation.name(),
                plain::quoted(&id)
            )
        }
    }
    Ok(Exit::Completed)
}

/// Whether the request is for the saga as a whole: it is set aside, so its steps are unknown.
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
    let effect = format!("This reads {id} again. If its data is repaired, it continues.");
    if !args.yes && !output::confirmed(&effect, "Retry it?")? {
        return Ok(Exit::Usage);
    }
    let body = json!({ "reason": args.reason }).to_string();
    let answer = client.post(&format!("{path}/{}", Verb::Retry.as_str()), body, None).await?;
    match args.server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => {
            outln!("{id}  is read again; watch it: {program} watch {}", plain::quoted(id))
        }
    }
    Ok(Exit::Completed)
}

/// Handles a chain, whose steps take no verb: it continues by events, or an operator resolves it.
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
            "{id} is a choreography: its steps take no verbs. It continues when the late service \
             returns, or when lost events are emitted again ({program} reconcile --resend). Once \
             it is repaired by hand: {program} resolve {} --reason WHY",
            plain::quoted(id)
        );
    }
    let effect = format!(
        "This marks {id}, which is {status}, as repaired by hand. No service receives a command: \
         completed steps remain, and a late service still acts when it returns."
    );
    if !args.yes && !output::confirmed(&effect, "Resolve it?")? {
        return Ok(Exit::Usage);
    }
    let answer = client
        .post(&format!("{path}/{RESOLVE}"), json!({ "reason": args.reason }).to_string(), None)
        .await?;
    match args.server.format.output {
        Format::Json => output::raw(&answer),
        Format::Table => outln!("{id}  resolved, until another event of it arrives"),
    }
    Ok(Exit::Completed)
}

/// Returns the only step that the verb applies to.
fn only_step(program: &str, saga: &SagaView, verb: Verb) -> Result<String> {
    let (id, name) = (&saga.line.id, verb.as_str());
    let waiting =
        saga.steps.iter().filter(|step| step.allowed_actions.iter().any(|allowed| allowed == name));
    let waiting: Vec<&str> = waiting.map(|step| step.name.as_str()).collect();
    match waiting.as_slice() {
        [step] => Ok((*step).to_owned()),
        [] => bail!(
            "{id} is {}, and {name} applies to none of its steps now; see: {program} show {}",
            saga.line.status.as_str(),
            plain::quoted(id)
        ),
        steps => bail!("several steps of {id} wait: name one with --step: {}", steps.join(", ")),
    }
}

fn effect(verb: Verb, step: &str, saga: &SagaView, has_output: bool) -> String {
    let (id, back) = (&saga.line.id, saga.cause.is_some());
    match (verb, back) {
        (Verb::Retry, false) => {
            format!("This sends the command of {step} of {id} again, in a new generation.")
        }
        (Verb::Retry, true) => {
            format!("This sends the compensation of {step} of {id} again, in a new generation.")
        }
        (Verb::Skip, false) => {
            format!(
                "This skips {step} of {id}: it is never done, and later steps get no data from it."
            )
        }
        (Verb::Skip, true) => {
            format!("This skips the compensation of {step} of {id}: its effect remains.")
        }
        (Verb::Resolve, false) if has_output => {
            format!("This marks {step} of {id} as done by hand, with this output for later steps.")
        }
        (Verb::Resolve, false) => {
            format!("This marks {step} of {id} as done by hand; later steps get no data from it.")
        }
        (Verb::Resolve, true) => {
            format!("This marks {step} of {id} as undone by hand.")
        }
        (Verb::Compensate, _) => {
            format!("This compensates the completed steps of {id}, and undoes {step} like them.")
        }
    }
}

/// Capitalizes the first letter.
fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
