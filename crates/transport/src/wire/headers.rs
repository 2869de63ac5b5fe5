//! The headers of messages: their names, and writing and reading them.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use sagamore_core::id::{Direction, Name, SagaId, StepKey};
use sagamore_core::message::ReplyTo;
use sagamore_core::{Timestamp, TraceContext};

use super::malformed::Malformed;
use super::time::write_time;
use crate::record::Record;

pub(super) const SPECVERSION: &str = "ce_specversion";
pub(super) const ID: &str = "ce_id";
pub(super) const SOURCE: &str = "ce_source";
pub(super) const TYPE: &str = "ce_type";
pub(super) const TIME: &str = "ce_time";
pub(super) const TOLD_AT: &str = "ce_sagatime";
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
pub(super) const DELAY: &str = "ce_sagadelay";
pub(super) const CONTENT_TYPE: &str = "content-type";
pub(super) const TRACEPARENT: &str = "traceparent";
pub(super) const TRACESTATE: &str = "tracestate";

/// Maximum headers of a message of this crate.
const HEADERS_MAX: usize = 20;

/// The names of headers, with values that share one text.
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

/// A range of the text.
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

    /// Writes the time of sending; for an event the time of its first emission.
    pub(super) fn time(&mut self, at: Timestamp) {
        self.text(TIME, |out| write_time(out, at));
    }

    pub(super) fn source(&mut self, service: &Name) {
        self.text(SOURCE, |out| {
            out.push('/');
            out.push_str(service.as_str());
        });
    }

    pub(super) fn trace(&mut self, trace: Option<&TraceContext>) {
        let Some(trace) = trace else { return };
        self.text(TRACEPARENT, |out| out.push_str(trace.traceparent()));
        if let Some(state) = trace.tracestate() {
            self.text(TRACESTATE, |out| out.push_str(state));
        }
    }

    /// Builds the record, whose key is one of the values. All parts share one allocation.
    pub(super) fn record(
        mut self,
        topic: Arc<str>,
        partition: Option<u32>,
        key: Span,
        body: &str,
    ) -> Record {
        let body_start = self.text.len();
        self.text.push_str(body);
        let text = Bytes::from(self.text);
        let value = |value: Value| match value {
            Value::Fixed(fixed) => Bytes::from_static(fixed.as_bytes()),
            Value::Written(Span(start, end)) => text.slice(start..end),
        };
        let entries = &self.entries[..self.count];
        let headers =
            entries.iter().map(|(name, entry)| (Cow::Borrowed(*name), value(*entry))).collect();
        Record {
            topic,
            partition,
            key: value(Value::Written(key)),
            headers,
            body: text.slice(body_start..),
        }
    }
}

/// The headers that this crate reads. A header that is not UTF-8 or contains NUL counts as absent.
#[derive(Default)]
pub(super) struct Read<'a> {
    values: [Option<&'a str>; READ.len()],
    /// Bit masks over [`READ`]: the headers that are present, and those that are duplicated.
    given: u32,
    twice: u32,
    parent: Option<&'a str>,
    state: Option<Cow<'a, str>>,
}

/// The headers that are read and must not be duplicated.
const READ: [&str; 20] = [
    CORRELATION,
    STEP,
    KIND,
    GENERATION,
    REPLY_TOPIC,
    REPLY_PARTITION,
    SPECVERSION,
    ID,
    SOURCE,
    TYPE,
    SUBJECT,
    CAUSATION,
    DEFINITION,
    VERSION,
    HOP,
    TOLD_AT,
    ATTEMPT,
    EXPIRES,
    OUTCOME,
    DELAY,
];
/// Bit mask over [`READ`]: the headers that form the barrier's key.
const OF_KEY: u32 = 0b1111;
/// Bit mask over [`READ`]: the headers that form the reply address.
const OF_REPLY_TO: u32 = 0b11_0000;

impl<'a> Read<'a> {
    pub(super) fn over(record: &'a Record) -> Read<'a> {
        let mut read = Read::default();
        let mut parents = 0;
        for (name, value) in &record.headers {
            // no database stores a text with NUL
            let text = std::str::from_utf8(value).ok().filter(|text| !text.contains('\0'));
            let name = name.as_ref();
            if let Some(at) = READ.iter().position(|known| *known == name) {
                if read.given & (1 << at) != 0 {
                    read.twice |= 1 << at;
                } else {
                    read.given |= 1 << at;
                    read.values[at] = text;
                }
            } else if name == TRACEPARENT {
                parents += 1;
                read.parent = text.filter(|_| parents == 1);
            } else if name == TRACESTATE {
                read.state = match (read.state.take(), text) {
                    (Some(before), Some(text)) => Some(Cow::Owned(format!("{before},{text}"))),
                    (None, Some(text)) => Some(Cow::Borrowed(text)),
                    (before, None) => before,
                };
            }
        }
        read
    }

    /// Returns the value of a header of [`READ`].
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        READ.iter().position(|known| *known == name).and_then(|at| self.values[at])
    }

