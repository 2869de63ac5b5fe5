//! One stand-in of a plan's service: reacts to events with the plan's next event.

use std::sync::Arc;

use sagamore_core::message::Refusal;
use sagamore_core::{Body, Direction, Name};
use sagamore_gateway::{LocalAnswer, LocalCall, LocalFuture, LocalParticipant};
use serde_json::{Map, Value, json};

use super::behaviour::Behaviour;
use super::example;

/// A stand-in of all reactions of a service.
pub struct ReactionStandIn(pub Arc<Behaviour>);

impl LocalParticipant for ReactionStandIn {
    fn react<'a>(&'a self, call: LocalCall<'a>) -> LocalFuture<'a> {
        Box::pin(async move {
            if call.direction == Direction::Compensation {
                let undone = call.part.undo.as_ref().map(|undo| undo.emits.clone());
                return LocalAnswer::Done(undone.map(|name| emitted(&call, name, Map::new())));
            }
            let behaviour = self.0.at(call.part.name);
            if !behaviour.delay.is_zero() {
                tokio::time::sleep(behaviour.delay).await;
            }
            let (attempt, faults) = (call.attempt, behaviour.faults);
            if attempt <= faults {
                let why = format!("the stand-in fails: attempt {attempt} of {faults}");
                return LocalAnswer::Fault(why);
            }
            match behaviour.refuses {
                Some(code) => refused(&call, &code),
                None => {
                    let event = call.part.emits.first().cloned();
                    LocalAnswer::Done(event.map(|name| emitted(&call, name, Map::new())))
                }
            }
        })
    }
}

/// Returns the plan's failure event, with the code.
fn refused(call: &LocalCall<'_>, code: &str) -> LocalAnswer {
    let step = call.part.name;
    let Some(name) = call.part.fails.first() else {
        return LocalAnswer::Fault(format!(
            "the plan gives '{step}' no failure event to refuse with"
        ));
    };
    let reason = "the stand-in refuses this step";
    if !call.plan.schemas.events.contains_key(name) {
        return LocalAnswer::Refused(Refusal::new(code, reason));
    }
    let fields = [("code", code), ("reason", reason)];
    let fields = fields.map(|(name, text)| (name.to_owned(), json!(text)));
    let (name, body) = emitted(call, name.clone(), Map::from_iter(fields));
    LocalAnswer::Failed(name, body)
}

/// Returns an event with an example of its data.
fn emitted(call: &LocalCall<'_>, name: Name, more: Map<String, Value>) -> (Name, Body) {
    let mut sent = Map::new();
    for event in &call.events {
        sent.extend(event.read::<Map<String, Value>>().unwrap_or_default());
    }
    sent.extend(more);
    let body = Body::of(&example::event(call.plan, &name, &sent));
    (name, body.expect("a map with string keys is JSON"))
}
