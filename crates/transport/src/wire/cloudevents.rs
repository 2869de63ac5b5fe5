//! Commands and replies as CloudEvents 1.0 in binary mode: attributes in `ce_` headers, the JSON
//! payload as the body.
//!
//! `docs/wire.md` states the requirements of each header, and what a missing one means.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use sagamore_core::id::{Name, StepKey};
use sagamore_core::message::{
    Command, Outcome, PENDING_MAX, Refusal, Reply, ReplyOutcome, ReplyTo,
};
use sagamore_core::{Body, Direction, Timestamp};
use serde::{Deserialize, Serialize};

use super::headers::{
    ATTEMPT, CAUSATION, CONTENT_TYPE, DEFINITION, DELAY, EXPIRES, Headers, ID, OUTCOME,
    REPLY_PARTITION, REPLY_TOPIC, Read, SOURCE, SPECVERSION, SUBJECT, TYPE, VERSION, write_id,
};
use super::malformed::{Malformed, cut};
use crate::record::Record;

const COMMAND_SOURCE: &str = "/sagamore";
const REPLY_TYPE: &str = "sagamore.reply";
const COMMANDS: &str = ".commands";

/// Maximum bytes of a reply's body, which is stored in the saga's journal and copied into commands.
pub const REPLY_BYTES_MAX: usize = 512 * 1024;

/// A record that cannot be decoded. If its headers are readable, the command can still be answered
/// with a stored refusal.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct Undecodable {
    /// The step. For a reply only if its headers match the step's command, so that only the outcome
    /// is wrong.
    pub key: Option<StepKey>,
    /// The address of the answer; `None` for a reply.
    pub reply_to: Option<ReplyTo>,
    /// The kind of the fault, for metrics.
    pub flaw: Flaw,
    /// The human-readable reason, at most 2,000 bytes.
    pub reason: String,
}

/// The part of a record that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A header is missing, malformed, duplicated, or contradicts another one.
    Headers,
    /// The body does not match the headers.
    Body,
    /// The body is larger than [`REPLY_BYTES_MAX`].
    TooLarge,
}

impl Flaw {
    /// Returns the label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Flaw::Headers => "headers",
            Flaw::Body => "body",
            Flaw::TooLarge => "too-large",
        }
    }
}

/// Returns the topic of a participant's commands, `payment.commands`. One topic keeps actions and
/// compensations in order.
pub fn command_topic(participant: &Name) -> Arc<str> {
    [participant.as_str(), COMMANDS].concat().into()
}

/// Encodes a command as a record of its participant's topic, keyed by the saga's business key, sent
/// at `now`.
pub fn encode_command(command: &Command, now: Timestamp) -> Record {
    let key = &command.key;
    let mut headers = Headers::new(command.body.as_str().len());
    headers.fixed(SPECVERSION, "1.0");
    headers.text(ID, |out| write_id(out, key));
    headers.fixed(SOURCE, COMMAND_SOURCE);
    headers.text(TYPE, |out| out.push_str(command.name.as_str()));
    headers.time(now);
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
    headers.trace(command.trace.as_ref());
    headers.fixed(CONTENT_TYPE, "application/json");
    headers.record(command_topic(&command.participant), None, subject, command.body.as_str())
}

/// Encodes a reply as a record of the topic and partition that its command names, sent at `now`.
/// `source` is the participant's name.
pub fn encode_reply(reply: &Reply, reply_to: &ReplyTo, source: &Name, now: Timestamp) -> Record {
    let key = &reply.key;
    let (outcome, body) = match &reply.outcome {
        ReplyOutcome::Final(Outcome::Done(output)) => ("done", Cow::Borrowed(output.as_str())),
        ReplyOutcome::Final(Outcome::Refused(refusal)) => ("refused", json(refusal)),
        ReplyOutcome::Final(Outcome::Fault(fault)) => ("fault", json(&Fault::of(fault))),
        ReplyOutcome::Pending(_) => ("pending", Cow::Borrowed("{}")),
        ReplyOutcome::Unknown(reason) => ("unknown", json(&Fault::of(reason))),
        ReplyOutcome::Absent => ("absent", Cow::Borrowed("{}")),
    };
    let mut headers = Headers::new(body.len());
    headers.fixed(SPECVERSION, "1.0");
    headers.text(ID, |out| {
        write_id(out, key);
        out.push_str("/reply");
    });
    headers.source(source);
    headers.fixed(TYPE, REPLY_TYPE);
    headers.time(now);
    let subject = headers.text(SUBJECT, |out| out.push_str(key.saga.key()));
    headers.text(CAUSATION, |out| write_id(out, key));
    headers.step(key);
    headers.fixed(OUTCOME, outcome);
    if let ReplyOutcome::Pending(delay) = &reply.outcome {
        headers.number(DELAY, (*delay).min(PENDING_MAX).as_millis());
    }
    headers.trace(reply.trace.as_ref());
    headers.fixed(CONTENT_TYPE, "application/json");
    headers.record(reply_to.topic.as_str().into(), Some(reply_to.partition), subject, &body)
}

/// Decodes a command. Its name may be unknown to the participant's registry.
pub fn decode_command(record: &Record) -> Result<Command, Undecodable> {
    let read = Read::over(record);
    let key = read.key();
    let reply_to = read.reply_to();
    let rest = command(&read, record);
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
            trace: read.trace(),
        }),
        (key, reply_to, rest) => {
            let reason = [key.as_ref().err(), reply_to.as_ref().err(), rest.as_ref().err()]
                .into_iter()
                .flatten()
                .next();
            let reason =
                reason.expect("one of the three failed, because the first arm did not match");
            let reason = reason.to_string();
            Err(Undecodable { key: key.ok(), reply_to: reply_to.ok(), flaw: Flaw::Headers, reason })
        }
    }
}

