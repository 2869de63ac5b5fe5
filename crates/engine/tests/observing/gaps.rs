//! What the observer does about events that it cannot have seen.

use super::*;

/// Records that went before they were read may have been whole chains: of what was told before now nothing may go.
#[tokio::test]
async fn of_chains_from_before_a_gap_nothing_is_forgotten() {
    let day = Duration::from_secs(24 * 3600);
    let mut rig = Rig::new().await;
    let born = rig.now;
    assert_eq!(rig.horizon().await.started_from, Some(born.plus(day)));
    rig.tell(&stories("1").0).await;
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
    assert_eq!(rig.horizon().await.started_from, Some(born.plus(day)), "nothing was missed");
    backup(0).await; // the database of yesterday, and the group has read on since
    rig.passes(day).await;
    assert_eq!(
        rig.horizon().await.started_from,
        Some(rig.now.plus(day)),
        "no event has come, and it shows all the same"
    );
    let then = rig.now;
    rig.tell(&stories("2").0).await;
    rig.passes(day).await;
    assert_eq!(rig.horizon().await.started_from, Some(then.plus(day)), "it goes on from there");
    backup(0).await;
    rig.tell(&stories("3").0).await;
    let gaps = rig
        .database
        .query("SELECT count(*) FROM reading WHERE gap_at = $1", (rig.now.0,))
        .await
        .expect("read");
    assert_eq!(gaps[0].get::<i64>(0).expect("a number"), 3, "the next events show it as well");
}

/// It may have been of any chain: as with records that went before they were read.
#[tokio::test]
async fn an_event_that_the_transport_cannot_read_is_a_gap_and_the_next_is_kept() {
    let mut rig = Rig::new().await;
    rig.tell(&stories("1").0).await;
    rig.passes(Duration::from_secs(1)).await;
    let [rung, ..] = stories("2").0;
    let torn =
        Record { body: TORN.into(), ..encode_event(&rung, &"anybody".parse().expect("a name")) };
    rig.log.publish(vec![torn]).await.expect("publish");
    rig.turns().await;
    rig.tell(&stories("3").0).await;
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
    assert!(rig.chains.show(&chain("2")).await.expect("read").is_none(), "it does not come again");
}

/// Where an observer was before it noted what it has read, it takes up what it finds.
#[tokio::test]
async fn an_older_programs_place_is_taken_up_without_a_gap() {
    let mut rig = Rig::new().await;
    rig.tell(&stories("1").0).await;
    let open_anew = async |rig: &mut Rig, adopts: i64| {
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
    let (gaps, rows) = open_anew(&mut rig, 1).await;
    assert!(gaps == 0 && rows > 3, "{gaps} of {rows}");
    assert!(open_anew(&mut rig, 0).await.0 > 0, "once only");
}

/// Nobody knows how old it is: its services may have done their part long ago.
#[tokio::test]
async fn a_chain_of_whose_beginning_nothing_was_seen_is_named_however_young_it_looks() {
    let mut rig = Rig::new().await;
    let [_, opened, _] = stories("torn").0;
    rig.tell(&[Event { at: rig.now, ..opened }]).await;
    rig.passes(DEADLINE * 20).await;
    assert_eq!(rig.status("torn").await.0, ChainStatus::Anomalous);
    assert_eq!(rig.horizon().await.but, [chain("torn")]);
    let [_, opened, _] = stories("old").0;
    rig.tell(&[Event { at: Timestamp(1), ..opened }]).await;
    rig.passes(DEADLINE * 20).await;
    assert_eq!(
        rig.horizon().await.but,
        [chain("torn")],
        "of what is from before the observer nothing is forgotten anyway"
    );
    rig.chains.resolve(&chain("torn"), "Ada has looked").await.expect("resolved");
    rig.passes(DEADLINE * 20).await;
    assert_eq!(
        rig.horizon().await.but,
        [chain("torn")],
        "what is asked of it may still be asked again"
    );
    let begun = stories("torn").0[0].clone();
    rig.tell(&[begun]).await;
    rig.passes(DEADLINE * 20).await;
    assert_eq!(rig.horizon().await.but, []);
}
