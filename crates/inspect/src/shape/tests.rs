//! The shapes agree with the types of core.

use std::collections::BTreeSet;

use sagamore_core::Plan;
use sagamore_core::definition::{
    CommandTemplate, Draft, Kind, ParticipantContract, Patience, Repeat, Schemas, Step,
};
use sagamore_core::plan::{Reaction, Start, Undo};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

/// Returns the shape of a value in a shape.
fn within(shape: &Shape, key: &str) -> Shape {
    let keys = match shape {
        Shape::Object(keys) => keys,
        Shape::List(Shape::Object(keys)) | Shape::Map(_, Shape::Object(keys)) => keys,
        other => panic!("{other:?} has no keys"),
    };
    keys.iter().find(|known| known.name == key).unwrap_or_else(|| panic!("no key {key}")).shape
}

/// Compares the keys of a shape with those that serde accepts and requires.
#[track_caller]
fn check<T: DeserializeOwned>(shape: &Shape, minimal: Value) {
    let keys = match shape {
        Shape::Object(keys) => *keys,
        Shape::List(Shape::Object(keys)) | Shape::Map(_, Shape::Object(keys)) => keys,
        other => panic!("{other:?} has no keys"),
    };
    let why = |value: Value| serde_json::from_value::<T>(value).map(|_| ()).expect_err("an error");
    let unknown = why(json!({ "?": 0 })).to_string();
    let accepted: BTreeSet<&str> = unknown.split('`').skip(3).step_by(2).collect();
    assert_eq!(keys.iter().map(|key| key.name).collect::<BTreeSet<_>>(), accepted);
    serde_json::from_value::<T>(minimal.clone()).expect("the required keys suffice");
    let required = keys.iter().filter(|key| key.required).map(|key| key.name);
    let given = minimal.as_object().expect("an object").keys().map(String::as_str);
    assert_eq!(required.clone().collect::<BTreeSet<_>>(), given.collect::<BTreeSet<_>>());
    for name in required {
        let mut without = minimal.clone();
        without.as_object_mut().expect("an object").remove(name);
        assert!(why(without).to_string().contains(&format!("missing field `{name}`")));
    }
}

#[test]
fn each_shape_has_the_keys_of_the_type_in_core() {
    let step = within(&DEFINITION, "steps");
    let command = json!({ "participant": "a", "message": "b" });
    check::<Draft>(&DEFINITION, json!({ "name": "a", "version": 1, "input": [], "steps": [] }));
    check::<Step>(&step, json!({ "name": "a", "kind": "pivot", "action": command }));
    check::<CommandTemplate>(&within(&step, "action"), command);
    check::<Patience>(&within(&step, "patience"), json!({}));
    check::<ParticipantContract>(&within(&DEFINITION, "participants"), json!({}));
    check::<Schemas>(&within(&DEFINITION, "schemas"), json!({}));

    let begins = within(&PLAN, "begins");
    let start = json!({ "name": "a", "service": "b", "event": "c" });
    let reaction = json!({ "name": "a", "service": "b", "on": [] });
    let plan = json!({ "name": "a", "version": 1, "begins": start, "reactions": [] });
    check::<Plan>(&PLAN, plan);
    check::<Start>(&begins, start);
    check::<Undo>(&within(&begins, "undo"), json!({ "on": [], "emits": "a" }));
    check::<Reaction>(&within(&PLAN, "reactions"), reaction);
}

#[test]
fn the_values_and_defaults_are_those_of_core() {
    let step = within(&DEFINITION, "steps");
    let Shape::OneOf(kinds) = within(&step, "kind") else { panic!("no kinds") };
    let all = [Kind::Compensatable, Kind::Pivot, Kind::Retriable];
    assert_eq!(kinds, all.map(Kind::as_str));
    let participant = within(&DEFINITION, "participants");
    let Shape::OneOf(repeats) = within(&participant, "repeat") else { panic!("no values") };
    assert_eq!(repeats, [Repeat::Barrier, Repeat::ByKey, Repeat::Never].map(Repeat::as_str));
    let Shape::Object(patience) = within(&step, "patience") else { panic!("no keys") };
    let defaults = serde_json::to_value(Patience::default()).expect("JSON");
    for key in patience {
        let default = key.default.map(|text| serde_json::from_str(text).expect("JSON"));
        assert_eq!(default.as_ref(), defaults.get(key.name), "{}", key.name);
    }
}
