//! Checks of data against the schemas of a definition: at the start, and of replies.

use std::sync::Arc;

use crate::common::{Rig, booklet, id, nothing, wish, written};
use sagamore_core::definition::{Definition, Draft, Misfit, Misfits};
use sagamore_core::id::Name;
use sagamore_core::saga::{Rescue, Status, StepStatus, Verb};
use sagamore_core::{Body, Outcome};
use sagamore_database::Database;
use sagamore_engine::{
    Handle, Options, Orchestrator, RegistrationError, Start, StartError, VerbError,
};
use sagamore_transport::{Log, MemoryDisk, log};
use serde_json::json;

fn json(text: &str) -> Body {
    Body::parse(text).expect("JSON")
}

/// The booklet with schemas: a short text becomes a page of at least 1.
fn checked(version: u32) -> Definition {
    let mut draft: Draft = booklet(version).into();
    draft.schemas = serde_json::from_value(json!({
        "input": {
            "type": "object",
            "properties": { "text": { "type": "string", "maxLength": 5 } },
            "additionalProperties": false,
        },
        "outputs": { "alpha.write": { "properties": { "page": { "minimum": 1 } } } },
    }))
    .expect("schemas");
    Definition::check(draft).expect("sound")
}

async fn rig() -> Rig {
    let rig = Rig::new().await;
    rig.handle.apply(checked(2), false).await.expect("applied");
    rig.handle.activate(&"booklet".parse().expect("a name"), 2).await.expect("activated");
    rig
}

fn pointers(error: &StartError) -> Vec<&str> {
    let StartError::BadInput { misfits: Misfits(misfits), .. } = error else { panic!("{error:?}") };
    misfits.iter().map(|misfit| misfit.pointer.as_str()).collect()
}

/// The rig whose write step replied with page 0, which does not fit.
async fn stuck(key: &str) -> Rig {
    let mut rig = rig().await;
    rig.start(wish(key, "a")).await.expect("accepted");
    let write = rig.command().await;
    rig.reply(&write, written(0)).await;
    rig.turn().await;
    rig
}

fn resolve(output: &str) -> Rescue {
    Rescue::new("write".parse().expect("a name"), Verb::Resolve, "ann").output(json(output))
}

