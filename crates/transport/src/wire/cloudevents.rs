//! Commands and replies as CloudEvents 1.0 in binary mode: attributes in `ce_` headers, the JSON payload as the body.
//!
//! Encoding writes all header values into one buffer; decoding goes over the headers once.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use sagamore_core::id::{Direction, Name, SagaId, StepKey};
use sagamore_core::message::{Command, Outcome, Refusal, Reply, ReplyTo};
use sagamore_core::{Body, Timestamp};
use serde::{Deserialize, Serialize};

use crate::record::Record;
use crate::wire::cut;

pub(super) const SPECVERSION: &str = "ce_specversion";
pub(super) const ID: &str = "ce_id";
pub(super) const SOURCE: &str = "ce_source";
pub(super) const TYPE: &str = "ce_type";
pub(super) const TIME: &str = "ce_sagatime";
pub(super) const SUBJECT: &str = "ce_subject";
pub(super) const CORRELATION: &str = "ce_correlationid";
pub(super) const CAUSATION: &str = "ce_causationid";
pub(super) const DEFINITION: &str = "ce_sagadefinition";
pub(super) const VERSION: &str = "ce_sagaversion";
pub(super) const STEP: &str = "ce_sagastep";
pub(super) const KIND: &str = "ce_sagakind";
pub(super) const GENERATION: &str = "ce_sagageneration";
pub(super) const HOP: &str = "ce_sagahop";
pub(super) const ATTEMPT: &str = "ce_sagaattempt";
pub(super) const REPLY_TOPIC: &str = "ce_sagareplytopic";
pub(super) const REPLY_PARTITION: &str = "ce_sagareplypartition";
pub(super) const EXPIRES: &str = "ce_sagaexpires";
pub(super) const OUTCOME: &str = "ce_sagaoutcome";
pub(super) const CONTENT_TYPE: &str = "content-type";
pub(super) const TRACEPARENT: &str = "traceparent";

const COMMAND_SOURCE: &str = "/sagamore";
const REPLY_TYPE: &str = "sagamore.reply";
const COMMANDS: &str = ".commands";

/// A record that is not the message it should be. Where the headers could be read, the command can still be answered
/// with a stored refusal.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct Undecodable {
    /// Which step it was about.
    pub key: Option<StepKey>,
    /// Where the answer goes; never there for a reply.
    pub reply_to: Option<ReplyTo>,
    /// What is wrong with it, for people: at most 2,000 bytes.
    pub reason: String,
}

/// `payment.commands`: where the actions and compensations of a participant go, so that they stay in order.
pub fn command_topic(participant: &Name) -> Arc<str> {
    [participant.as_str(), COMMANDS].concat().into()
}

/// A command as a record of its participant's topic, keyed by the saga's business key.
pub fn encode_command(command: &Command) -> Record {
    let key = &command.key;
    let mut headers = Headers::new(command.body.as_str().len());
    headers.fixed(SPECVERSION, "1.0");
    headers.text(ID, |out| write_id(out, key));
    headers.fixed(SOURCE, COMMAND_SOURCE);
    headers.text(TYPE, |out| out.push_str(command.name.as_str()));
    let subject = headers.text(SUBJECT, |out| out.push_str(key.saga.key()));
    headers.step(key);
    headers.text(DEFINITION, |out| out.push_str(key.saga.definition()));
    headers.number(VERSION, command.version);
    headers.number(ATTEMPT, command.attempt);
    headers.text(REPLY_TOPIC, |out| out.push_str(&command.reply_to.topic));
    headers.number(REPLY_PARTITION, command.reply_to.partition);
    if let Some(expires_at) = command.expires_at {
        headers.number(EXPIRES, expires_at);
    }
    headers.trace(command.traceparent.as_deref());
    headers.fixed(CONTENT_TYPE, "application/json");
    headers.record(command_topic(&command.participant), None, subject, command.body.as_str())
}

/// A reply as a record of the topic and partition that its command named. `source` is the participant's name.
pub fn encode_reply(reply: &Reply, reply_to: &ReplyTo, source: &Name) -> Record {
    let key = &reply.key;
    let (outcome, body) = match &reply.outcome {
        Outcome::Done(output) => ("done", Cow::Borrowed(output.as_str())),
        Outcome::Refused(refusal) => ("refused", json(refusal)),
        Outcome::Fault(fault) => ("fault", json(&Fault { fault: Cow::Borrowed(fault) })),
    };
    let mut headers = Headers::new(body.len());
    headers.fixed(SPECVERSION, "1.0");
    headers.text(ID, |out| {
        write_id(out, key);
        out.push_str("/reply");
    });
    headers.text(SOURCE, |out| {
        out.push('/');
        out.push_str(source.as_str());
    });
    headers.fixed(TYPE, REPLY_TYPE);
    let subject = headers.text(SUBJECT, |out| out.push_str(key.saga.key()));
    headers.text(CAUSATION, |out| write_id(out, key));
    headers.step(key);
    headers.fixed(OUTCOME, outcome);
    headers.trace(reply.traceparent.as_deref());
    headers.fixed(CONTENT_TYPE, "application/json");
    headers.record(reply_to.topic.as_str().into(), Some(reply_to.partition), subject, &body)
}

