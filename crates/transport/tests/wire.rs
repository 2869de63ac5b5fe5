//! The wire format: round trips, and errors that name the invalid part.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use proptest::option;
use proptest::prelude::*;
use sagamore_core::message::{Command, Outcome, Refusal, Reply, ReplyOutcome, ReplyTo};
use sagamore_core::{Body, Direction, Name, SagaId, StepKey, Timestamp, TraceContext};
use sagamore_transport::wire::{
    Flaw, REPLY_BYTES_MAX, bare_letter, command_topic, dead_letter, decode_command, decode_reply,
    encode_command, encode_reply, publish_letter, redrive,
};
use sagamore_transport::{Delivery, Error, Log, MemoryDisk, Record, Subscription, Transport, log};

fn name() -> impl Strategy<Value = Name> {
    "[a-z][a-z0-9.-]{0,30}".prop_map(|text| Name::new(&text).unwrap())
}

fn key() -> impl Strategy<Value = StepKey> {
    let direction = prop_oneof![Just(Direction::Action), Just(Direction::Compensation)];
    let key = "[ -~äß:/]{1,40}"
        .prop_filter("no saga has such a key", |key| ![".", ".."].contains(&key.as_str()));
    (name(), key, name(), direction, 1..u32::MAX).prop_map(
        |(definition, key, step, direction, generation)| StepKey {
            saga: SagaId::new(&definition, &key).unwrap(),
            step,
            direction,
            generation,
        },
    )
}

/// Texts without U+0000, which no body may contain.
fn text() -> impl Strategy<Value = String> {
    any::<String>().prop_map(|text| text.replace('\0', ""))
}

fn body() -> impl Strategy<Value = Body> {
    text().prop_map(|text| Body::of(&serde_json::json!({ "text": text, "number": 1.50 })).unwrap())
}

fn trace() -> impl Strategy<Value = Option<TraceContext>> {
    option::of(("00-[0-9a-f]{31}1-[0-9a-f]{15}1-01", option::of("[a-z]{1,9}=[!-+]{1,9}"))).prop_map(
        |given| given.and_then(|(parent, state)| TraceContext::of(&parent, state.as_deref())),
    )
}

prop_compose! {
    fn command()(
        (key, version, attempt, participant, name, body)
            in (key(), any::<u32>(), any::<u32>(), name(), name(), body()),
        (topic, partition) in (name(), any::<u32>()),
        expires_at in option::of((0..i64::MAX).prop_map(Timestamp)),
        trace in trace(),
    ) -> Command {
        let reply_to = ReplyTo { topic: topic.as_str().to_owned(), partition };
        Command { key, version, attempt, participant, name, body, reply_to, expires_at, trace }
    }
}

fn outcome() -> impl Strategy<Value = ReplyOutcome> {
    prop_oneof![
        body().prop_map(|output| Outcome::Done(output).into()),
        (text(), text())
            .prop_map(|(code, message)| Outcome::Refused(Refusal::new(code, message)).into()),
        text().prop_map(|fault| Outcome::Fault(fault).into()),
        (0..=86_400_000u64).prop_map(|ms| ReplyOutcome::Pending(Duration::from_millis(ms))),
        text().prop_map(ReplyOutcome::Unknown),
        Just(ReplyOutcome::Absent),
    ]
}

