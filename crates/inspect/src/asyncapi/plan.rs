//! The events of a choreography: each event has its own topic.

use sagamore_core::Name;
use sagamore_core::plan::{Part, Plan, Role};
use sagamore_transport::wire::{described, event_topic};
use serde_json::{Value, json};

use super::document::{Action, Document, Operation};

const HEADERS: &str = "eventHeaders";
const ANY: &str = "JSON, defined by the emitting service. The plan has no schema of it.";

/// Returns the AsyncAPI document of a valid plan.
pub fn of_plan(plan: &Plan) -> String {
    let mut document = Document::default();
    document.headers(HEADERS, described::EVENT);
    for part in plan.parts() {
        for (event, role) in part.events() {
            add_emitted(&mut document, &part, event, role, payload(plan, event));
        }
        let forward = part.on.iter().map(|event| (event, format!("'{}' waits for it", part.name)));
        let back =
            part.undone_on().iter().map(|event| (event, format!("it undoes '{}'", part.name)));
        let ends = part
            .never_after
            .iter()
            .map(|event| (event, format!("'{}' never runs after it", part.name)));
        for (event, about) in forward.chain(back).chain(ends) {
            add_consumed(&mut document, part.service, event, &about);
        }
    }
    if let (Some(event), Some(pivot)) = (&plan.overdue, plan.pivot()) {
        let about = "A chain is overdue.";
        document.message(
            &event_topic(event),
            event.as_str(),
            event.as_str(),
            HEADERS,
            about,
            payload(plan, event),
        );
        add_consumed(
            &mut document,
            pivot.service,
            event,
            &format!("'{}' gives up, unless it has acted", pivot.name),
        );
    }
    document.rendered(
        &plan.name,
        plan.version,
        "A choreography: services react to each other's events.",
    )
}

/// Returns the schema of an event, or a description without one.
fn payload(plan: &Plan, event: &Name) -> Value {
    plan.schemas.events.get(event).cloned().unwrap_or_else(|| json!({ "description": ANY }))
}

fn add_emitted(document: &mut Document, part: &Part, event: &Name, role: Role, payload: Value) {
    let (name, service, topic) = (part.name, part.service, event_topic(event));
    let about = match role {
        Role::Success => format!("'{name}' of {service} is done."),
        Role::Failure => format!("'{name}' of {service} failed, and nothing was done."),
        Role::Undone => format!("'{name}' of {service} is undone, or there was nothing to undo."),
    };
    document.message(&topic, event.as_str(), event.as_str(), HEADERS, &about, payload);
    document.operation(Operation {
        service: service.as_str(),
        action: Action::Send,
        topic: &topic,
        messages: vec![event.as_str()],
        about,
    });
}

/// A service that consumes an event for several reasons has one operation, with all reasons in its
/// summary.
fn add_consumed(document: &mut Document, service: &Name, event: &Name, about: &str) {
    let operation = document.operation(Operation {
        service: service.as_str(),
        action: Action::Receive,
        topic: &event_topic(event),
        messages: vec![event.as_str()],
        about: String::new(),
    });
    let summary = operation["summary"].as_str().unwrap_or_default();
    let summary = if summary.is_empty() { about.to_owned() } else { format!("{summary}; {about}") };
    operation["summary"] = summary.into();
}
