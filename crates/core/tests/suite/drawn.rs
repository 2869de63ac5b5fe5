//! The drawings of a definition.
#![allow(missing_docs, reason = "a test has no readers of its docs")]

use sagamore_core::Definition;
use sagamore_core::definition::{mermaid, text};
use serde_json::{Value, json};

/// Two rooms in parallel, then the train as the pivot.
fn trip() -> Definition {
    let command = |to: &str, message: &str| json!({ "participant": to, "message": message });
    let room = |name: &str, participant: &str| {
        json!({
            "name": name, "kind": "compensatable", "after": [],
            "action": command(participant, "room.book"),
            "compensation": command(participant, "room.free"), "yields": ["room", "price"]
        })
    };
    let steps: Vec<Value> = vec![
        room("inn", "village"),
        room("hotel", "city"),
        json!({
            "name": "train", "kind": "pivot", "after": ["inn", "hotel"],
            "action": command("railway", "seat.buy")
        }),
        json!({ "name": "tell", "kind": "retriable", "action": command("post", "letter.send") }),
    ];
    let trip = json!({
        "name": "trip", "version": 2, "deadlineMs": 60000, "input": ["who"], "steps": steps
    });
    serde_json::from_value(trip).unwrap()
}

#[test]
fn a_definition_is_drawn_as_text() {
    let drawn = "\
trip, version 2

inn (village)
  begins
  sends room.book
  yields price, room
  undone by room.free

hotel (city)
  begins
  sends room.book
  yields price, room
  undone by room.free

train (railway), the pivot
  after inn and hotel
  sends seat.buy

tell (post), repeated until it is done
  after train
  sends letter.send

compensates if its pivot is not sent within 60000 ms
";
    assert_eq!(text(&trip()), drawn);
}

#[test]
fn a_definition_is_drawn_as_a_mermaid_flowchart() {
    let drawn = r#"flowchart LR
    s0["inn<br/>village"]
    u0(["undo inn<br/>village"])
    s1["hotel<br/>city"]
    u1(["undo hotel<br/>city"])
    s2[["train<br/>railway"]]
    s3["tell<br/>post"]
    s0 -->|seat.buy| s2
    s1 -->|seat.buy| s2
    s2 -.->|refused: room.free| u0
    s2 -.->|refused: room.free| u1
    s2 -->|letter.send| s3
"#;
    assert_eq!(mermaid(&trip()), drawn);
}

#[test]
fn the_graph_returns_the_order_of_the_steps() {
    let trip = trip();
    let (graph, train) = (trip.graph(), 2);
    assert_eq!(graph.directly_before(3).collect::<Vec<_>>(), [train]);
    assert_eq!(graph.all_before(3).collect::<Vec<_>>(), [0, 1, train]);
    assert_eq!(graph.beside(0).collect::<Vec<_>>(), [1]);
    assert_eq!(graph.beside(train).count(), 0);
}
