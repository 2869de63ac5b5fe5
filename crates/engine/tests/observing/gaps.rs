//! The observer after events that expired before it read them.

use super::*;

/// The unread records may have been whole chains. A horizon must therefore exclude every chain that
/// may have started before now.
#[tokio::test]
async fn a_horizon_excludes_chains_from_before_a_gap() {
    let day = Duration::from_secs(24 * 3600);
    let mut rig = Rig::new().await;
    let created_at = rig.now;
    assert_eq!(rig.horizon().await.started_from, Some(created_at.plus(day)));
    rig.publish(&stories("1").0).await;
    let database = rig.database.clone();
    let backup = async |next: i64| {
        let open = database.begin().await.expect("begin");
        open.tx()
            .execute("UPDATE reading SET next = $1 WHERE next > 0", (next,))
            .await
            .expect("update");
        open.commit().await.expect("commit");
    };
    rig.passes(day).await;
    assert_eq!(rig.horizon().await.started_from, Some(created_at.plus(day)), "no event was missed");
    backup(0).await; // yesterday's database, while the group's offsets are newer
    rig.passes(day).await;
    assert_eq!(
        rig.horizon().await.started_from,
        Some(rig.now.plus(day)),
        "the gap shows without a new event"
    );
    let then = rig.now;
    rig.publish(&stories("2").0).await;
    rig.passes(day).await;
    assert_eq!(
        rig.horizon().await.started_from,
        Some(then.plus(day)),
        "the start stays at the gap"
    );
    backup(0).await;
    rig.publish(&stories("3").0).await;
    let gaps = rig
        .database
        .query("SELECT count(*) FROM reading WHERE gap_at = $1", (rig.now.0,))
        .await
        .expect("read");
    assert_eq!(gaps[0].get::<i64>(0).expect("a number"), 3, "new events show the gap too");
}

/// An unreadable event may belong to any chain, like one that expired unread.
#[tokio::test]
async fn an_unreadable_event_is_a_gap_and_later_events_are_stored() {
    let mut rig = Rig::new().await;
    rig.publish(&stories("1").0).await;
    rig.passes(Duration::from_secs(1)).await;
    let [rung, ..] = stories("2").0;
    let torn =
        Record { body: TORN.into(), ..encode_event(&rung, &"source".parse().expect("a name")) };
    rig.log.publish(vec![torn]).await.expect("publish");
    rig.turns().await;
    rig.publish(&stories("3").0).await;
    assert_eq!(rig.status("3").await, (ChainStatus::Completed, None));
    let gaps = rig
        .database
        .query("SELECT count(*) FROM reading WHERE gap_at = $1", (rig.now.0,))
        .await
        .expect("read");
    assert_eq!(gaps[0].get::<i64>(0).expect("a number"), 1);
    let (observer, chains) = open(&rig.database, &rig.log).await;
    (rig.observer, rig.chains) = (observer, chains);
    rig.turns().await;
    assert!(
        rig.chains.show(&chain("2")).await.expect("read").is_none(),
        "the event is not redelivered"
    );
}

/// An observer from before the progress records adopts the first offsets that it finds.
#[tokio::test]
async fn the_position_of_an_older_program_is_adopted_without_a_gap() {
    let mut rig = Rig::new().await;
    rig.publish(&stories("1").0).await;
    let reopen = async |rig: &mut Rig, adopts: i64| {
        let open_tx = rig.database.begin().await.expect("begin");
        open_tx.tx().execute("DELETE FROM reading", ()).await.expect("delete");
        open_tx.tx().execute("UPDATE observing SET adopts = $1", (adopts,)).await.expect("update");
        open_tx.commit().await.expect("commit");
        (rig.observer, rig.chains) = open(&rig.database, &rig.log).await;
        rig.passes(Duration::from_secs(601)).await;
        let gaps = rig
            .database
            .query("SELECT count(gap_at), count(*) FROM reading", ())
            .await
            .expect("read");
        (gaps[0].get::<i64>(0).expect("a number"), gaps[0].get::<i64>(1).expect("a number"))
    };
    let (gaps, rows) = reopen(&mut rig, 1).await;
    assert!(gaps == 0 && rows > 3, "{gaps} of {rows}");
    assert!(reopen(&mut rig, 0).await.0 > 0, "adopts only once");
}

/// The age of such a chain is unknown: its services may have written their barrier rows long ago.
#[tokio::test]
async fn a_horizon_names_a_chain_without_its_first_event() {
    let mut rig = Rig::new().await;
    let [_, opened, _] = stories("torn").0;
    rig.publish(&[Event { at: rig.now, ..opened }]).await;
    rig.passes(DEADLINE * 20).await;
    assert_eq!(rig.status("torn").await.0, ChainStatus::Anomalous);
    assert_eq!(rig.horizon().await.but, [chain("torn")]);
    let [_, opened, _] = stories("old").0;
    rig.publish(&[Event { at: Timestamp(1), ..opened }]).await;
    rig.passes(DEADLINE * 20).await;
    assert_eq!(
        rig.horizon().await.but,
        [chain("torn")],
        "chains from before the observer are excluded anyway"
    );
    rig.chains.resolve(&chain("torn"), "checked by Ada").await.expect("resolved");
    rig.passes(DEADLINE * 20).await;
    assert_eq!(rig.horizon().await.but, [chain("torn")], "its commands may still be redelivered");
    let begun = stories("torn").0[0].clone();
    rig.publish(&[begun]).await;
    rig.passes(DEADLINE * 20).await;
    assert_eq!(rig.horizon().await.but, []);
}
