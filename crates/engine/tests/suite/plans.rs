//! Every statement of the engine finds its rows by an index on PostgreSQL, even with plans made for
//! empty tables.

use crate::common::{Rig, id, no, nothing, wish, written};
use sagamore_core::message::Swept;
use sagamore_core::saga::Status;
use sagamore_core::{ReplyTo, Timestamp};
use sagamore_database::testing::{needs_server, whole_table_walks};
use sagamore_engine::{Filter, Options};
use sagamore_transport::{Transport, wire};
use std::time::Duration;

/// The tables that grow.
const TABLES: [&str; 4] = ["saga", "journal", "idempotency", "handed"];

#[tokio::test]
async fn no_statement_of_the_engine_scans_a_whole_table() {
    if !needs_server() {
        return;
    }
    let second = Duration::from_secs(1);
    let options = Options {
        retention: second,
        barrier_retention: second,
        skew_max: second,
        ..Options::default()
    };
    let mut rig = Rig::with(options, crate::common::database()).await;
    for (key, answer) in [("1", written(1)), ("2", no())] {
        let start = wish(key, "a").idempotency_key(key.to_owned());
        rig.start(start).await.expect("accepted");
        for command in rig.commands().await {
            rig.reply(
                &command,
                if command.key.step.as_str() == "write" { answer.clone() } else { nothing() },
            )
            .await;
        }
        rig.turn().await;
    }
    rig.crash().await;
    rig.turn().await;
    for filter in [
        Filter::default(),
        Filter { status: Some(Status::Completed), ..Filter::default() },
        Filter { status: Some(Status::Stuck), ..Filter::default() },
        Filter { definition: Some("booklet".parse().expect("a name")), ..Filter::default() },
        Filter { key: Some("1".parse().expect("a text")), ..Filter::default() },
        Filter { after: Some("booklet:1".parse().expect("a text")), ..Filter::default() },
    ] {
        rig.handle.list(&filter).await.expect("list");
    }
    rig.show("1").await.expect("stored");
    let handle = rig.handle.clone();
    rig.while_turning(handle.cancel(id("never"))).await.expect("cancelled before its start");
    rig.now = Timestamp(rig.now.0 + 120_000);
    rig.turn().await; // sweeps journals
    for participant in ["alpha", "beta"] {
        let swept = Swept { participant: participant.parse().expect("a name"), before: rig.now };
        let reply_to = ReplyTo { topic: "sagamore.replies".into(), partition: 0 };
        rig.log.publish(vec![wire::encode_swept(&swept, &reply_to)]).await.expect("publish");
    }
    for _ in 0..4 {
        rig.turn().await; // sweeps rows, and publishes the horizon
    }
    rig.passes(Duration::from_secs(61));
    rig.turn().await;
    let (checked, walks) = whole_table_walks(&rig.database, &TABLES).await.expect("the plans");
    assert!(checked > 10, "only {checked} statements were checked");
    assert!(walks.is_empty(), "{}", walks.join("\n\n"));
}
