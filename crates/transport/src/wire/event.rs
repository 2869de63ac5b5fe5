//! Events of choreographies as CloudEvents 1.0 in binary mode. Each sort of event has a topic of its own, by its name.

use std::sync::Arc;

use sagamore_core::message::Event;
use sagamore_core::{Body, Name, Timestamp};

use super::cloudevents::{
    CAUSATION, CONTENT_TYPE, DEFINITION, HOP, Headers, ID, Read, SOURCE, SPECVERSION, SUBJECT, TIME, TYPE, VERSION,
    needed, number, wrong,
};
use super::cut;
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
    headers.text(SOURCE, |out| {
        out.push('/');
        out.push_str(source.as_str());
    });
    headers.text(TYPE, |out| out.push_str(event.name.as_str()));
    headers.number(TIME, event.at);
    let subject = headers.text(SUBJECT, |out| out.push_str(key.saga.key()));
    headers.step(key);
    headers.text(DEFINITION, |out| out.push_str(key.saga.definition()));
    headers.number(VERSION, event.version);
    headers.number(HOP, event.hop);
    if let Some(causation) = &event.causation {
        headers.text(CAUSATION, |out| out.push_str(causation));
    }
    headers.trace(event.traceparent.as_deref());
    headers.fixed(CONTENT_TYPE, "application/json");
    headers.record(event_topic(&event.name), None, subject, event.body.as_str())
}

/// The event in a record; or what is wrong with it. The body may be anything in JSON.
pub fn decode_event(record: &Record) -> Result<Event, String> {
    decode(record).map_err(|reason| cut(&reason).to_owned())
}

fn decode(record: &Record) -> Result<Event, String> {
    let read = Read::over(record);
    if read.causation.is_none() && record.headers.iter().any(|(name, _)| name.as_ref() == CAUSATION) {
        return Err(wrong(CAUSATION, "no text")); // without it the event would begin its chain
    }
    let name = Name::new(needed(TYPE, read.name)?).map_err(|error| wrong(TYPE, error))?;
    Ok(Event {
        key: read.key()?,
        version: number(VERSION, read.version)?,
        name,
        causation: read.causation.map(str::to_owned),
        hop: number(HOP, read.hop)?,
        at: Timestamp(number(TIME, read.time)?),
        body: Body::from_bytes(&record.body).map_err(|error| error.to_string())?,
        traceparent: read.traceparent.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
            traceparent: None,
        }
    }

    #[test]
    fn an_event_comes_back_as_it_was_sent() {
        let record = encode_event(&event(), &Name::new("payment").unwrap());
        assert_eq!((&*record.topic, &*record.key), ("payment.success", &b"10248"[..]));
        assert_eq!(record.header(ID).unwrap(), &b"shop:10248/charge/action/1/payment.success"[..]);
        assert_eq!(record.header(SOURCE).unwrap(), &b"/payment"[..]);
        assert_eq!(decode_event(&record), Ok(event()));
    }

    /// No database keeps such a text: it would end whoever reads it, again and again.
    #[test]
    fn a_header_with_a_nul_is_as_good_as_none() {
        let with_nul = |header: &str| {
            let mut record = encode_event(
                &Event { traceparent: Some("00-1-2-01".into()), ..event() },
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
        for header in [TYPE, HOP, VERSION, TIME, "ce_correlationid", "ce_sagastep"] {
            check(header, header);
        }
    }
}
