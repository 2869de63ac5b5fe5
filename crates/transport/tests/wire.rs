//! Messages on the wire: what is encoded is decoded again, and what cannot be decoded says what is wrong with it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use proptest::option;
use proptest::prelude::*;
use sagamore_core::message::{Command, Outcome, Refusal, Reply, ReplyTo};
use sagamore_core::{Body, Direction, Name, SagaId, StepKey, Timestamp};
use sagamore_transport::wire::{
    bare_letter, command_topic, dead_letter, decode_command, decode_reply, encode_command, encode_reply,
    publish_letter, redrive,
};
use sagamore_transport::{Delivered, Error, Log, MemoryDisk, Record, Subscription, Transport, log};

fn name() -> impl Strategy<Value = Name> {
    "[a-z][a-z0-9.-]{0,30}".prop_map(|text| Name::new(&text).unwrap())
}

fn key() -> impl Strategy<Value = StepKey> {
    let direction = prop_oneof![Just(Direction::Action), Just(Direction::Compensation)];
    (name(), "[ -~äß:/]{1,40}", name(), direction, 1..u32::MAX).prop_map(
        |(definition, key, step, direction, generation)| StepKey {
            saga: SagaId::new(&definition, &key).unwrap(),
            step,
            direction,
            generation,
        },
    )
}

fn body() -> impl Strategy<Value = Body> {
    any::<String>().prop_map(|text| Body::of(&serde_json::json!({ "text": text, "number": 1.50 })).unwrap())
}

fn trace() -> impl Strategy<Value = Option<String>> {
    option::of("00-[0-9a-f]{32}-[0-9a-f]{16}-01")
}

prop_compose! {
    fn command()(
        (key, version, attempt, participant, name, body) in (key(), any::<u32>(), any::<u32>(), name(), name(), body()),
        (topic, partition) in (name(), any::<u32>()),
        expires_at in option::of(any::<i64>().prop_map(Timestamp)),
        traceparent in trace(),
    ) -> Command {
        let reply_to = ReplyTo { topic: topic.as_str().to_owned(), partition };
        Command { key, version, attempt, participant, name, body, reply_to, expires_at, traceparent }
    }
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        body().prop_map(Outcome::Done),
        (any::<String>(), any::<String>()).prop_map(|(code, message)| Outcome::Refused(Refusal::new(code, message))),
        any::<String>().prop_map(Outcome::Fault),
    ]
}