proptest! {
    #[test]
    fn a_command_survives_a_round_trip(command in command()) {
        let record = encode_command(&command, Timestamp(0));
        prop_assert_eq!(record.key.as_ref(), command.key.saga.key().as_bytes());
        prop_assert_eq!(&record.topic, &command_topic(&command.participant));
        prop_assert_eq!(decode_command(&record).unwrap(), command);
    }

    #[test]
    fn a_reply_survives_a_round_trip(
        key in key(), outcome in outcome(), trace in trace(), source in name()
    ) {
        let absent = outcome == ReplyOutcome::Absent;
        let direction = if absent { Direction::Query } else { key.direction };
        let reply = Reply { key: StepKey { direction, ..key }, outcome, trace };
        let reply_to = ReplyTo { topic: "sagamore.replies".to_owned(), partition: 7 };
        let record = encode_reply(&reply, &reply_to, &source, Timestamp(0));
        prop_assert_eq!((&*record.topic, record.partition), ("sagamore.replies", Some(7)));
        prop_assert_eq!(record.key.as_ref(), reply.key.saga.key().as_bytes());
        prop_assert_eq!(decode_reply(&record).unwrap(), reply);
    }

    #[test]
    fn any_bytes_are_decoded_or_rejected_without_a_panic(
        command in command(), which in any::<prop::sample::Index>(),
        value in any::<Vec<u8>>(), drop_it in any::<bool>(),
    ) {
        let mut record = encode_command(&command, Timestamp(0));
        let at = which.index(record.headers.len());
        if drop_it {
            record.headers.remove(at);
        } else {
            record.headers[at].1 = Bytes::from(value);
        }
        let _any = (decode_command(&record), decode_reply(&record));
    }

    #[test]
    fn a_dead_letter_can_be_redriven(
        command in command(), partition in any::<u32>(), offset in any::<u64>(),
        reason in any::<String>()
    ) {
        let record =
            Record { partition: Some(partition), ..encode_command(&command, Timestamp(0)) };
        let delivery = Delivery { record: record.clone(), partition, offset, unreadable: None };
        let dead = dead_letter(&delivery, &reason);
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
        trace: TraceContext::of(
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            Some("rojo=1"),
        ),
    }
}

fn shown(record: &Record) -> Vec<String> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    record.headers.iter().map(|(name, value)| format!("{name}: {}", text(value))).collect()
}

