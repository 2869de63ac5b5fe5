//! Definitions at run time: registration, the active version, rollback, retirement.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Rig, booklet, id, nothing, wish, written};
use sagamore_core::definition::{Definition, Draft};
use sagamore_core::id::Name;
use sagamore_core::saga::Status;
use sagamore_engine::{
    Error, Handle, Options, Orchestrator, RegistrationError, RegistrationMode, RegistrationOutcome,
    Start, StartError,
};
use sagamore_transport::log::{self, Log, MemoryDisk};

fn name() -> Name {
    "booklet".parse().expect("a name")
}

/// The booklet with other contents.
fn changed(version: u32) -> Definition {
    let mut draft: Draft = booklet(version).into();
    draft.deadline_ms = Some(3_600_000);
    Definition::try_from(draft).expect("sound")
}

/// Opens another orchestrator whose program contains these definitions.
async fn bringing(rig: &Rig, definitions: Vec<Definition>) -> Result<Orchestrator, Error> {
    let (options, database) = (Options::default(), rig.database.clone());
    let log = Arc::new(rig.log.clone());
    Ok(Orchestrator::open(options, database, log, definitions).await?.0)
}

/// Starts a saga, and turns until it is accepted: the definition may have to be read first.
async fn accept(rig: &mut Rig, start: Start) {
    let (handle, is_accepted) = (rig.handle.clone(), Cell::new(false));
    let starting = async {
        handle.start(start).await.expect("accepted");
        is_accepted.set(true);
    };
    let turning = async {
        while !is_accepted.get() {
            tokio::task::yield_now().await;
            rig.turn().await;
        }
    };
    tokio::join!(starting, turning);
}

/// Starts a saga, and returns the version of its first command.
async fn version_of_a_start(rig: &mut Rig, key: &str) -> u32 {
    accept(rig, wish(key, "a")).await;
    rig.command().await.version
}

async fn active(handle: &Handle) -> Vec<u32> {
    let versions = handle.definitions().list_of(&name()).await.expect("listed");
    versions
        .into_iter()
        .filter(|listed| listed.version.is_active)
        .map(|listed| listed.version.version)
        .collect()
}

async fn execute(rig: &Rig, sql: &str) {
    let open = rig.database.begin().await.expect("begin");
    open.tx().batch(sql).await.expect(sql);
    open.commit().await.expect("commit");
}

async fn count(rig: &Rig, sql: &str) -> i64 {
    rig.database.query(sql, ()).await.expect(sql)[0].get(0).expect("a number")
}

#[tokio::test]
async fn an_applied_version_becomes_active_by_activate_alone() {
    let mut rig = Rig::new().await;
    let applied = rig.handle.apply(booklet(2), false).await.expect("applied");
    assert_eq!(
        (applied.outcome, applied.version.is_active),
        (RegistrationOutcome::Registered, false)
    );
    assert_eq!(version_of_a_start(&mut rig, "1").await, 1);
    accept(&mut rig, wish("2", "a").version(2)).await;
    assert_eq!(rig.command().await.version, 2, "a start may name a version");
    rig.handle.activate(&name(), 2).await.expect("activated");
    assert_eq!(version_of_a_start(&mut rig, "3").await, 2);
    rig.handle.activate(&name(), 1).await.expect("rolled back");
    assert_eq!(version_of_a_start(&mut rig, "4").await, 1);

    let again = rig.handle.apply(booklet(2), false).await.expect("applied");
    assert_eq!(again.outcome, RegistrationOutcome::Unchanged);
    let running: Vec<u64> = rig
        .handle
        .definitions()
        .list(None, 10)
        .await
        .expect("listed")
        .iter()
        .map(|listed| listed.running)
        .collect();
    assert_eq!(running, [2, 2]);
}

