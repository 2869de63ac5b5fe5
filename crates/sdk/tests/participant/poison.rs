//! Unreadable, expired and unknown messages: the saga continues, and every such message is visible.

use sagamore_core::message::code::{ALREADY_COMPENSATED, UNDECODABLE};
use sagamore_core::{Body, Timestamp};
use sagamore_database::Error;
use sagamore_sdk::{Options, TurnReport};
use sagamore_transport::torn::TORN;
use sagamore_transport::wire::{encode_command, redrive};
use sagamore_transport::{Record, log};

use crate::toy::Mood;
use crate::trouble::{Call, Trouble, When};
use crate::world::*;

#[tokio::test]
async fn an_unreadable_body_is_a_stored_refusal_and_a_dead_letter() {
    let mut world = World::new().await;
    world.publish(vec![garbled(&add("10248"))]).await;
    let outcomes = world.ask([add("10249")]).await;
    assert_eq!(code(&outcomes[0]), UNDECODABLE);
    assert_eq!(outcomes[1], added("10249"));
    let dead = world.dead_letters().await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].body, garbled(&add("10248")).body);
    assert_eq!(
        dead[0].header("sagamore-dlt-place").map(|place| place.as_ref()),
        Some(b"tally.commands[0]@0".as_ref())
    );
    // a redriven dead letter meets the stored refusal and becomes a dead letter again
    world.publish(vec![redrive(&dead[0]).expect("the redriven record")]).await;
    assert_eq!(code(&world.ask([add("10248")]).await[0]), UNDECODABLE);
    assert_eq!((world.dead_letters().await.len(), world.calls.add()), (1, 1));
    // a readable command meets the stored refusal as well, until an operator's retry
    assert_eq!(code(&world.ask([add("10248")]).await[0]), UNDECODABLE);
    assert_eq!(world.ask([generation(2, add("10248"))]).await, [added("10248")]);
}

/// The transport cannot read the record, so only its place is known.
#[tokio::test]
async fn an_unreadable_record_is_a_dead_letter_and_the_next_one_is_executed() {
    let mut world = World::new().await;
    let torn =
        Record { body: TORN.into(), ..encode_command(&add("10248"), sagamore_core::Timestamp(0)) };
    world.publish(vec![torn]).await;
    assert_eq!(world.ask([add("10249")]).await, [added("10249")]);
    let dead = world.dead_letters().await;
    assert_eq!(dead.len(), 1);
    let header =
        |name: &str| dead[0].header(name).map(|value| String::from_utf8_lossy(value).into_owned());
    assert_eq!(header("sagamore-dlt-place").as_deref(), Some("tally.commands[0]@0"));
    assert_eq!(header("sagamore-dlt-reason").as_deref(), Some("its checksum is wrong"));
    assert!(dead[0].body.is_empty(), "{dead:?}");
    world.restart();
    assert_eq!(world.turn().await, TurnReport { taken: 0 }, "it is not redelivered");
    assert_eq!(world.calls.add(), 1);
}

