//! Sagas that cannot be stored, because another session has locked the row or the statement takes
//! too long. Each is set aside alone and visibly, until it can be stored.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::faulty::faulty;
use crate::common::{Rig, id, nothing, wish, written};
use sagamore_core::id::Name;
use sagamore_core::saga::{Rescue, Status, Verb};
use sagamore_core::{Allowed, Body, Command, Outcome};
use sagamore_database::database::Open;
use sagamore_database::postgres;
use sagamore_database::testing::{database_with, needs_server};
use sagamore_engine::{Filter, Options, VerbError};

const SECOND: Duration = Duration::from_secs(1);

/// Creates a rig on a server with a short lock timeout and a long idle limit.
async fn rig(options: Options) -> Rig {
    let limits = |limits| postgres::Options {
        lock_timeout: Duration::from_millis(100),
        idle_in_transaction_timeout: Duration::from_secs(120),
        ..limits
    };
    Rig::with(options, database_with(limits)).await
}

/// Starts sagas with these keys, and takes their first commands.
async fn started(rig: &mut Rig, keys: &[&str]) -> Vec<Command> {
    for key in keys {
        rig.start(wish(key, "a")).await.expect("accepted");
    }
    rig.commands().await
}

/// Locks the row of this saga in another session until the transaction ends.
async fn lock_row(rig: &Rig, key: &str) -> Open {
    let open = rig.database.begin().await.expect("begin");
    let rows =
        open.tx().query("SELECT seq FROM saga WHERE id = $1 FOR UPDATE", (id(key).as_str(),)).await;
    assert_eq!(rows.expect("locked").len(), 1);
    open
}

/// Runs one turn per second. None of them fails.
async fn seconds(rig: &mut Rig, count: u32) {
    for _ in 0..count {
        rig.passes(SECOND);
        rig.turn().await;
    }
}

async fn verbs(rig: &Rig, key: &str) -> Vec<Verb> {
    let saga = rig.show(key).await.expect("stored").saga;
    let verb = |allowed| if let Allowed::Rescue { verb, .. } = allowed { Some(verb) } else { None };
    saga.allowed_actions(rig.now).into_iter().filter_map(verb).collect()
}

/// Returns the keys of the listed sagas that show a fault by now.
async fn faulty_keys(rig: &Rig) -> Vec<String> {
    let filter = Filter { open_faults_at: Some(rig.now), ..Filter::default() };
    let page = rig.handle.list(&filter).await.expect("list");
    let is_shown =
        |from: Option<sagamore_core::Timestamp>| from.is_some_and(|from| from <= rig.now);
    assert!(page.sagas.iter().all(|header| is_shown(header.fault_shown_from)), "{:?}", page.sagas);
    page.sagas.iter().map(|header| header.id.key().to_owned()).collect()
}

/// Returns the saga's last command. Every command must be that of the second step, which shows that
/// the first reply was not lost.
async fn only_prints(rig: &mut Rig, key: &str) -> Command {
    let mut commands = rig.commands().await;
    commands.retain(|command| command.saga().key() == key);
    assert!(commands.iter().all(|command| command.name.as_str() == "beta.print"), "{commands:?}");
    commands.pop().expect("the saga continues")
}

fn retry() -> Rescue {
    Rescue::new(Name::new("write").expect("a name"), Verb::Retry, "ann: once more")
}

#[tokio::test]
async fn a_saga_with_a_locked_row_is_set_aside_alone_and_shown_with_verbs() {
    if !needs_server() {
        return;
    }
    let mut rig = rig(Options::default()).await;
    let commands = started(&mut rig, &["1", "2", "3", "4", "5"]).await;
    let lock = lock_row(&rig, "3").await;
    for command in &commands {
        rig.reply(command, written(1)).await;
    }
    rig.turn().await;
    assert_eq!(rig.commands().await.len(), 4, "the other four continue in the same turn");
    assert_eq!(verbs(&rig, "3").await, [], "a single fault offers no verbs");

    seconds(&mut rig, 31).await;
    assert_eq!(verbs(&rig, "3").await, [Verb::Retry, Verb::Skip, Verb::Resolve]);
    assert_eq!(faulty_keys(&rig).await, ["3"]);
    let fault =
        rig.show("3").await.expect("stored").saga.open_fault(0).expect("a fault").text.into_owned();
    assert!(fault.contains("another session"), "{fault}");

    let handle = rig.handle.clone();
    let refused =
        rig.while_turning(handle.rescue(id("3"), retry())).await.expect_err("the row is locked");
    assert!(matches!(refused, VerbError::Unavailable(_)), "{refused:?}");
    for command in started(&mut rig, &["6"]).await {
        rig.reply(&command, written(1)).await;
    }
    rig.turn().await;
    assert_eq!(rig.command().await.saga().key(), "6");

    lock.rollback().await.expect("released");
    seconds(&mut rig, 61).await;
    let command = only_prints(&mut rig, "3").await;
    assert_eq!(faulty_keys(&rig).await, [] as [&str; 0]);
    rig.reply(&command, nothing()).await;
    rig.turn().await;
    assert_eq!(rig.show("3").await.expect("stored").header.status, Status::Completed);
}

