//! The names that most services and definitions import: `use sagamore::prelude::*;`.

pub use sagamore_core::SagaId;
pub use sagamore_core::definition::{self, Definition};
pub use sagamore_core::plan::{self, Plan};
pub use sagamore_core::saga::Status;
pub use sagamore_sdk::{
    Body, ChainStart, ChainStarter, Database, Decided, Fault, Message, Migration, Name, Never,
    Outbox, Reaction, Refusal, Service, StartOutcome, StartsChain, Timestamp, Tx, Value, done, on,
    refused,
};
