//! The commands of an orchestrator and the replies of its participants. Each participant has a
//! command topic, and all replies go to one topic.

use std::collections::BTreeMap;

use sagamore_core::Name;
use sagamore_core::definition::{CommandTemplate, Definition, Step};
use sagamore_transport::wire::{command_topic, described};
use serde_json::{Value, json};

use super::document::{Action, Document, Operation, REPLIES, reference};
use crate::schemas;

const ORCHESTRATOR: &str = "sagamore";

/// Returns the AsyncAPI document of a definition.
pub fn of_definition(definition: &Definition) -> String {
    let mut document = Document::default();
    document.headers("commandHeaders", described::COMMAND);
    document.headers("replyHeaders", described::REPLY);
    document.schemas.insert("refusal".into(), refusal());
    document.schemas.insert("fault".into(), fault());
    let mut commands: BTreeMap<&Name, Vec<&Name>> = BTreeMap::new();
    for step in &definition.steps {
        let action = (&step.action, format!("Runs '{}'.", step.name), step.yields.as_slice());
        let undo = step
            .compensation
            .iter()
            .map(|undo| (undo, format!("Undoes '{}'.", step.name), [].as_slice()));
        for (template, about, yields) in std::iter::once(action).chain(undo) {
            messages(&mut document, definition, (step, template), &about, yields);
            let names = commands.entry(&template.participant).or_default();
            if !names.contains(&&template.message) {
                names.push(&template.message);
            }
        }
    }
    commands
        .iter()
        .for_each(|(participant, messages)| operations(&mut document, participant, messages));
    let about =
        "An orchestrated saga: the orchestrator sends commands, and each participant replies.";
    document.rendered(&definition.name, definition.version, about)
}

/// Adds a command and its reply.
fn messages(
    document: &mut Document,
    definition: &Definition,
    (step, template): (&Step, &CommandTemplate),
    about: &str,
    yields: &[String],
) {
    let (name, topic) = (template.message.as_str(), command_topic(&template.participant));
    let of = &definition.schemas;
    let body = match of.messages.get(&template.message) {
        Some(schema) => document.schema(name, schema),
        None => schemas::of_fields(template),
    };
    document.message(&topic, name, name, "commandHeaders", about, body);
    let is_action = template.message == step.action.message;
    let yielded = match of.outputs.get(&template.message).filter(|_| is_action) {
        Some(schema) => document.schema(&format!("{name}_output"), schema),
        None => schemas::of_yields(step, yields),
    };
    let outcomes = json!({ "oneOf": [
        yielded,
        { "$ref": "#/components/schemas/refusal" },
        { "$ref": "#/components/schemas/fault" },
    ] });
    let about = format!("Replies to {name}; ce_sagaoutcome selects the body.");
    document.message(REPLIES, &reply(name), "sagamore.reply", "replyHeaders", &about, outcomes);
}

/// Adds the two operations on a participant's command topic: the orchestrator sends, the
/// participant receives and replies.
fn operations(document: &mut Document, participant: &Name, messages: &[&Name]) {
    let topic = command_topic(participant);
    let (commands, replies): (Vec<&str>, Vec<String>) =
        messages.iter().map(|message| (message.as_str(), reply(message.as_str()))).unzip();
    let replies: Vec<&str> = replies.iter().map(String::as_str).collect();
    let references: Vec<Value> = replies.iter().map(|key| reference(REPLIES, Some(key))).collect();
    for (service, action) in [(ORCHESTRATOR, Action::Send), (participant.as_str(), Action::Receive)]
    {
        let about = match action {
            Action::Send => format!("Sends commands to {participant}."),
            Action::Receive => "Runs or undoes the step, and replies to ce_sagareplytopic and \
                 ce_sagareplypartition."
                .into(),
        };
        let messages = commands.clone();
        let operation =
            document.operation(Operation { service, action, topic: &topic, messages, about });
        operation["reply"] = json!({ "channel": reference(REPLIES, None), "messages": references });
    }
}

/// Returns the key of a command's reply. No command has it, because names contain no underscore.
fn reply(message: &str) -> String {
    format!("{message}_reply")
}

fn refusal() -> Value {
    json!({
        "type": "object",
        "description": "A final refusal: the participant has changed nothing.",
        "required": ["code", "message"],
        "properties": {
            "code": { "type": "string", "description": "For programs: not-enough-money." },
            "message": { "type": "string", "description": "For people." },
        },
    })
}

fn fault() -> Value {
    json!({
        "type": "object",
        "description": "A transient failure: nothing was done, and the command is sent again.",
        "required": ["fault"],
        "properties": { "fault": { "type": "string", "description": "The cause of the failure." } },
    })
}