proptest! {
    #[test]
    fn a_command_comes_back_from_the_wire(command in command()) {
        let record = encode_command(&command);
        prop_assert_eq!(record.key.as_ref(), command.key.saga.key().as_bytes());
        prop_assert_eq!(&record.topic, &command_topic(&command.participant));
        prop_assert_eq!(decode_command(&record).unwrap(), command);
    }

    #[test]
    fn a_reply_comes_back_from_the_wire(key in key(), outcome in outcome(), traceparent in trace(), source in name()) {
        let reply = Reply { key, outcome, traceparent };
        let reply_to = ReplyTo { topic: "sagamore.replies".to_owned(), partition: 7 };
        let record = encode_reply(&reply, &reply_to, &source);
        prop_assert_eq!((&*record.topic, record.partition), ("sagamore.replies", Some(7)));
        prop_assert_eq!(record.key.as_ref(), reply.key.saga.key().as_bytes());
        prop_assert_eq!(decode_reply(&record).unwrap(), reply);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_without_a_panic(
        command in command(), which in any::<prop::sample::Index>(), value in any::<Vec<u8>>(), drop_it in any::<bool>(),
    ) {
        let mut record = encode_command(&command);
        let at = which.index(record.headers.len());
        if drop_it { record.headers.remove(at); } else { record.headers[at].1 = Bytes::from(value); }
        let _any = (decode_command(&record), decode_reply(&record));
    }

    #[test]
    fn a_dead_letter_can_be_redriven(command in command(), partition in any::<u32>(), offset in any::<u64>(), reason in any::<String>()) {
        let record = Record { partition: Some(partition), ..encode_command(&command) };
        let dead = dead_letter(&Delivered { record: record.clone(), partition, offset, unreadable: None }, &reason);
        prop_assert_eq!(&*dead.topic, format!("{}-dlt", record.topic));
        prop_assert_eq!(redrive(&dead), Some(record));
    }
}

fn charge() -> Command {
    Command {
        key: StepKey {
            saga: "checkout:10248".parse().unwrap(),
            step: Name::new("charge-payment").unwrap(),
            direction: Direction::Action,
            generation: 1,
        },
        version: 1,
        attempt: 2,
        participant: Name::new("payment").unwrap(),
        name: Name::new("payment.charge").unwrap(),
        body: Body::parse(r#"{"amountCents": 44000}"#).unwrap(),
        reply_to: ReplyTo { topic: "sagamore.replies".to_owned(), partition: 3 },
        expires_at: Some(Timestamp(1_790_000_000_000)),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
    }
}

fn shown(record: &Record) -> Vec<String> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    record.headers.iter().map(|(name, value)| format!("{name}: {}", text(value))).collect()
}

/// The contract for participants in other languages.
#[test]
fn a_command_looks_like_this() {
    let record = encode_command(&charge());
    assert_eq!(&*record.topic, "payment.commands");
    assert_eq!(
        shown(&record),
        [
            "ce_specversion: 1.0",
            "ce_id: checkout:10248/charge-payment/action/1",
            "ce_source: /sagamore",
            "ce_type: payment.charge",
            "ce_subject: 10248",
            "ce_correlationid: checkout:10248",
            "ce_sagastep: charge-payment",
            "ce_sagakind: action",
            "ce_sagageneration: 1",
            "ce_sagadefinition: checkout",
            "ce_sagaversion: 1",
            "ce_sagaattempt: 2",
            "ce_sagareplytopic: sagamore.replies",
            "ce_sagareplypartition: 3",
            "ce_sagaexpires: 1790000000000",
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "content-type: application/json",
        ]
    );
    assert_eq!(record.body, r#"{"amountCents": 44000}"#, "the body goes as it is");
}

/// The contract for participants in other languages.
#[test]
fn a_reply_looks_like_this() {
    let Command { key, reply_to, .. } = charge();
    let outcome = Outcome::Refused(Refusal::new("not-enough-money", "no"));
    let record = encode_reply(&Reply { key, outcome, traceparent: None }, &reply_to, &Name::new("payment").unwrap());
    assert_eq!((&*record.topic, record.partition), ("sagamore.replies", Some(3)));
    assert_eq!(
        shown(&record),
        [
            "ce_specversion: 1.0",
            "ce_id: checkout:10248/charge-payment/action/1/reply",
            "ce_source: /payment",
            "ce_type: sagamore.reply",
            "ce_subject: 10248",
            "ce_causationid: checkout:10248/charge-payment/action/1",
            "ce_correlationid: checkout:10248",
            "ce_sagastep: charge-payment",
            "ce_sagakind: action",
            "ce_sagageneration: 1",
            "ce_sagaoutcome: refused",
            "content-type: application/json",
        ]
    );
    assert_eq!(record.body, r#"{"code":"not-enough-money","message":"no"}"#);
}

/// Poison with readable headers: the command can be answered with a stored refusal.
#[test]
fn a_command_whose_body_is_no_json_still_says_which_step_and_where_the_answer_goes() {
    let command = charge();
    let record = Record { body: Bytes::from_static(b"\xff{"), ..encode_command(&command) };
    let undecodable = decode_command(&record).unwrap_err();
    assert_eq!((undecodable.key, undecodable.reply_to), (Some(command.key), Some(command.reply_to)));
}

/// Poison without readable headers: nothing can be answered, and the reason names the header.
#[test]
fn a_record_without_our_headers_says_what_is_missing() {
    let record = Record { headers: Vec::new(), ..encode_command(&charge()) };
    let undecodable = decode_command(&record).unwrap_err();
    assert_eq!((undecodable.key, undecodable.reply_to), (None, None));
    assert_eq!(undecodable.reason, "header ce_correlationid is missing or no text");
    assert!(decode_reply(&record).unwrap_err().key.is_none());
}

#[test]
fn a_dead_letter_says_where_it_was_and_why_as_spring_does_and_for_people() {
    let record = encode_command(&charge());
    let headers = record.headers.len();
    let dead = dead_letter(&Delivered { record, partition: 2, offset: 1042, unreadable: None }, "the body is no JSON");
    assert_eq!((&*dead.topic, dead.partition), ("payment.commands-dlt", Some(2)));
    assert_eq!(dead.header("kafka_dlt-original-topic").unwrap(), "payment.commands");
    assert_eq!(dead.header("kafka_dlt-original-partition").unwrap().as_ref(), [0, 0, 0, 2]);
    assert_eq!(dead.header("kafka_dlt-original-offset").unwrap().as_ref(), [0, 0, 0, 0, 0, 0, 4, 18]);
    assert_eq!(dead.header("kafka_dlt-exception-message").unwrap(), "the body is no JSON");
    assert_eq!(dead.header("sagamore-dlt-place").unwrap(), "payment.commands[2]@1042");
    assert_eq!(dead.header("sagamore-dlt-reason").unwrap(), "the body is no JSON");
    let again = redrive(&dead).unwrap();
    assert_eq!((&*again.topic, again.partition, again.headers.len()), ("payment.commands", Some(2), headers));
}

/// What came in may be of any length; what is told of it is not.
#[test]
fn complaints_are_short_whatever_they_quote() {
    let endless = Bytes::from("ä".repeat(50_000));
    for name in ["ce_correlationid", "ce_sagastep", "ce_sagageneration", "ce_type", "ce_sagaexpires"] {
        let mut record = encode_command(&charge());
        record.headers.iter_mut().filter(|(header, _)| header == name).for_each(|(_, value)| *value = endless.clone());
        let reason = decode_command(&record).unwrap_err().reason;
        assert!(reason.contains(name) && reason.contains('ä') && reason.len() <= 2_000, "{} bytes", reason.len());
    }
    let mut record = encode_command(&charge());
    record.headers.push(("ce_sagaoutcome".into(), endless.clone()));
    assert!(decode_reply(&record).unwrap_err().reason.len() <= 2_000);

    let record = encode_command(&charge());
    let endless = format!("x{}", "ä".repeat(50_000)); // so that 2,000 bytes end in the middle of a letter
    let dead = dead_letter(&Delivered { record, partition: 2, offset: 1042, unreadable: None }, &endless);
    let reason = std::str::from_utf8(dead.header("sagamore-dlt-reason").unwrap()).unwrap();
    assert_eq!((reason.len(), dead.header("kafka_dlt-exception-message").unwrap().len()), (1_999, 1_999));
}

#[test]
fn a_bare_letter_says_where_the_record_is_and_why_and_nothing_else() {
    let mut record = encode_command(&charge());
    record.key = Bytes::from(vec![b'k'; 1 << 20]);
    record.headers.push(("foreign".into(), Bytes::from(vec![0; 1 << 20])));
    let bare =
        bare_letter(&dead_letter(&Delivered { record, partition: 2, offset: 1042, unreadable: None }, "no JSON"));
    assert_eq!(
        (&*bare.topic, bare.partition, bare.key.len(), bare.body.len()),
        ("payment.commands-dlt", Some(2), 200, 0)
    );
    assert!(bare.headers.iter().all(|(name, _)| name.contains("dlt")), "{:?}", bare.headers);
    assert_eq!(bare.header("sagamore-dlt-place").unwrap(), "payment.commands[2]@1042");
    assert_eq!(bare.header("sagamore-dlt-reason").unwrap(), "no JSON");
}

/// Whole if that can be, bare if it must be, in another partition where its own is not there.
#[test]
fn a_dead_letter_is_published_as_it_can_be() {
    let log = Log::on(Arc::new(MemoryDisk::new()), log::Options::default()).unwrap();
    log.create_topic("payment.commands-dlt", 1).now_or_never().unwrap().unwrap();
    let subscription =
        Subscription { group: "looks".into(), topics: vec!["payment.commands-dlt".into()], partitions: None };
    let mut letters = log.subscribe(subscription).now_or_never().unwrap().unwrap();
    let mut huge = encode_command(&charge());
    huge.headers.push(("foreign".into(), Bytes::from(vec![0; 1 << 20])));
    for (record, partition, body_bytes) in
        [(encode_command(&charge()), 0, 22), (encode_command(&charge()), 5, 22), (huge, 5, 0)]
    {
        let letter = dead_letter(&Delivered { record, partition, offset: 7, unreadable: None }, "why");
        publish_letter(&log, letter).now_or_never().unwrap().unwrap();
        let letter = letters.poll(9).now_or_never().unwrap().unwrap().pop().unwrap().record;
        assert_eq!((letter.body.len(), &letter.key[..]), (body_bytes, b"10248".as_ref()));
        let place = format!("payment.commands[{partition}]@7");
        assert_eq!(letter.header("sagamore-dlt-place").unwrap(), place.as_bytes());
    }
    let nowhere = Record { topic: "nowhere-dlt".into(), ..encode_command(&charge()) };
    assert!(matches!(publish_letter(&log, nowhere).now_or_never().unwrap(), Err(Error::UnknownTopic(_))));
}
