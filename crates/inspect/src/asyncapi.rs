//! AsyncAPI 3.0 documents of plans and definitions, for services in other languages.
//!
//! They list the topics, the messages with their headers, and the service that sends or receives
//! each. Each operation has its service's name as a tag.

mod definition;
mod document;
mod plan;

pub use definition::of_definition;
pub use document::REPLIES;
pub use plan::of_plan;

#[cfg(test)]
mod tests;
