//! Events of choreographies as CloudEvents 1.0 in binary mode. Each kind of event has a topic of
//! the same name.

use std::sync::Arc;

use sagamore_core::message::Event;
use sagamore_core::{Direction, Name, StepKey, Timestamp};

use super::cloudevents::storable;
use super::headers::{
    CAUSATION, CONTENT_TYPE, DEFINITION, HOP, Headers, ID, KIND, Read, SPECVERSION, SUBJECT,
    TOLD_AT, TYPE, VERSION,
};
use super::malformed::Malformed;
use crate::record::Record;

/// Returns the topic of events with this name, such as `payment.success`.
pub fn event_topic(name: &Name) -> Arc<str> {
    name.as_str().into()
}

/// Encodes an event as a record of its topic, keyed by the chain's business key. `source` is the
/// emitting service.
pub fn encode_event(event: &Event, source: &Name) -> Record {
    let key = &event.key;
    let mut headers = Headers::new(event.body.as_str().len());
    headers.fixed(SPECVERSION, "1.0");
    headers.text(ID, |out| out.push_str(&event.id()));
    headers.source(source);
    headers.text(TYPE, |out| out.push_str(event.name.as_str()));
    headers.time(event.at);
    headers.number(TOLD_AT, event.at);
    let subject = headers.text(SUBJECT, |out| out.push_str(key.saga.key()));
    headers.step(key);
    headers.text(DEFINITION, |out| out.push_str(key.saga.definition()));
    headers.number(VERSION, event.version);
    headers.number(HOP, event.hop);
    if let Some(causation) = &event.causation {
        headers.text(CAUSATION, |out| out.push_str(causation));
    }
    headers.trace(event.trace.as_ref());
    headers.fixed(CONTENT_TYPE, "application/json");
    headers.record(event_topic(&event.name), None, subject, event.body.as_str())
}

/// Upper bound of hops: a plan has at most 64 reactions, each with an action and an undo.
const HOPS_MAX: u32 = 1_000;

/// Decodes an event, whose headers must be consistent. The body may be any JSON.
///
/// # Errors
/// The invalid header or body.
pub fn decode_event(record: &Record) -> Result<Event, Malformed> {
    let read = Read::over(record);
    read.once()?;
    read.is(SPECVERSION, "1.0")?;
    // an unreadable causation must not make the event the first of its chain
    let causation = if read.has(CAUSATION) { Some(read.needed(CAUSATION)?) } else { None };
    let name = Name::new(read.needed(TYPE)?).map_err(|error| Malformed::header(TYPE, error))?;
    if record.topic != event_topic(&name) {
        return Err(Malformed::header(TYPE, format_args!("'{name}' in topic '{}'", record.topic)));
    }
    let hop: u32 = read.number(HOP)?;
    if hop > HOPS_MAX {
        return Err(Malformed::header(
            HOP,
            format_args!("{hop} exceeds the maximum of {HOPS_MAX}"),
        ));
    }
    if causation.is_none() != (hop == 0) {
        return Err(Malformed::header(
            HOP,
            format_args!("{hop}: it must be 0 exactly for an event without {CAUSATION}"),
        ));
    }
    let event = Event {
        key: key(&read)?,
        version: read.number(VERSION)?,
        name,
        causation: causation.map(str::to_owned),
        hop,
        at: Timestamp(read.number(TOLD_AT)?),
        body: storable(&record.body).map_err(Malformed::body)?,
        trace: read.trace(),
    };
    read.is(ID, &event.id())?;
    read.is(DEFINITION, event.chain().definition())?;
    read.source()?;
    read.is_keyed(record, &event.key)?;
    Ok(event)
}

/// Returns the key of the reaction. A reaction has no queries.
fn key(read: &Read<'_>) -> Result<StepKey, Malformed> {
    let key = read.key()?;
    match key.direction {
        Direction::Action | Direction::Compensation => Ok(key),
        Direction::Query => Err(Malformed::header(KIND, "neither action nor compensation")),
    }
}

