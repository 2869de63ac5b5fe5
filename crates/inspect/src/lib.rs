//! Inspection of definitions and plans before anything runs: reading their files, checking them, drawing them, and
//! describing their messages for other languages. Pure functions over core; the names on the wire come from transport.

pub mod files;

pub mod check;

pub mod asyncapi;
pub mod graph;

pub use asyncapi::REPLIES;
pub use files::Written;