/// The command in a record. Its name is only a name: a registry maps it to a handler, and may not know it.
pub fn decode_command(record: &Record) -> Result<Command, Undecodable> {
    let read = Read::over(record);
    let key = read.key();
    let reply_to = read.reply_to();
    let rest = read.command(record);
    match (key, reply_to, rest) {
        (Ok(key), Ok(reply_to), Ok(rest)) => Ok(Command {
            key,
            version: rest.version,
            attempt: rest.attempt,
            participant: rest.participant,
            name: rest.name,
            body: rest.body,
            reply_to,
            expires_at: rest.expires_at,
            traceparent: read.traceparent.map(str::to_owned),
        }),
        (key, reply_to, rest) => {
            let reason =
                [key.as_ref().err(), reply_to.as_ref().err(), rest.as_ref().err()].into_iter().flatten().next();
            let reason = reason.expect("one of the three failed, or the first arm had matched");
            let reason = cut(reason).to_owned();
            Err(Undecodable { key: key.ok(), reply_to: reply_to.ok(), reason })
        }
    }
}

/// The reply in a record.
pub fn decode_reply(record: &Record) -> Result<Reply, Undecodable> {
    let read = Read::over(record);
    let undecodable = |key, reason: String| Undecodable { key, reply_to: None, reason: cut(&reason).to_owned() };
    let key = read.key().map_err(|reason| undecodable(None, reason))?;
    match read.outcome(&record.body) {
        Ok(outcome) => Ok(Reply { key, outcome, traceparent: read.traceparent.map(str::to_owned) }),
        Err(reason) => Err(undecodable(Some(key), reason)),
    }
}

#[derive(Serialize, Deserialize)]
struct Fault<'a> {
    fault: Cow<'a, str>,
}

/// What a command has besides its key and its way back.
struct Rest {
    version: u32,
    attempt: u32,
    participant: Name,
    name: Name,
    body: Body,
    expires_at: Option<Timestamp>,
}

/// No message of ours has more headers.
const HEADERS_MAX: usize = 18;

