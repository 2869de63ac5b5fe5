//! Announcements of participants, as CloudEvents with a JSON body.

use std::borrow::Cow;

use bytes::Bytes;
use sagamore_core::announcement::{ANNOUNCEMENT_BYTES_MAX, Announcement};

use super::headers::{CONTENT_TYPE, ID, SOURCE, SPECVERSION, TIME, TYPE};
use super::malformed::Malformed;
use super::time::write_time;
use crate::record::Record;

/// The topic of announcements. It has one partition.
pub const PARTICIPANTS_TOPIC: &str = "sagamore.participants";

const ANNOUNCEMENT_TYPE: &str = "sagamore.announcement";

/// Encodes an announcement, keyed by the participant.
pub fn encode_announcement(announcement: &Announcement) -> Record {
    let Announcement { participant, process, at, .. } = announcement;
    let mut time = String::new();
    write_time(&mut time, *at);
    let body = serde_json::to_vec(announcement).expect("texts in named fields are JSON");
    let headers: [(&'static str, Bytes); 6] = [
        (SPECVERSION, Bytes::from_static(b"1.0")),
        (ID, format!("{participant}/announcement/{process}/{at}").into()),
        (SOURCE, format!("/{participant}").into()),
        (TYPE, Bytes::from_static(ANNOUNCEMENT_TYPE.as_bytes())),
        (TIME, time.into()),
        (CONTENT_TYPE, Bytes::from_static(b"application/json")),
    ];
    Record {
        topic: PARTICIPANTS_TOPIC.into(),
        partition: Some(0),
        key: participant.as_str().to_owned().into(),
        headers: headers.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect(),
        body: body.into(),
    }
}

/// Decodes an announcement. A participant announces itself only.
///
/// # Errors
/// The invalid header or body.
pub fn decode_announcement(record: &Record) -> Result<Announcement, Malformed> {
    if record.header(TYPE).is_none_or(|name| **name != *ANNOUNCEMENT_TYPE.as_bytes()) {
        return Err(Malformed::header(TYPE, format_args!("it must be {ANNOUNCEMENT_TYPE}")));
    }
    let bytes = record.body.len();
    if bytes > ANNOUNCEMENT_BYTES_MAX {
        let problem = format_args!("it has {bytes} bytes, more than {ANNOUNCEMENT_BYTES_MAX}");
        return Err(Malformed::body(problem));
    }
    let read: Announcement = serde_json::from_slice(&record.body).map_err(Malformed::body)?;
    read.check().map_err(Malformed::body)?;
    match record.header(SOURCE) {
        Some(source) if **source != *format!("/{}", read.participant).as_bytes() => {
            let source = String::from_utf8_lossy(source);
            let problem = format_args!("{source} announces {}", read.participant);
            Err(Malformed::header(SOURCE, problem))
        }
        Some(_) | None => Ok(read),
    }
}

#[cfg(test)]
mod tests {
    use sagamore_core::announcement::{HandledMessage, MessageKind};
    use sagamore_core::{Name, Timestamp};

    use super::*;

    fn announcement() -> Announcement {
        let name = Name::new("payment.charge").unwrap();
        Announcement {
            participant: Name::new("payment").unwrap(),
            process: "71-a0".into(),
            at: Timestamp(1_795_984_265_125),
            messages: vec![HandledMessage { name, kind: MessageKind::Action, schema: None }],
            stopping: true,
        }
    }

    #[test]
    fn an_announcement_survives_a_round_trip() {
        let record = encode_announcement(&announcement());
        assert_eq!((&*record.topic, record.partition), (PARTICIPANTS_TOPIC, Some(0)));
        assert_eq!(record.key, "payment");
        let header = |name| std::str::from_utf8(record.header(name).unwrap()).unwrap();
        assert_eq!(header(ID), "payment/announcement/71-a0/1795984265125");
        assert_eq!(header(TIME), "2026-11-29T20:31:05.125Z");
        assert_eq!(decode_announcement(&record), Ok(announcement()));
    }

    #[test]
    fn a_record_that_is_no_announcement_is_rejected() {
        let check = |change: &dyn Fn(&mut Record), part: &str| {
            let mut record = encode_announcement(&announcement());
            change(&mut record);
            let why = decode_announcement(&record).expect_err(part).to_string();
            assert!(why.contains(part), "{why}");
        };
        let set = |record: &mut Record, name: &str, value: &'static str| {
            let header = record.headers.iter_mut().find(|(header, _)| *header == name);
            header.unwrap().1 = Bytes::from_static(value.as_bytes());
        };
        check(&|record| set(record, TYPE, "sagamore.swept"), "it must be sagamore.announcement");
        check(&|record| set(record, SOURCE, "/order"), "/order announces payment");
        check(&|record| record.body = "{".into(), "EOF");
        let long = vec![b' '; ANNOUNCEMENT_BYTES_MAX + 1];
        check(&|record| record.body = long.clone().into(), "bytes, more than");
        let mut nameless = announcement();
        nameless.process.clear();
        check(&|record| *record = encode_announcement(&nameless), "the process must have");
    }
}
