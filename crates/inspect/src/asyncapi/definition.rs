//! What the orchestrator and the participants of a definition ask and answer: each participant has a topic for commands,
//! and all answer to one.

use std::collections::BTreeMap;

use sagamore_core::Name;
use sagamore_core::definition::{Ask, Definition, Step};
use sagamore_transport::wire::{command_topic, described};
use serde_json::{Map, Value, json};

use super::{Action, Document, Operation, REPLIES, reference};

const ORCHESTRATOR: &str = "sagamore";

/// A definition, which always is right.
pub fn of_definition(definition: &Definition) -> String {
    let mut document = Document::default();
    document.headers("commandHeaders", described::COMMAND);
    document.headers("replyHeaders", described::REPLY);
    document.schemas.insert("refusal".into(), refusal());
    document.schemas.insert("fault".into(), fault());
    let mut asked: BTreeMap<&Name, Vec<&Name>> = BTreeMap::new();
    for step in &definition.steps {
        let action = (&step.action, format!("Asks for '{}'.", step.name), step.yields.as_slice());
        let undo = step
            .compensation
            .iter()
            .map(|undo| (undo, format!("Asks to undo '{}'.", step.name), [].as_slice()));
        for (ask, about, yields) in std::iter::once(action).chain(undo) {
            messages(&mut document, step, ask, &about, yields);
            let known = asked.entry(&ask.participant).or_default();
            if !known.contains(&&ask.message) {
                known.push(&ask.message);
            }
        }
    }
    asked
        .iter()
        .for_each(|(participant, messages)| operations(&mut document, participant, messages));
    let about = "An orchestrated saga: the orchestrator asks the participants, and each answers.";
    document.written(&definition.name, definition.version, about)
}

/// A command and its reply.
fn messages(document: &mut Document, step: &Step, ask: &Ask, about: &str, yields: &[String]) {
    let (name, topic) = (ask.message.as_str(), command_topic(&ask.participant));
    let fields = ask.fields.iter().map(|(field, from)| (field.clone(), format!("From {from}.")));
    document.message(&topic, name, name, "commandHeaders", about, object(fields));
    let yielded =
        object(yields.iter().map(|field| (field.clone(), format!("Of '{}'.", step.name))));
    let outcomes = json!({ "oneOf": [
        yielded, { "$ref": "#/components/schemas/refusal" }, { "$ref": "#/components/schemas/fault" },
    ] });
    let about = format!("Answers {name}; ce_sagaoutcome says which of the bodies it has.");
    document.message(REPLIES, &reply(name), "sagamore.reply", "replyHeaders", &about, outcomes);
}

/// Who asks and answers by a participant's topic.
fn operations(document: &mut Document, participant: &Name, messages: &[&Name]) {
    let topic = command_topic(participant);
    let (asked, answers): (Vec<&str>, Vec<String>) =
        messages.iter().map(|message| (message.as_str(), reply(message.as_str()))).unzip();
    let answers: Vec<&str> = answers.iter().map(String::as_str).collect();
    let references: Vec<Value> = answers.iter().map(|key| reference(REPLIES, Some(key))).collect();
    for (service, action) in [(ORCHESTRATOR, Action::Send), (participant.as_str(), Action::Receive)]
    {
        let about = match action {
            Action::Send => format!("Asks {participant}."),
            Action::Receive => {
                "Carries out, or undoes, and answers to ce_sagareplytopic and ce_sagareplypartition.".into()
            }
        };
        let messages = asked.clone();
        let operation =
            document.operation(Operation { service, action, topic: &topic, messages, about });
        operation["reply"] = json!({ "channel": reference(REPLIES, None), "messages": references });
    }
}

/// The key of the reply, which is that of no command: no name holds an underscore.
fn reply(message: &str) -> String {
    format!("{message}_reply")
}

/// An object with these fields, each described, of whatever type.
fn object(fields: impl Iterator<Item = (String, String)>) -> Value {
    let properties: Map<String, Value> =
        fields.map(|(name, about)| (name, json!({ "description": about }))).collect();
    let required: Vec<&String> = properties.keys().collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

fn refusal() -> Value {
    json!({
        "type": "object",
        "description": "A no, which is final, and promises that nothing was done.",
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
        "description": "Something broke, and nothing was done: it is asked for again.",
        "required": ["fault"],
        "properties": { "fault": { "type": "string", "description": "What broke." } },
    })
}
