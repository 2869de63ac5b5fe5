//! When the rows of a chain are removed.

use super::*;

/// Emitted events are removed with the barrier's rows. Events that the observer may not know stay.
#[tokio::test]
async fn a_chain_that_ended_long_ago_is_removed_with_its_events() {
    let mut toy = Toy::new().await;
    toy.begin("1", Mood::Calm).await;
    toy.settle().await;
    let (database, _) = toy.desk();
    let open = database.begin().await.expect("begin");
    open.tx()
        .execute("INSERT INTO chain_key (key, chain) VALUES ('a', 'book:1')", ())
        .await
        .expect("insert");
    open.commit().await.expect("commit");
    let later = toy.now().plus(Duration::from_secs(1));
    let earlier = toy.now().minus(Duration::from_secs(1));
    let kept = async |toy: &Toy| (toy.rows("barrier").await, toy.rows("emitted").await);
    let before = kept(&toy).await;
    assert!(before.0 > 0 && before.1 > 0, "{before:?}");
    toy.publish(vec![encode_horizon(&horizon(&toy, Some(later)), None)]).await;
    toy.settle().await;
    assert_eq!(kept(&toy).await, before, "the rows are older than the observer's first day");
    toy.publish(vec![encode_horizon(&horizon(&toy, Some(earlier)), None)]).await;
    toy.settle().await;
    assert_eq!(kept(&toy).await, (0, 1), "except the chain's first event");
    assert_eq!(
        toy.begin("1", Mood::Calm).await,
        StartOutcome::Before,
        "other services may still have its rows"
    );
    assert_eq!(kept(&toy).await, (0, 1), "the rejected start leaves no row");
    let retention = Options::default().barrier_retention;
    let soon = horizon(&toy, Some(earlier));
    let enough = soon.ended_before.plus(retention);
    toy.passes(retention * 2);
    toy.publish(vec![encode_horizon(&Horizon { ended_before: enough, ..soon.clone() }, None)])
        .await;
    toy.settle().await;
    toy.settle().await;
    assert_eq!(kept(&toy).await, (0, 1), "exactly one retention later the event stays");
    assert_eq!(toy.rows_of_first("chain_key").await, 1);
    let far = Horizon { ended_before: enough.plus(Duration::from_millis(1)), ..soon };
    toy.publish(vec![encode_horizon(&far, None)]).await;
    toy.settle().await;
    toy.settle().await;
    assert_eq!(kept(&toy).await, (0, 0));
    assert_eq!(toy.rows_of_first("chain_key").await, 0);
}

/// A service that lost these rows would act again.
#[tokio::test]
async fn a_step_with_an_unsent_or_waiting_event_is_not_removed() {
    let mut toy = Toy::new().await;
    toy.transport.falls_silent(true);
    toy.begin("1", Mood::Calm).await;
    let horizon = horizon(&toy, None);
    toy.publish(vec![encode_horizon(&horizon, None)]).await;
    toy.settle().await;
    assert_eq!(
        (toy.rows("barrier").await, toy.rows("emitted").await),
        (1, 1),
        "its event was not sent"
    );
    toy.transport.falls_silent(false);
    toy.settle().await;

    toy.begin("2", Mood::Sticks).await;
    toy.settle().await;
    assert_eq!(toy.waiting().await, 1, "the undo met a fault and is retried");
    toy.publish(vec![encode_horizon(&horizon, None)]).await;
    toy.settle().await;
    assert_eq!(
        (toy.waiting().await, toy.rows("barrier").await),
        (1, 1),
        "the undone step's row remains"
    );
}

/// Other services may have removed their barrier rows.
#[tokio::test]
async fn events_are_resent_only_while_barriers_remember_their_chain() {
    let mut toy = Toy::new().await;
    toy.begin("1", Mood::Calm).await;
    toy.settle().await;
    let once = toy.events().await;
    let retention = Duration::from_secs(30 * 24 * 3600);
    assert_eq!(toy.resend("1", remembered(toy.now(), retention)).await, 3);
    let again = toy.events().await;
    assert_eq!(told(&again), told(&once));
    toy.passes(retention);
    assert_eq!(toy.resend("1", remembered(toy.now(), retention)).await, 0);
    assert!(toy.events().await.is_empty());
}