/// Decodes a reply, whose headers must consistently name one command.
pub fn decode_reply(record: &Record) -> Result<Reply, Undecodable> {
    let undecodable = |key, flaw, reason: String| Undecodable {
        key,
        reply_to: None,
        flaw,
        reason: cut(&reason).to_owned(),
    };
    let read = Read::over(record);
    let key = answered(&read, record)
        .map_err(|defect| undecodable(None, Flaw::Headers, defect.to_string()))?;
    let bytes = record.body.len();
    if bytes > REPLY_BYTES_MAX {
        let reason =
            format!("the body has {bytes} bytes, but at most {REPLY_BYTES_MAX} are allowed");
        return Err(undecodable(Some(key), Flaw::TooLarge, reason));
    }
    match outcome(&read, &record.body, key.direction) {
        Ok(outcome) => Ok(Reply { key, outcome, trace: read.trace() }),
        Err((flaw, reason)) => Err(undecodable(Some(key), flaw, reason)),
    }
}

/// Returns whether the record names this participant as its source.
pub fn is_from(record: &Record, participant: &Name) -> bool {
    let source = record.header(SOURCE).and_then(|source| source.strip_prefix(b"/"));
    source == Some(participant.as_str().as_bytes())
}

/// Returns the key of the command that a reply answers.
fn answered(read: &Read<'_>, record: &Record) -> Result<StepKey, Malformed> {
    read.once()?;
    let key = read.key()?;
    if key.generation == 0 {
        return Err(Malformed::address("the generation is 0: the first is 1"));
    }
    let command = key.command_id();
    read.is(SPECVERSION, "1.0")?;
    read.is(TYPE, REPLY_TYPE)?;
    read.is(CAUSATION, &command)?;
    read.is(ID, &format!("{command}/reply"))?;
    read.source()?;
    read.is_keyed(record, &key)?;
    Ok(key)
}

/// The body of a fault, and of the reason why an outcome is unknown.
#[derive(Serialize, Deserialize)]
struct Fault<'a> {
    fault: Cow<'a, str>,
}

impl Fault<'_> {
    fn of(text: &str) -> Fault<'_> {
        Fault { fault: Cow::Borrowed(text) }
    }
}

/// The part of a command without its key and reply address.
struct Rest {
    version: u32,
    attempt: u32,
    participant: Name,
    name: Name,
    body: Body,
    expires_at: Option<Timestamp>,
}

fn command(read: &Read<'_>, record: &Record) -> Result<Rest, Malformed> {
    read.once()?;
    let participant = record.topic.strip_suffix(COMMANDS);
    let participant = participant.ok_or_else(|| {
        Malformed::address(format_args!("topic '{}' is not a command topic", record.topic))
    })?;
    Ok(Rest {
        version: read.number(VERSION)?,
        attempt: if read.has(ATTEMPT) { read.number(ATTEMPT)? } else { 1 },
        participant: Name::new(participant).map_err(|error| {
            Malformed::address(format_args!("topic '{}': {error}", record.topic))
        })?,
        name: Name::new(read.needed(TYPE)?).map_err(|error| Malformed::header(TYPE, error))?,
        expires_at: if read.has(EXPIRES) { Some(Timestamp(read.number(EXPIRES)?)) } else { None },
        body: Body::from_bytes(&record.body).map_err(Malformed::body)?,
    })
}

fn outcome(
    read: &Read<'_>,
    body: &[u8],
    direction: Direction,
) -> Result<ReplyOutcome, (Flaw, String)> {
    let unreadable =
        |error: serde_json::Error| (Flaw::Body, format!("cannot read the body: {error}"));
    let of_headers = |defect: Malformed| (Flaw::Headers, defect.to_string());
    let text = || {
        let fault: Fault<'_> = serde_json::from_slice(body).map_err(unreadable)?;
        Ok(fault.fault.into_owned())
    };
    let output = || storable(body).map_err(|reason| (Flaw::Body, reason));
    Ok(match read.needed(OUTCOME).map_err(of_headers)? {
        "done" => Outcome::Done(output()?).into(),
        "refused" => {
            output()?;
            let refusal = serde_json::from_slice::<Refusal>(body).map_err(unreadable)?;
            Outcome::Refused(refusal).into()
        }
        "fault" => Outcome::Fault(text()?).into(),
        "pending" => ReplyOutcome::Pending(delay(read).map_err(of_headers)?),
        "unknown" => ReplyOutcome::Unknown(text()?),
        "absent" if direction == Direction::Query => ReplyOutcome::Absent,
        "absent" => {
            return Err(of_headers(Malformed::header(OUTCOME, "'absent' answers no query")));
        }
        other => {
            let why = format_args!(
                "'{other}' is neither done, refused, fault, pending, unknown nor absent"
            );
            return Err(of_headers(Malformed::header(OUTCOME, why)));
        }
    })
}

/// Returns the time for which a pending command is not resent.
fn delay(read: &Read<'_>) -> Result<Duration, Malformed> {
    let delay = Duration::from_millis(read.number(DELAY)?);
    match delay <= PENDING_MAX {
        true => Ok(delay),
        false => Err(Malformed::header(DELAY, "more than 86400000 ms")),
    }
}

/// Parses a body whose receivers can store each of its texts.
pub(super) fn storable(bytes: &[u8]) -> Result<Body, String> {
    let body = Body::from_bytes(bytes).map_err(|error| error.to_string())?;
    match body.has_nul() {
        true => Err("the body has a text with U+0000, which PostgreSQL cannot store".to_owned()),
        false => Ok(body),
    }
}

fn json(value: &impl Serialize) -> Cow<'static, str> {
    Cow::Owned(serde_json::to_string(value).expect("texts in named fields are JSON"))
}