#[tokio::test]
async fn the_first_version_of_a_name_is_active_at_once() {
    let rig = Rig::new().await;
    let mut draft: Draft = booklet(7).into();
    draft.name = "leaflet".parse().expect("a name");
    let leaflet = Definition::try_from(draft).expect("sound");
    let checked = rig.handle.apply(leaflet.clone(), true).await.expect("checked");
    assert!(checked.version.is_active);
    let missing = rig.handle.definitions().find(&leaflet.name, 7).await.expect("read");
    assert!(missing.is_none(), "a dry run stores nothing");
    assert!(rig.handle.apply(leaflet, false).await.expect("applied").version.is_active);
}

#[tokio::test]
async fn a_rollback_survives_a_restart_with_the_same_definitions() {
    let mut rig = Rig::new().await;
    rig.orchestrator = bringing(&rig, vec![booklet(2)]).await.expect("open");
    assert_eq!(active(&rig.handle).await, [2], "a deployment activates a higher version");
    rig.handle.activate(&name(), 1).await.expect("rolled back");
    for definitions in [vec![booklet(2)], vec![booklet(1), booklet(2)]] {
        bringing(&rig, definitions).await.expect("open");
        assert_eq!(active(&rig.handle).await, [1]);
    }
    bringing(&rig, vec![booklet(3)]).await.expect("open");
    assert_eq!(active(&rig.handle).await, [3]);
    bringing(&rig, vec![booklet(2)]).await.expect("open");
    assert_eq!(active(&rig.handle).await, [3], "a known version changes nothing");
}

#[tokio::test]
async fn a_conflict_stops_the_start_before_anything_is_stored_or_claimed() {
    let rig = Rig::new().await;
    let opened = bringing(&rig, vec![booklet(3), changed(1)]).await;
    assert!(matches!(opened.err(), Some(Error::DefinitionChanged { version: 1, .. })));
    assert_eq!(count(&rig, "SELECT count(*) FROM definition").await, 1);
    assert_eq!(count(&rig, "SELECT count(*) FROM ownership").await, 0);
    let applied = rig.handle.apply(changed(1), false).await;
    assert!(matches!(applied, Err(RegistrationError::Changed { version: 1, .. })));
}

#[tokio::test]
async fn one_of_two_concurrent_registrations_of_a_version_wins() {
    let rig = Rig::new().await;
    let (_other, other) = rig.successor().await;
    let (one, two) =
        tokio::join!(rig.handle.apply(booklet(2), false), other.apply(changed(2), false));
    let stored = match (one, two) {
        (Ok(_), Err(RegistrationError::Changed { .. })) => booklet(2),
        (Err(RegistrationError::Changed { .. }), Ok(_)) => changed(2),
        other => panic!("{other:?}"),
    };
    let (found, _) =
        rig.handle.definitions().find(&name(), 2).await.expect("read").expect("stored");
    assert_eq!(found.version.hash, stored.hash());
}

#[tokio::test]
async fn another_orchestrator_uses_a_new_version_within_a_second() {
    let rig = Rig::new().await;
    let log = Log::on(Arc::new(MemoryDisk::new()), log::Options::default()).expect("open the log");
    let (orchestrator, other) = rig.another_on(Options::default(), Arc::new(log)).await;
    let running = tokio::spawn(orchestrator.run(std::future::pending()));
    let unknown = other.start(wish("1", "a").version(2)).await;
    assert!(matches!(unknown, Err(StartError::UnknownVersion { version: 2, .. })), "{unknown:?}");
    let mut changes = other.definition_changes();
    rig.handle.apply(booklet(2), false).await.expect("applied");
    rig.handle.activate(&name(), 2).await.expect("activated");
    let seen = tokio::time::timeout(Duration::from_secs(1), async {
        for key in 0.. {
            changes.changed().await.expect("the orchestrator runs");
            let key = key.to_string();
            other.start(wish(&key, "a")).await.expect("accepted");
            let detail = other.show(&id(&key)).await.expect("read").expect("stored");
            if detail.saga.definition.version == 2 {
                return;
            }
        }
    });
    assert!(seen.await.is_ok(), "the other orchestrator still starts by version 1");
    running.abort();
}

