use sagamore_core::{Name, SagaId};

use super::*;

#[path = "../../tests/support/shop.rs"]
mod shop;

use shop::plan;

fn event(step: &str, name: &str, hop: u32) -> Event {
    let saga: SagaId = "shop:7".parse().expect("a chain");
    let step = step.parse().expect("a name");
    Event {
        key: StepKey { saga, step, direction: Direction::Action, generation: 1 },
        version: 1,
        name: name.parse().expect("a name"),
        causation: (hop > 0).then(|| "shop:7/create/action/1/order.created".to_owned()),
        hop,
        at: Timestamp(1),
        body: Body::parse(r#"{"orderId":7,"big":12345678901234567890}"#).expect("JSON"),
        trace: None,
    }
}

fn created() -> Event {
    event("create", "order.created", 0)
}

fn failed() -> Event {
    event("ship", "shipping.failed", 2)
}

/// The reaction `charge` with its plan.
struct Rig {
    plan: Plan,
    reaction: Reaction,
}

impl Rig {
    fn new() -> Rig {
        let plan = plan();
        let part = plan.parts().find(|part| part.name.as_str() == "charge").expect("a part");
        let reaction = Reaction::new(1, &part);
        Rig { reaction, plan: plan.clone() }
    }

    fn part(&self) -> Part<'_> {
        self.plan.parts().find(|part| part.name.as_str() == "charge").expect("a part")
    }

    fn receive(&mut self, event: &Event) {
        let source: Name = "source".parse().expect("a name");
        let record = StoredRecord::of(&encode_event(event, &source));
        let plan = self.plan.clone();
        let part = plan.parts().find(|part| part.name.as_str() == "charge").expect("a part");
        let context = Context { plan: &plan, part, now: Timestamp(9) };
        self.reaction.receive(&context, event, record);
        self.store();
    }

    fn settle(&mut self, direction: Direction, result: ReactionResult) {
        let plan = self.plan.clone();
        let part = plan.parts().find(|part| part.name.as_str() == "charge").expect("a part");
        let context = Context { plan: &plan, part, now: Timestamp(9) };
        self.reaction.settle(&context, direction, result, None);
        self.store();
    }

    /// Passes the reaction through the form in which it is stored.
    fn store(&mut self) {
        let text = serde_json::to_string(&self.reaction).expect("JSON");
        self.reaction = serde_json::from_str(&text).expect("a reaction");
    }

    /// Returns the next work in short: `call action`, `publish payment.success`, `rest`.
    fn next(&self) -> String {
        match self.reaction.next(&self.part()) {
            Next::Rest => "rest".to_owned(),
            Next::Call(direction, events) => format!("call {direction} {}", events.len()),
            Next::Publish(_, record) => {
                let event = decode_event(&record.record()).expect("an event");
                format!("publish {}", event.id())
            }
        }
    }

    fn published(&mut self) -> Event {
        let Next::Publish(direction, record) = self.reaction.next(&self.part()) else {
            panic!("nothing to publish: {}", self.next());
        };
        self.reaction.mark_sent(direction);
        self.store();
        decode_event(&record.record()).expect("an event")
    }
}

