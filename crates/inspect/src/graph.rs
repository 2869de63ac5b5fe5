//! Pictures of plans and definitions: a lane for each service, time goes down. What is drawn is decided in here, where
//! it goes and how it looks in `svg.rs`.

mod definition;
mod picture;
mod plan;
mod svg;

pub use definition::of_definition;
pub use plan::of_plan;

#[cfg(test)]
mod tests;