#[tokio::test]
async fn another_orchestrator_creates_the_command_topics_before_it_accepts_a_start() {
    let mut rig = Rig::new().await;
    let log = Log::on(Arc::new(MemoryDisk::new()), log::Options::default()).expect("open the log");
    let (other, handle) = rig.another_on(Options::default(), Arc::new(log)).await;
    let mut draft: Draft = booklet(2).into();
    draft.steps[0].action.participant = "gamma".parse().expect("a name");
    if let Some(undo) = &mut draft.steps[0].compensation {
        undo.participant = "gamma".parse().expect("a name");
    }
    let moved = Definition::try_from(draft).expect("sound");
    rig.handle.apply(moved, false).await.expect("applied");
    let watch = other.definition_watch();
    watch.refresh().await.expect("refreshed");
    (rig.orchestrator, rig.handle) = (other, handle);
    accept(&mut rig, wish("1", "a").version(2)).await;
    let report = rig.turn().await;
    assert_eq!(report.inputs, 0, "the command was sent: a missing topic would fail the turn");
}

#[tokio::test]
async fn a_start_without_a_usable_version_lists_what_exists() {
    let mut rig = Rig::new().await;
    rig.handle.apply(booklet(2), false).await.expect("applied");
    let why = async |rig: &Rig, start| rig.handle.start(start).await.unwrap_err().to_string();
    assert_eq!(
        why(&rig, wish("1", "a").version(9)).await,
        "definition 'booklet' has no version 9; its versions: 1 (active), 2"
    );
    rig.handle.retire(&name(), 1).await.expect("retired");
    assert_eq!(
        why(&rig, wish("1", "a").version(1)).await,
        "version 1 of definition 'booklet' is retired; its versions: 1 (retired), 2"
    );
    assert_eq!(
        why(&rig, wish("1", "a")).await,
        "definition 'booklet' has no active version: activate one, or name a version; its \
         versions: 1 (retired), 2"
    );
    let retired = rig.handle.activate(&name(), 1).await;
    assert!(matches!(retired, Err(RegistrationError::Retired { version: 1, .. })));
    let restored = rig.handle.apply(booklet(1), false).await.expect("applied");
    assert_eq!(restored.outcome, RegistrationOutcome::Restored);
    rig.handle.activate(&name(), 1).await.expect("activated");
    assert_eq!(version_of_a_start(&mut rig, "1").await, 1);
}

#[tokio::test]
async fn a_cancel_before_the_start_uses_the_active_version() {
    let mut rig = Rig::new().await;
    rig.handle.apply(booklet(2), false).await.expect("applied");
    rig.handle.activate(&name(), 2).await.expect("activated");
    let handle = rig.handle.clone();
    let cancelled = rig.while_turning(handle.cancel(id("1"))).await;
    assert_eq!(cancelled.expect("cancelled"), Status::Compensated);
    assert_eq!(rig.show("1").await.expect("stored").saga.definition.version, 2);
}

/// Advances the clock by hours, and turns until the sweep is complete.
async fn sweep(rig: &mut Rig) {
    rig.turn().await;
    rig.passes(Duration::from_secs(2 * 3600));
    for _ in 0..5 {
        rig.turn().await;
    }
}