/// Header names with their values, which all lie in one text.
pub(super) struct Headers {
    text: String,
    entries: [(&'static str, Value); HEADERS_MAX],
    count: usize,
}

#[derive(Clone, Copy)]
enum Value {
    Fixed(&'static str),
    Written(Span),
}

/// From here to there in the text.
#[derive(Clone, Copy)]
pub(super) struct Span(usize, usize);

impl Headers {
    pub(super) fn new(body_bytes: usize) -> Headers {
        let entries = [("", Value::Fixed("")); HEADERS_MAX];
        Headers { text: String::with_capacity(400 + body_bytes), entries, count: 0 }
    }

    fn put(&mut self, name: &'static str, value: Value) {
        self.entries[self.count] = (name, value);
        self.count += 1;
    }

    pub(super) fn fixed(&mut self, name: &'static str, value: &'static str) {
        self.put(name, Value::Fixed(value));
    }

    pub(super) fn text(&mut self, name: &'static str, write: impl FnOnce(&mut String)) -> Span {
        let start = self.text.len();
        write(&mut self.text);
        let span = Span(start, self.text.len());
        self.put(name, Value::Written(span));
        span
    }

    pub(super) fn number(&mut self, name: &'static str, value: impl std::fmt::Display) {
        self.text(name, |out| write_display(out, value));
    }

    pub(super) fn step(&mut self, key: &StepKey) {
        self.text(CORRELATION, |out| out.push_str(key.saga.as_str()));
        self.text(STEP, |out| out.push_str(key.step.as_str()));
        self.fixed(KIND, key.direction.as_str());
        self.number(GENERATION, key.generation);
    }

    pub(super) fn trace(&mut self, traceparent: Option<&str>) {
        if let Some(traceparent) = traceparent {
            self.text(TRACEPARENT, |out| out.push_str(traceparent));
        }
    }

    /// The record, whose key is one of the values; everything lies in one piece of memory.
    pub(super) fn record(mut self, topic: Arc<str>, partition: Option<u32>, key: Span, body: &str) -> Record {
        let body_start = self.text.len();
        self.text.push_str(body);
        let text = Bytes::from(self.text);
        let value = |value: Value| match value {
            Value::Fixed(fixed) => Bytes::from_static(fixed.as_bytes()),
            Value::Written(Span(start, end)) => text.slice(start..end),
        };
        let entries = &self.entries[..self.count];
        let headers = entries.iter().map(|(name, entry)| (Cow::Borrowed(*name), value(*entry))).collect();
        Record { topic, partition, key: value(Value::Written(key)), headers, body: text.slice(body_start..) }
    }
}

/// The headers that matter, as they came in. A header that is not UTF-8 counts as absent.
#[derive(Default)]
pub(super) struct Read<'a> {
    pub(super) name: Option<&'a str>,
    saga: Option<&'a str>,
    step: Option<&'a str>,
    kind: Option<&'a str>,
    generation: Option<&'a str>,
    pub(super) version: Option<&'a str>,
    pub(super) hop: Option<&'a str>,
    pub(super) causation: Option<&'a str>,
    pub(super) time: Option<&'a str>,
    attempt: Option<&'a str>,
    reply_topic: Option<&'a str>,
    reply_partition: Option<&'a str>,
    expires: Option<&'a str>,
    outcome: Option<&'a str>,
    pub(super) traceparent: Option<&'a str>,
}

impl<'a> Read<'a> {
    pub(super) fn over(record: &'a Record) -> Read<'a> {
        let mut read = Read::default();
        for (name, value) in &record.headers {
            let slot = match name.as_ref() {
                TYPE => &mut read.name,
                CORRELATION => &mut read.saga,
                STEP => &mut read.step,
                KIND => &mut read.kind,
                GENERATION => &mut read.generation,
                VERSION => &mut read.version,
                HOP => &mut read.hop,
                CAUSATION => &mut read.causation,
                TIME => &mut read.time,
                ATTEMPT => &mut read.attempt,
                REPLY_TOPIC => &mut read.reply_topic,
                REPLY_PARTITION => &mut read.reply_partition,
                EXPIRES => &mut read.expires,
                OUTCOME => &mut read.outcome,
                TRACEPARENT => &mut read.traceparent,
                _ => continue,
            };
            if slot.is_none() {
                // no database keeps a text with a NUL: such a header counts as absent
                *slot = std::str::from_utf8(value).ok().filter(|text| !text.contains('\0'));
            }
        }
        read
    }

    pub(super) fn key(&self) -> Result<StepKey, String> {
        let saga = needed(CORRELATION, self.saga)?;
        let step = needed(STEP, self.step)?;
        let kind = needed(KIND, self.kind)?;
        Ok(StepKey {
            saga: saga.parse::<SagaId>().map_err(|error| wrong(CORRELATION, error))?,
            step: Name::new(step).map_err(|error| wrong(STEP, error))?,
            direction: kind.parse::<Direction>().map_err(|_| wrong(KIND, "neither action nor compensation"))?,
            generation: number(GENERATION, self.generation)?,
        })
    }

    fn reply_to(&self) -> Result<ReplyTo, String> {
        let topic = needed(REPLY_TOPIC, self.reply_topic)?;
        if topic.is_empty() {
            return Err(wrong(REPLY_TOPIC, "empty"));
        }
        Ok(ReplyTo { topic: topic.to_owned(), partition: number(REPLY_PARTITION, self.reply_partition)? })
    }

    fn command(&self, record: &Record) -> Result<Rest, String> {
        let participant = record.topic.strip_suffix(COMMANDS);
        let participant = participant.ok_or_else(|| format!("topic '{}' is no participant's", record.topic))?;
        Ok(Rest {
            version: number(VERSION, self.version)?,
            attempt: if self.attempt.is_some() { number(ATTEMPT, self.attempt)? } else { 1 },
            participant: Name::new(participant).map_err(|error| format!("topic '{}': {error}", record.topic))?,
            name: Name::new(needed(TYPE, self.name)?).map_err(|error| wrong(TYPE, error))?,
            expires_at: match self.expires {
                Some(_) => Some(Timestamp(number(EXPIRES, self.expires)?)),
                None => None,
            },
            body: Body::from_bytes(&record.body).map_err(|error| error.to_string())?,
        })
    }

    fn outcome(&self, body: &[u8]) -> Result<Outcome, String> {
        let unreadable = |error: serde_json::Error| format!("the body is not what was expected: {error}");
        match needed(OUTCOME, self.outcome)? {
            "done" => Ok(Outcome::Done(Body::from_bytes(body).map_err(|error| error.to_string())?)),
            "refused" => Ok(Outcome::Refused(serde_json::from_slice::<Refusal>(body).map_err(unreadable)?)),
            "fault" => {
                let fault: Fault<'_> = serde_json::from_slice(body).map_err(unreadable)?;
                Ok(Outcome::Fault(fault.fault.into_owned()))
            }
            other => Err(wrong(OUTCOME, format_args!("'{other}' is neither done, refused nor fault"))),
        }
    }
}

/// The command's id, written without a text of its own.
fn write_id(out: &mut String, key: &StepKey) {
    for part in [key.saga.as_str(), "/", key.step.as_str(), "/", key.direction.as_str(), "/"] {
        out.push_str(part);
    }
    write_display(out, key.generation);
}

fn write_display(out: &mut String, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("a String takes all that is written to it");
}

fn json(value: &impl Serialize) -> Cow<'static, str> {
    Cow::Owned(serde_json::to_string(value).expect("texts in named fields are JSON"))
}

pub(super) fn needed<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str, String> {
    value.ok_or_else(|| format!("header {name} is missing or no text"))
}

pub(super) fn number<T: std::str::FromStr>(name: &str, value: Option<&str>) -> Result<T, String> {
    let text = needed(name, value)?;
    text.parse().map_err(|_| wrong(name, format_args!("'{text}' is no number in range")))
}

pub(super) fn wrong(name: &str, error: impl std::fmt::Display) -> String {
    format!("header {name}: {error}")
}