/// This is the contract for participants in other languages.
#[test]
fn a_command_has_these_headers() {
    let record = encode_command(&charge(), Timestamp(0));
    assert_eq!(&*record.topic, "payment.commands");
    assert_eq!(
        shown(&record),
        [
            "ce_specversion: 1.0",
            "ce_id: checkout:10248/charge-payment/action/1",
            "ce_source: /sagamore",
            "ce_type: payment.charge",
            "ce_time: 1970-01-01T00:00:00.000Z",
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
            "tracestate: rojo=1",
            "content-type: application/json",
        ]
    );
    assert_eq!(record.body, r#"{"amountCents": 44000}"#, "the body is unchanged");
}

/// This is the contract for participants in other languages.
#[test]
fn a_reply_has_these_headers() {
    let Command { key, reply_to, .. } = charge();
    let outcome = Outcome::Refused(Refusal::new("not-enough-money", "no"));
    let record = encode_reply(
        &Reply { key, outcome: outcome.into(), trace: None },
        &reply_to,
        &Name::new("payment").unwrap(),
        Timestamp(0),
    );
    assert_eq!((&*record.topic, record.partition), ("sagamore.replies", Some(3)));
    assert_eq!(
        shown(&record),
        [
            "ce_specversion: 1.0",
            "ce_id: checkout:10248/charge-payment/action/1/reply",
            "ce_source: /payment",
            "ce_type: sagamore.reply",
            "ce_time: 1970-01-01T00:00:00.000Z",
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

/// With readable headers an undecodable command is answered with a stored refusal.
#[test]
fn a_command_with_an_unreadable_body_still_has_its_key_and_reply_address() {
    let command = charge();
    let record =
        Record { body: Bytes::from_static(b"\xff{"), ..encode_command(&command, Timestamp(0)) };
    let undecodable = decode_command(&record).unwrap_err();
    assert_eq!(
        (undecodable.key, undecodable.reply_to),
        (Some(command.key), Some(command.reply_to))
    );
}

/// Each number has one form, so that two programs cannot read it differently.
#[test]
fn a_number_with_another_form_is_rejected() {
    let check = |name: &str, value: &'static str| {
        let mut record = encode_command(&charge(), Timestamp(0));
        let header = record.headers.iter_mut().find(|(header, _)| header == name).expect(name);
        header.1 = Bytes::from_static(value.as_bytes());
        let decoded = decode_command(&record);
        assert!(decoded.is_err_and(|why| why.reason.contains(name)), "{name}: {value}");
    };
    for name in [
        "ce_sagageneration",
        "ce_sagaversion",
        "ce_sagaattempt",
        "ce_sagareplypartition",
        "ce_sagaexpires",
    ] {
        for value in ["", "01", "00", "+1", "-1", "-0", " 1", "1.0", "1e3", "99999999999999999999"]
        {
            check(name, value);
        }
    }
}

/// A reply's texts go to other services, whose databases could not store U+0000.
#[test]
fn a_reply_with_a_nul_is_rejected() {
    let Command { key, reply_to, .. } = charge();
    for outcome in [
        Outcome::Done(Body::parse(r#"{"tracking":"a\u0000b"}"#).unwrap()),
        Outcome::Refused(Refusal::new("sold-out", "a\0b")),
    ] {
        let reply = Reply { key: key.clone(), outcome: outcome.into(), trace: None };
        let record = encode_reply(&reply, &reply_to, &Name::new("payment").unwrap(), Timestamp(0));
        let undecodable = decode_reply(&record).unwrap_err();
        assert_eq!((undecodable.key, undecodable.flaw), (Some(key.clone()), Flaw::Body));
        assert!(undecodable.reason.contains("U+0000"), "{}", undecodable.reason);
    }
}

/// Without readable headers no answer is possible, and the reason names the header.
#[test]
fn the_error_of_a_record_without_headers_names_the_missing_one() {
    let record = Record { headers: Vec::new(), ..encode_command(&charge(), Timestamp(0)) };
    let undecodable = decode_command(&record).unwrap_err();
    assert_eq!((undecodable.key, undecodable.reply_to), (None, None));
    assert_eq!(undecodable.reason, "header ce_correlationid is missing or not a text");
    assert!(decode_reply(&record).unwrap_err().key.is_none());
}

#[test]
fn a_dead_letter_has_place_and_reason_in_springs_headers_and_as_text() {
    let record = encode_command(&charge(), Timestamp(0));
    let headers = record.headers.len();
    let dead = dead_letter(
        &Delivery { record, partition: 2, offset: 1042, unreadable: None },
        "the body is no JSON",
    );
    assert_eq!((&*dead.topic, dead.partition), ("payment.commands-dlt", Some(2)));
    assert_eq!(dead.header("kafka_dlt-original-topic").unwrap(), "payment.commands");
    assert_eq!(dead.header("kafka_dlt-original-partition").unwrap().as_ref(), [0, 0, 0, 2]);
    assert_eq!(
        dead.header("kafka_dlt-original-offset").unwrap().as_ref(),
        [0, 0, 0, 0, 0, 0, 4, 18]
    );
    assert_eq!(dead.header("kafka_dlt-exception-message").unwrap(), "the body is no JSON");
    assert_eq!(dead.header("sagamore-dlt-place").unwrap(), "payment.commands[2]@1042");
    assert_eq!(dead.header("sagamore-dlt-reason").unwrap(), "the body is no JSON");
    let again = redrive(&dead).unwrap();
    assert_eq!(
        (&*again.topic, again.partition, again.headers.len()),
        ("payment.commands", Some(2), headers)
    );
}

/// The input may be of any length, but an error text is not.
#[test]
fn error_texts_are_truncated() {
    let endless = Bytes::from("ä".repeat(50_000));
    for name in
        ["ce_correlationid", "ce_sagastep", "ce_sagageneration", "ce_type", "ce_sagaexpires"]
    {
        let mut record = encode_command(&charge(), Timestamp(0));
        record
            .headers
            .iter_mut()
            .filter(|(header, _)| header == name)
            .for_each(|(_, value)| *value = endless.clone());
        let reason = decode_command(&record).unwrap_err().reason;
        assert!(
            reason.contains(name) && reason.contains('ä') && reason.len() <= 2_000,
            "{} bytes",
            reason.len()
        );
    }
    let mut record = encode_command(&charge(), Timestamp(0));
    record.headers.push(("ce_sagaoutcome".into(), endless.clone()));
    assert!(decode_reply(&record).unwrap_err().reason.len() <= 2_000);

    let record = encode_command(&charge(), Timestamp(0));
    let endless = format!("x{}", "ä".repeat(50_000)); // 2,000 bytes end within a character
    let dead =
        dead_letter(&Delivery { record, partition: 2, offset: 1042, unreadable: None }, &endless);
    let reason = std::str::from_utf8(dead.header("sagamore-dlt-reason").unwrap()).unwrap();
    assert_eq!(
        (reason.len(), dead.header("kafka_dlt-exception-message").unwrap().len()),
        (1_999, 1_999)
    );
}

#[test]
fn a_bare_letter_has_only_place_and_reason() {
    let mut record = encode_command(&charge(), Timestamp(0));
    record.key = Bytes::from(vec![b'k'; 1 << 20]);
    record.headers.push(("foreign".into(), Bytes::from(vec![0; 1 << 20])));
    let bare = bare_letter(&dead_letter(
        &Delivery { record, partition: 2, offset: 1042, unreadable: None },
        "no JSON",
    ));
    assert_eq!(
        (&*bare.topic, bare.partition, bare.key.len(), bare.body.len()),
        ("payment.commands-dlt", Some(2), 200, 0)
    );
    assert!(bare.headers.iter().all(|(name, _)| name.contains("dlt")), "{:?}", bare.headers);
    assert_eq!(bare.header("sagamore-dlt-place").unwrap(), "payment.commands[2]@1042");
    assert_eq!(bare.header("sagamore-dlt-reason").unwrap(), "no JSON");
}

/// A dead letter is published whole if possible, bare if it is too large, and in another partition
/// if its own is missing.
#[test]
fn a_dead_letter_is_published_in_the_best_possible_form() {
    let log = Log::on(Arc::new(MemoryDisk::new()), log::Options::default()).unwrap();
    log.create_topic("payment.commands-dlt", 1).now_or_never().unwrap().unwrap();
    let subscription = Subscription {
        group: "looks".into(),
        topics: vec!["payment.commands-dlt".into()],
        partitions: None,
    };
    let mut letters = log.subscribe(subscription).now_or_never().unwrap().unwrap();
    let mut huge = encode_command(&charge(), Timestamp(0));
    huge.headers.push(("foreign".into(), Bytes::from(vec![0; 1 << 20])));
    for (record, partition, body_bytes) in [
        (encode_command(&charge(), Timestamp(0)), 0, 22),
        (encode_command(&charge(), Timestamp(0)), 5, 22),
        (huge, 5, 0),
    ] {
        let letter =
            dead_letter(&Delivery { record, partition, offset: 7, unreadable: None }, "why");
        publish_letter(&log, letter).now_or_never().unwrap().unwrap();
        let letter = letters.poll(9).now_or_never().unwrap().unwrap().pop().unwrap().record;
        assert_eq!((letter.body.len(), &letter.key[..]), (body_bytes, b"10248".as_ref()));
        let place = format!("payment.commands[{partition}]@7");
        assert_eq!(letter.header("sagamore-dlt-place").unwrap(), place.as_bytes());
    }
    let nowhere = Record { topic: "nowhere-dlt".into(), ..encode_command(&charge(), Timestamp(0)) };
    assert!(matches!(
        publish_letter(&log, nowhere).now_or_never().unwrap(),
        Err(Error::UnknownTopic(_))
    ));
}

/// Clients that treat headers as text (kcat, KafkaJS, Python) cannot show a big-endian number from
/// 128 on.
#[test]
fn a_dead_letter_has_its_place_as_text() {
    let record = encode_command(&charge(), Timestamp(0));
    let dead = dead_letter(
        &Delivery { record, partition: 200, offset: 5_000_000_000, unreadable: None },
        "no JSON",
    );
    let text =
        |name: &str| std::str::from_utf8(dead.header(name).expect(name)).expect("text").to_owned();
    assert_eq!(text("sagamore-dlt-topic"), "payment.commands");
    assert_eq!(text("sagamore-dlt-partition"), "200");
    assert_eq!(text("sagamore-dlt-offset"), "5000000000");
    let mut of_text = dead.clone();
    of_text.headers.retain(|(name, _)| !name.starts_with("kafka_dlt-"));
    for letter in [&dead, &of_text] {
        let again = redrive(letter).expect("it names its topic");
        assert_eq!((&*again.topic, again.partition), ("payment.commands", Some(200)));
    }
}

fn with(mut record: Record, name: &'static str, value: Option<&'static str>) -> Record {
    record.headers.retain(|(header, _)| header != name);
    record.headers.extend(value.map(|value| (name.into(), Bytes::from_static(value.as_bytes()))));
    record
}

/// The requirements are those of the table of replies in `docs/wire.md`. With an unreadable outcome
/// the step is still known, with a wrong header it is not.
#[test]
fn a_reply_with_inconsistent_headers_answers_no_command() {
    let Command { key, reply_to, .. } = charge();
    let reply =
        Reply { key: key.clone(), outcome: Outcome::Done(Body::empty()).into(), trace: None };
    let reply = encode_reply(&reply, &reply_to, &Name::new("payment").unwrap(), Timestamp(0));
    let check = |record: Record, header: &str| {
        let why = decode_reply(&record).expect_err(header);
        assert!(
            why.key.is_none() && why.flaw == Flaw::Headers && why.reason.contains(header),
            "{header}: {why:?}"
        );
    };
    for (name, wrong) in [
        ("ce_specversion", "0.3"),
        ("ce_id", "5f3c"),
        ("ce_source", "payment"),
        ("ce_type", "payment.charged"),
        ("ce_subject", "10249"),
        ("ce_causationid", "checkout:10248/charge-payment/action/2"),
        ("ce_correlationid", "checkout"),
        ("ce_sagastep", "Charge Payment"),
        ("ce_sagakind", "undo"),
        ("ce_sagageneration", "+1"),
    ] {
        check(with(reply.clone(), name, Some(wrong)), name);
        check(with(reply.clone(), name, None), name);
        let mut twice = reply.clone();
        twice
            .headers
            .push(reply.headers.iter().find(|(header, _)| header == name).expect(name).clone());
        check(twice, name);
    }
    check(with(reply.clone(), "ce_correlationid", Some("checkout:10249")), "ce_causationid");
    check(Record { key: Bytes::new(), ..reply.clone() }, "key");
    let mut twice = reply.clone();
    twice.headers.push(("ce_sagaoutcome".into(), "refused".into()));
    check(twice, "ce_sagaoutcome");
    for outcome in [None, Some("perhaps")] {
        let why =
            decode_reply(&with(reply.clone(), "ce_sagaoutcome", outcome)).expect_err("no outcome");
        assert_eq!((why.key, why.flaw), (Some(key.clone()), Flaw::Headers));
    }
    let large = Record { body: vec![b' '; REPLY_BYTES_MAX + 1].into(), ..reply.clone() };
    let why = decode_reply(&large).expect_err("too large");
    assert_eq!((why.key, why.flaw), (Some(key), Flaw::TooLarge));
    for (name, other) in
        [("content-type", None), ("ce_time", Some("yesterday")), ("traceparent", Some("00-1-2-01"))]
    {
        assert_eq!(
            decode_reply(&with(reply.clone(), name, other)),
            decode_reply(&reply),
            "{name} is not required"
        );
    }
}
