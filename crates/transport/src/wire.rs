//! How messages look on the wire. The files below are the only place that knows a header's name.

pub mod cloudevents;
pub mod dead_letter;

pub use cloudevents::{Undecodable, command_topic, decode_command, decode_reply, encode_command, encode_reply};
pub use dead_letter::{dead_letter, dead_letter_topic, redrive};
