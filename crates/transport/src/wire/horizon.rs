//! The messages about sagas that ended long ago, as CloudEvents with a JSON body. Horizons go to a
//! topic of their own, answers to the address in the horizon.

use std::borrow::Cow;

use bytes::Bytes;
use sagamore_core::Timestamp;
use sagamore_core::message::{Horizon, ReplyTo, Swept};

use super::headers::{
    CONTENT_TYPE, ID, REPLY_PARTITION, REPLY_TOPIC, SOURCE, SPECVERSION, TIME, TYPE, parse_number,
};
use super::malformed::Malformed;
use super::time::write_time;
use crate::record::Record;

/// The topic of horizons. It has one partition, so that each service receives a horizon once.
pub const HORIZON_TOPIC: &str = "sagamore.horizon";

const HORIZON_TYPE: &str = "sagamore.horizon";
const SWEPT_TYPE: &str = "sagamore.swept";

/// Encodes a horizon. Participants answer to `reply_to`, if it is set.
pub fn encode_horizon(horizon: &Horizon, reply_to: Option<&ReplyTo>) -> Record {
    let mut record = event(
        HORIZON_TYPE,
        format!("horizon/{}", horizon.ended_before),
        "/sagamore".into(),
        horizon.ended_before,
        horizon,
    );
    record.topic = HORIZON_TOPIC.into();
    record.partition = Some(0);
    if let Some(reply_to) = reply_to {
        record.headers.push((Cow::Borrowed(REPLY_TOPIC), reply_to.topic.clone().into()));
        record
            .headers
            .push((Cow::Borrowed(REPLY_PARTITION), reply_to.partition.to_string().into()));
    }
    record
}

/// Decodes a horizon and the address for answers.
///
/// # Errors
/// The invalid header or body.
pub fn decode_horizon(record: &Record) -> Result<(Horizon, Option<ReplyTo>), Malformed> {
    let horizon = serde_json::from_slice(&record.body).map_err(Malformed::body)?;
    let text = |name| record.header(name).and_then(|value| std::str::from_utf8(value).ok());
    let topic = text(REPLY_TOPIC).filter(|topic| !topic.is_empty());
    let partition = text(REPLY_PARTITION).and_then(parse_number);
    match (topic, partition) {
        (Some(topic), Some(partition)) => {
            Ok((horizon, Some(ReplyTo { topic: topic.to_owned(), partition })))
        }
        (None, None) if record.header(REPLY_TOPIC).or(record.header(REPLY_PARTITION)).is_none() => {
            Ok((horizon, None))
        }
        _ => Err(Malformed::address(format_args!(
            "headers {REPLY_TOPIC} and {REPLY_PARTITION}: one is missing or malformed"
        ))),
    }
}

/// Encodes a participant's answer to a horizon.
pub fn encode_swept(swept: &Swept, reply_to: &ReplyTo) -> Record {
    let Swept { participant, before } = swept;
    let mut record = event(
        SWEPT_TYPE,
        format!("{participant}/swept/{before}"),
        format!("/{participant}"),
        *before,
        swept,
    );
    record.topic = reply_to.topic.as_str().into();
    record.partition = Some(reply_to.partition);
    record
}

/// Decodes the answer to a horizon; `None` if the record is another message.
pub fn decode_swept(record: &Record) -> Option<Result<Swept, Malformed>> {
    record.header(TYPE).filter(|name| ***name == *SWEPT_TYPE.as_bytes())?;
    Some(read_swept(record))
}

/// Reads a participant's answer. An answer for another participant is malformed, because that one
/// may still have its rows.
fn read_swept(record: &Record) -> Result<Swept, Malformed> {
    let swept: Swept = serde_json::from_slice(&record.body).map_err(Malformed::body)?;
    match record.header(SOURCE) {
        Some(source) if **source != *format!("/{}", swept.participant).as_bytes() => {
            let source = String::from_utf8_lossy(source);
            let problem = format_args!("{source} answers for {}", swept.participant);
            Err(Malformed::header(SOURCE, problem))
        }
        Some(_) | None => Ok(swept),
    }
}

/// Encodes a message about the moment `at`.
fn event(
    name: &'static str,
    id: String,
    source: String,
    at: Timestamp,
    body: &impl serde::Serialize,
) -> Record {
    let mut time = String::new();
    write_time(&mut time, at);
    let body = serde_json::to_vec(body).expect("times and names in named fields are JSON");
    let headers = [
        (SPECVERSION, Bytes::from_static(b"1.0")),
        (ID, id.into()),
        (SOURCE, source.into()),
        (TYPE, Bytes::from_static(name.as_bytes())),
        (TIME, time.into()),
        (CONTENT_TYPE, Bytes::from_static(b"application/json")),
    ];
    Record {
        topic: name.into(),
        partition: None,
        key: Bytes::from_static(name.as_bytes()),
        headers: headers.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect(),
        body: body.into(),
    }
}

#[cfg(test)]
mod tests {
    use sagamore_core::Name;

    use super::*;

    fn horizon() -> Horizon {
        Horizon {
            started_before: Timestamp(5),
            ended_before: Timestamp(7),
            started_from: None,
            definitions: vec!["checkout".parse().unwrap()],
            but: vec!["checkout:1".parse().unwrap()],
        }
    }

    #[test]
    fn horizon_and_answer_survive_a_round_trip() {
        let reply_to = ReplyTo { topic: "replies".into(), partition: 3 };
        let horizon = horizon();
        let told = encode_horizon(&horizon, Some(&reply_to));
        assert_eq!(decode_horizon(&told), Ok((horizon.clone(), Some(reply_to.clone()))));
        assert_eq!(decode_horizon(&encode_horizon(&horizon, None)), Ok((horizon, None)));
        let swept = Swept { participant: Name::new("payment").unwrap(), before: Timestamp(5) };
        let record = encode_swept(&swept, &reply_to);
        assert_eq!((&*record.topic, record.partition), ("replies", Some(3)));
        assert_eq!(decode_swept(&record), Some(Ok(swept)));
    }

    #[test]
    fn another_message_is_distinguished_from_a_damaged_one() {
        let reply_to = ReplyTo { topic: "replies".into(), partition: 3 };
        let mut horizon = encode_horizon(&horizon(), Some(&reply_to));
        assert_eq!(decode_swept(&horizon), None);
        horizon.headers.retain(|(name, _)| name != REPLY_TOPIC);
        assert!(decode_horizon(&horizon).unwrap_err().to_string().contains(REPLY_TOPIC));
        let swept = Swept { participant: Name::new("payment").unwrap(), before: Timestamp(5) };
        let damaged = Record { body: "{".into(), ..encode_swept(&swept, &reply_to) };
        assert!(decode_swept(&damaged).unwrap().is_err());
        let mut foreign = encode_swept(&swept, &reply_to);
        let source = foreign.headers.iter_mut().find(|(name, _)| *name == SOURCE).unwrap();
        source.1 = Bytes::from_static(b"/order");
        let why = decode_swept(&foreign).unwrap().unwrap_err().to_string();
        assert!(why.contains("/order answers for payment"), "{why}");
    }
}
