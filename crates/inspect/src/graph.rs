//! Pictures of plans and definitions: one lane per service, time runs downwards. `definition.rs`
//! and `plan.rs` select the content; `svg.rs` does the layout.

mod definition;
mod picture;
mod plan;
mod svg;

pub use definition::of_definition;
pub use plan::of_plan;

#[cfg(test)]
mod tests;
