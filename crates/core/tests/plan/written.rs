//! A plan as data: parsed, written, hashed.

use sagamore_core::Plan;
use serde_json::{Value, json};

use crate::fixture::{shop, visit};

fn toy() -> Value {
    json!({
        "name": "visit", "version": 1,
        "begins": {
            "name": "ring", "service": "guest", "event": "bell.rung",
            "undo": {"on": ["nobody.home"], "emits": "guest.gone"}
        },
        "reactions": [{
            "name": "open", "service": "host", "on": ["bell.rung"], "emits": ["door.opened"],
                "fails": ["nobody.home"]
        }]
    })
}

#[test]
fn the_builder_writes_the_same_data_as_a_file() {
    assert_eq!(serde_json::from_value::<Plan>(toy()).unwrap(), visit());
    assert_eq!(serde_json::to_value(visit()).unwrap(), toy());
    let shop = shop();
    assert_eq!(serde_json::from_value::<Plan>(serde_json::to_value(&shop).unwrap()).unwrap(), shop);
}

#[test]
fn an_unknown_key_is_rejected() {
    let check = |pointer: &str| {
        let mut plan = toy();
        plan.pointer_mut(pointer)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .insert("colour".into(), json!("red"));
        let error = serde_json::from_value::<Plan>(plan).unwrap_err().to_string();
        assert!(error.contains("unknown field `colour`"), "{error}");
    };
    check("");
    check("/begins");
    check("/begins/undo");
    check("/reactions/0");
}

#[test]
fn the_hash_ignores_the_order_of_awaited_events() {
    let plan = shop();
    let check = |change: fn(&mut Plan), same: bool| {
        let mut changed = plan.clone();
        change(&mut changed);
        assert_eq!(changed.hash() == plan.hash(), same);
    };
    assert_eq!(plan.hash().len(), 64);
    check(|_| {}, true);
    check(|plan| plan.reactions[1].on.reverse(), true);
    check(|plan| plan.begins.undo.as_mut().unwrap().on.reverse(), true);
    check(|plan| plan.version = 2, false);
    check(|plan| plan.deadline_ms = None, false);
    check(|plan| plan.reactions[0].undo = None, false);
    check(|plan| plan.reactions.swap(0, 1), false);
}

#[test]
fn the_hash_stays_the_same_from_release_to_release() {
    assert_eq!(visit().hash(), "d5fbe1ba97caa3cacd16b27d45c83097ef7705c81d035882afb2750bb9ecb36a");
}

#[test]
fn the_builder_reports_malformed_names_and_invalid_plans() {
    let check =
        |error: sagamore_core::plan::Error, expected: &str| assert_eq!(error.to_string(), expected);
    check(
        Plan::named("Visit").begins("guest", "ring", "bell.rung").build().unwrap_err(),
        "plan 'Visit' cannot run\n- 'Visit' is not a name: use a-z, 0-9, '-' and '.', a letter \
         first, at most 100 bytes",
    );
    check(
        Plan::named("visit").begins("guest", "ring", "bell.rung").build().unwrap_err(),
        "plan 'visit' cannot run\n- no reaction waits for 'bell.rung' of 'ring' of guest: add at \
         least one reaction",
    );
}
