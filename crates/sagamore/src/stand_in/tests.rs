use std::path::Path;
use std::time::Duration;

use sagamore_core::definition::{Definition, Draft};
use sagamore_core::saga::{Saga, Status};
use sagamore_core::{Body, Name, SagaId};
use sagamore_engine::{Handle, Start};
use serde_json::json;

use super::behaviour::{Behaviour, BehaviourArgs};
use crate::blueprint::Blueprint;
use crate::stack::Stack;
use crate::story::Story;

const PATIENCE: Duration = Duration::from_secs(20);

fn trip() -> Result<Definition, sagamore_core::definition::Error> {
    let step = |name: &str, kind: &str, yields: &str, fields: serde_json::Value| {
        let message = format!("{name}.do");
        json!({
            "name": name, "kind": kind, "yields": [yields],
            "action": { "participant": name, "message": message, "fields": fields },
        })
    };
    let mut seats = step("seats", "compensatable", "seat", json!({ "city": "input.city" }));
    seats["compensation"] = json!({ "participant": "seats", "message": "seats.undo" });
    let draft: Draft = serde_json::from_value(json!({
        "name": "trip", "version": 1, "input": ["city"],
        "steps": [seats, step("tickets", "pivot", "city", json!({ "city": "input.city" }))],
    }))
    .expect("a draft");
    Definition::check(draft)
}

/// Opens the stack of `trip` without services, with stand-ins.
async fn opened(data: &Path, behaviour: Behaviour) -> Stack {
    let program = Blueprint { story: Story::default().saga(trip), ..Blueprint::named("trip") };
    let mut stack = Stack::open(&program, false, data, 100).await.expect("the stack opens");
    let played = stack.play_stand_ins(data, behaviour).await.expect("stand-ins start");
    assert_eq!(played, ["seats", "tickets"].map(|name| Name::new(name).unwrap()));
    stack
}

/// Starts a saga and returns it at rest.
async fn ended(handle: &Handle, key: &str) -> (Status, Saga) {
    let trip = Name::new("trip").unwrap();
    let input = Body::of(&json!({ "city": "Lahti" })).unwrap();
    let start = Start::new(trip.clone(), key, input);
    let (started, summary) = handle.start_and_wait(start, PATIENCE).await.expect("started");
    let detail = handle.show(&SagaId::new(&trip, key).unwrap()).await.expect("shown");
    (summary.map_or(started.status, |summary| summary.status), detail.expect("stored").saga)
}

fn at(step: &str, flags: impl FnOnce(Name, &mut BehaviourArgs)) -> Behaviour {
    let mut args = BehaviourArgs::default();
    flags(Name::new(step).unwrap(), &mut args);
    Behaviour::of(args)
}

#[tokio::test]
async fn stand_ins_complete_a_saga() {
    let data = tempfile::tempdir().unwrap();
    let stack = opened(data.path(), Behaviour::default()).await;
    let (status, saga) = ended(stack.server.handle.as_ref().unwrap(), "1").await;
    assert_eq!(status, Status::Completed);
    let output = |step: usize| saga.steps[step].output.as_ref().unwrap().as_str();
    assert_eq!([output(0), output(1)], [r#"{"seat":"seat-1"}"#, r#"{"city":"Lahti"}"#]);
    stack.stop(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_stand_in_refuses_a_step_and_undoes_another() {
    let data = tempfile::tempdir().unwrap();
    let refused = |step, args: &mut BehaviourArgs| args.refuse.push((step, "sold-out".into()));
    let stack = opened(data.path(), at("tickets", refused)).await;
    let (status, saga) = ended(stack.server.handle.as_ref().unwrap(), "1").await;
    assert_eq!(status, Status::Compensated);
    assert_eq!(saga.steps[1].refusal.as_ref().unwrap().code, "sold-out");
    stack.stop(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_stand_in_fails_the_first_attempts_and_answers_late() {
    let data = tempfile::tempdir().unwrap();
    let slow = Duration::from_millis(300);
    let flags = |step: Name, args: &mut BehaviourArgs| {
        args.fail.push((step.clone(), 2));
        args.slow.push((step, slow));
    };
    let stack = opened(data.path(), at("seats", flags)).await;
    let (status, saga) = ended(stack.server.handle.as_ref().unwrap(), "1").await;
    assert_eq!((status, saga.steps[0].attempts), (Status::Completed, 3));
    assert!(saga.changed_at.since(saga.started_at) >= 3 * slow);
    stack.stop(PATIENCE).await.unwrap();
}
