use std::path::Path;
use std::time::Duration;

use sagamore_core::definition::{Definition, Draft};
use sagamore_core::plan::{EventSchemas, Plan};
use sagamore_core::saga::{Saga, Status};
use sagamore_core::{Body, Name, SagaId, Timestamp};
use sagamore_engine::{ChainBeginning, ChainDetail, ChainStatus, Handle, RegistrationMode, Start};
use sagamore_server::StandIns;
use sagamore_server::view::chain_view;
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

/// An order is charged, and then shipped.
fn shop() -> Plan {
    let schema = json!({
        "type": "object",
        "properties": { "receipt": { "type": "string" }, "orderId": { "type": "string" } },
    });
    let events = [("payment.success".parse().unwrap(), schema)].into();
    let plan = Plan::named("shop")
        .begins("order", "create", "order.created")
        .undone_on(["shipping.failed"], "order.cancelled");
    let plan = plan
        .reaction("payment", "charge")
        .on(["order.created"])
        .emits(["payment.success"])
        .undone_on(["shipping.failed"], "payment.refunded");
    plan.pivot("shipping", "ship")
        .on(["payment.success"])
        .emits(["shipping.success"])
        .fails(["shipping.failed"])
        .schemas(EventSchemas { events })
        .build()
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Runs a chain of a plan that is registered after the start. Returns the chain at rest, and the
/// stand-ins.
async fn chain(behaviour: Behaviour) -> (ChainDetail, StandIns) {
    let data = tempfile::tempdir().unwrap();
    let program = Blueprint { story: Story::default(), ..Blueprint::named("shop") };
    let mut stack = Stack::open(&program, false, data.path(), 100).await.expect("the stack opens");
    let played = stack.play_stand_ins(data.path(), behaviour).await.expect("stand-ins start");
    assert_eq!(played, [], "no plan is known");
    let chains = stack.server.chains.clone().unwrap();
    chains.register(vec![shop()], RegistrationMode::Apply, false).await.expect("registered");
    let beginning = ChainBeginning {
        id: "1".into(),
        source: "/test".into(),
        event: "order.created".parse().unwrap(),
        key: None,
        plan: None,
        version: None,
        body: Body::of(&json!({ "orderId": "7", "city": "Lahti" })).unwrap(),
        trace: None,
    };
    let begun = chains.begin(beginning).await.expect("begun");
    let status = chains.wait(&begun.id, PATIENCE).await.expect("read").expect("seen");
    assert!(status.is_at_rest(), "{status:?}");
    let detail = chains.show(&begun.id).await.expect("read").expect("seen");
    let stand_ins = stack.stand_ins.clone();
    stack.stop(PATIENCE).await.unwrap();
    (detail, stand_ins)
}

/// Returns the data of an event, and its time.
fn event<'a>(detail: &'a ChainDetail, name: &str) -> (&'a str, Timestamp) {
    let found = detail.events.iter().find(|event| event.seen.name.as_str() == name);
    let found = found.unwrap_or_else(|| panic!("{name} was not emitted"));
    (found.body.as_str(), found.seen.at)
}

#[tokio::test]
async fn stand_ins_complete_a_chain_with_examples_of_its_events() {
    let (detail, stand_ins) = chain(Behaviour::default()).await;
    assert_eq!(detail.header.status, ChainStatus::Completed);
    // the schema of the first one, and the data that caused the second one
    let data = r#"{"orderId":"7","receipt":"receipt-1"}"#;
    for name in ["payment.success", "shipping.success"] {
        assert_eq!(event(&detail, name).0, data, "{name}");
    }
    let mut view = chain_view(&detail);
    stand_ins.mark(&mut view);
    assert!(view.line.stand_in && view.steps.iter().all(|step| step.stand_in));
    let mut lines = [(1, chain_view(&detail).line)];
    stand_ins.mark_lines(&mut lines);
    assert!(lines[0].1.stand_in);
}

#[tokio::test]
async fn a_stand_in_refuses_a_reaction_and_undoes_another() {
    let refused = |step, args: &mut BehaviourArgs| args.refuse.push((step, "no-route".into()));
    let (detail, _) = chain(at("ship", refused)).await;
    assert_eq!(detail.header.status, ChainStatus::Compensated);
    let failed = event(&detail, "shipping.failed").0;
    assert!(failed.contains(r#""code":"no-route""#) && failed.contains("receipt-1"), "{failed}");
    event(&detail, "payment.refunded");
    event(&detail, "order.cancelled");
}

#[tokio::test]
async fn a_stand_in_fails_the_first_attempts_of_a_reaction_and_answers_late() {
    let slow = Duration::from_millis(300);
    let flags = |step: Name, args: &mut BehaviourArgs| {
        args.fail.push((step.clone(), 2));
        args.slow.push((step, slow));
    };
    let (detail, _) = chain(at("charge", flags)).await;
    assert_eq!(detail.header.status, ChainStatus::Completed);
    let at = |name| event(&detail, name).1;
    assert!(at("payment.success").since(at("order.created")) >= 3 * slow);
}
