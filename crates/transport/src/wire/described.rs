//! The headers of messages in words, for generated documents.

use super::headers::{
    ATTEMPT, CAUSATION, CONTENT_TYPE, CORRELATION, DEFINITION, DELAY, EXPIRES, GENERATION, HOP, ID,
    KIND, OUTCOME, REPLY_PARTITION, REPLY_TOPIC, SOURCE, SPECVERSION, STEP, SUBJECT, TIME, TOLD_AT,
    TRACEPARENT, TRACESTATE, TYPE, VERSION,
};

/// A header of one kind of message. All values are UTF-8 texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The header's name, such as `ce_id`.
    pub name: &'static str,
    /// A description of its value.
    pub about: &'static str,
    /// The permitted values.
    pub value: Value,
    /// Whether every message of the kind has it.
    pub always: bool,
}

/// The permitted values of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// Any text.
    Text,
    /// A non-negative integer in decimal digits.
    Number,
    /// One of these texts.
    OneOf(&'static [&'static str]),
}

const ACTIONS: &[&str] = &["action", "compensation"];
const KINDS: &[&str] = &["action", "compensation", "query"];
const OUTCOMES: &[&str] = &["done", "refused", "fault", "pending", "unknown", "absent"];
const JSON: &[&str] = &["application/json"];

/// The headers of events.
pub const EVENT: &[Header] = &[
    always(SPECVERSION, "The version of CloudEvents.", Value::OneOf(&["1.0"])),
    always(ID, "The event's id, the same for every resend.", Value::Text),
    always(SOURCE, "The emitting service: /payment.", Value::Text),
    always(TYPE, "The event's name.", Value::Text),
    always(TIME, "When it happened (RFC 3339).", Value::Text),
    always(TOLD_AT, "When it happened, in ms since 1970.", Value::Number),
    always(SUBJECT, "The business key, which is the record's key too.", Value::Text),
    always(CORRELATION, "The chain: fulfilment:10248.", Value::Text),
    always(STEP, "The reaction that emits it.", Value::Text),
    always(
        KIND,
        "Whether the reaction acted (done or refused) or was undone.",
        Value::OneOf(ACTIONS),
    ),
    always(GENERATION, "Always 1.", Value::Number),
    always(DEFINITION, "The plan's name.", Value::Text),
    always(VERSION, "The plan's version.", Value::Number),
    always(HOP, "The number of events before it in the chain of causes.", Value::Number),
    sometimes(
        CAUSATION,
        "The id of the event that caused it; a chain's first event has none.",
        Value::Text,
    ),
    sometimes(TRACEPARENT, "The trace (W3C).", Value::Text),
    sometimes(TRACESTATE, "The trace state (W3C).", Value::Text),
    always(CONTENT_TYPE, "The type of the body.", Value::OneOf(JSON)),
];

/// The headers of commands.
pub const COMMAND: &[Header] = &[
    always(SPECVERSION, "The version of CloudEvents.", Value::OneOf(&["1.0"])),
    always(ID, "The command's id, the same for every resend.", Value::Text),
    always(SOURCE, "The sender.", Value::OneOf(&["/sagamore"])),
    always(TYPE, "The command's name.", Value::Text),
    always(TIME, "When it was sent (RFC 3339).", Value::Text),
    always(SUBJECT, "The business key, which is the record's key too.", Value::Text),
    always(CORRELATION, "The saga: checkout:10248. Echoed in the reply.", Value::Text),
    always(STEP, "The step. Echoed in the reply.", Value::Text),
    always(
        KIND,
        "Whether to execute, undo or query the step. Echoed in the reply.",
        Value::OneOf(KINDS),
    ),
    always(
        GENERATION,
        "1, plus one for each operator's retry. Echoed in the reply.",
        Value::Number,
    ),
    always(DEFINITION, "The definition's name.", Value::Text),
    always(VERSION, "The definition's version.", Value::Number),
    always(ATTEMPT, "The number of the attempt, from 1.", Value::Number),
    always(REPLY_TOPIC, "The topic of the reply.", Value::Text),
    always(REPLY_PARTITION, "The partition of the reply.", Value::Number),
    sometimes(EXPIRES, "When the command expires, in ms since 1970.", Value::Number),
    sometimes(TRACEPARENT, "The trace (W3C). Echoed in the reply.", Value::Text),
    sometimes(TRACESTATE, "The trace state (W3C). Echoed in the reply.", Value::Text),
    always(CONTENT_TYPE, "The type of the body.", Value::OneOf(JSON)),
];