#[cfg(test)]
mod tests {
    use sagamore_core::{Body, TraceContext};

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn event() -> Event {
        Event {
            key: sagamore_core::StepKey {
                saga: "shop:10248".parse().unwrap(),
                step: Name::new("charge").unwrap(),
                direction: sagamore_core::Direction::Action,
                generation: 1,
            },
            version: 3,
            name: Name::new("payment.success").unwrap(),
            causation: Some("shop:10248/create/action/1/order.created".into()),
            hop: 2,
            at: Timestamp(1_700_000_000_000),
            body: Body::parse(r#"{"orderId":"10248"}"#).unwrap(),
            trace: None,
        }
    }

    #[test]
    fn an_event_survives_a_round_trip() {
        let record = encode_event(&event(), &Name::new("payment").unwrap());
        assert_eq!((&*record.topic, &*record.key), ("payment.success", &b"10248"[..]));
        assert_eq!(record.header(ID).unwrap(), &b"shop:10248/charge/action/1/payment.success"[..]);
        assert_eq!(record.header("ce_source").unwrap(), &b"/payment"[..]);
        assert_eq!(decode_event(&record), Ok(event()));
    }

    /// No database stores a text with NUL, so a consumer would fail on every redelivery of such an
    /// event.
    #[test]
    fn a_header_with_a_nul_counts_as_absent() {
        let with_nul = |header: &str| {
            let mut record = encode_event(
                &Event { trace: TraceContext::of(PARENT, None), ..event() },
                &Name::new("payment").unwrap(),
            );
            let damaged = record
                .headers
                .iter_mut()
                .find(|(name, _)| name.as_ref() == header)
                .expect("it is there");
            damaged.1 = b"a\0b".to_vec().into();
            decode_event(&record)
        };
        assert_eq!(with_nul("traceparent"), Ok(event()));
        assert!(
            with_nul(CAUSATION)
                .expect_err("an unreadable causation is an error")
                .to_string()
                .contains(CAUSATION)
        );
    }

    #[test]
    fn an_error_names_the_wrong_header() {
        let check = |header: &str, part: &str| {
            let mut record = encode_event(&event(), &Name::new("payment").unwrap());
            record.headers.retain(|(name, _)| name != header);
            let why = decode_event(&record).expect_err(header).to_string();
            assert!(why.contains(part), "{why}");
        };
        for header in [TYPE, HOP, VERSION, TOLD_AT, "ce_correlationid", "ce_sagastep"] {
            check(header, header);
        }
    }

    /// The requirements are those of the table of events in `docs/wire.md`.
    #[test]
    fn an_event_with_inconsistent_headers_is_rejected() {
        let event = Event {
            causation: Some("shop:10248/create/action/1/order.created".into()),
            hop: 1,
            ..event()
        };
        let record = encode_event(&event, &Name::new("payment").unwrap());
        let check = |header: &str, value: &'static str| {
            let mut record = record.clone();
            let changed = record.headers.iter_mut().find(|(name, _)| name == header).expect(header);
            changed.1 = value.into();
            let why = decode_event(&record).expect_err(header).to_string();
            assert!(why.contains(header), "{header}: {why}");
        };
        check("ce_specversion", "0.3");
        check("ce_id", "5f3c");
        check("ce_source", "");
        check("ce_type", "payment.failed");
        check("ce_subject", "10249");
        check("ce_sagadefinition", "parcel");
        check("ce_sagahop", "99999");
        check("ce_sagahop", "0");
        check("ce_sagatime", "-5");
        check("ce_sagaversion", "01");
        let nul = Record { body: r#"{"orderId":"a\u0000"}"#.into(), ..record.clone() };
        assert!(decode_event(&nul).expect_err("NUL").to_string().contains("U+0000"));
        let mut twice = record.clone();
        twice.headers.push(("ce_sagaversion".into(), "9".into()));
        assert!(decode_event(&twice).expect_err("twice").to_string().contains("more than once"));
        let keyless = Record { key: "".into(), ..record.clone() };
        assert!(decode_event(&keyless).expect_err("no key").to_string().contains("key"));
        assert_eq!(decode_event(&record), Ok(event));
    }
}
