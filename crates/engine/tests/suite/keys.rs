//! Idempotency keys: each is stored only with the saga that its request led to.

use std::time::Duration;

use crate::common::{Rig, database, wish};
use sagamore_core::Body;
use sagamore_engine::{Options, Start, StartError};

fn with_key(saga: &str, text: &str, key: &str) -> Start {
    wish(saga, text).idempotency_key(key.to_owned())
}

async fn keys(rig: &Rig) -> Vec<String> {
    let rows =
        rig.database.query("SELECT key FROM idempotency ORDER BY key", ()).await.expect("read");
    rows.iter().map(|row| row.get(0).expect("a text")).collect()
}

async fn insert_orphan(rig: &Rig, key: &str, saga: &str) {
    let sql = "INSERT INTO idempotency (key, request_hash, saga, stored_at)
        VALUES ($1, 'of another request', $2, 0)";
    let open = rig.database.begin().await.expect("begin");
    open.tx().execute(sql, (key, saga)).await.expect("insert");
    open.commit().await.expect("commit");
}

/// Creates an orchestrator that shares partitions and owns none.
async fn without_a_partition() -> Rig {
    let options =
        Options { lease: Some(Duration::from_secs(3)), owner: "one".into(), ..Options::default() };
    let rig = Rig::with(options, database()).await;
    let open = rig.database.begin().await.expect("begin");
    let theirs = "UPDATE ownership SET owner = 'two', lease_until = 9000000000000000, epoch = 7";
    open.tx().execute(theirs, ()).await.expect("update");
    open.commit().await.expect("commit");
    rig
}

#[tokio::test]
async fn rejected_starts_leave_no_key() {
    let mut rig = without_a_partition().await;
    for number in 0..50 {
        let refused = rig.start(with_key(&format!("s{number}"), "a", &format!("k{number}"))).await;
        assert!(matches!(refused, Err(StartError::Unavailable(_))), "{refused:?}");
    }
    assert_eq!(keys(&rig).await, [] as [&str; 0], "no saga was started");

    let mut rig = Rig::new().await;
    rig.start(with_key("1", "a", "k")).await.expect("accepted");
    let refused = rig.start(with_key("1", "b", "other")).await;
    assert!(matches!(refused, Err(StartError::OtherInput(_))), "{refused:?}");
    assert_eq!(keys(&rig).await, ["k"]);
}

#[tokio::test]
async fn a_rejected_start_leaves_its_key_free_for_others_of_its_turn() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    let handle = rig.handle.clone();
    let both = async {
        tokio::join!(handle.start(with_key("1", "b", "k")), handle.start(with_key("2", "a", "k")))
    };
    let (refused, started) = rig.while_turning(both).await;
    assert!(matches!(refused, Err(StartError::OtherInput(_))), "{refused:?}");
    started.expect("the key is free");
    let other = rig.start(with_key("3", "a", "k")).await;
    assert!(matches!(other, Err(StartError::OtherRequest)), "{other:?}");
}

#[tokio::test]
async fn a_key_without_a_saga_is_free() {
    let mut rig = Rig::new().await;
    insert_orphan(&rig, "k", "booklet:1").await;
    insert_orphan(&rig, "l", "booklet:gone").await;
    rig.start(with_key("1", "a", "k")).await.expect("no saga has the key");
    rig.start(with_key("2", "a", "l")).await.expect("no saga has the key");
    for (saga, key) in [("3", "k"), ("4", "l")] {
        let other = rig.start(with_key(saga, "a", key)).await;
        assert!(matches!(other, Err(StartError::OtherRequest)), "{other:?}");
    }
    rig.crash().await;
    for (saga, key) in [("1", "k"), ("2", "l")] {
        assert!(rig.start(with_key(saga, "a", key)).await.expect("the same request").existed);
    }
}

#[tokio::test]
async fn only_keys_without_a_saga_are_swept() {
    let mut rig = Rig::new().await;
    rig.start(with_key("1", "a", "a-kept")).await.expect("accepted");
    rig.start(with_key("2", "a", "z-kept")).await.expect("accepted");
    for key in ["b", "c", "d"] {
        insert_orphan(&rig, key, "booklet:gone").await;
    }
    for _ in 0..4 {
        rig.passes(Duration::from_secs(61));
        rig.turn().await;
    }
    assert_eq!(keys(&rig).await, ["a-kept", "z-kept"]);
}

#[tokio::test]
async fn a_key_compares_requests_by_meaning_not_by_spelling() {
    let mut rig = Rig::new().await;
    let start =
        |input: &str| Start { input: Body::parse(input).expect("JSON"), ..with_key("1", "", "k") };
    rig.start(start(r#"{"text":"a","n":1}"#)).await.expect("accepted");
    assert!(
        rig.start(start(r#"{ "n": 1.0, "text": "a" }"#)).await.expect("the same request").existed
    );
    let other = rig.start(start(r#"{"text":"a","n":1.00000000000000000001}"#)).await;
    assert!(matches!(other, Err(StartError::OtherRequest)), "{other:?}");
}

#[tokio::test]
async fn a_key_of_an_older_program_is_compared_by_text() {
    let mut rig = Rig::new().await;
    rig.start(wish("1", "a")).await.expect("accepted");
    // SHA-256 of "booklet:1", a zero byte and {"text":"a"}
    let hash = "f9b6ce20c48cb8cf1125d96073100618dcf7fdecd34ed8a969f66734d6ec74d1";
    let sql = "INSERT INTO idempotency (key, request_hash, saga, stored_at)
        VALUES ('k', $1, 'booklet:1', 0)";
    let open = rig.database.begin().await.expect("begin");
    open.tx().execute(sql, (hash,)).await.expect("insert");
    open.commit().await.expect("commit");
    assert!(rig.start(with_key("1", "a", "k")).await.expect("the same request").existed);
    let other = rig.start(with_key("2", "a", "k")).await;
    assert!(matches!(other, Err(StartError::OtherRequest)), "{other:?}");
}