    /// Returns whether the record has this header, even if unreadable.
    pub(super) fn has(&self, name: &str) -> bool {
        READ.iter().position(|known| *known == name).is_some_and(|at| self.given & (1 << at) != 0)
    }

    pub(super) fn needed(&self, name: &'static str) -> Result<&'a str, Malformed> {
        self.get(name).ok_or(Malformed::MissingHeader(name))
    }

    pub(super) fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<T, Malformed> {
        let text = self.needed(name)?;
        parse_number(text).ok_or_else(|| {
            Malformed::header(name, format_args!("'{text}' is not a number in range"))
        })
    }

    /// Fails unless the header has this value.
    pub(super) fn is(&self, name: &'static str, wanted: &str) -> Result<(), Malformed> {
        match self.needed(name)? {
            text if text == wanted => Ok(()),
            text => Err(Malformed::header(name, format_args!("'{text}' instead of '{wanted}'"))),
        }
    }

    /// Fails if any header of [`READ`] is duplicated.
    pub(super) fn once(&self) -> Result<(), Malformed> {
        self.once_of(u32::MAX)
    }

    fn once_of(&self, of: u32) -> Result<(), Malformed> {
        match READ.get((self.twice & of).trailing_zeros() as usize) {
            Some(name) => Err(Malformed::header(name, "given more than once")),
            None => Ok(()),
        }
    }

    /// Returns the trace of the record; `None` if it is malformed or duplicated.
    pub(super) fn trace(&self) -> Option<TraceContext> {
        TraceContext::of(self.parent?, self.state.as_deref())
    }

    pub(super) fn key(&self) -> Result<StepKey, Malformed> {
        self.once_of(OF_KEY)?;
        let saga = self.needed(CORRELATION)?;
        let step = self.needed(STEP)?;
        let kind = self.needed(KIND)?;
        Ok(StepKey {
            saga: saga.parse::<SagaId>().map_err(|error| Malformed::header(CORRELATION, error))?,
            step: Name::new(step).map_err(|error| Malformed::header(STEP, error))?,
            direction: kind
                .parse::<Direction>()
                .map_err(|_| Malformed::header(KIND, "neither action, compensation nor query"))?,
            generation: self.number(GENERATION)?,
        })
    }

    pub(super) fn reply_to(&self) -> Result<ReplyTo, Malformed> {
        self.once_of(OF_REPLY_TO)?;
        let topic = self.needed(REPLY_TOPIC)?;
        if topic.is_empty() {
            return Err(Malformed::header(REPLY_TOPIC, "empty"));
        }
        Ok(ReplyTo { topic: topic.to_owned(), partition: self.number(REPLY_PARTITION)? })
    }

    /// Returns the service that published the record, written `/payment`.
    pub(super) fn source(&self) -> Result<Name, Malformed> {
        let text = self.needed(SOURCE)?;
        let name = text.strip_prefix('/').ok_or_else(|| {
            Malformed::header(SOURCE, format_args!("'{text}' does not begin with /"))
        })?;
        Name::new(name).map_err(|error| Malformed::header(SOURCE, error))
    }

    /// Fails unless subject and record key are the saga's business key.
    pub(super) fn is_keyed(&self, record: &Record, key: &StepKey) -> Result<(), Malformed> {
        let business = key.saga.key();
        self.is(SUBJECT, business)?;
        match record.key.as_ref() == business.as_bytes() {
            true => Ok(()),
            false => Err(Malformed::address(format_args!(
                "the record's key is not '{business}', the business key of {CORRELATION}"
            ))),
        }
    }
}

/// Parses decimal digits, without sign and without leading zeros: each number has one form.
pub(super) fn parse_number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let has_one_form = text == "0" || !text.starts_with('0');
    let is_plain = has_one_form && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { text.parse().ok() } else { None }
}

/// Writes the command's id without an allocation.
pub(super) fn write_id(out: &mut String, key: &StepKey) {
    for part in [key.saga.as_str(), "/", key.step.as_str(), "/", key.direction.as_str(), "/"] {
        out.push_str(part);
    }
    write_display(out, key.generation);
}

fn write_display(out: &mut String, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("a String takes all that is written to it");
}
