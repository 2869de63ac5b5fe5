//! Static inspection of definitions and plans: parsing, checking, drawing, and AsyncAPI export.
//! Pure functions over core; wire names come from transport.

pub mod files;

pub mod check;

pub mod asyncapi;
pub mod graph;

pub use asyncapi::REPLIES;
pub use files::SagaFile;
