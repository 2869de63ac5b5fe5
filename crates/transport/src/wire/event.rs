//! Events of choreographies as CloudEvents 1.0 in binary mode. Each sort of event has a topic of its own, by its name.

use std::sync::Arc;

use sagamore_core::message::Event;
use sagamore_core::{Body, Name, Timestamp};

use super::cut;
use super::headers::{
    CAUSATION, CONTENT_TYPE, DEFINITION, HOP, Headers, ID, Read, SPECVERSION, SUBJECT, TOLD_AT, TYPE, VERSION, wrong,
};
use crate::record::Record;

/// Where events of this name go: `payment.success`.
pub fn event_topic(name: &Name) -> Arc<str> {
    name.as_str().into()
}

/// An event as a record of its topic, keyed by the chain's business key. `source` is the service that tells it.
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

/// More events never lead to one: a plan has 64 reactions at most, each with an action and an undo.
const HOPS_MAX: u32 = 1_000;

/// The event in a record; or what is wrong with it. Its headers name one event, and agree on it. The body may be anything
/// in JSON.
pub fn decode_event(record: &Record) -> Result<Event, String> {
    decode(record).map_err(|reason| cut(&reason).to_owned())
}

fn decode(record: &Record) -> Result<Event, String> {
    let read = Read::over(record);
    read.once()?;
    read.is(SPECVERSION, "1.0")?;
    // without it the event would begin its chain
    let causation = if read.has(CAUSATION) { Some(read.needed(CAUSATION)?) } else { None };
    let name = Name::new(read.needed(TYPE)?).map_err(|error| wrong(TYPE, error))?;
    if record.topic != event_topic(&name) {
        return Err(wrong(TYPE, format_args!("'{name}' in topic '{}'", record.topic)));
    }
    let hop: u32 = read.number(HOP)?;
    if hop > HOPS_MAX {
        return Err(wrong(HOP, format_args!("{hop}; no event has more than {HOPS_MAX}")));
    }
    if causation.is_none() != (hop == 0) {
        return Err(wrong(HOP, format_args!("{hop}; it is 0 for an event without {CAUSATION}, and for no other")));
    }
    let event = Event {
        key: read.key()?,
        version: read.number(VERSION)?,
        name,
        causation: causation.map(str::to_owned),
        hop,
        at: Timestamp(read.number(TOLD_AT)?),
        body: Body::from_bytes(&record.body).map_err(|error| error.to_string())?,
        trace: read.trace(),
    };
    read.is(ID, &event.id())?;
    read.is(DEFINITION, event.chain().definition())?;
    read.source()?;
    read.is_keyed(record, &event.key)?;
    Ok(event)
}

#[cfg(test)]
mod tests {
    use sagamore_core::TraceContext;

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
    fn an_event_comes_back_as_it_was_sent() {
        let record = encode_event(&event(), &Name::new("payment").unwrap());
        assert_eq!((&*record.topic, &*record.key), ("payment.success", &b"10248"[..]));
        assert_eq!(record.header(ID).unwrap(), &b"shop:10248/charge/action/1/payment.success"[..]);
        assert_eq!(record.header("ce_source").unwrap(), &b"/payment"[..]);
        assert_eq!(decode_event(&record), Ok(event()));
    }

    /// No database keeps such a text: it would end whoever reads it, again and again.
    #[test]
    fn a_header_with_a_nul_is_as_good_as_none() {
        let with_nul = |header: &str| {
            let mut record = encode_event(
                &Event { trace: TraceContext::of(PARENT, None), ..event() },
                &Name::new("payment").unwrap(),
            );
            let damaged = record.headers.iter_mut().find(|(name, _)| name.as_ref() == header).expect("it is there");
            damaged.1 = b"a\0b".to_vec().into();
            decode_event(&record)
        };
        assert_eq!(with_nul("traceparent"), Ok(event()));
        assert!(with_nul(CAUSATION).expect_err("no cause, and no beginning").contains(CAUSATION));
    }

    #[test]
    fn what_is_no_event_is_told_with_the_header_that_is_wrong() {
        let check = |header: &str, part: &str| {
            let mut record = encode_event(&event(), &Name::new("payment").unwrap());
            record.headers.retain(|(name, _)| name != header);
            let why = decode_event(&record).expect_err(header);
            assert!(why.contains(part), "{why}");
        };
        for header in [TYPE, HOP, VERSION, TOLD_AT, "ce_correlationid", "ce_sagastep"] {
            check(header, header);
        }
    }

    /// `docs/wire.md`, the table of events.
    #[test]
    fn an_event_whose_headers_disagree_is_none() {
        let event = Event { causation: Some("shop:10248/create/action/1/order.created".into()), hop: 1, ..event() };
        let record = encode_event(&event, &Name::new("payment").unwrap());
        let check = |header: &str, value: &'static str| {
            let mut record = record.clone();
            let changed = record.headers.iter_mut().find(|(name, _)| name == header).expect(header);
            changed.1 = value.into();
            let why = decode_event(&record).expect_err(header);
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
        let mut twice = record.clone();
        twice.headers.push(("ce_sagaversion".into(), "9".into()));
        assert!(decode_event(&twice).expect_err("twice").contains("more than once"));
        let keyless = Record { key: "".into(), ..record.clone() };
        assert!(decode_event(&keyless).expect_err("no key").contains("key"));
        assert_eq!(decode_event(&record), Ok(event));
    }
}
