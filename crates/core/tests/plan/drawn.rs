//! The drawings of a plan.

use sagamore_core::plan::{mermaid, text};
use serde_json::json;

use crate::fixture::{shop, shop_with, visit};

#[test]
fn a_plan_is_drawn_as_text() {
    let drawn = "\
visit, version 1

ring (guest)
  begins
  emits bell.rung => open
  undone on nobody.home
    emits guest.gone

open (host)
  on bell.rung
  emits door.opened
  fails with nobody.home => undo ring
";
    assert_eq!(text(&visit()), drawn);
}

#[test]
fn the_pivot_and_the_deadline_are_drawn_as_text() {
    let drawn = "\
ship (shipping), the pivot
  on inventory.updated and order.created
  emits shipping.scheduled => confirm
  fails with shipping.failed => undo create, undo charge, undo reserve
  given up on shop.overdue, fails with shipping.failed

confirm (order)
  on shipping.scheduled
  emits order.confirmed

overdue after 60000 ms
";
    let text = text(&shop());
    assert!(text.ends_with(drawn), "{text}");
}

#[test]
fn never_after_is_drawn_as_text() {
    let plan =
        shop_with(&[("/reactions/1/neverAfter", json!(["payment.failed", "order.cancelled"]))]);
    assert!(
        text(&plan).contains("\n  never after payment.failed or order.cancelled\n"),
        "{}",
        text(&plan)
    );
}

#[test]
fn a_plan_is_drawn_as_a_mermaid_flowchart() {
    let drawn = r#"flowchart LR
    r0["ring<br/>guest"]
    u0(["undo ring<br/>guest"])
    r1["open<br/>host"]
    r0 -->|bell.rung| r1
    u0 -.-> e0(["guest.gone"])
    r1 --> e1(["door.opened"])
    r1 -.->|nobody.home| u0
"#;
    assert_eq!(mermaid(&visit()), drawn);
}

#[test]
fn the_pivot_and_the_deadline_are_drawn_in_the_flowchart() {
    let drawn = mermaid(&shop());
    let check = |line: &str| {
        assert!(drawn.lines().any(|drawn| drawn.trim() == line), "{line} is not in\n{drawn}")
    };
    check(r#"r3[["ship<br/>shipping"]]"#);
    check(r#"d(("deadline")) -.->|shop.overdue| r3"#);
    check("r0 -->|order.created| r3");
    check("r2 -.->|inventory.failed| u1");
    check(r#"r4 --> e3(["order.confirmed"])"#);
}