/// The headers of replies.
pub const REPLY: &[Header] = &[
    always(SPECVERSION, "The version of CloudEvents.", Value::OneOf(&["1.0"])),
    always(ID, "The command's id followed by /reply.", Value::Text),
    always(SOURCE, "The replying participant: /payment.", Value::Text),
    always(TYPE, "The mark of a reply.", Value::OneOf(&["sagamore.reply"])),
    always(TIME, "When it was sent (RFC 3339). Not read.", Value::Text),
    always(SUBJECT, "The business key, which is the record's key too.", Value::Text),
    always(CAUSATION, "The command's id.", Value::Text),
    always(CORRELATION, "The saga, as in the command.", Value::Text),
    always(STEP, "The step, as in the command.", Value::Text),
    always(KIND, "The direction, as in the command.", Value::OneOf(KINDS)),
    always(GENERATION, "The generation, as in the command.", Value::Number),
    always(
        OUTCOME,
        "The outcome, which determines the content of the body.",
        Value::OneOf(OUTCOMES),
    ),
    sometimes(
        DELAY,
        "Only with the outcome pending: how long not to resend, in ms, at most 86400000.",
        Value::Number,
    ),
    sometimes(
        TRACEPARENT,
        "The trace: as in the command, or with the participant's own span.",
        Value::Text,
    ),
    sometimes(TRACESTATE, "The trace state.", Value::Text),
    always(CONTENT_TYPE, "The type of the body.", Value::OneOf(JSON)),
];

const fn always(name: &'static str, about: &'static str, value: Value) -> Header {
    Header { name, about, value, always: true }
}

const fn sometimes(name: &'static str, about: &'static str, value: Value) -> Header {
    Header { name, about, value, always: false }
}

#[cfg(test)]
mod tests {
    use sagamore_core::message::{Command, Event, Outcome, Reply, ReplyOutcome, ReplyTo};
    use sagamore_core::{Body, Direction, Name, StepKey, Timestamp, TraceContext};

    use super::*;
    use crate::record::Record;
    use crate::wire::{encode_command, encode_event, encode_reply};

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn trace(all: bool) -> Option<TraceContext> {
        all.then(|| {
            TraceContext::of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Some("a=1"))
        })?
    }

    fn key() -> StepKey {
        let saga = "shop:10248".parse().unwrap();
        StepKey { saga, step: name("charge"), direction: Direction::Action, generation: 1 }
    }

    fn event(all: bool) -> Record {
        let event = Event {
            key: key(),
            version: 1,
            name: name("payment.success"),
            causation: all.then(|| "shop:10248/create/action/1/order.created".into()),
            hop: 1,
            at: Timestamp(1_700_000_000_000),
            body: Body::empty(),
            trace: trace(all),
        };
        encode_event(&event, &name("payment"))
    }

    fn command(all: bool) -> Record {
        encode_command(
            &Command {
                key: key(),
                version: 1,
                attempt: 1,
                participant: name("payment"),
                name: name("payment.charge"),
                body: Body::empty(),
                reply_to: ReplyTo { topic: "sagamore.replies".into(), partition: 0 },
                expires_at: all.then_some(Timestamp(1_700_000_000_000)),
                trace: trace(all),
            },
            Timestamp(0),
        )
    }

    fn reply(all: bool) -> Record {
        let pending = ReplyOutcome::Pending(std::time::Duration::from_secs(1));
        let outcome = if all { pending } else { Outcome::Done(Body::empty()).into() };
        let trace = trace(all);
        let reply_to = ReplyTo { topic: "sagamore.replies".into(), partition: 0 };
        encode_reply(
            &Reply { key: key(), outcome, trace },
            &reply_to,
            &name("payment"),
            Timestamp(0),
        )
    }

    #[test]
    fn the_headers_are_those_that_are_sent() {
        let check = |headers: &[Header], encode: fn(bool) -> Record| {
            for all in [true, false] {
                let record = encode(all);
                let described = headers.iter().filter(|header| all || header.always);
                let mut described: Vec<&str> = described.map(|header| header.name).collect();
                let mut sent: Vec<&str> =
                    record.headers.iter().map(|(name, _)| name.as_ref()).collect();
                described.sort_unstable();
                sent.sort_unstable();
                assert_eq!(described, sent);
                for header in headers.iter().filter(|header| all || header.always) {
                    let value = std::str::from_utf8(record.header(header.name).unwrap()).unwrap();
                    assert!(fits(header.value, value), "{}: {value}", header.name);
                }
            }
        };
        check(EVENT, event);
        check(COMMAND, command);
        check(REPLY, reply);
    }

    fn fits(value: Value, text: &str) -> bool {
        match value {
            Value::Text => !text.is_empty(),
            Value::Number => text.parse::<u64>().is_ok(),
            Value::OneOf(texts) => texts.contains(&text),
        }
    }
}
