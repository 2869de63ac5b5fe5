//! Plans that are registered while the observer runs, and chains that clients begin.

use sagamore_database::Clock;
use sagamore_engine::{BeginError, ChainBeginning, RegistrationError, RegistrationMode};
use sagamore_transport::Delivery;

use super::*;

/// A letter is sent and read.
fn post() -> Plan {
    let plan = Plan::named("post").begins("guest", "send", "letter.sent");
    let plan = plan.pivot("host", "read").on(["letter.sent"]).emits(["letter.read"]);
    plan.build().unwrap_or_else(|error| panic!("{error}"))
}

fn letter(step: &str, name: &str, cause: Option<&Event>) -> Event {
    let mut event = event("1", step, Direction::Action, name, cause);
    event.key.saga = "post:1".parse().expect("a chain");
    event
}

fn beginning(id: &str) -> ChainBeginning {
    ChainBeginning {
        id: id.to_owned(),
        source: "/client".to_owned(),
        event: "bell.rung".parse().expect("a name"),
        key: None,
        plan: None,
        version: None,
        body: Body::parse(r#"{"guest":"ann"}"#).expect("JSON"),
        trace: None,
    }
}

#[tokio::test]
async fn a_plan_that_is_registered_later_is_followed_without_a_restart() {
    let mut rig = Rig::new().await;
    let sent = letter("send", "letter.sent", None);
    let read = letter("read", "letter.read", Some(&sent));
    let registered = rig.chains.register(vec![post()], RegistrationMode::Apply, false);
    assert!(registered.await.expect("registered")[0].version.is_active);
    rig.publish(&[sent, read]).await;
    let detail = rig.chains.show(&"post:1".parse().expect("a chain")).await.expect("read");
    assert_eq!(detail.expect("seen").header.status, ChainStatus::Completed);
    // the plans before are followed as well
    rig.publish(&stories("1").0).await;
    assert_eq!(rig.status("1").await, (ChainStatus::Completed, None));
    let listed = rig.chains.plans().list(None, 10).await.expect("listed");
    let names: Vec<_> = listed.iter().map(|listed| listed.version.name.as_str()).collect();
    assert_eq!(names, ["post", "visit"]);
}

#[tokio::test]
async fn a_version_that_another_observer_registers_is_known_after_a_poll() {
    let mut rig = Rig::new().await;
    let newer = Event { version: 2, ..stories("1").0[0].clone() };
    rig.publish(std::slice::from_ref(&newer)).await;
    assert_eq!(rig.status("1").await.0, ChainStatus::UnknownVersion);
    let (_other, chains) = open(&rig.database, &rig.log).await;
    let plan = Plan { version: 2, ..visit() };
    chains.register(vec![plan.clone()], RegistrationMode::Apply, true).await.expect("checked");
    assert_eq!(chains.known_plans().len(), 1, "a dry run stores nothing");
    chains.register(vec![plan], RegistrationMode::Apply, false).await.expect("registered");
    let (observer, chains) = open(&rig.database, &rig.log).await; // it reads what is stored
    (rig.observer, rig.chains) = (observer, chains);
    for _ in 0..2 {
        rig.passes(Duration::from_secs(11)).await; // it judges no chain before it is settled
    }
    assert_eq!(rig.status("1").await.0, ChainStatus::Running);
}

#[tokio::test]
async fn a_read_of_the_plans_finds_each_registered_version_even_an_unreadable_one() {
    let rig = Rig::new().await;
    let (_other, chains) = open(&rig.database, &rig.log).await;
    let newer = Plan { version: 2, ..visit() };
    chains.register(vec![newer, post()], RegistrationMode::Apply, false).await.expect("stored");
    let opened = rig.database.begin().await.expect("open");
    let sql = "UPDATE plan SET body = '{\"newer\":1}' WHERE body LIKE '%letter.sent%'";
    assert_eq!(opened.tx().execute(sql, ()).await.expect("updated"), 1);
    opened.commit().await.expect("committed");
    let known = rig.chains.read_plans().await.expect("read");
    let known = known.iter().map(|one| (one.name.as_str(), one.version, one.plan.is_some()));
    assert_eq!(
        known.collect::<Vec<_>>(),
        [("post", 1, false), ("visit", 1, true), ("visit", 2, true)]
    );
}

#[tokio::test]
async fn a_version_has_one_content_unless_it_is_replaced_and_chains_keep_theirs() {
    let mut rig = Rig::new().await;
    let other = Plan { deadline_ms: Some(5), ..visit() };
    let refused = rig.chains.register(vec![other.clone()], RegistrationMode::Apply, false).await;
    assert!(matches!(refused, Err(RegistrationError::Changed { version: 1, .. })));
    rig.publish(&[stories("1").0[0].clone()]).await;
    rig.chains.register(vec![other], RegistrationMode::Replace, false).await.expect("replaced");
    rig.publish(&[stories("2").0[0].clone()]).await;
    let deadline = async |rig: &Rig, key: &str| {
        let detail = rig.chains.show(&chain(key)).await.expect("read").expect("seen");
        detail.chain.plan().and_then(|plan| plan.deadline_ms)
    };
    assert_eq!(deadline(&rig, "1").await, visit().deadline_ms);
    assert_eq!(deadline(&rig, "2").await, Some(5));
    let listed = rig.chains.plans().list_of(&visit().name).await.expect("listed");
    assert_eq!(listed[0].running, 2, "with those of the former contents");
}

#[tokio::test]
async fn a_client_begins_one_chain_with_one_id() {
    let mut rig = Rig::new().await;
    let begun = rig.chains.begin(beginning("1")).await.expect("begun");
    assert_eq!((begun.id.clone(), begun.version, begun.is_new), (chain("1"), 1, true));
    rig.turns().await;
    assert_eq!(rig.status("1").await.0, ChainStatus::Running);
    let again = rig.chains.begin(beginning("1")).await.expect("begun before");
    assert_eq!((again.id, again.is_new), (chain("1"), false));

    let other_body = Body::parse(r#"{"guest":"bob"}"#).expect("JSON");
    let other = ChainBeginning { body: other_body.clone(), ..beginning("1") };
    assert!(matches!(rig.chains.begin(other).await, Err(BeginError::OtherEvent { .. })));
    let same_key = ChainBeginning { key: Some("1".to_owned()), ..beginning("2") };
    let same = rig.chains.begin(same_key.clone()).await.expect("the same chain");
    assert_eq!((same.id, same.is_new), (chain("1"), false));
    let other_key = ChainBeginning { body: other_body, ..same_key };
    assert!(matches!(rig.chains.begin(other_key).await, Err(BeginError::OtherBeginning(_))));

    // a service has begun this one
    rig.publish(&[stories("3").0[0].clone()]).await;
    let refused = rig.chains.begin(beginning("3")).await;
    assert!(matches!(refused, Err(BeginError::OtherBeginning(_))), "{refused:?}");
    let unknown =
        ChainBeginning { event: "door.opened".parse().expect("a name"), ..beginning("4") };
    let refused = rig.chains.begin(unknown).await.expect_err("no first event").to_string();
    assert!(refused.contains("bell.rung of visit@1"), "{refused}");
    let nul = Body::parse(r#"{"guest":"\u0000"}"#).expect("JSON");
    let refused = rig.chains.begin(ChainBeginning { body: nul, ..beginning("5") }).await;
    assert!(matches!(refused, Err(BeginError::BadEvent(_))), "{refused:?}");
}

/// A crash between the row of a first event and its publish.
#[tokio::test]
async fn the_observer_sends_a_first_event_whose_request_did_not() {
    let mut rig = Rig::new().await;
    rig.chains.begin(beginning("1")).await.expect("begun");
    let open = rig.database.begin().await.expect("open");
    open.tx().execute("UPDATE begun SET sent = FALSE", ()).await.expect("updated");
    open.commit().await.expect("committed");
    rig.now = Timestamp(Clock::of(&rig.database).now_ms());
    rig.passes(Duration::from_secs(20)).await;
    rig.passes(Duration::from_secs(20)).await;
    let events = first_events(&rig).await;
    assert_eq!(events.len(), 2, "sent by the request, and once by the observer");
    assert_eq!(events[0], events[1]);
}

/// A full page of first events that cannot be read.
#[tokio::test]
async fn first_events_that_cannot_be_sent_hold_back_no_other() {
    let mut rig = Rig::new().await;
    for id in 0..=100 {
        rig.chains.begin(beginning(&id.to_string())).await.expect("begun");
    }
    let open = rig.database.begin().await.expect("open");
    for sql in [
        "UPDATE begun SET sent = FALSE",
        "UPDATE begun SET event = 'not a name', begun_at = 1, retry_at = 1 WHERE id <> '100'",
    ] {
        open.tx().execute(sql, ()).await.expect("updated");
    }
    open.commit().await.expect("committed");
    rig.now = Timestamp(Clock::of(&rig.database).now_ms());
    rig.passes(Duration::from_secs(20)).await;
    rig.passes(Duration::from_secs(1)).await;
    let events = first_events(&rig).await;
    let of_last = events.iter().filter(|event| event.chain().key() == "100");
    assert_eq!(of_last.count(), 2, "sent by the request, and once by the observer");
}

/// Returns the published first events.
async fn first_events(rig: &Rig) -> Vec<Event> {
    let topics = vec!["bell.rung".into()];
    let subscription = Subscription { group: "reader".into(), topics, partitions: None };
    let mut consumer = rig.log.subscribe(subscription).await.expect("subscribe");
    let delivered = consumer.poll(1_000).await.expect("poll");
    let decode = |one: &Delivery| decode_event(&one.record).expect("an event");
    delivered.iter().map(decode).collect()
}
