//! Static inspection of definitions and plans: parsing, checking, drawing, and AsyncAPI export.
//! Pure functions over core; wire names come from transport.

mod pointer;
mod violation;

mod tree;

mod place;
mod shape;

pub mod json_schema;

pub mod files;
pub mod test_file;
pub mod times;

pub mod check;
pub mod diff;

pub mod schemas;

pub mod asyncapi;
pub mod graph;

pub use asyncapi::REPLIES;
pub use files::{SagaFile, check_json, check_text};
pub use violation::{VIOLATIONS_MAX, Violation};
