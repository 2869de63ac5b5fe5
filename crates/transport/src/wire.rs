//! How messages look on the wire. The files below are the only place that knows a header's name.

pub mod cloudevents;
pub mod dead_letter;
pub mod event;
pub mod horizon;
pub mod probe;

mod headers;
mod time;

pub mod described;

pub use cloudevents::{
    Flaw, REPLY_BYTES_MAX, Undecodable, command_topic, decode_command, decode_reply, encode_command, encode_reply,
    is_from,
};
pub use dead_letter::{bare_letter, dead_letter, dead_letter_topic, publish_letter, redrive};
pub use event::{decode_event, encode_event, event_topic};
pub use horizon::{HORIZON_TOPIC, decode_horizon, decode_swept, encode_horizon, encode_swept};
pub use probe::{PROBE_TOPIC, probe};

/// A text about a record is cut here, in bytes: it may quote whatever came in.
const TEXT_BYTES_MAX: usize = 2_000;

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}
