//! The wire format of messages. Only these files know header names.

pub mod announcement;
pub mod cloudevents;
pub mod dead_letter;
pub mod event;
pub mod horizon;
pub mod probe;

mod headers;
mod malformed;
mod time;

pub mod described;

pub use announcement::{PARTICIPANTS_TOPIC, decode_announcement, encode_announcement};
pub use cloudevents::{
    Flaw, REPLY_BYTES_MAX, Undecodable, command_topic, decode_command, decode_reply,
    encode_command, encode_reply, is_from,
};
pub use dead_letter::{bare_letter, dead_letter, dead_letter_topic, publish_letter, redrive};
pub use event::{decode_event, encode_event, event_topic};
pub use horizon::{HORIZON_TOPIC, decode_horizon, decode_swept, encode_horizon, encode_swept};
pub use malformed::Malformed;
pub use probe::{PROBE_TOPIC, probe};