#[tokio::test]
async fn a_retired_body_is_removed_when_no_saga_refers_to_it() {
    let mut rig = Rig::new().await;
    rig.now = rig.handle.now();
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    rig.handle.apply(booklet(2), false).await.expect("applied");
    rig.handle.activate(&name(), 2).await.expect("activated");
    rig.handle.retire(&name(), 1).await.expect("retired");
    let body = async |rig: &Rig| {
        let found = rig.handle.definitions().find(&name(), 1).await.expect("read");
        found.expect("the version stays known").1
    };
    sweep(&mut rig).await;
    assert!(body(&rig).await.is_some(), "a saga runs by it");
    rig.commands().await;
    rig.reply(&write, written(1)).await;
    rig.turn().await;
    let print = rig.command().await;
    assert_eq!(print.version, 1, "a running saga continues by its retired version");
    rig.reply(&print, nothing()).await;
    rig.turn().await;
    sweep(&mut rig).await;
    assert!(body(&rig).await.is_some(), "the row of the ended saga refers to it");
    execute(&rig, "DELETE FROM journal; DELETE FROM saga").await;
    sweep(&mut rig).await;
    assert_eq!(body(&rig).await, None);

    let conflict = rig.handle.apply(changed(1), false).await;
    assert!(matches!(conflict, Err(RegistrationError::Changed { .. })), "its hash stays known");
    bringing(&rig, vec![booklet(1)]).await.expect("a known version changes nothing");
    assert_eq!(active(&rig.handle).await, [2]);
    rig.handle.apply(booklet(1), false).await.expect("restored");
    assert!(body(&rig).await.is_some());
}

#[tokio::test]
async fn sagas_continue_by_contents_that_were_replaced_in_place() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let write = rig.command().await;
    let replaced =
        rig.handle.register(vec![changed(1)], RegistrationMode::Replace).await.expect("replaced");
    assert_eq!(replaced[0].outcome, RegistrationOutcome::Replaced);
    let log = Arc::new(rig.log.clone());
    (rig.orchestrator, rig.handle) = rig.another_of(log, Vec::new()).await;
    rig.reply(&write, written(1)).await;
    rig.turn().await;
    let prints = rig.commands().await;
    assert!(prints.iter().any(|command| command.name.as_str() == "beta.print"));
    let hash = async |rig: &Rig, key| rig.show(key).await.expect("stored").header.hash;
    assert_eq!(hash(&rig, "1").await, booklet(1).hash());
    accept(&mut rig, wish("2", "a")).await;
    assert_eq!(hash(&rig, "2").await, changed(1).hash());
    let listed = rig.handle.definitions().list(None, 10).await.expect("listed");
    assert_eq!(listed[0].running, 2, "sagas of both contents count");
    rig.handle.register(vec![booklet(1)], RegistrationMode::Replace).await.expect("back");
    assert_eq!(count(&rig, "SELECT count(*) FROM former_definition").await, 1);
}

#[tokio::test]
async fn definitions_of_an_older_program_are_known_and_the_brought_one_is_active() {
    let rig = Rig::new().await;
    rig.handle.apply(booklet(2), false).await.expect("applied");
    execute(&rig, "UPDATE definition SET registered_at = NULL; DELETE FROM active_definition")
        .await;
    bringing(&rig, vec![booklet(1)]).await.expect("open");
    assert_eq!(active(&rig.handle).await, [1], "as by the program before");
    bringing(&rig, vec![booklet(2)]).await.expect("open");
    assert_eq!(active(&rig.handle).await, [2]);
}

#[tokio::test]
async fn the_number_of_versions_has_a_bound() {
    let rig = Rig::new().await;
    let insert = |version: u32| {
        format!(
            "INSERT INTO definition (name, version, hash, body) VALUES
            ('booklet', {version}, 'h{version}', '');"
        )
    };
    execute(&rig, &(10..1_009).map(insert).collect::<String>()).await;
    let full = rig.handle.apply(booklet(5_000), false).await.unwrap_err().to_string();
    assert_eq!(full, "'booklet' has 1000 versions, the maximum: continue under a new name");
    assert_eq!(count(&rig, "SELECT count(*) FROM definition").await, 1_000);
    let page = rig.handle.definitions().list(Some((&name(), 1_000)), 3).await.expect("listed");
    let versions: Vec<u32> = page.iter().map(|listed| listed.version.version).collect();
    assert_eq!(versions, [1_001, 1_002, 1_003]);
}
