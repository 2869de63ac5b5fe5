//! What most services and definitions import: `use sagamore::prelude::*;`.

pub use sagamore_core::definition::{self, Definition};
pub use sagamore_core::plan::{self, Plan};
pub use sagamore_sdk::{
    Body, Database, Decided, Fault, Message, Migration, Name, Never, Reaction, Refusal, Service, Timestamp, Tx, Value,
    done, on, refused,
};
