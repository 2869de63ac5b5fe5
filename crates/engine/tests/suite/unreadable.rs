//! A reply that the transport cannot read becomes a dead letter, and the orchestrator continues
//! after it. An invalid row of `ownership` is skipped.

use crate::common::{Rig, database, wish, written};
use sagamore_core::Outcome;
use sagamore_engine::Options;
use sagamore_transport::torn::TORN;
use sagamore_transport::{Record, Transport, wire};

#[tokio::test]
async fn an_unreadable_reply_is_a_dead_letter_and_its_command_is_resent() {
    let mut rig = Rig::new().await;
    for key in ["1", "2"] {
        rig.start(wish(key, "a")).await.expect("accepted");
    }
    let commands = rig.commands().await;
    let reply = wire::encode_reply(
        &reply(&commands[0], written(1)),
        &commands[0].reply_to,
        &commands[0].participant,
        sagamore_core::Timestamp(0),
    );
    rig.log.publish(vec![Record { body: TORN.into(), ..reply }]).await.expect("publish");
    rig.reply(&commands[1], written(1)).await;
    rig.turn().await;
    assert_eq!(rig.records("sagamore.replies-dlt").await, 1);
    assert_eq!(rig.command().await.name.as_str(), "beta.print", "the other saga continues");
    rig.crash().await;
    rig.turn().await;
    let again = rig.commands().await;
    assert!(again.iter().any(|command| command.id() == commands[0].id()), "{again:?}");
    assert_eq!(rig.records("sagamore.replies-dlt").await, 1, "the reply is not redelivered");
}

fn reply(command: &sagamore_core::Command, outcome: Outcome) -> sagamore_core::Reply {
    sagamore_core::Reply { key: command.key.clone(), outcome: outcome.into(), trace: None }
}

#[tokio::test]
async fn an_invalid_row_of_ownership_does_not_stop_the_orchestrator() {
    let lease = Some(std::time::Duration::from_secs(3));
    for options in
        [Options::default(), Options { lease, owner: "one".into(), ..Options::default() }]
    {
        let mut rig = Rig::with(options.clone(), database()).await;
        let open = rig.database.begin().await.expect("begin");
        let rows = "INSERT INTO ownership (reply_partition, owner, epoch)
            VALUES (-1, 'x', 1), (5000000000, '', 1)";
        open.tx().execute(rows, ()).await.expect("insert");
        open.commit().await.expect("commit");
        for _ in 0..6 {
            rig.try_turn().await.expect("a turn beside the invalid rows");
            rig.passes(std::time::Duration::from_millis(600));
        }
        rig.start(wish("1", "a")).await.expect("accepted");
        assert_eq!(rig.command().await.saga().key(), "1");
    }
}