/// One turn retries at most sixteen of them.
#[tokio::test]
async fn locked_sagas_beyond_a_turns_tries_do_not_block_others_and_all_continue() {
    if !needs_server() {
        return;
    }
    let mut rig = rig(Options::default()).await;
    let keys: Vec<String> = (1..=20).map(|key| key.to_string()).collect();
    let commands = started(&mut rig, &keys.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let lock = rig.database.begin().await.expect("begin");
    lock.tx().query("SELECT seq FROM saga FOR UPDATE", ()).await.expect("locked");
    for command in &commands {
        rig.reply(command, written(1)).await;
    }
    rig.turn().await;
    seconds(&mut rig, 10).await;
    assert_eq!(rig.commands().await.len(), 0);
    for command in started(&mut rig, &["free"]).await {
        rig.reply(&command, written(1)).await;
    }
    rig.turn().await;
    assert_eq!(rig.command().await.saga().key(), "free");

    lock.rollback().await.expect("released");
    let mut gone_on = BTreeSet::new();
    for _ in 0..32 {
        seconds(&mut rig, 1).await;
        let prints = rig
            .commands()
            .await
            .into_iter()
            .filter(|command| command.name.as_str() == "beta.print");
        gone_on.extend(
            prints.map(|command| command.saga().key().to_owned()).filter(|key| key != "free"),
        );
    }
    assert_eq!(gone_on, keys.into_iter().collect());
}

#[tokio::test]
async fn an_operators_verb_takes_effect_as_soon_as_the_row_is_free() {
    if !needs_server() {
        return;
    }
    let mut rig = rig(Options::default()).await;
    let commands = started(&mut rig, &["1"]).await;
    let lock = lock_row(&rig, "1").await;
    rig.reply(&commands[0], Outcome::Fault("away".into())).await;
    rig.turn().await;
    seconds(&mut rig, 60).await;
    lock.rollback().await.expect("released");
    let handle = rig.handle.clone();
    rig.while_turning(handle.rescue(id("1"), retry())).await.expect("taken");
    assert_eq!(rig.command().await.id(), commands[0].id());
    rig.crash().await;
    rig.turn().await;
    assert_eq!(rig.command().await.id(), commands[0].id(), "its journal is readable");
}

#[tokio::test]
async fn a_new_owner_takes_over_the_fault_of_its_predecessor() {
    if !needs_server() {
        return;
    }
    let mut rig = rig(Options::default()).await;
    let commands = started(&mut rig, &["1"]).await;
    let lock = lock_row(&rig, "1").await;
    rig.reply(&commands[0], written(1)).await;
    rig.turn().await;
    seconds(&mut rig, 40).await;
    rig.crash().await;
    rig.turn().await;
    assert_eq!(faulty_keys(&rig).await, ["1"]);
    lock.rollback().await.expect("released");
    rig.commands().await;
    rig.reply(&commands[0], written(1)).await;
    seconds(&mut rig, 61).await;
    only_prints(&mut rig, "1").await;
    assert_eq!(faulty_keys(&rig).await, [] as [&str; 0]);
}

/// The database cancels the statement each time, like `statement_timeout`.
#[tokio::test]
async fn a_saga_whose_statement_times_out_does_not_block_others() {
    let (database, knobs) = faulty();
    let mut rig = Rig::with(Options::default(), database).await;
    let commands = started(&mut rig, &["1", "2", "3", "4", "5"]).await;
    knobs.statement_max.store(4_000, Ordering::Relaxed);
    for command in &commands {
        let is_large = command.saga().key() == "2";
        let large = Outcome::Done(
            Body::parse(&format!(r#"{{"page":1,"x":"{}"}}"#, "x".repeat(8_000))).expect("JSON"),
        );
        rig.reply(command, if is_large { large } else { written(1) }).await;
    }
    rig.turn().await;
    assert_eq!(rig.commands().await.len(), 4);
    seconds(&mut rig, 40).await;
    assert_eq!(verbs(&rig, "2").await, [Verb::Retry, Verb::Skip, Verb::Resolve]);
    knobs.statement_max.store(0, Ordering::Relaxed);
    seconds(&mut rig, 61).await;
    only_prints(&mut rig, "2").await;
}