#[tokio::test]
async fn a_body_of_another_shape_is_refused_alike() {
    let mut world = World::new().await;
    let mut odd = add("10248");
    odd.body = Body::parse(r#"{"name":7}"#).expect("JSON");
    for _ in 0..2 {
        assert_eq!(code(&world.ask([odd.clone()]).await[0]), UNDECODABLE);
        assert_eq!(world.dead_letters().await.len(), 1);
    }
    assert_eq!(world.ask([subtract("10248")]).await, [nothing_to_undo()]);
    assert_eq!((world.calls.add(), world.calls.subtract()), (0, 0));
}

/// Only declared names lead to code. The next version of the program may know the name, so the
/// command stays open until then.
#[tokio::test]
async fn an_undeclared_action_is_a_fault_that_a_later_program_can_execute() {
    let mut world = World::new().await;
    for (key, name) in [("a", "tally.drop-table"), ("b", "tally.subtract")] {
        let mut odd = add(key);
        odd.name = name.parse().expect("a name");
        let outcomes = world.ask([odd]).await;
        let text = fault(&outcomes[0]);
        assert!(text.contains(name) && text.contains("it knows: tally.add"), "{text}");
    }
    assert_eq!((world.state().await, world.dead_letters().await.len()), (vec![], 0));
    assert_eq!((world.calls.add(), world.calls.subtract()), (0, 0));
    assert_eq!(world.ask([add("a")]).await, [added("a")]);
}

/// Only a refusal ends an undo permanently, and the next version of the program may know the
/// message.
#[tokio::test]
async fn an_undeclared_undo_is_a_fault_unless_there_is_nothing_to_undo() {
    let mut world = World::new().await;
    world.ask([add("10248")]).await;
    for name in ["tally.take-back", "tally.add"] {
        let (mut odd, mut early) = (subtract("10248"), subtract(name));
        (odd.name, early.name) = (name.parse().expect("a name"), name.parse().expect("a name"));
        let outcomes = world.ask([odd, early]).await;
        assert!(fault(&outcomes[0]).contains("no compensation"), "{outcomes:?}");
        assert_eq!(outcomes[1], nothing_to_undo());
    }
    assert_eq!(world.dead_letters().await.len(), 0);
    assert_eq!(world.ask([subtract("10248")]).await, [subtracted()]);
}

#[tokio::test]
async fn an_unreadable_undo_still_leaves_its_tombstone() {
    let mut world = World::new().await;
    world.publish(vec![garbled(&subtract("10248"))]).await;
    let outcomes = world.ask([add("10248")]).await;
    assert_eq!(outcomes[0], nothing_to_undo());
    assert_eq!(code(&outcomes[1]), ALREADY_COMPENSATED);
    assert_eq!(world.dead_letters().await.len(), 1);
}

#[tokio::test]
async fn an_unreadable_undo_is_refused_when_there_is_something_to_undo() {
    let mut world = World::new().await;
    world.ask([add("10248")]).await;
    world.publish(vec![garbled(&subtract("10248"))]).await;
    let outcomes = world.ask([subtract("10248")]).await;
    assert_eq!(outcomes.iter().map(code).collect::<Vec<_>>(), [UNDECODABLE; 2]);
    assert_eq!((world.dead_letters().await.len(), world.tally("10248").await), (1, Some(5)));
    assert_eq!(world.ask([generation(2, subtract("10248"))]).await, [subtracted()]);
}

/// Bad stored data is a fault of that one command.
#[tokio::test]
async fn an_unreadable_stored_output_is_a_fault() {
    let mut world = World::new().await;
    for (status, answer) in [("done", r#"{"name":7}"#), ("done", "{"), ("unheard-of", "{}")] {
        world.ask([add("10248")]).await;
        let open = world.database.begin().await.expect("begin");
        open.tx()
            .execute("UPDATE barrier SET status = $1, answer = $2", (status, answer))
            .await
            .expect("damage");
        open.commit().await.expect("commit");
        let outcomes = world.ask([subtract("10248"), add("other")]).await;
        assert!(!fault(&outcomes[0]).is_empty());
        assert_eq!(outcomes[1], added("other"));
        let open = world.database.begin().await.expect("begin");
        open.tx().execute("DELETE FROM barrier", ()).await.expect("empty the barrier");
        open.commit().await.expect("commit");
    }
    assert_eq!(world.calls.subtract(), 0);
}

#[tokio::test]
async fn a_record_without_a_key_is_a_dead_letter_without_a_reply() {
    let mut world = World::new().await;
    let mut bare = encode_command(&add("10248"), sagamore_core::Timestamp(0));
    bare.headers.clear();
    let zeroth = encode_command(&generation(0, add("10248")), sagamore_core::Timestamp(0));
    world.publish(vec![bare, zeroth]).await;
    assert_eq!(world.ask([add("10249")]).await, [added("10249")]);
    assert_eq!(world.dead_letters().await.len(), 2);
    assert_eq!(world.ask([add("10248")]).await, [added("10248")]);
}

fn reason(letter: &Record) -> &[u8] {
    letter.header("sagamore-dlt-reason").expect("every dead letter has a reason")
}

/// The parser's error quotes the whole escaped text, several times as long as the text itself.
#[tokio::test]
async fn the_reason_of_a_dead_letter_is_truncated() {
    let mut world = World::new().await;
    let mut odd = add("10248");
    odd.body = Body::parse(&format!(r#"{{"name":"10248","by":"{}"}}"#, r"\u0001".repeat(100_000)))
        .expect("JSON");
    let outcomes = world.ask([odd.clone(), add("10249")]).await;
    assert_eq!((code(&outcomes[0]), &outcomes[1]), (UNDECODABLE, &added("10249")));
    let dead = world.dead_letters().await;
    assert_eq!((dead.len(), dead[0].body.len()), (1, odd.body.as_str().len()));
    let reason = std::str::from_utf8(reason(&dead[0])).expect("a text");
    assert!(
        reason.contains(r"\u{1}\u{1}") && reason.len() <= 2_000,
        "{} bytes: {reason}",
        reason.len()
    );
}

/// The record has the maximum size, so its dead letter would exceed it.
#[tokio::test]
async fn an_oversized_dead_letter_is_sent_with_place_and_reason_only() {
    let mut world = World::new().await;
    for (headers, body) in [(1_000_000, 47_800), (47_800, 1_000_000), (1_047_800, 0)] {
        let mut huge = garbled(&add("10248"));
        huge.headers.push(("foreign".into(), vec![b'h'; headers].into()));
        huge.body = vec![b'{'; body].into();
        world.publish(vec![huge.clone()]).await;
        let outcomes = world.ask([add("10249")]).await;
        assert_eq!((code(&outcomes[0]), &outcomes[1]), (UNDECODABLE, &added("10249")));
        let dead = world.dead_letters().await;
        assert_eq!((dead.len(), &dead[0].key, dead[0].body.len()), (1, &huge.key, 0));
        assert!(!reason(&dead[0]).is_empty() && dead[0].header("foreign").is_none());
    }
}

#[tokio::test]
async fn a_dead_letter_without_its_partition_goes_to_another() {
    let mut world =
        World::upon(log::Options::default(), 2, &Trouble::default(), Options::default()).await;
    world.publish(vec![Record { partition: Some(1), ..garbled(&add("10248")) }]).await;
    world
        .publish(vec![Record {
            partition: Some(1),
            ..encode_command(&add("10249"), sagamore_core::Timestamp(0))
        }])
        .await;
    world.settle().await;
    assert_eq!(world.replies().await.len(), 2);
    let dead = world.dead_letters().await;
    assert_eq!(
        dead[0].header("sagamore-dlt-place").map(|place| place.as_ref()),
        Some(b"tally.commands[1]@0".as_ref())
    );
}

/// The transport rejects the dead letter in every form. Endless retries would block all later
/// records.
#[tokio::test]
async fn a_dead_letter_that_cannot_be_written_blocks_no_other_record() {
    let bounds = log::Options { record_bytes_max: 800, ..log::Options::default() };
    let mut world = World::upon(bounds, 1, &Trouble::default(), Options::default()).await;
    let mut wordy = encode_command(&add("10248"), sagamore_core::Timestamp(0));
    wordy.headers.retain(|(name, _)| {
        ["ce_correlationid", "ce_sagastep", "ce_sagakind"].contains(&name.as_ref())
    });
    // the reason quotes it in two headers
    wordy.headers.push(("ce_sagageneration".into(), vec![b'x'; 400].into()));
    world.publish(vec![wordy]).await;
    assert_eq!(world.ask([add("10249")]).await, [added("10249")]);
    assert_eq!((world.dead_letters().await.len(), world.participant.lag()), (0, Some(0)));
}

/// The refusal is stored, and the process dies before the dead letter is published.
#[tokio::test]
async fn a_crash_between_commit_and_publish_loses_no_dead_letter() {
    let trouble = Trouble::default();
    let mut world = World::behind(&trouble, Options::default()).await;
    world.publish(vec![garbled(&add("10248"))]).await;
    trouble.fail(Call::Publish, When::Before, Error::Over);
    world
        .participant
        .turn(now(), &mut fastrand::Rng::with_seed(1))
        .await
        .expect_err("the transport is down");
    world.restart();
    world.settle().await;
    assert_eq!((world.dead_letters().await.len(), world.replies().await.len()), (1, 1));
}

#[tokio::test]
async fn an_undeliverable_reply_blocks_no_other_command() {
    let mut world = World::new().await;
    let mut lost = add("10248");
    lost.reply_to.topic = "no.such.topic".into();
    let mut beyond = add("10250");
    beyond.reply_to.partition = 77;
    assert_eq!(world.ask([lost, add("10249")]).await, [added("10249")]);
    assert_eq!(world.dead_letters().await.len(), 1);
    assert_eq!(world.tally("10248").await, Some(5), "the step is done, and a resend is answered");
    assert_eq!(world.ask([beyond, add("10249")]).await, [added("10249")]);
    assert_eq!(world.dead_letters().await.len(), 1);
}

/// An expired action leaves no row and no reply. Its orchestrator resends or compensates.
#[tokio::test]
async fn an_action_that_expired_is_skipped_silently() {
    let mut world = World::new().await;
    let mut late = add("10248");
    late.expires_at = Some(Timestamp(now().0 - 60_001)); // clocks may differ by a minute
    assert_eq!(world.ask([late]).await, []);
    assert_eq!((world.state().await, world.dead_letters().await.len()), (vec![], 0));
    let mut in_time = add("10248");
    in_time.expires_at = Some(Timestamp(now().0 - 60_000));
    assert_eq!(world.ask([in_time]).await, [added("10248")]);
}

#[tokio::test]
async fn an_undo_never_expires() {
    let mut world = World::new().await;
    world.ask([add_in("10248", Mood::Calm, Mood::Calm)]).await;
    let mut late = subtract("10248");
    late.expires_at = Some(Timestamp(0));
    assert_eq!(world.ask([late]).await, [subtracted()]);
}