#[tokio::test]
async fn a_start_that_does_not_fit_stores_nothing() {
    let mut rig = rig().await;
    let booklet = || "booklet".parse::<Name>().expect("a name");
    let check = async |input: &str, expected: &[&str]| {
        let start = Start::new(booklet(), "1", json(input)).idempotency_key("k".to_owned());
        let waiting = rig.handle.start(start.clone()).await.expect_err("a misfit");
        assert_eq!(pointers(&waiting), expected, "{waiting}");
        let patience = std::time::Duration::ZERO;
        let waiting = rig.handle.start_and_wait(start, patience).await.expect_err("a misfit");
        assert_eq!(pointers(&waiting), expected, "{waiting}");
    };
    check(r#"{"text":"too long"}"#, &["/text"]).await;
    check(r#"{"text":7}"#, &["/text"]).await;
    check(r#"{"text":"a","b/c":1}"#, &[""]).await;
    check("{}", &["/text"]).await;
    rig.turn().await;
    assert!(rig.show("1").await.is_none());
    let start = wish("1", "a").idempotency_key("k".to_owned());
    rig.start(start).await.expect("key and idempotency key are free");
    assert_eq!(rig.command().await.version, 2);
    rig.start(wish("2", "too long").version(1)).await.expect("version 1 has no schemas");
}

#[tokio::test]
async fn a_definition_that_another_process_registered_is_checked_as_well() {
    let rig = rig().await;
    let (_, other) = rig.successor().await;
    let error = other.start(wish("1", "too long")).await.expect_err("a misfit");
    assert_eq!(pointers(&error), ["/text"]);
    let known = other.known_definitions();
    assert!(known.iter().all(|definition| definition.checks_schemas()), "{known:?}");
}

#[tokio::test]
async fn a_schema_that_cannot_be_compiled_is_not_registered() {
    let rig = Rig::new().await;
    let mut draft: Draft = booklet(2).into();
    draft.schemas.input = Some(json!({ "$ref": "https://example.com/a.json" }));
    let remote = Definition::check(draft).expect("core does not compile schemas");
    let error = rig.handle.apply(remote.clone(), false).await.expect_err("invalid");
    assert!(matches!(error, RegistrationError::BadSchema { .. }), "{error:?}");
    assert!(error.to_string().contains("schemas.input"), "{error}");
    let log = Arc::new(Log::on(Arc::new(MemoryDisk::new()), log::Options::default()).expect("log"));
    let opened =
        Orchestrator::open(Options::default(), Database::memory(), log, vec![remote]).await;
    assert!(opened.is_err(), "a process does not start with it");
}

#[tokio::test]
async fn a_wrong_output_is_stuck_until_a_resolve_with_one_that_fits() {
    let mut rig = stuck("1").await;
    let shown = rig.show("1").await.expect("it exists");
    assert_eq!(shown.saga.status, Status::Stuck);
    let fault = shown.saga.steps[0].fault.clone().expect("a fault");
    assert!(fault.contains("'write'") && fault.contains("/page"), "{fault}");
    rig.passes(std::time::Duration::from_secs(3600));
    rig.turn().await;
    assert!(rig.commands().await.is_empty(), "nothing is resent");

    let handle = rig.handle.clone();
    let wrong = rig.while_turning(handle.rescue(id("1"), resolve(r#"{"page":0}"#))).await;
    let Err(VerbError::BadOutput(Misfits(misfits))) = wrong else { panic!("{wrong:?}") };
    assert_eq!(misfits[0].pointer, "/page");
    let missing = rig.while_turning(handle.rescue(id("1"), resolve("{}"))).await;
    let Err(VerbError::BadOutput(misfits)) = missing else { panic!("{missing:?}") };
    assert_eq!(misfits, Misfits(vec![Misfit::of_field("page", "is missing")]));
    let large = format!(r#"{{"page":1,"more":"{}"}}"#, "a".repeat(2 << 20));
    assert!(matches!(handle.rescue(id("1"), resolve(&large)).await, Err(VerbError::BadOutput(_))));

    rig.while_turning(handle.rescue(id("1"), resolve(r#"{"page":3}"#))).await.expect("resolved");
    let print = rig.command().await;
    assert_eq!(print.body.as_str(), r#"{"page":3}"#);
    rig.crash().await;
    rig.reply(&print, nothing()).await;
    rig.turn().await;
    rig.turn().await;
    assert_eq!(rig.show("1").await.expect("it exists").saga.status, Status::Completed);
}

#[tokio::test]
async fn a_wrong_output_can_be_compensated() {
    let mut rig = stuck("1").await;
    rig.crash().await; // the successor compiles the schemas, and reads the saga
    let handle = rig.handle.clone();
    let rescue = Rescue::new("write".parse().expect("a name"), Verb::Compensate, "ann: wrong page");
    rig.while_turning(handle.rescue(id("1"), rescue)).await.expect("compensates");
    let erase = rig.command().await;
    assert_eq!(erase.name.as_str(), "alpha.erase");
    rig.reply(&erase, Outcome::Done(Body::empty())).await;
    rig.turn().await;
    let saga = rig.show("1").await.expect("it exists").saga;
    assert_eq!((saga.status, saga.steps[0].status), (Status::Compensated, StepStatus::Undone));
}

/// Nothing is compiled at a start.
#[tokio::test]
async fn a_compiled_definition_is_shared_by_all_starts() {
    let mut rig = rig().await;
    for key in ["1", "2"] {
        rig.start(wish(key, "a")).await.expect("accepted");
    }
    let definition = async |handle: &Handle, key: &str| {
        handle.show(&id(key)).await.expect("read").expect("it exists").saga.definition
    };
    let (one, two) = (definition(&rig.handle, "1").await, definition(&rig.handle, "2").await);
    assert!(Arc::ptr_eq(&one, &two) && one.checks_schemas());
}

/// The checked booklet whose output has this schema.
fn yielding(version: u32, output: serde_json::Value) -> Definition {
    let mut draft: Draft = checked(version).into();
    draft.schemas.outputs = [("alpha.write".parse().expect("a name"), output)].into();
    Definition::check(draft).expect("sound")
}

#[tokio::test]
async fn a_message_has_one_schema_across_versions_that_are_not_retired() {
    let rig = rig().await;
    let name: Name = "booklet".parse().expect("a name");
    let more = json!({ "properties": { "page": { "minimum": 1 }, "side": { "type": "string" } } });
    let other = json!({ "properties": { "page": { "minimum": 2 } } });
    let check = async |version, dry_run| {
        let error = rig.handle.apply(yielding(version, other.clone()), dry_run).await;
        let Err(RegistrationError::Incompatible { other, changes, .. }) = error else {
            panic!("{error:?}")
        };
        let places: Vec<String> = changes.iter().map(|(place, _)| place.to_string()).collect();
        assert_eq!((other, places), (2, vec!["schemas.outputs.alpha.write".to_owned()]));
        assert!(changes[0].1.contains("minimum"), "{changes:?}");
    };
    check(3, true).await;
    check(3, false).await;
    assert!(
        rig.handle.definitions().find(&name, 3).await.expect("read").is_none(),
        "nothing is stored"
    );
    let deployed = rig.another_of(Arc::new(rig.log.clone()), vec![booklet(1)]).await;
    drop(deployed);
    let options = (Options::default(), rig.database.clone(), Arc::new(rig.log.clone()));
    let brought = vec![yielding(3, other.clone())];
    let opened = Orchestrator::open(options.0, options.1, options.2, brought).await;
    assert!(opened.is_err(), "a process with such a version does not start");

    rig.handle.apply(yielding(3, more), false).await.expect("an optional field more");
    let fewer = rig.handle.apply(checked(1), false).await;
    assert!(matches!(fewer, Err(RegistrationError::Changed { .. })), "{fewer:?}");
    for version in [2, 3] {
        rig.handle.retire(&name, version).await.expect("retired");
    }
    rig.handle.apply(yielding(4, other), false).await.expect("the others are retired");
    let restored = rig.handle.apply(checked(2), false).await;
    assert!(matches!(restored, Err(RegistrationError::Incompatible { other: 4, .. })));
}