fn done(name: &str) -> ReactionResult {
    let body = Body::parse(r#"{"cents":5}"#).expect("JSON");
    ReactionResult::Done(Some((name.parse().expect("a name"), body)))
}

#[test]
fn a_reaction_publishes_its_result_again_for_a_repeated_event_only() {
    let mut rig = Rig::new();
    assert_eq!(rig.next(), "rest");
    rig.receive(&created());
    rig.receive(&created());
    assert_eq!(rig.next(), "call action 1");
    rig.settle(Direction::Action, done("payment.success"));
    // another process was called as well, and answered otherwise
    let refusal = Refusal::new("late", "late");
    rig.settle(Direction::Action, ReactionResult::Refused(refusal));
    let first = rig.published();
    assert_eq!(first.id(), "shop:7/charge/action/1/payment.success");
    assert_eq!((first.hop, first.causation), (1, Some(created().id())));
    assert_eq!(rig.next(), "rest");
    rig.receive(&created());
    assert_eq!(rig.published().body, first.body);
}

#[test]
fn a_refusal_is_the_failure_event_and_leaves_nothing_to_undo() {
    let mut rig = Rig::new();
    rig.receive(&created());
    let refusal = Refusal::new("no-money", "the account is empty");
    rig.settle(Direction::Action, ReactionResult::Refused(refusal));
    let failure = rig.published();
    assert_eq!(failure.name.as_str(), "payment.failed");
    let expected = concat!(
        r#"{"big":12345678901234567890,"code":"no-money","orderId":7,"#,
        r#""reason":"the account is empty"}"#
    );
    assert_eq!(failure.body.as_str(), expected, "verbatim fields of the cause");
    rig.receive(&failed());
    assert_eq!(rig.published().id(), "shop:7/charge/compensation/1/payment.refunded");
    assert_eq!(rig.next(), "rest");
}

#[test]
fn an_undo_waits_for_the_answer_of_its_reaction() {
    let mut rig = Rig::new();
    rig.receive(&created());
    rig.receive(&failed());
    assert_eq!(rig.next(), "call action 1", "it may have been called");
    rig.settle(Direction::Action, done("payment.success"));
    rig.published();
    assert_eq!(rig.next(), "call compensation 1");
    rig.settle(Direction::Compensation, ReactionResult::Done(None));
    let undone = rig.published();
    assert_eq!(undone.body, failed().body, "the data of the failure");
    rig.receive(&failed());
    assert_eq!(rig.published().id(), undone.id());
}

#[test]
fn an_undo_before_its_reaction_prevents_it() {
    let mut rig = Rig::new();
    rig.receive(&failed());
    assert_eq!(rig.published().name.as_str(), "payment.refunded");
    rig.receive(&created());
    assert_eq!(rig.next(), "rest");
}

#[test]
fn an_answer_is_read_by_the_plan() {
    use crate::answer::Response;
    let plan = plan();
    let part = plan.parts().find(|part| part.name.as_str() == "charge").expect("a part");
    let read_as = |outcome: &str, direction: Direction, body: &str| {
        let mut headers = hyper::HeaderMap::new();
        headers.insert("sagamore-outcome", outcome.parse().expect("a value"));
        let body = Some(bytes::Bytes::copy_from_slice(body.as_bytes()));
        read(&Response { status: hyper::StatusCode::OK, headers, body }, &part, direction)
    };
    let act = |outcome: &str, body: &str| read_as(outcome, Direction::Action, body);
    let good = r#"{"events":[{"type":"payment.success","data":{"cents":5}}]}"#;
    assert_eq!(act("done", good), ReactionEnd::Result(done("payment.success")));
    let failure = act("done", r#"{"events":[{"type":"payment.failed","data":{}}]}"#);
    assert!(matches!(failure, ReactionEnd::Result(ReactionResult::Failed(..))), "{failure:?}");
    let refused = act("refused", r#"{"code":"no-money"}"#);
    assert!(matches!(refused, ReactionEnd::Result(ReactionResult::Refused(_))), "{refused:?}");
    for (body, part) in [
        ("", "add one of payment.success"),
        (r#"{"events":[{"type":"order.created","data":{}}]}"#, "is not an event of 'charge'"),
        (r#"{"event":[]}"#, "unknown field"),
        (r#"{"events":[{"type":"payment.success","data":{"a":"\u0000"}}]}"#, "U+0000"),
    ] {
        match act("done", body) {
            ReactionEnd::Retry(why, None) => assert!(why.contains(part), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    let undone = read_as("done", Direction::Compensation, "");
    assert_eq!(undone, ReactionEnd::Result(ReactionResult::Done(None)));
    let refused = read_as("refused", Direction::Compensation, r#"{"code":"no"}"#);
    assert!(matches!(refused, ReactionEnd::Retry(..)), "{refused:?}");
}

/// A toy whose only reaction is the pivot `ship`, which a deadline gives up.
fn pivot() -> Plan {
    let plan = Plan::named("shop")
        .begins("order", "create", "order.created")
        .deadline(std::time::Duration::from_secs(60))
        .overdue("order.overdue")
        .undone_on(["shipping.failed"], "order.cancelled");
    plan.pivot("shipping", "ship")
        .on(["order.created"])
        .emits(["shipping.success"])
        .fails(["shipping.failed"])
        .build()
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_deadline_gives_up_a_pivot_only_if_no_call_may_have_been_sent() {
    let plan = pivot();
    let part = plan.parts().find(|part| part.name.as_str() == "ship").expect("a part");
    let context = Context { plan: &plan, part, now: Timestamp(9) };
    let source: Name = "source".parse().expect("a name");
    let receive = |reaction: &mut Reaction, event: &Event| {
        reaction.receive(&context, event, StoredRecord::of(&encode_event(event, &source)));
    };
    let overdue = event("order.overdue", "order.overdue", 1);
    let open = || {
        let mut reaction = Reaction::new(1, &part);
        receive(&mut reaction, &created());
        assert!(reaction.stores_calls(&context));
        reaction
    };
    let is_failed = |reaction: &Reaction| match reaction.next(&part) {
        Next::Publish(_, record) => record.is_of(&"shipping.failed".parse().expect("a name")),
        Next::Call(..) | Next::Rest => false,
    };

    let mut reaction = open();
    receive(&mut reaction, &overdue);
    assert!(is_failed(&reaction), "no call was sent");

    let mut reaction = open();
    reaction.begin_call(1);
    receive(&mut reaction, &overdue);
    assert!(!is_failed(&reaction), "the call may have been sent");
    reaction.end_unsent_call(&context, 1);
    assert!(is_failed(&reaction), "it was not");

    let mut reaction = open();
    reaction.begin_call(1);
    reaction.begin_call(2);
    reaction.end_unsent_call(&context, 1);
    reaction.end_unsent_call(&context, 2);
    receive(&mut reaction, &overdue);
    assert!(!is_failed(&reaction), "another process may have sent the first call");
    assert!(!reaction.stores_calls(&context));
}

/// Two awaited events in the order of the plan, which arrive in the other order.
#[test]
fn a_failure_has_the_fields_of_the_first_awaited_event_and_the_latest_as_its_cause() {
    let plan = Plan::named("shop")
        .begins("order", "create", "order.created")
        .undone_on(["shipping.failed"], "order.cancelled")
        .reaction("stock", "reserve")
        .on(["order.created"])
        .emits(["stock.reserved"])
        .undone_on(["shipping.failed"], "stock.released")
        .reaction("payment", "charge")
        .on(["order.created"])
        .emits(["payment.success"])
        .undone_on(["shipping.failed"], "payment.refunded");
    let plan = plan
        .pivot("shipping", "ship")
        .on(["payment.success", "stock.reserved"])
        .emits(["shipping.success"])
        .fails(["shipping.failed"])
        .build()
        .unwrap_or_else(|error| panic!("{error}"));
    let part = plan.parts().find(|part| part.name.as_str() == "ship").expect("a part");
    let context = Context { plan: &plan, part, now: Timestamp(9) };
    let source: Name = "source".parse().expect("a name");
    let of = |step: &str, name: &str, hop: u32| {
        let body = Body::parse(&format!("{{\"from\":\"{name}\"}}")).expect("JSON");
        Event { body, ..event(step, name, hop) }
    };
    for (hop, cause) in [(1, "stock.reserved"), (2, "payment.success")] {
        let paid = of("charge", "payment.success", hop);
        let reserved = of("reserve", "stock.reserved", 1);
        for order in [[&paid, &reserved], [&reserved, &paid]] {
            let mut reaction = Reaction::new(1, &part);
            for event in order {
                let record = StoredRecord::of(&encode_event(event, &source));
                reaction.receive(&context, event, record);
            }
            let refused = ReactionResult::Refused(Refusal::new("no", "no"));
            reaction.settle(&context, Direction::Action, refused, None);
            let Next::Publish(_, record) = reaction.next(&part) else { panic!("{reaction:?}") };
            let failure = decode_event(&record.record()).expect("an event");
            let expected = r#"{"code":"no","from":"payment.success","reason":"no"}"#;
            assert_eq!(failure.body.as_str(), expected);
            assert!(failure.causation.expect("a cause").ends_with(cause));
        }
    }
}
