//! A reply that the transport cannot read is a dead letter, and the orchestrator goes on behind it.

use crate::common::{Rig, wish, written};
use sagamore_core::Outcome;
use sagamore_transport::torn::TORN;
use sagamore_transport::{Record, Transport, wire};

#[tokio::test]
async fn a_reply_that_the_transport_cannot_read_is_set_aside_and_its_command_is_sent_again() {
    let mut rig = Rig::new().await;
    for key in ["1", "2"] {
        rig.start(wish(key, "a")).await.expect("accepted");
    }
    let commands = rig.commands().await;
    let reply = wire::encode_reply(&reply(&commands[0], written(1)), &commands[0].reply_to, &commands[0].participant);
    rig.log.publish(vec![Record { body: TORN.into(), ..reply }]).await.expect("publish");
    rig.reply(&commands[1], written(1)).await;
    rig.turn().await;
    assert_eq!(rig.records("sagamore.replies-dlt").await, 1);
    assert_eq!(rig.command().await.name.as_str(), "beta.print", "the other saga goes on");
    rig.crash().await;
    rig.turn().await;
    let again = rig.commands().await;
    assert!(again.iter().any(|command| command.id() == commands[0].id()), "{again:?}");
    assert_eq!(rig.records("sagamore.replies-dlt").await, 1, "it does not come again");
}

fn reply(command: &sagamore_core::Command, outcome: Outcome) -> sagamore_core::Reply {
    sagamore_core::Reply { key: command.key.clone(), outcome, traceparent: None }
}
